/* ---------------------------------------------------------------- the board */

-- Made of board/ by the Makefile.  The policy names the script and the style of this page, so
-- that nothing else runs in it, whatever a task's payload says.
CREATE FUNCTION taskq.board() RETURNS taskq."text/html"
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $board$
BEGIN
	IF current_setting('request.method', true) <> '' THEN
		PERFORM set_config('response.headers', '[{"Content-Type": "text/html; charset=utf-8"}, {"Content-Security-Policy": ":policy"}, {"X-Content-Type-Options": "nosniff"}, {"Referrer-Policy": "no-referrer"}, {"Cache-Control": "no-cache"}]', true);
	END IF;
	RETURN :page;
END
$board$;
COMMENT ON FUNCTION taskq.board() IS
'The board: a page for browsers, to watch and steer tasks

It has no data: what it shows it asks for with the token of who looks at it.';
