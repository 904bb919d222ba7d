-- What is too large is refused, where it comes in.
\ir include/prologue.psql
SELECT plan(11);

SELECT taskq.kind_define('limits', 'echo(jsonb)', max_attempts => 1) \g /dev/null
CREATE FUNCTION limits_large(p jsonb) RETURNS text LANGUAGE sql AS $$ SELECT repeat('x', (p->>'size')::int) $$;
SELECT taskq.kind_define('limits_large', 'limits_large(jsonb)', max_attempts => 1) \g /dev/null
CREATE FUNCTION limits_error(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION '%', repeat('message ', 100000) USING DETAIL = repeat('detail ', 100000);
END $$;
SELECT taskq.kind_define('limits_error', 'limits_error(jsonb)', max_attempts => 1) \g /dev/null

SET taskq.max_payload = '10kB';
SELECT lives_ok($$SELECT taskq.task_submit('limits', to_jsonb(repeat('x', 9000)))$$, 'a payload of less than taskq.max_payload');
SELECT isnt(error_of($$SELECT taskq.task_submit('limits', to_jsonb(repeat('x', 11000)))$$), 'none', 'one of more is refused');
SELECT matches(hint_of($$SELECT taskq.task_submit('limits', to_jsonb(repeat('x', 11000)))$$), 'payload', '... with a hint that names the argument');
SELECT isnt(error_of($$SELECT taskq.task_submit_many('limits', ARRAY['1', to_jsonb(repeat('x', 11000))])$$), 'none', 'also among many');
SELECT isnt(error_of($$SELECT taskq.task_submit_batch('limits', jsonb_build_array(1, repeat('x', 11000)))$$), 'none', '... in a batch');
SELECT isnt(error_of($$SELECT taskq.task_submit('limits', '1', metadata => to_jsonb(repeat('x', 11000)))$$), 'none', 'metadata of more are refused');
SELECT is(count(*)::int, 0, '... and none of these submitted anything') FROM taskq.task WHERE payload = '1';
RESET taskq.max_payload;

-- errors are not without end
SELECT taskq.task_submit('limits_error') AS id \gset
SELECT is(t.state, 'failed', 'an error with a message of 800 kB') FROM taskq.task_wait(:'id') t;
SELECT matches(t.error->>'message', '^message message', '... is recorded') FROM taskq.task_status(:'id') t;

-- a large result
SELECT taskq.task_submit('limits_large', '{"size": 1000000}') AS id \gset
SELECT is((t.state, length(t.result #>> '{}'))::text, '(completed,1000000)', 'a result of a megabyte') FROM taskq.task_wait(:'id') t;
SELECT taskq.task_submit('limits_large', '{"size": 300000000}') AS id \gset
SELECT is((t.state, t.result IS NULL)::text, '(failed,t)', 'one that is larger than any JSON text can be fails its task') FROM taskq.task_wait(:'id', '150 s') t;

SELECT * FROM finish();
