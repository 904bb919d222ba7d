# Handlers count while workers and servers are killed and tasks are cancelled:
# each committed submit is counted exactly once, or not at all if it did not complete.
#
# TASKQ_TORTURE_SECONDS  how long (20)      TASKQ_TORTURE_SEED  repeats a run's choices
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $seconds = $ENV{TASKQ_TORTURE_SECONDS} // 20;
my $seed = $ENV{TASKQ_TORTURE_SEED} // int(rand(1_000_000));
srand($seed);
diag("seed $seed, $seconds s");

my $node = taskq_node(
	'torture',
	'taskq.max_workers' => 4,
	'taskq.worker_idle_timeout' => '500ms',
	'log_statement' => 'none',
	'checkpoint_timeout' => '30s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE TABLE counter (id int PRIMARY KEY, n bigint NOT NULL) WITH (fillfactor = 50);
	INSERT INTO counter SELECT i, 0 FROM generate_series(0, 15) i;
	-- what was submitted, in the submitter's own transaction
	CREATE TABLE submitted (id uuid PRIMARY KEY, kind text);

	CREATE FUNCTION count_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF p ? 'sleep' THEN
			PERFORM pg_sleep((p->>'sleep')::float8);
		END IF;
		IF p ? 'fail' AND (SELECT attempt FROM taskq.current_task()) <= (p->>'fail')::int THEN
			UPDATE counter SET n = n + 1000000 WHERE id = (p->>'counter')::int;
			RAISE EXCEPTION 'not this time';
		END IF;
		UPDATE counter SET n = n + 1 WHERE id = (p->>'counter')::int;
		INSERT INTO effect (task, note) SELECT id, 'counted' FROM taskq.current_task();
		RETURN p;
	END $$;
	SELECT taskq.kind_define('count', 'count_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms');
	SELECT taskq.kind_define('count_together', 'count_work(jsonb)', max_attempts => 1000, backoff => '20 ms', backoff_max => '200 ms', batch => true);
	CREATE INDEX ON effect (task);

	-- a mix of tasks; part of it is undone
	CREATE FUNCTION submit_mix(n int) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		payload jsonb;
		what text;
	BEGIN
		FOR i IN 1..n LOOP
			what := CASE WHEN random() < 0.5 THEN 'count' ELSE 'count_together' END;
			payload := jsonb_build_object('counter', (random() * 15)::int, 'secret', 's3cr3t');
			IF random() < 0.05 THEN
				payload := payload || jsonb_build_object('sleep', random() * 0.05);
			END IF;
			IF random() < 0.05 THEN
				payload := payload || '{"fail": 1}';
			END IF;
			BEGIN
				INSERT INTO submitted SELECT taskq.task_submit(what, payload, priority => (random() * 2)::int,
					delay => CASE WHEN random() < 0.1 THEN random() * interval '300 ms' END), what;
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
		FOR task IN SELECT id FROM taskq.task WHERE NOT ready ORDER BY random() LIMIT n LOOP
			BEGIN
				PERFORM taskq.task_cancel(task, 'torture', force);
			EXCEPTION WHEN SQLSTATE 'PT409' THEN
				NULL;
			END;
		END LOOP;
	END $$;
});

# What may fail because the server is just being killed.
sub try_sql
{
	my ($query) = @_;
	my ($out, $err);
	my $status = $node->psql($db, $query, stdout => \$out, stderr => \$err, timeout => 30, on_error_stop => 1);
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

my %done;
my @blows = (
	[ 6, 'kill -9 of a worker', sub { kill_one('worker', 'KILL'); } ],
	[ 2, 'kill -9 of the dispatcher', sub { kill_one('dispatcher', 'KILL'); } ],
	[ 1, 'kill -9 of the launcher', sub { kill_one('launcher', 'KILL'); } ],
	[ 4, 'a worker is terminated', sub { kill_one('worker', 'TERM'); } ],
	[ 3, 'the dispatcher is terminated', sub { kill_one('dispatcher', 'TERM'); } ],
	[ 2, 'the launcher is terminated', sub { kill_one('launcher', 'TERM'); } ],
	[ 2, 'immediate shutdown', sub { wait_for_server(); $node->stop('immediate'); $node->start; } ],
	[ 1, 'fast shutdown', sub { wait_for_server(); $node->stop('fast'); $node->start; } ],
	[ 8, 'cancels', sub { try_sql('SELECT cancel_some(20, false)'); } ],
	[ 4, 'forced cancels', sub { try_sql('SELECT cancel_some(3, true)'); } ],
	[ 3, 'a submit that rolls back', sub { try_sql('BEGIN; SELECT submit_mix(50); ROLLBACK'); } ],
	[ 2, 'a pause and a resume', sub { try_sql("SELECT taskq.queue_pause('default')"); try_sql("SELECT taskq.queue_resume('default')"); } ],
	[ 3, 'workers are replaced', sub { try_sql('SELECT taskq.worker_restart()'); } ]);
my @wheel = map { ($_) x $_->[0] } @blows;

my $end = time() + $seconds;
while (time() < $end)
{
	try_sql('SELECT submit_mix(150)');
	my $blow = $wheel[ int(rand(@wheel)) ];
	$blow->[2]->();
	$done{ $blow->[1] }++;
	select(undef, undef, undef, rand(0.2));
}
wait_for_server();
try_sql("SELECT taskq.queue_resume('default')");
diag(join ', ', map { "$_: $done{$_}" } sort keys %done);

# --- the account

ok( $node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'),
	'every task comes to its end')
  or diag(sql($node, $db, 'SELECT state, count(*), min(id::text) FROM taskq.task GROUP BY 1'));
diag(sql($node, $db, q{SELECT string_agg(state || ' ' || n, ', ') FROM (SELECT state, count(*) AS n FROM taskq.task GROUP BY 1) s}));
is( sql($node, $db, q{
		SELECT count(*) FROM submitted s FULL JOIN taskq.task t USING (id) WHERE s.id IS NULL OR t.id IS NULL}),
	'0',
	'there is a task for each committed submit, and for no other');
is( sql($node, $db, q{
		SELECT count(*) FROM taskq.task t CROSS JOIN LATERAL (SELECT count(*) AS n FROM effect WHERE task = t.id) e
		WHERE e.n <> CASE WHEN t.state = 'completed' THEN 1 ELSE 0 END}),
	'0',
	'each completed task has one effect, the others have none');
is( sql($node, $db, q{SELECT (SELECT sum(n) FROM counter) - (SELECT count(*) FROM taskq.task WHERE state = 'completed')}),
	'0',
	'the counters count each completed task once');
is( sql($node, $db, q{
		SELECT count(*) FROM taskq.task WHERE state = 'failed' AND error->>'sqlstate' <> '57P02'}),
	'0',
	'a task fails only if it was in the way of kill -9 twice');
is( sql($node, $db, q{
		SELECT count(*) FROM taskq_internal.timer}),
	'0',
	'no timer is left');
cmp_ok(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE state = 'completed'}), '>=', 1000, 'thousands were counted');
my $log = slurp_file($node->logfile);
unlike($log, qr/PANIC:|TRAP:|could not find tuple|unexpected result|cannot change from/, 'nothing in the log that should not be');

unlike($log, qr/s3cr3t/, '... and nothing of a payload');

done_testing();
