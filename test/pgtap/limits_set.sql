-- kind_limit and queue_limit: other limits of what is there, for whom, and nothing else changes.
\ir include/prologue.psql
\ir include/http.psql
SELECT plan(69);

CREATE ROLE set_op LOGIN;
CREATE ROLE set_dev LOGIN;
CREATE ROLE set_other LOGIN;
CREATE ROLE set_user LOGIN;
GRANT taskq_operator TO set_op;
GRANT taskq_developer, taskq_user TO set_dev, set_other;
GRANT taskq_user TO set_user;
SET ROLE set_dev;
SELECT taskq.kind_define('set_kind', 'echo(jsonb)', queue => 'set_undefined', priority => 7, max_attempts => 4, timeout => '1 min', retry_on => '{40}', max_running => 3, batch => true,
	description => 'as its owner says', category => 'c', indexed => '{member}', settings => '{"work_mem": "8MB"}', secret => '{password}') \g /dev/null
RESET ROLE;
SELECT taskq.queue_define('set_queue', max_running => 3, retention => '1 day', description => 'as it was', rate => 5, rate_period => '1 min', reserved => 1) \g /dev/null

CREATE FUNCTION kind_limits(text DEFAULT 'set_kind') RETURNS text LANGUAGE sql AS $$ SELECT (max_running, rate, rate_period, max_running_per_key)::text FROM taskq.kind WHERE name = $1 $$;
CREATE FUNCTION queue_limits(text DEFAULT 'set_queue') RETURNS text LANGUAGE sql AS $$ SELECT (max_running, rate, rate_period, reserved)::text FROM taskq.queue WHERE name = $1 $$;
-- all else that it is
CREATE FUNCTION kind_rest() RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(k) - '{max_running,rate,rate_period,max_running_per_key,updated_at}'::text[] FROM taskq_internal.kind k WHERE name = 'set_kind' $$;
CREATE FUNCTION queue_rest() RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(q) - '{max_running,rate,rate_period,reserved,updated_at}'::text[] FROM taskq_internal.queue q WHERE name = 'set_queue' $$;
SELECT kind_rest() AS kind_before, queue_rest() AS queue_before \gset

-- a kind
SELECT is(kind_limits(), '(3,,00:00:01,1)', 'the limits of a kind, as its owner defined it');
SET ROLE set_op;
SELECT lives_ok($$SELECT taskq.kind_limit('set_kind', max_running => 2, reason => 'the partner is slow')$$, 'an operator changes one');
RESET ROLE;
SELECT is(kind_limits(), '(2,,00:00:01,1)', '... which is another');
SELECT is((SELECT concat_ws(' ', role, action, object, name, kind, reason, run_as, details) FROM taskq.audit ORDER BY id DESC LIMIT 1),
	'set_op limit kind set_kind set_kind the partner is slow set_dev {"max_running": {"new": "2", "old": "3"}}', '... the audit has who, why, and how it was before');
SET ROLE set_dev;
SELECT lives_ok($$SELECT taskq.kind_limit('set_kind', rate => 10, rate_period => '1 min', max_running_per_key => 2)$$, 'its owner changes others');
SELECT is((SELECT count(*) FROM taskq.audit WHERE action = 'limit'), 2::int8, '... and sees in the audit who did so before');
RESET ROLE;
SELECT is(kind_limits(), '(2,10,00:01:00,2)', '... and what was left out stays as it was');
SELECT taskq.kind_limit('set_kind', max_running => NULL, rate => 20) \g /dev/null
SELECT is(kind_limits(), '(2,20,00:01:00,2)', '... also where it is null');
SELECT taskq.kind_limit('set_kind', rate_period => '2 min') \g /dev/null
SELECT is(kind_limits(), '(2,20,00:02:00,2)', 'the period alone');
SELECT taskq.kind_limit('set_kind', max_running => -1) \g /dev/null
SELECT is(kind_limits(), '(,20,00:02:00,2)', '-1 takes a limit away');
SELECT taskq.kind_limit('set_kind', rate => -1, max_running_per_key => -1) \g /dev/null
SELECT is(kind_limits(), '(,,00:02:00,1)', '... each of them; of a key it is one at a time then');
SELECT is((SELECT details FROM taskq.audit ORDER BY id DESC LIMIT 1), '{"rate": {"old": "20"}, "max_running_per_key": {"old": "2"}}', '... the audit has what they were');
SELECT is(kind_rest(), :'kind_before'::jsonb, 'all else of the kind is what it was: handler, who chose it, version, settings');
SELECT count(*) AS acts FROM taskq.audit \gset
SELECT taskq.kind_limit('set_kind', max_running => -1) \g /dev/null
SELECT is((SELECT count(*) FROM taskq.audit), :acts::int8, 'what changes nothing is no act');
SELECT isnt((SELECT updated_at FROM taskq.kind WHERE name = 'set_kind'), NULL, 'a kind tells when that was');

-- what its owner defines anew is as he defines it
SELECT taskq.kind_limit('set_kind', max_running => 1) \g /dev/null
SET ROLE set_dev;
SELECT taskq.kind_define('set_kind', 'echo(jsonb)', max_running => 5) \g /dev/null
RESET ROLE;
SELECT is(kind_limits(), '(5,,00:00:01,1)', 'kind_define replaces the limits that kind_limit set');

-- mistakes
SELECT is(error_of(c), '22023', c) FROM (VALUES ($$SELECT taskq.kind_limit('set_kind')$$), ($$SELECT taskq.kind_limit('set_kind', reason => 'none given')$$), ($$SELECT taskq.kind_limit('set_kind', max_running => 0)$$),
	($$SELECT taskq.kind_limit('set_kind', max_running => -2)$$), ($$SELECT taskq.kind_limit('set_kind', rate => 0)$$), ($$SELECT taskq.kind_limit('set_kind', max_running_per_key => 0)$$),
	($$SELECT taskq.kind_limit('set_kind', rate_period => '0')$$), ($$SELECT taskq.kind_limit('set_kind', rate_period => '-1 s')$$), ($$SELECT taskq.kind_limit('set_kind', rate_period => '11 years')$$),
	($$SELECT taskq.kind_limit(NULL, max_running => 1)$$), ($$SELECT taskq.queue_limit('set_queue')$$), ($$SELECT taskq.queue_limit('set_queue', max_running => 0)$$),
	($$SELECT taskq.queue_limit('set_queue', rate => -2)$$), ($$SELECT taskq.queue_limit('set_queue', reserved => 0)$$), ($$SELECT taskq.queue_limit('set_queue', rate_period => '0')$$)) c (c);
SELECT is(kind_limits(), '(5,,00:00:01,1)', '... none of which changes anything');
SELECT matches(hint_of($$SELECT taskq.kind_limit('set_kind', max_running => 0)$$), 'max_running.*pause', 'who means "none" is told what does that');
SELECT matches(hint_of($$SELECT taskq.kind_limit('set_kind')$$), '-1 takes a limit away', '... and how a limit ends');
SELECT is(error_of($$SELECT taskq.kind_limit('set_nowhere', max_running => 1)$$), 'PT404', 'a kind that is not there');
SELECT is(error_of($$SELECT taskq.kind_limit('sql', max_running => 1)$$), 'PT404', '... nor is that of task_submit_sql');
SELECT is(error_of($$SELECT taskq.queue_limit('set_nowhere', max_running => 1)$$), 'PT404', 'a queue that is not there');

-- for whom
SET ROLE set_other;
SELECT is(error_of($$SELECT taskq.kind_limit('set_kind', max_running => 1)$$), '42501', 'not for another developer');
SELECT matches(hint_of($$SELECT taskq.kind_limit('set_kind', max_running => 1)$$), 'belongs to role "set_dev".*taskq_operator may limit it', '... who is told for whom');
SELECT is(error_of($$SELECT taskq.queue_limit('set_queue', max_running => 1)$$), '42501', 'queues are for operators');
SET ROLE set_user;
SELECT is(error_of($$SELECT taskq.kind_limit('set_kind', max_running => 1)$$), '42501', 'not for users');
-- ... whatever operators and functions they have of their own
RESET ROLE;
GRANT CREATE ON DATABASE :"DBNAME" TO set_other;
SET ROLE set_other;
CREATE SCHEMA set_evil;
CREATE FUNCTION set_evil.superuser_owner(name) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE FUNCTION set_evil.yes(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR set_evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = set_evil.yes);
SET search_path = set_evil, pg_catalog, public;
SELECT public.is(public.error_of($$SELECT taskq.kind_limit('set_kind', max_running => 1)$$), '42501', 'nor by another search_path');
RESET search_path;
RESET ROLE;
SELECT is(kind_limits(), '(5,,00:00:01,1)', '... it is as it was');

-- a queue
SET ROLE set_op;
SELECT lives_ok($$SELECT taskq.queue_limit('set_queue', rate => 50, reason => 'night')$$, 'an operator changes a limit of a queue');
RESET ROLE;
SELECT is(queue_limits(), '(3,50,00:01:00,1)', '... and none else');
SELECT is((SELECT concat_ws(' ', role, action, object, name, reason, details) FROM taskq.audit ORDER BY id DESC LIMIT 1), 'set_op limit queue set_queue night {"rate": {"new": "50", "old": "5"}}', '... the audit has it');
SELECT taskq.queue_limit('set_queue', max_running => -1, rate => -1, rate_period => '1 s', reserved => 2) \g /dev/null
SELECT is(queue_limits(), '(,,00:00:01,2)', '... others, and away with some');
SELECT taskq.queue_limit('set_queue', reserved => -1) \g /dev/null
SELECT is(queue_limits(), '(,,00:00:01,)', '... reserved places too');
SELECT is(queue_rest(), :'queue_before'::jsonb, 'all else of the queue is what it was');
SELECT taskq.queue_define('set_queue', max_running => 9) \g /dev/null
SELECT is(queue_limits(), '(9,,00:00:01,)', 'queue_define replaces it all');
SELECT taskq.kind_define('set_names', 'echo(jsonb)', queue => 'set_named') \g /dev/null
SELECT taskq.queue_limit('set_named', rate => 3) \g /dev/null
SELECT is(queue_limits('set_named'), '(,3,00:00:01,)', 'a queue that a kind names only is limited');
SELECT lives_ok($$SELECT taskq.task_submit('set_names', queue => 'set_named')$$, '... and defined by that');
SELECT taskq.queue_limit('default', max_running => 100), taskq.queue_drop('default') \g /dev/null
SELECT is(queue_limits('default'), '(,,,)', 'queue default is limited, and unlimited by queue_drop');

-- undone with its transaction, and with its part of one
BEGIN;
SELECT taskq.kind_limit('set_kind', max_running => 8), taskq.queue_limit('set_queue', max_running => 8) \g /dev/null
SAVEPOINT a;
SELECT taskq.kind_limit('set_kind', max_running => 4, rate => 4) \g /dev/null
ROLLBACK TO a;
SELECT is(kind_limits(), '(8,,00:00:01,1)', 'a savepoint undoes its own');
ROLLBACK;
SELECT is(kind_limits() || queue_limits(), '(5,,00:00:01,1)(9,,00:00:01,)', '... a transaction all');
SELECT is((SELECT count(*) FROM taskq.audit WHERE details->'max_running'->>'new' IN ('4', '8')), 0::int8, '... also in the audit');
SELECT taskq.kind_limit('set_kind', max_running => NULL, rate => 2147483647, rate_period => '10 years', max_running_per_key => 2147483647) \g /dev/null
SELECT is(kind_limits(), '(5,2147483647,"10 years",2147483647)', 'the largest there are');
SET ROLE set_user;
SELECT taskq.task_submit('set_kind') AS id \gset
RESET ROLE;
CALL wait_state(:'id', 'completed');
SELECT is((SELECT state FROM taskq.task_status(:'id')), 'completed', '... let tasks run');

-- over HTTP
GRANT taskq_developer TO web_user;
SELECT is(status::text, '204', 'POST /rpc/kind_limit, of an operator') FROM http('POST', '/rpc/kind_limit', web('op', 'web_operator'), '{"name": "set_kind", "max_running": 6, "rate": -1, "rate_period": "30 s", "reason": "over HTTP"}');
SELECT is(kind_limits(), '(6,,00:00:30,2147483647)', '... by named arguments, what is left out stays');
SELECT is(status::text, '204', '... null, too') FROM http('POST', '/rpc/kind_limit', web('op', 'web_operator'), '{"name": "set_kind", "max_running": null, "rate": 7}');
SELECT is(kind_limits(), '(6,7,00:00:30,2147483647)', '... stays');
SELECT is(body->0->>'reason', 'over HTTP', '... and is audited') FROM http('GET', '/audit?action=eq.limit&name=eq.set_kind&reason=not.is.null&order=id.desc&limit=1', web('op', 'web_operator'));
SELECT is(status || ' ' || (body->>'code'), '403 42501', 'whose kind it is not') FROM http('POST', '/rpc/kind_limit', web('alice'), '{"name": "set_kind", "max_running": 1}');
SELECT is(status || ' ' || (body->>'code'), '400 22023', 'a mistake') FROM http('POST', '/rpc/queue_limit', web('op', 'web_operator'), '{"name": "set_queue", "max_running": 0}');
SELECT is(status || ' ' || (body->>'code'), '404 PT404', 'a kind that is not there') FROM http('POST', '/rpc/kind_limit', web('op', 'web_operator'), '{"name": "set_nowhere", "max_running": 1}');
SELECT is(status || ' ' || (body->>'code'), '405 25006', 'GET changes nothing') FROM http('GET', '/rpc/kind_limit?name=set_kind&max_running=1', web('op', 'web_operator'));
SELECT is(status::text, '204', 'POST /rpc/queue_limit') FROM http('POST', '/rpc/queue_limit', web('op', 'web_operator'), '{"name": "set_queue", "rate": 5, "rate_period": "1 min", "max_running": -1}');
SELECT is(queue_limits(), '(,5,00:01:00,)', '... does so');

SELECT * FROM finish();
