# Handlers count while workers and servers are killed, tasks are cancelled, leaves are
# rebuilt and settings changed: each committed submit is counted exactly once, or not at all
# if it did not complete.
#
# TASKQ_TORTURE_SECONDS  how long (12)      TASKQ_TORTURE_SEED  repeats a run's choices
# TASKQ_TORTURE_DELAY    so long, in seconds, some wait for their time (5; beyond the retention in
#                        long runs)
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{TASKQ_TORTURE_SECONDS} // 12;
my $seed = $ENV{TASKQ_TORTURE_SEED} // int(rand(1_000_000));
srand($seed);
diag("seed $seed, $seconds s");

# Finished tasks are forgotten after a minute: what became of them is kept in "ended".
my $node = taskq_node(
	'torture',
	'taskq.max_workers' => 4,
	'taskq.worker_idle_timeout' => '500ms',
	'taskq.retention' => '1min',
	'log_statement' => 'none',
	'checkpoint_timeout' => '30s');
my $db = 'postgres';

# All of it is on purpose, but nothing else; as chance has it, in a short run there may be none.
expect_crashes($node, [ 0, undef ]);
expect_terminated($node, '\w+', [ 0, undef ]);
# what an interrupted REINDEX CONCURRENTLY has left
expect_log($node, qr/XX002 WARNING:  cannot reindex invalid index/, [ 0, undef ]);

$node->safe_psql(
	$db, q{
	ALTER DATABASE postgres SET torture.delay = '5 s';
	CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
	INSERT INTO counter SELECT i, 0 FROM generate_series(0, 15) i;
	-- what was submitted, in the submitter's own transaction, and what became of it
	CREATE TABLE submitted (id uuid PRIMARY KEY, kind text);
	CREATE TABLE ended (id uuid PRIMARY KEY, kind text, state text, sqlstate text, message text);
	CREATE TABLE deferred (task uuid);
	CREATE TABLE deferred_effect (task uuid);
	CREATE INDEX ON effect (task);
	CREATE INDEX ON deferred_effect (task);

	CREATE FUNCTION count_one(which int) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE counter SET n = n + 1 WHERE id = which;
		INSERT INTO effect (task, note) SELECT id, 'counted' FROM taskq.current_task();
	END $$;

	CREATE FUNCTION defer() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO deferred_effect VALUES (NEW.task);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER defer AFTER INSERT ON deferred DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION defer();

	CREATE FUNCTION count_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		c refcursor;
	BEGIN
		IF p ? 'sleep' THEN
			PERFORM pg_sleep((p->>'sleep')::float8);
		END IF;
		IF p ? 'fail' AND (SELECT attempt FROM taskq.current_task()) <= (p->>'fail')::int THEN
			UPDATE counter SET n = n + 1000000 WHERE id = (p->>'counter')::int;
			RAISE EXCEPTION 'not this time';
		END IF;
		IF p ? 'again' AND (SELECT attempt FROM taskq.current_task()) <= (p->>'again')::int THEN
			UPDATE counter SET n = n + 1000000 WHERE id = (p->>'counter')::int;
			PERFORM taskq.retry('0 s');
		END IF;
		IF p ? 'log' THEN
			FOR i IN 1..(p->>'log')::int LOOP
				PERFORM taskq.log('line ' || i);
			END LOOP;
			RAISE NOTICE 'and a notice';
		END IF;
		-- residue: cursors that stay open, with and without hold
		IF p ? 'cursor' THEN
			OPEN c FOR SELECT generate_series(1, 10);
		END IF;
		IF p ? 'hold' THEN
			EXECUTE 'DECLARE held CURSOR WITH HOLD FOR SELECT 1';
		END IF;
		IF p ? 'defer' THEN
			INSERT INTO deferred SELECT id FROM taskq.current_task();
		END IF;
		PERFORM count_one((p->>'counter')::int);
		RETURN p;
	END $$;
	SELECT taskq.kind_define('count', 'count_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms');
	SELECT taskq.kind_define('count_together', 'count_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms', batch => true);
	SELECT taskq.kind_define('count_outside', queue => 'outside', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms');
	SELECT taskq.queue_define('outside', max_running => 20);

	-- two at a time: a third one would find no lock of these
	CREATE FUNCTION count_limited_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF NOT pg_try_advisory_xact_lock(1) AND NOT pg_try_advisory_xact_lock(2) THEN
			RAISE LOG 'a limit was passed';
		END IF;
		RETURN count_work(p);
	END $$;
	SELECT taskq.kind_define('count_limited', 'count_limited_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms', max_running => 2);

	-- one at a time of a key, inside and outside: their times don't overlap
	CREATE TABLE key_held (key text, task uuid, during tstzrange);
	CREATE FUNCTION count_keyed_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		began timestamptz := clock_timestamp();
	BEGIN
		PERFORM count_work(p);
		INSERT INTO key_held SELECT p->>'key', id, tstzrange(began, clock_timestamp(), '[]') FROM taskq.current_task();
		RETURN p;
	END $$;
	SELECT taskq.kind_define('count_keyed', 'count_keyed_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms');

	-- what a task waits for has ended when it begins, and as it was asked
	CREATE TABLE depends (task uuid, dependency uuid, policy text);
	CREATE INDEX ON depends (task);
	CREATE FUNCTION count_after_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF EXISTS (SELECT FROM taskq.current_task() c JOIN depends d ON d.task = c.id JOIN taskq_internal.task t ON t.id = d.dependency
				WHERE t.state NOT IN ('c', 'f', 'x') OR (d.policy = 'cancel' AND t.state <> 'c')) THEN
			RAISE LOG 'a task ran before what it waits for';
		END IF;
		RETURN count_work(p);
	END $$;
	SELECT taskq.kind_define('count_after', 'count_after_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms');
	CREATE FUNCTION submit_after(on_what uuid[], policy text, more jsonb) RETURNS uuid LANGUAGE plpgsql AS $$
	DECLARE
		task uuid;
	BEGIN
		task := taskq.task_submit('count_after', more || jsonb_build_object('counter', (random() * 15)::int), depends_on => on_what, on_dependency_failure => policy);
		INSERT INTO submitted VALUES (task, 'count_after');
		INSERT INTO depends SELECT task, d, policy FROM unnest(on_what) d;
		RETURN task;
	END $$;
	-- some that wait: for new ones, and for those that are about to end
	CREATE FUNCTION submit_waiting(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		first uuid;
		second uuid;
	BEGIN
		FOR i IN 1..n LOOP
			BEGIN
				first := taskq.task_submit('count', jsonb_build_object('counter', (random() * 15)::int) || CASE WHEN random() < 0.2 THEN '{"fail": 1}' ELSE '{}' END::jsonb);
				INSERT INTO submitted VALUES (first, 'count');
				second := submit_after(ARRAY[first] || (SELECT coalesce(array_agg(id), '{}') FROM
						(SELECT id FROM taskq.task WHERE NOT ready AND state <> 'blocked' LIMIT (random() * 3)::int) s), CASE WHEN random() < 0.5 THEN 'cancel' ELSE 'run' END, '{}');
				PERFORM submit_after(ARRAY[first, second], 'run', '{"again": 1}');
				PERFORM submit_after(ARRAY[second], 'cancel', '{}');
				IF random() < 0.05 THEN
					RAISE EXCEPTION 'undone';
				END IF;
			EXCEPTION WHEN raise_exception THEN
				NULL;
			END;
		END LOOP;
	END $$;

	-- of some keys there is one task that is not over, of others one that waits for one that runs
	CREATE PROCEDURE submit_unique(n int) LANGUAGE plpgsql AS $$
	DECLARE
		which text;
	BEGIN
		FOR i IN 1..n LOOP
			which := CASE WHEN random() < 0.5 THEN 'one' ELSE 'more' END;
			INSERT INTO submitted SELECT taskq.task_submit('count', jsonb_build_object('counter', (random() * 15)::int, 'sleep', random() * 0.02)
						|| CASE WHEN random() < 0.2 THEN '{"fail": 1}' ELSE '{}' END::jsonb,
					unique_key => which || (random() * 5)::int,
					on_conflict => CASE WHEN which = 'one' THEN 'return' ELSE (ARRAY['return', 'replace', 'queue_one'])[1 + floor(random() * 3)] END,
					delay => CASE WHEN random() < 0.2 THEN random() * interval '300 ms' END), 'count'
				ON CONFLICT DO NOTHING;
			IF random() < 0.1 THEN
				ROLLBACK;
			ELSE
				COMMIT;
			END IF;
		END LOOP;
		IF EXISTS (SELECT FROM taskq_internal.task WHERE unique_key IS NOT NULL AND state NOT IN ('c', 'f', 'x')
				GROUP BY unique_key HAVING count(*) > CASE WHEN unique_key LIKE 'one%' THEN 1 ELSE 3 END) THEN
			RAISE LOG 'a key was given twice';
		END IF;
	END $$;

	-- a mix of tasks; part of it is undone
	CREATE FUNCTION submit_mix(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		payload jsonb;
		what text;
		key text;
		task uuid;
	BEGIN
		FOR i IN 1..n LOOP
			what := CASE WHEN random() < 0.3 THEN 'count' WHEN random() < 0.15 THEN 'count_keyed' WHEN random() < 0.15 THEN 'count_limited' WHEN random() < 0.9 THEN 'count_together' ELSE 'count_outside' END;
			payload := jsonb_build_object('counter', (random() * 15)::int, 'secret', 's3cr3t');
			payload := payload || CASE (random() * 40)::int
				WHEN 1 THEN jsonb_build_object('sleep', random() * 0.05)
				WHEN 2 THEN jsonb_build_object('sleep', random() * 0.05)
				WHEN 3 THEN '{"fail": 1}'
				WHEN 4 THEN '{"fail": 2}'
				WHEN 5 THEN '{"again": 1}'
				WHEN 6 THEN '{"again": 2}'
				WHEN 7 THEN '{"cursor": 1}'
				WHEN 8 THEN '{"hold": 1}'
				WHEN 9 THEN '{"defer": 1}'
				WHEN 10 THEN '{"defer": 1}'
				-- beyond what fits into a page
				WHEN 11 THEN jsonb_build_object('large', (SELECT string_agg(md5(random()::text), '') FROM generate_series(1, 200)))
				WHEN 12 THEN jsonb_build_object('log', (random() * 20)::int)
				WHEN 13 THEN '{"log": 3, "again": 1}'
				ELSE '{}' END;
			BEGIN
				key := CASE WHEN what = 'count_keyed' OR (what = 'count_outside' AND random() < 0.3) THEN (random() * 10)::int::text END;
				INSERT INTO submitted SELECT taskq.task_submit(what, payload || CASE WHEN key IS NULL THEN '{}' ELSE jsonb_build_object('key', key) END, concurrency_key => key, priority => (random() * 2)::int,
					tags => CASE WHEN random() < 0.1 THEN ARRAY['a', 'b' || (random() * 3)::int] END,
					delay => CASE WHEN random() < 0.1 THEN random() * interval '300 ms'
						WHEN random() < 0.001 THEN random() * current_setting('torture.delay')::interval END), what;
				IF random() < 0.05 THEN
					RAISE EXCEPTION 'undone';
				END IF;
			EXCEPTION WHEN raise_exception THEN
				NULL;
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION cancel_some(n int, force bool) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		task uuid;
	BEGIN
		FOR task IN SELECT id FROM taskq.task WHERE NOT ready AND kind <> 'count_outside' ORDER BY random() LIMIT n LOOP
			BEGIN
				PERFORM taskq.task_cancel(task, 'torture', force);
			EXCEPTION WHEN SQLSTATE 'PT409' THEN
				NULL;
			END;
		END LOOP;
	END $$;
	CREATE FUNCTION retry_some(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		task uuid;
	BEGIN
		FOR task IN SELECT id FROM taskq.task WHERE state IN ('cancelled', 'failed') AND kind <> 'count_outside' ORDER BY random() LIMIT n LOOP
			INSERT INTO submitted SELECT t.id, t.kind FROM taskq.task_status(taskq.task_retry(task)) t;
		END LOOP;
	END $$;

	-- a worker of another program: what it writes, it writes with the end of the task; some it
	-- gives back, some it forgets
	CREATE PROCEDURE outside(n int, lease interval, forgets bool) LANGUAGE plpgsql AS $$
	DECLARE
		c record;
		claimed jsonb;
		began timestamptz;
	BEGIN
		SELECT jsonb_agg(to_jsonb(x)) INTO claimed FROM taskq.task_claim('outside', kinds => '{count_outside}', n => n, lease => outside.lease) x;
		COMMIT;
		FOR c IN SELECT * FROM jsonb_to_recordset(claimed) AS x(id uuid, token uuid, attempt int, payload jsonb) LOOP
			BEGIN
				IF forgets AND random() < 0.05 THEN
					NULL;
				ELSIF forgets AND random() < 0.1 THEN
					PERFORM taskq.task_release(c.id, c.token);
				ELSIF c.attempt <= (c.payload->>'fail')::int OR c.attempt <= (c.payload->>'again')::int THEN
					PERFORM taskq.task_fail(c.id, c.token, 'not this time');
				ELSE
					PERFORM taskq.task_heartbeat(c.id, c.token, current => 1);
					PERFORM taskq.task_log(c.id, c.token, 'from outside');
					began := clock_timestamp();
					UPDATE counter SET n = counter.n + 1 WHERE id = (c.payload->>'counter')::int;
					INSERT INTO effect (task, note) VALUES (c.id, 'counted');
					IF c.payload ? 'defer' THEN
						INSERT INTO deferred VALUES (c.id);
					END IF;
					IF c.payload ? 'key' THEN
						INSERT INTO key_held VALUES (c.payload->>'key', c.id, tstzrange(began, clock_timestamp(), '[]'));
					END IF;
					PERFORM taskq.task_complete(c.id, c.token, '1');
				END IF;
			EXCEPTION WHEN SQLSTATE 'PT409' OR SQLSTATE '55P03' THEN
				NULL;
			END;
			COMMIT;
		END LOOP;
	END $$;

	CREATE FUNCTION keep_ended() RETURNS void LANGUAGE sql AS $$
		INSERT INTO ended SELECT id, kind, state, error->>'sqlstate', error->>'message' FROM taskq.task WHERE ready ON CONFLICT DO NOTHING
	$$;
	CREATE FUNCTION any_leaf() RETURNS text LANGUAGE sql AS $$
		SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'taskq_internal'::regnamespace AND relkind = 'r'
			AND relname ~ '^(task|task|label|log)_(..|keep)$' ORDER BY random() LIMIT 1
	$$;
});

# Beyond the retention, if we are there that long.
my $delay = $ENV{TASKQ_TORTURE_DELAY} // ($seconds > 100 ? 150 : 5);
$node->safe_psql($db, "ALTER DATABASE postgres SET torture.delay = '$delay s'");

# What may fail because the server is just being killed.
sub try_sql
{
	my ($query) = @_;
	my ($out, $err);
	# psql may be gone before it has read the query: the server was just killed
	my $status = eval { $node->psql($db, $query, stdout => \$out, stderr => \$err, timeout => 30, on_error_stop => 1); };
	return defined $status && $status == 0 ? $out : undef;
}

sub wait_for_server
{
	for (1 .. 1200)
	{
		return if defined try_sql('SELECT 1');
		select(undef, undef, undef, 0.05);
	}
	die 'the server does not come back';
}

sub kill_one
{
	my ($sort, $signal) = @_;
	my $pids = try_sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'taskq $sort'");
	return if !$pids;
	my @pids = split /\n/, $pids;
	kill($signal, $pids[ int(rand(@pids)) ]);
	return;
}

# Something that rebuilds a leaf or one of its indexes, by a name that we ask for first.
sub rebuild
{
	my ($command) = @_;
	my $leaf = try_sql('SELECT any_leaf()') // return;
	try_sql("SET statement_timeout = '5s'; $command $leaf");
	return;
}

my $prepared = 0;

sub prepare
{
	my ($what) = @_;
	$what //= 'submit_mix(20)';
	try_sql("BEGIN; SELECT $what; PREPARE TRANSACTION 'torture" . $prepared++ . "'");
	return;
}

sub end_prepared
{
	my $gid = try_sql('SELECT gid FROM pg_prepared_xacts ORDER BY random() LIMIT 1');
	try_sql((rand() < 0.7 ? 'COMMIT' : 'ROLLBACK') . " PREPARED '$gid'") if $gid;
	return;
}

sub settings
{
	my @change = (
		'taskq.max_workers = ' . (1 + int(rand(6))),
		'taskq.worker_idle_timeout = ' . (100 + int(rand(2000))),
		'taskq.retention = ' . (1 + int(rand(2))));
	try_sql("ALTER SYSTEM SET $change[ int(rand(@change)) ]");
	try_sql('SELECT pg_reload_conf()');
	return;
}

sub limits
{
	my $n = 1 + int(rand(2));
	try_sql("SELECT taskq.kind_define('count_limited', 'count_limited_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms', max_running => $n)");
	return;
}

my %done;
my @blows = (
	[ 6, 'kill -9 of a worker', sub { kill_one('worker', 'KILL'); } ],
	[ 2, 'kill -9 of the dispatcher', sub { kill_one('dispatcher', 'KILL'); } ],
	[ 1, 'kill -9 of the launcher', sub { kill_one('launcher', 'KILL'); } ],
	[ 1, 'kill -9 of the sweeper', sub { kill_one('sweeper', 'KILL'); } ],
	[ 4, 'a worker is terminated', sub { kill_one('worker', 'TERM'); } ],
	[ 3, 'the dispatcher is terminated', sub { kill_one('dispatcher', 'TERM'); } ],
	[ 2, 'the launcher is terminated', sub { kill_one('launcher', 'TERM'); } ],
	[ 2, 'immediate shutdown', sub { wait_for_server(); $node->stop('immediate'); $node->start; } ],
	[ 1, 'fast shutdown', sub { wait_for_server(); $node->stop('fast'); $node->start; } ],
	[ 8, 'cancels', sub { try_sql('SELECT cancel_some(20, false)'); } ],
	[ 4, 'forced cancels', sub { try_sql('SELECT cancel_some(3, true)'); } ],
	[ 3, 'cancelled ones are run again', sub { try_sql('SELECT retry_some(5)'); } ],
	[ 4, 'some that wait', sub { try_sql('SELECT submit_waiting(20)'); } ],
	[ 2, 'some that wait, prepared', sub { prepare('submit_waiting(5)'); } ],
	[ 3, 'a submit that rolls back', sub { try_sql('BEGIN; SELECT submit_mix(50); ROLLBACK'); } ],
	[ 4, 'a submit is prepared', sub { prepare(); } ],
	[ 4, 'a prepared one ends', \&end_prepared ],
	[ 2, 'a pause and a resume', sub { try_sql("SELECT taskq.queue_pause('default')"); try_sql("SELECT taskq.queue_resume('default')"); } ],
	[ 3, 'settings are changed', \&settings ],
	[ 3, 'a limit is changed', \&limits ],
	[ 3, 'a claim that rolls back', sub { try_sql(q{BEGIN; SELECT count(*) FROM taskq.task_claim('outside', kinds => '{count_outside}', n => 20); SELECT pg_sleep(0.05); ROLLBACK}); } ],
	[ 2, 'VACUUM FULL of a leaf', sub { rebuild('VACUUM FULL'); } ],
	[ 2, 'VACUUM of a leaf', sub { rebuild('VACUUM'); } ],
	[ 3, 'REINDEX CONCURRENTLY of a leaf', sub { rebuild('REINDEX TABLE CONCURRENTLY'); } ],
	[ 2, 'tasks are counted anew', sub { try_sql('SELECT taskq.task_recount()'); } ],
	[ 3, 'workers are replaced', sub { try_sql('SELECT taskq.worker_restart()'); } ]);
my @wheel = map { ($_) x $_->[0] } @blows;

# Beside us: another submitter, and a worker of another program.
my $stop = PostgreSQL::Test::Utils::tempdir() . '/stop';
my @beside = map {
	IPC::Run::start(
		[ 'sh', '-c', "until [ -e '$stop' ]; do psql -XAtq -d '" . $node->connstr($db) . "' -c \"$_\"; sleep 0.05; done" ],
		'<', '/dev/null', '>', '/dev/null', '2>', '/dev/null')
} 'SELECT submit_mix(40)', 'SELECT submit_waiting(5)', 'CALL submit_unique(10)', q{CALL outside(20, '2 s', true)};

my $end = time() + $seconds;
my $kept = time();
while (time() < $end)
{
	try_sql('SELECT submit_mix(100)');
	my $blow = $wheel[ int(rand(@wheel)) ];
	$blow->[2]->();
	$done{ $blow->[1] }++;
	if (time() > $kept + 10)
	{
		wait_for_server();
		sql($node, $db, 'SELECT keep_ended()') if defined try_sql('SELECT keep_ended()');
		$kept = time();
	}
	select(undef, undef, undef, rand(0.2));
}
append_to_file($stop, '');
$_->finish foreach @beside;
wait_for_server();
end_prepared() while sql($node, $db, 'SELECT count(*) FROM pg_prepared_xacts') > 0;
$node->safe_psql($db, $_) foreach 'ALTER SYSTEM RESET ALL', 'SELECT pg_reload_conf()', q{SELECT taskq.queue_resume('default')};
diag(join ', ', map { "$_: $done{$_}" } sort keys %done);
expect_no_more($node);

# --- the account

my $finished;
for (1 .. 1500)
{
	sql($node, $db, q{CALL outside(100, '20 s', false)});
	sql($node, $db, 'SELECT keep_ended()') if $_ % 50 == 0;
	$finished = sql($node, $db, q{SELECT NOT EXISTS (SELECT FROM taskq.queue WHERE waiting + running > 0) AND NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)});
	last if $finished eq 't';
	select(undef, undef, undef, 0.1);
}
is($finished, 't', 'every task comes to its end')
  or diag(sql($node, $db, q{SELECT kind, state, count(*), min(id::text) FROM taskq.task WHERE NOT ready GROUP BY 1, 2}),
	sql($node, $db, q{SELECT name, waiting, running FROM taskq.queue}));
sql($node, $db, 'SELECT keep_ended()');
diag(sql($node, $db, q{SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM ended GROUP BY 1) s}));
is( sql($node, $db, q{SELECT count(*) FILTER (WHERE e.id IS NULL), count(*) FILTER (WHERE s.id IS NULL) FROM submitted s FULL JOIN ended e USING (id)}),
	'0|0',
	'each committed submit was a task that ended, and there was no other');
is( sql($node, $db, q{
		SELECT count(*) FROM ended t CROSS JOIN LATERAL (SELECT count(*) AS n FROM effect WHERE task = t.id) e
		WHERE e.n <> CASE WHEN t.state = 'completed' THEN 1 ELSE 0 END}),
	'0',
	'each completed task has one effect, the others have none');
is( sql($node, $db, q{
		SELECT count(*), count(DISTINCT d.task), count(*) FILTER (WHERE t.state <> 'completed') FROM deferred_effect d JOIN ended t ON t.id = d.task}),
	sql($node, $db, q{SELECT count(*), count(*), 0 FROM deferred}),
	'a deferred trigger has its effect once, and only of completed tasks');
is( sql($node, $db, q{SELECT (SELECT sum(n) FROM counter) - (SELECT count(*) FROM ended WHERE state = 'completed')}),
	'0',
	'the counters count each completed task once');
is( sql($node, $db, q{SELECT count(*) FROM ended WHERE state = 'failed' AND sqlstate <> '57P02'}),
	'0',
	'a task fails only if it was in the way of kill -9 twice')
  or diag(sql($node, $db, q{SELECT kind, sqlstate, message, count(*), min(id::text) FROM ended WHERE state = 'failed' GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 10}));
is( sql($node, $db, q{SELECT (SELECT count(*) FROM taskq_internal.timer), (SELECT count(*) FROM taskq_internal.lease),
		(SELECT count(*) FROM taskq.worker WHERE task_id IS NOT NULL)}),
	'0|0|0',
	'no timer is left, no lease, no busy worker');
is( sql($node, $db, q{SELECT (SELECT count(*) FROM taskq_internal.blocked), (SELECT count(*) FROM taskq_internal.unique_key)}), '0|0',
	'... nobody waits for another one, and no key is taken');
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq_internal.keyed'), '... nor is a task with a key left');
is( sql($node, $db, q{SELECT count(*) FROM (SELECT key, task, during, lag(during) OVER w, lag(task) OVER w AS other FROM key_held WINDOW w AS (PARTITION BY key ORDER BY during)) s WHERE during && lag}),
	'0', 'never two of a key ran at once')
  or diag(sql($node, $db, q{SELECT * FROM (SELECT key, task, during, lag(during) OVER w, lag(task) OVER w AS other FROM key_held WINDOW w AS (PARTITION BY key ORDER BY during)) s WHERE during && lag LIMIT 10}));
# what belongs to tasks: nothing of it twice, nothing without a task, none missing
is( sql($node, $db, q{SELECT (SELECT count(*) - count(DISTINCT (id, seq)) FROM taskq_internal.log_all),
		(SELECT count(*) FROM taskq_internal.log_all l WHERE NOT EXISTS (SELECT FROM taskq_internal.task t WHERE t.id = l.id AND t.slot = l.slot))}),
	'0|0', 'no line of a log is there twice, or without its task');
is( sql($node, $db, q{SELECT (SELECT count(*) FROM taskq_internal.task WHERE state = 'f' OR state = 'x' OR tags IS NOT NULL) > 0,
		(SELECT count(*) FROM (SELECT id FROM taskq_internal.task WHERE state = 'f' EXCEPT SELECT id FROM taskq.task_list('{"state": "failed"}', n => 10000)) s),
		(SELECT count(*) FROM (SELECT id FROM taskq_internal.task WHERE state = 'x' EXCEPT SELECT id FROM taskq.task_list('{"state": "cancelled"}', n => 10000)) s),
		(SELECT count(*) FROM (SELECT id FROM taskq_internal.task WHERE tags @> '{b1}' EXCEPT SELECT id FROM taskq.task_list('{"tag": "b1"}', n => 10000)) s)}),
	't|0|0|0', 'lists miss no task');
$node->safe_psql($db, 'SELECT taskq.task_recount()');
is( sql($node, $db, q{SELECT count(*) FROM (SELECT state, sum(n) FROM taskq.task_counts() WHERE n <> 0 GROUP BY 1) c FULL JOIN (SELECT state, count(*) AS n FROM taskq.task GROUP BY 1) t ON t.state = c.state AND t.n = c.sum WHERE t.n IS NULL OR c.sum IS NULL}),
	'0', 'counted anew, the counts are true')
  or diag(sql($node, $db, q{SELECT state, sum(n) FROM taskq.task_counts() GROUP BY 1}), sql($node, $db, q{SELECT state, count(*) FROM taskq.task GROUP BY 1}));
is( sql($node, $db, q{SELECT string_agg(concat_ws(' ', name, waiting, running), ', ' ORDER BY name) FROM taskq.queue}), 'default 0 0, outside 0 0', '... and the counts of the queues say so');
$node->safe_psql($db, q{SELECT taskq.task_submit('count_outside') FROM generate_series(1, 30)});
is( (split /\n/, sql($node, $db, q{BEGIN; SELECT count(*) FROM taskq.task_claim('outside', n => 50); ROLLBACK}))[0],
	'20', 'no place of a limit is lost, and none is there too many');
$node->safe_psql($db, q{SELECT taskq.task_cancel(id) FROM taskq.task WHERE NOT ready});
ok(wait_idle($node), 'all processes leave');
$node->safe_psql($db, q{CREATE TABLE told AS
	SELECT encode(substr(events, 17 * i + 1, 16), 'hex')::uuid AS id, chr(get_byte(events, 17 * i + 16)) AS state
	FROM taskq_internal.feed CROSS JOIN generate_series(0, length(events) / 17 - 1) i});
is( sql($node, $db, q{SELECT count(*) FROM taskq_internal.task t WHERE state IN ('c', 'f', 'x') AND NOT EXISTS (SELECT FROM told WHERE told.id = t.id AND told.state = t.state)}),
	'0', 'the feed has the end of each task')
  or diag(sql($node, $db, q{SELECT t.id, t.state, t.finished_at FROM taskq_internal.task t WHERE state IN ('c', 'f', 'x') AND NOT EXISTS (SELECT FROM told WHERE told.id = t.id AND told.state = t.state) LIMIT 10}));
is( sql($node, $db, q{SELECT count(*) FROM told JOIN taskq_internal.task t USING (id) WHERE t.state NOT IN ('c', 'f', 'x') OR t.state::text <> told.state}),
	'0', '... and of no other one');
note('told more than once: ' . sql($node, $db, q{SELECT count(*) - count(DISTINCT id) || ' of ' || count(*) FROM told}));
is( sql($node, $db, q{SELECT count(*) FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid) WHERE a.pid IS NULL AND l.locktype <> 'virtualxid' AND NOT l.fastpath}),
	'0', '... and no lock of a dead one is there');
SKIP:
{
	skip 'amcheck is not installed', 2
	  if sql($node, $db, q{SELECT count(*) FROM pg_available_extensions WHERE name = 'amcheck'}) eq '0';
	# what an interrupted REINDEX CONCURRENTLY left is not valid, and not used
	is( sql_error($node, $db, q{
			CREATE EXTENSION amcheck;
			SELECT bt_index_check(i.indexrelid, true) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
			WHERE a.amname = 'btree' AND i.indisvalid AND c.relnamespace = 'taskq_internal'::regnamespace}),
		'', 'all indexes have all rows');
	is( sql($node, $db, q{
			SELECT count(*) FROM pg_class c CROSS JOIN LATERAL verify_heapam(c.oid) v
			WHERE c.relkind = 'r' AND c.relnamespace = 'taskq_internal'::regnamespace}),
		'0', 'no table is damaged');
}
cmp_ok(sql($node, $db, q{SELECT count(*) FROM ended WHERE state = 'completed'}), '>=', 500, 'many were counted');
my $log = slurp_file($node->logfile);
unlike($log, qr/could not find tuple|unexpected result|cannot change from/, 'nothing in the log that should not be');
unlike($log, qr/a limit was passed/, '... no limit was passed');
unlike($log, qr/a task ran before what it waits for/, '... none ran before what it waits for');
unlike($log, qr/a key was given twice/, '... no unique key was given twice');
unlike($log, qr/s3cr3t/, '... and nothing of a payload');

done_testing();
