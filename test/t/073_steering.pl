# Many sessions steer the tasks that workers take from them, and the server
# crashes in between: each task runs once, or is cancelled, and none is lost.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('steering', 'taskq.max_workers' => 3);
my $db = 'postgres';

# one random act on one random task, which may be refused
$node->safe_psql(
	$db, q{
	CREATE TABLE steered (n serial, id uuid);
	CREATE TABLE done (verb int);
	CREATE FUNCTION slow(p jsonb) RETURNS void LANGUAGE sql AS $$
		INSERT INTO effect (task, note) SELECT id, 'done' FROM taskq.current_task();
		SELECT pg_sleep(0.003) $$;
	SELECT taskq.kind_define('slow', 'slow(jsonb)');
	CREATE FUNCTION act(which uuid, verb int) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		CASE verb
			WHEN 0 THEN PERFORM taskq.task_set_priority(which, (random() * 6)::int - 3);
			WHEN 1 THEN PERFORM taskq.task_reschedule(which, now() + random() * interval '100 ms');
			WHEN 2 THEN PERFORM taskq.task_reschedule(which, 'infinity');
			WHEN 3 THEN PERFORM taskq.task_run_now(which);
			WHEN 4 THEN PERFORM taskq.task_cancel(which);
			WHEN 5 THEN PERFORM taskq.task_bulk('priority', ARRAY[which, gen_random_uuid()], priority => 2);
			WHEN 6 THEN PERFORM taskq.queue_clear('default', n => 2);
			WHEN 7 THEN
				BEGIN
					PERFORM taskq.task_set_priority(which, 9);
					RAISE EXCEPTION 'back' USING ERRCODE = 'BK001';
				EXCEPTION WHEN SQLSTATE 'BK001' THEN
				END;
			WHEN 8 THEN PERFORM CASE WHEN random() < 0.5 THEN taskq.pause() END, taskq.resume();
		END CASE;
		INSERT INTO done VALUES (verb);
		RETURN 'done';
	EXCEPTION WHEN SQLSTATE 'PT409' OR SQLSTATE 'PT503' OR SQLSTATE '55P03' OR SQLSTATE '40P01' THEN
		RETURN sqlstate;
	END $$;});

# Acts of some sessions at once, while workers run tasks: from the first act that resumes, so that none is over before.
sub steer
{
	my ($name) = @_;

	my $script = $node->basedir . '/steer.sql';
	append_to_file($script, q{
\set verb random(0, 8)
\set n random(1, 1500)
SELECT act(id, :verb) FROM steered WHERE n = :n;
}) unless -e $script;
	$node->safe_psql($db, q{
		TRUNCATE steered, done RESTART IDENTITY;
		SELECT taskq.pause();
		INSERT INTO steered (id) SELECT taskq.task_submit('slow', concurrency_key => CASE WHEN n % 3 = 0 THEN 'k' || n % 30 END,
			delay => CASE WHEN n % 5 = 0 THEN random() * interval '300 ms' END) FROM generate_series(1, 1500) n;});
	command_ok(
		[ 'pgbench', '-n', '-c', 4, '-j', 1, '-t', 300, '-f', $script,
		  '-h', $node->host, '-p', $node->port, $db ], "$name: sessions steer");
	is(sql($node, $db, 'SELECT count(DISTINCT verb) FROM done'), 9, '... in each way');
	return;
}

# What was held goes on; then everything is accounted for.
sub account
{
	my ($name) = @_;

	# of one that somebody else has just locked it is said so, and it is asked again
	my $refused;
	$node->safe_psql($db, 'SELECT taskq.resume()');
	foreach (1 .. 100)
	{
		$refused = $node->safe_psql($db, q{CALL taskq.task_bulk_all('run_now', '{"kind": "slow"}', done => NULL, failed => NULL, reason => NULL)}) =~ s/.*\|//sr;
		last if $refused eq '0';
	}
	is( $refused . ' ' . sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE run_at = 'infinity' AND NOT ready}),
		'0 0', "$name: what is held is run");
	ok( $node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)}),
		"$name: nothing is left") or diag $node->safe_psql($db, q{SELECT state, queue, priority, run_at, count(*) FROM taskq.task WHERE NOT ready GROUP BY 1, 2, 3, 4 LIMIT 20});
	is( sql($node, $db, q{SELECT count(*) FROM steered s JOIN taskq.task t USING (id)
			WHERE (SELECT count(*) FROM effect e WHERE e.task = s.id) <> (t.state = 'completed')::int}),
		0, '... what completed ran once, what was cancelled not at all');
	is( sql($node, $db, q{SELECT count(*) FROM steered}), 1500, '... of all');
	is( sql($node, $db, q{SELECT (SELECT count(*) FROM taskq_internal.ready) + (SELECT count(*) FROM taskq_internal.keyed)
			+ (SELECT count(*) FROM taskq_internal.timer)}),
		0, '... and no row of theirs is left behind');
	return;
}

steer('workers at work');
account('workers at work');
steer('before a crash');
$node->stop('immediate');
$node->start;
account('after a crash');

# --- rows that another session holds, among many

$node->safe_psql($db, q{SELECT taskq.pause()});
my @held = map { submit($node, $db, 'short') } 1 .. 5;
my @free = map { submit($node, $db, 'short') } 1 .. 5;
my $session = $node->background_psql($db, on_error_stop => 1);
$session->query("BEGIN; SELECT taskq.task_set_priority('$_', 1);") foreach @held;
my $list = join ',', map { "'$_'::uuid" } @held[ 0 .. 2 ], @free, @held[ 3 .. 4 ];
foreach my $act (q{'cancel', %s}, q{'priority', %s, priority => 7})
{
	is( sql($node, $db, sprintf(
				"BEGIN; SELECT string_agg(coalesce(error->>'sqlstate', 'ok'), ' ' ORDER BY ordinality) FROM taskq.task_bulk($act) WITH ORDINALITY; ROLLBACK",
				"ARRAY[$list]")),
		'PT503 PT503 PT503 ok ok ok ok ok PT503 PT503', "... are refused: $act" =~ s/, %s//r);
}
is(sql($node, $db, q{SELECT cleared FROM taskq.queue_clear()}), 5, '... and left alone when all is cleared');
$session->query('COMMIT');
$session->quit;
$node->safe_psql($db, 'SELECT taskq.resume()');
is(wait_task($node, $db, $_), 'completed', '... and run') foreach @held;

# --- from inside of a block that may commit

$node->safe_psql($db, q{SELECT taskq.pause(), count(taskq.task_submit('short')) FROM generate_series(1, 2500)});
$node->safe_psql($db, q{DO $$
	DECLARE
		done bigint;
		failed bigint;
	BEGIN
		CALL taskq.task_bulk_all('cancel', '{"kind": "short"}', 'block', false, NULL, done, failed);
		INSERT INTO effect (note) VALUES (done || ' ' || failed);
	END $$});
is(sql($node, $db, q{SELECT note FROM effect WHERE note LIKE '2%'}), '2500 0', 'the procedure in a DO block');

$node->stop;
done_testing();
