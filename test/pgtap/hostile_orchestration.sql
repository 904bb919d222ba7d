-- Templates and schedules of somebody who means ill.
\ir include/prologue.psql
SELECT plan(9);

CREATE ROLE ho_evil LOGIN;
CREATE ROLE ho_good LOGIN;
GRANT taskq_user, taskq_developer TO ho_evil, ho_good;
\ir include/as_role.psql

-- what a superuser's kind does is not chosen by others
CREATE TABLE ho_ran (who name, p jsonb);
CREATE FUNCTION ho_work(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO public.ho_ran VALUES (session_user, p) $$;
SELECT taskq.kind_define('ho_work', 'ho_work(jsonb)') \g /dev/null
SELECT is(as_role('ho_evil', $$SELECT taskq.template_define('ho_nightly', '[{"kind": "ho_work", "payload": {"drop": "everything"}}]')$$), '', 'a template names a superuser''s kind');
SELECT throws_like($$SELECT taskq.template_submit('ho_nightly')$$, 'superusers submit no workflows of template "ho_nightly"', '... a superuser does not submit it');
SELECT taskq.template_define('ho_own', '[{"kind": "ho_work"}]') \g /dev/null
SELECT lives_ok($$SELECT taskq.template_submit('ho_own')$$, '... but a superuser''s');
SELECT is(as_role('ho_good', $$SELECT taskq.template_submit('ho_own') IS NOT NULL$$), 'true', '... and others do, too');

-- what nobody can read
SELECT is(as_role('ho_evil', $$SELECT taskq.template_define('ho_long', '[{"kind": "a", "expected_duration": "178000000 years"}, {"kind": "a", "expected_duration": "178000000 years"}]')$$), '22023',
	'durations whose sum is no interval are refused');
SELECT is(as_role('ho_evil', $$SELECT taskq.template_define('ho_long', '[{"kind": "a", "expected_duration": "1000 years -365000 days"}]')$$), '22023', '... parts of which are none');
SELECT is(as_role('ho_evil', $$SELECT taskq.template_define('ho_long', '[{"kind": "a", "expected_duration": "-1 day"}]')$$), '22023', '... or less than nothing');
SELECT is(as_role('ho_good', $$SELECT sum(expected_duration) IS NULL FROM taskq.template$$), 'true', '... so everybody can look at the view');

-- a schedule of another role
SELECT taskq.kind_define('ho_short', 'echo(jsonb)') \g /dev/null
SELECT as_role('ho_evil', $$SELECT taskq.schedule_define('ho_hidden', 'ho_short', every => '1 day')$$) \g /dev/null
SELECT is(as_role('ho_good', $$SELECT taskq.schedule_tick('ho_hidden')$$), as_role('ho_good', $$SELECT taskq.schedule_tick('ho_none')$$), 'a schedule that is not to be seen is not there for who calls it');
SELECT * FROM finish();
