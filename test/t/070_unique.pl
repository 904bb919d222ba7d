# Unique keys: no two tasks of a key wait, nothing that was asked for while one
# ran is forgotten, and no key stays taken by a task that is gone.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(sub { taskq_node('unique', 'taskq.retention' => '24h', 'max_prepared_transactions' => 4) });
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE TABLE source (key int PRIMARY KEY, n int);
	CREATE TABLE copy (key int PRIMARY KEY, n int);
	INSERT INTO source SELECT i, 0 FROM generate_series(1, 5) i;
	INSERT INTO copy SELECT key, 0 FROM source;
	-- what a task does for its key: it copies what is there when it begins
	CREATE FUNCTION copy_work(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		UPDATE public.copy c SET n = s.n FROM public.source s WHERE c.key = (p->>'key')::int AND s.key = c.key;
	END $$;
	SELECT taskq.kind_define('copy', 'copy_work(jsonb)', retry_on => ARRAY['40']), taskq.kind_define('copy_batch', 'copy_work(jsonb)', batch => true),
		taskq.queue_define('held'), taskq.queue_pause('held'), taskq.kind_define('outside');
	CREATE FUNCTION count_keys() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM taskq_internal.unique_key'});

sub keyed
{
	my ($key, $more) = @_;
	return submit($node, $db, 'short', '{}', "unique_key => '$key'" . ($more ? ", $more" : ''));
}

# --- many submitters and workers at once

for my $conflict ('queue_one', 'replace')
{
	for my $kind ('copy', 'copy_batch')
	{
		$node->pgbench(
			"-n -c 6 -j 2 -t 60", 0, [qr/processed: 360/], [qr/^$/],
			"$conflict, $kind: many at once",
			{   "unique_$conflict$kind" => qq{
				\\set key random(1, 5)
				BEGIN;
				UPDATE source SET n = n + 1 WHERE key = :key;
				SELECT taskq.task_submit('$kind', '{"key": :key}', unique_key => 'k:key', on_conflict => '$conflict');
				COMMIT;}});
		ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)"), '... all end');
		is( sql($node, $db, 'SELECT count(*) FROM source s JOIN copy c USING (key) WHERE s.n <> c.n'),
			0, '... and for each key a task has begun after the last submit for it');
		is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE kind = '$kind' AND state <> 'completed'"), 0, '... none failed');
		is(sql($node, $db, 'SELECT count_keys()'), 0, '... no key is taken');
	}
}

# the answers of many who come at once
$node->pgbench(
	"-n -c 6 -j 2 -t 40", 0, [qr/processed: 240/], [qr/^$/],
	'return: many at once',
	{ 'unique_return' => qq{
		\\set key random(1, 5)
		SELECT taskq.task_submit('short', queue => 'held', unique_key => 'k:key');} });
is(sql($node, $db, "SELECT count(*), count(DISTINCT unique_key) FROM taskq.task WHERE queue = 'held'"), '5|5', '... one for each key');
$node->safe_psql($db, "SELECT taskq.task_cancel(id) FROM taskq.task WHERE queue = 'held' AND NOT ready");

# a transaction that takes more keys than there are locks
is( sql($node, $db, "SET client_min_messages = error; SELECT count(DISTINCT taskq.task_submit('short', queue => 'held', unique_key => 'n' || i)) FROM generate_series(1, 20000) i"),
	20000, 'many keys in one transaction');
is( sql($node, $db, "SELECT count(DISTINCT taskq.task_submit('short', queue => 'held', unique_key => 'n' || i)) FROM generate_series(1, 20000) i"),
	20000, '... and once more');
is(sql($node, $db, 'SELECT count_keys()'), 20000, '... are the same ones');
$node->safe_psql($db, "SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE queue = 'held' AND NOT ready");
is(sql($node, $db, 'SELECT count_keys()'), 0, '... until they are cancelled');

# --- a prepared transaction

my $id = sql($node, $db, "BEGIN; SELECT taskq.task_submit('short', queue => 'held', unique_key => 'p'); PREPARE TRANSACTION 'p';");
like(sql_error($node, $db, "SET lock_timeout = '10 ms'; SELECT taskq.task_submit('short', unique_key => 'p')"), qr/55P03/, 'a key that a prepared transaction took: a submit waits');
$node->safe_psql($db, "COMMIT PREPARED 'p'");
is(keyed('p', "queue => 'held'"), $id, '... and when that is committed has its answer');
is(sql($node, $db, "BEGIN; SELECT taskq.task_submit('short', '{\"n\": 2}', queue => 'held', unique_key => 'p', on_conflict => 'replace', priority => 3); PREPARE TRANSACTION 'r';"), $id, 'a prepared transaction replaces');
$node->safe_psql($db, "COMMIT PREPARED 'r'");
task_is($node, $db, $id, q{payload, priority}, '{"n": 2}|3', '... when it is committed');
sql($node, $db, "BEGIN; SELECT taskq.task_cancel('$id'); PREPARE TRANSACTION 'c';");
$node->safe_psql($db, "COMMIT PREPARED 'c'");
isnt(keyed('p', "queue => 'held'"), $id, 'a prepared cancel gives the key up');

# --- a crash

$node->safe_psql($db, "SELECT taskq.task_submit('gate', '{\"gate\": \"g\"}', unique_key => 'crash')");
my $running = sql($node, $db, q{SELECT id FROM taskq.task WHERE unique_key = 'crash'});
wait_state($node, $db, $running, 'running');
my $next = submit($node, $db, 'gate', '{"gate": "g"}', "unique_key => 'crash', on_conflict => 'queue_one', queue => 'held'");
isnt($next, $running, 'one more is queued');
$node->stop('immediate');
start_turned(sub { $node->start });
is(submit($node, $db, 'gate', '{}', "unique_key => 'crash', on_conflict => 'queue_one', queue => 'held'"), $next, 'after a crash it has the key still');
wait_state($node, $db, $running, 'running');
open_gate($node, $db, 'g');
is(wait_task($node, $db, $running), 'completed', '... and the one that ran runs again');
is(sql($node, $db, q{SELECT count(*) FROM taskq_internal.unique_key u JOIN taskq.task t ON t.id = u.task WHERE t.unique_key = 'crash'}), 1, '... and gives its share up');

# --- dump and restore

my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
my $kept = keyed('kept', "unique_for => '3 days'");
is(wait_task($node, $db, $kept), 'completed', 'one that keeps its key');
$node->safe_psql($db, "SELECT taskq.link('host', '1', '$kept'), taskq.link('internet|x', '$kept')");
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'pg_dump');
$node->safe_psql($db, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
is(submit($node, 'restored', 'gate', '{}', "unique_key => 'crash', queue => 'held'"), $next, 'what is restored has its key');
is(submit($node, 'restored', 'short', '{}', "unique_key => 'kept'"), $kept, '... also that of a task that has ended');

is(sql($node, 'restored', "SELECT string_agg(object, ' ' ORDER BY object), min(kind) FROM taskq.link WHERE task_id = '$kept'"), 'host internet|x|short', '... and its links');

# --- retention: the task goes, the key stays as long as was said, and not longer

my $short = keyed('short', "unique_for => '2 h'");
is(wait_task($node, $db, $short), 'completed', 'another, for two hours');
my $waiting = keyed('waiting', "queue => 'held'");
set_clock(50 * 3600);
$node->reload;
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id IN ('$kept', '$short'))"), 'two days later they are forgotten');
is(keyed('kept'), $kept, '... but not the key');
is(sql($node, $db, "SELECT count(*), min(kind) FROM taskq.link WHERE task_id = '$kept'"), '2|short', '... nor the links');
isnt(keyed('short', "queue => 'held'"), $short, '... but for one whose time is over');
is(keyed('waiting'), $waiting, 'one that still waits has its key');
set_clock(90 * 3600);
$node->reload;
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq_internal.unique_key WHERE task = '$kept')"), 'keys are forgotten when their time is over');

# a leaf that an administrator has emptied
$node->safe_psql($db, 'TRUNCATE taskq_internal.task');
isnt(keyed('waiting'), $waiting, 'a task that is gone has no key');

$node->stop;
done_testing();
