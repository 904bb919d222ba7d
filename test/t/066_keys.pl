# Tasks with a concurrency key: so many of a key at a time, never more, and no fewer for long.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('keys', 'taskq.max_workers' => 4);
my $db = 'postgres';

# A task takes one of as many locks as there may be tasks of its key: the locks are the
# session's, so they last until the worker is through with the task, also after its commit.
$node->safe_psql(
	$db, q{
	CREATE TABLE violation (task uuid, key text);
	CREATE TABLE ran (at serial, key text, n int);
	CREATE FUNCTION one_of(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	DECLARE
		me record;
	BEGIN
		SELECT t.id, t.concurrency_key INTO me FROM taskq.current_task() c JOIN taskq_internal.task t USING (id);
		FOR i IN 1 .. coalesce((p->>'limit')::int, 1) LOOP
			IF pg_try_advisory_lock(hashtext(me.concurrency_key), i) THEN
				INSERT INTO ran (key, n) VALUES (me.concurrency_key, (p->>'n')::int);
				INSERT INTO effect (task) VALUES (me.id);
				PERFORM pg_sleep((p->>'sleep')::float);
				RETURN;
			END IF;
		END LOOP;
		INSERT INTO violation VALUES (me.id, me.concurrency_key);
	END $$;
	GRANT SELECT ON taskq_internal.task TO PUBLIC;
	SELECT taskq.kind_define('one', 'one_of(jsonb)', max_attempts => 10, backoff => '0');
	SELECT taskq.kind_define('other', 'one_of(jsonb)', max_attempts => 10, backoff => '0');
	SELECT taskq.kind_define('two', 'one_of(jsonb)', max_running_per_key => 2);
	SELECT taskq.kind_define('batch', 'one_of(jsonb)', batch => true);
	SELECT taskq.queue_define('q');});

sub all_done
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), "$what: all come to their end")
	  or diag(sql($node, $db, 'SELECT kind, state, concurrency_key, count(*) FROM taskq.task GROUP BY 1, 2, 3 ORDER BY 4 DESC LIMIT 10'));
	is(sql($node, $db, 'SELECT count(*) FROM violation'), 0, "$what: never too many of a key");
	is(sql($node, $db, "SELECT count(*) FROM taskq.task t WHERE state <> 'completed' OR 1 <> (SELECT count(*) FROM effect e WHERE e.task = t.id)"),
		0, "$what: each ran once");
	ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq_internal.keyed'), "$what: nothing is left of them");
	$node->safe_psql($db, 'TRUNCATE ran, effect, violation; SELECT taskq.task_delete(id) FROM taskq.task');
	return;
}

sub keyed
{
	my ($kind, $key, $n, $more) = @_;
	return "SELECT count(*) FROM (SELECT taskq.task_submit('$kind', jsonb_build_object('n', i" . ($more // '') . "), concurrency_key => $key) FROM generate_series(1, $n) i) s;";
}

# --- one at a time, many keys, many workers

$node->safe_psql($db, keyed('one', q{'k' || i % 7}, 400));
all_done('one at a time');

$node->safe_psql($db, keyed('one', q{'k'}, 200));
ok($node->poll_query_until($db, 'SELECT count(*) = 200 FROM ran'), 'one key');
is(sql($node, $db, 'SELECT string_agg(n::text, \' \' ORDER BY at) FROM ran'), join(' ', 1 .. 200), 'tasks of a key run in the order of their submission');
all_done('one key');

$node->safe_psql($db, keyed('one', q{i::text}, 1000));
all_done('a thousand keys');

$node->safe_psql($db, keyed('batch', q{'k' || i % 3}, 300));
all_done('several in a transaction');

# --- across kinds and queues

$node->safe_psql($db, keyed('one', q{'k'}, 100, q{, 'sleep', 0.001}) . keyed('other', q{'k'}, 100)
	  . "SELECT count(*) FROM (SELECT taskq.task_submit('other', queue => 'q', priority => 5, concurrency_key => 'k') FROM generate_series(1, 100)) s");
all_done('across kinds and queues');

# --- two at a time: never more, and two where two may

$node->safe_psql($db, keyed('two', q{'k' || i % 2}, 200, q{, 'limit', 2}));
all_done('two at a time');

my @two = map { submit($node, $db, 'gate', '{"gate": "two"}', "concurrency_key => 'g'") } 1 .. 3;
wait_state($node, $db, $two[0], 'running');
is(sql($node, $db, q{SELECT string_agg(state, ' ' ORDER BY id) FROM taskq.task}), 'running pending pending', 'one of a key runs');
my $plain = submit($node, $db, 'short');
is(wait_task($node, $db, $plain), 'completed', 'others run past those that wait');
is(wait_task($node, $db, submit($node, $db, 'short', '{}', "concurrency_key => 'h'")), 'completed', '... also of another key');
$node->safe_psql($db, q{SELECT taskq.kind_define('gate', 'gate_work(jsonb)', max_running_per_key => 2)});
wait_state($node, $db, $two[1], 'running');
pass('a greater limit counts at once');
is(sql($node, $db, q{SELECT string_agg(state, ' ' ORDER BY id) FROM taskq.task WHERE kind = 'gate'}), 'running running pending', '... and no more run than that');
open_gate($node, $db, 'two');
wait_task($node, $db, $_) foreach @two;
all_done('a greater limit');
$node->safe_psql($db, q{SELECT taskq.kind_define('gate', 'gate_work(jsonb)')});

# --- what is behind a busy key costs others nothing

# Rows of the index that were read, when everybody has told his share.
sub reads
{
	$node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.worker WHERE kind IS DISTINCT FROM 'gate' AND state <> 'idle')}) or die;
	wait_idle_workers();
	return sql($node, $db, q{SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'keyed_pkey'});
}

# Workers tell when they go.
sub wait_idle_workers
{
	$node->safe_psql($db, q{SELECT taskq.worker_stop(name) FROM taskq.worker WHERE kind IS NULL});
	$node->poll_query_until($db, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('taskq worker')}, 1) or die;
	return;
}

my $busy = submit($node, $db, 'gate', '{"gate": "busy"}', "concurrency_key => 'busy'");
wait_state($node, $db, $busy, 'running');
$node->safe_psql($db, "SELECT count(*) FROM taskq.task_submit_many('gate', array_fill('{\"gate\": \"busy\"}'::jsonb, ARRAY[5000]), concurrency_key => 'busy')");
my $before = reads();
$node->safe_psql($db, keyed('one', q{'o' || i % 50}, 200));
$node->poll_query_until($db, q{SELECT count(*) = 200 FROM taskq.task WHERE kind = 'one' AND ready}) or die;
$node->safe_psql($db, "SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[200]))");
$node->poll_query_until($db, q{SELECT count(*) = 200 FROM taskq.task WHERE kind = 'short' AND ready}) or die;
cmp_ok(reads() - $before, '<', 5000, 'nobody reads through what waits for a busy key');
$node->safe_psql($db, q{SELECT count(taskq.task_cancel(id)) FROM taskq.task WHERE concurrency_key = 'busy' AND state = 'pending'});
open_gate($node, $db, 'busy');
wait_task($node, $db, $busy);
$node->safe_psql($db, 'TRUNCATE ran, effect, violation; SELECT count(taskq.task_delete(id)) FROM taskq.task');

# --- a worker that is long in a task gives up the keys with which it is through

$node->safe_psql($db, 'SELECT taskq.queue_pause(\'q\');' . keyed('one', q{'w' || i}, 60));    # they are short
$node->poll_query_until($db, q{SELECT count(*) = 60 FROM taskq.task WHERE ready}) or die;
$node->safe_psql($db, q{SELECT taskq.kind_define('maybe', 'gate_work(jsonb)')});
$node->safe_psql($db, q{INSERT INTO gate VALUES ('open')});
$node->safe_psql($db, q{SELECT count(taskq.task_submit('maybe', '{"gate": "open"}', queue => 'q', concurrency_key => 'm' || i)) FROM generate_series(1, 40) i});
$node->safe_psql($db, q{SELECT taskq.task_submit('maybe', '{"gate": "shut"}', queue => 'q', concurrency_key => 'm20');
	SELECT taskq.queue_resume('q')});
$node->poll_query_until($db, q{SELECT count(*) = 40 FROM taskq.task WHERE kind = 'maybe' AND ready}) or die;
$node->safe_psql($db, q{SELECT count(taskq.task_submit('maybe', '{"gate": "open"}', queue => 'q', concurrency_key => 'm' || i)) FROM generate_series(1, 40) i WHERE i <> 20});
ok($node->poll_query_until($db, q{SELECT count(*) = 79 FROM taskq.task WHERE kind = 'maybe' AND ready}), 'others go on with the keys that a long task is not of');
open_gate($node, $db, 'shut');
$node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE NOT ready}) or die;

# --- a task that becomes another one, with another key, while a worker has it in hand

$node->safe_psql($db, q{SELECT taskq.queue_pause('q')});
$busy = submit($node, $db, 'gate', '{"gate": "other"}', "concurrency_key => 'other'");
wait_state($node, $db, $busy, 'running');
my $front = submit($node, $db, 'maybe', '{"gate": "front"}', "concurrency_key => 'front', queue => 'q'");
my $replaced = submit($node, $db, 'maybe', '{"gate": "open"}', "concurrency_key => 'front', queue => 'q', unique_key => 'u'");
$node->safe_psql($db, q{SELECT taskq.queue_resume('q')});
wait_state($node, $db, $front, 'running');
is(submit($node, $db, 'maybe', '{"gate": "open"}', "concurrency_key => 'other', queue => 'q', unique_key => 'u', on_conflict => 'replace'"), $replaced, 'replaced');
open_gate($node, $db, 'front');
wait_task($node, $db, $front);
is(wait_task($node, $db, submit($node, $db, 'maybe', '{"gate": "open"}', "concurrency_key => 'front', queue => 'q'")), 'completed', 'its old key is free');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$replaced')"), 'pending', 'it waits for the new one');
open_gate($node, $db, 'other');
is(wait_task($node, $db, $replaced), 'completed', '... and runs with that');

# --- the first task of a key is locked by somebody else

$node->safe_psql($db, q{SELECT taskq.queue_pause('q')});
my $locked = submit($node, $db, 'short', '{}', "concurrency_key => 'locked', queue => 'q'");
my $session = $node->background_psql($db);
$session->query_safe("BEGIN; SELECT 1 FROM taskq_internal.task WHERE id = '$locked' FOR UPDATE");
$node->safe_psql($db, q{SELECT taskq.queue_resume('q')});
is(wait_task($node, $db, submit($node, $db, 'short', '{}', "concurrency_key => 'free', queue => 'q'")), 'completed', 'a locked task keeps no other key');
$session->query_safe('COMMIT');
$session->quit;
is(wait_task($node, $db, $locked), 'completed', '... and runs when it is free');
is(sql($node, $db, 'SELECT count(*) FROM taskq.worker WHERE state <> \'idle\''), 0, 'nobody is busy with it');
$node->safe_psql($db, 'TRUNCATE ran, effect, violation; SELECT count(taskq.task_delete(id)) FROM taskq.task');

# --- whatever dies, the key is free again

my $held = submit($node, $db, 'gate', '{"gate": "held"}', "concurrency_key => 'dead', max_attempts => 5");
wait_state($node, $db, $held, 'running');
my $next = submit($node, $db, 'one', '{}', "concurrency_key => 'dead'");
expect_terminated($node, 'worker', [ 1, undef ]);
$node->safe_psql($db, q{SELECT pg_terminate_backend(pid) FROM taskq.worker WHERE kind = 'gate'});
is(wait_task($node, $db, $next), 'completed', 'a worker that is terminated gives its key up');
open_gate($node, $db, 'held');
wait_task($node, $db, $held);
expect_no_more($node);
$node->safe_psql($db, 'DELETE FROM effect');
$node->safe_psql($db, 'SELECT taskq.task_delete(id) FROM taskq.task');

$node->safe_psql($db, keyed('one', q{'k' || i % 20}, 600, q{, 'sleep', 0.002}));
expect_crashes($node, [ 1, 3 ]);
foreach my $round (1 .. 3)
{
	$node->poll_query_until($db, "SELECT count(*) > $round * 50 FROM ran") or die;
	my $worker = q{pg_stat_activity WHERE backend_type = 'taskq worker'};
	$node->poll_query_until($db, "SELECT EXISTS (SELECT FROM $worker) OR NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)") or die;
	my $pid = sql($node, $db, "SELECT min(pid) FROM $worker") or next;
	kill 'KILL', $pid;
	$node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $pid");
}
all_done('workers are killed');

$node->safe_psql($db, keyed('one', q{'k' || i % 20}, 600, q{, 'sleep', 0.002}));
$node->poll_query_until($db, 'SELECT count(*) > 50 FROM ran') or die;
$node->stop('immediate');
$node->start;
all_done('the server is killed');

# --- leases have their keys across a restart, and over connections

$node->safe_psql($db, q{
	SELECT taskq.kind_define('out');
	CREATE TABLE lease AS SELECT NULL::uuid AS id, NULL::uuid AS token WHERE false;
	SELECT taskq.task_submit('out', concurrency_key => 'x');
	INSERT INTO lease SELECT id, token FROM taskq.task_claim('w', kinds => '{out}', lease => '1 h');
	SELECT taskq.task_submit('out', concurrency_key => 'x'), taskq.task_submit('one', concurrency_key => 'x');});
foreach my $mode ('fast', 'immediate')
{
	$node->stop($mode);
	$node->start;
	wait_task($node, $db, submit($node, $db, 'short', '{}', "concurrency_key => 'after $mode'"));
	is(sql($node, $db, q{SELECT state FROM taskq.task WHERE kind = 'one'}), 'pending', "$mode stop: a lease still has its key");
	is(sql($node, $db, q{SELECT count(*) FROM taskq.task_claim('v', kinds => '{out}', n => 5)}), 0, '... also for external workers');
	is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE concurrency_key = 'x' AND state = 'running'}), 1, '... one of a key runs');
}
$node->safe_psql($db, q{SELECT taskq.task_complete(id, token) FROM lease});
ok($node->poll_query_until($db, q{SELECT ready FROM taskq.task WHERE kind = 'one'}), 'its end gives the key to the next one');

done_testing();
