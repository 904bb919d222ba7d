# Why a task does not run: each reason is brought about, and told.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('explain', 'taskq.max_workers' => 3, 'max_prepared_transactions' => 5, allows_streaming => 1);
my $db = 'postgres';

# the codes of all reasons
sub codes
{
	my ($id, $role) = @_;
	return sql($node, $db, "SELECT string_agg(r->>'code', ' ' ORDER BY n) FROM jsonb_array_elements(taskq.task_explain('$id')->'reasons') WITH ORDINALITY AS x(r, n)", $role);
}

# the first one, with whatever of it
sub first
{
	my ($id, $what, $role) = @_;
	return sql($node, $db, "SELECT taskq.task_explain('$id')->'reasons'->0$what", $role);
}

# waits until a reason is the first one
sub becomes
{
	my ($id, $code, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($node->poll_query_until($db, "SELECT taskq.task_explain('$id')->'reasons'->0->>'code' = '$code'"), $name)
	  or diag(sql($node, $db, "SELECT taskq.task_explain('$id')"));
	return;
}

$node->safe_psql(
	$db, q{
	CREATE ROLE alice LOGIN;
	CREATE ROLE bob LOGIN;
	CREATE ROLE carol LOGIN;
	GRANT taskq_user TO alice, bob, carol;
	CREATE FUNCTION lock_work(p jsonb) RETURNS void LANGUAGE sql AS 'SELECT pg_advisory_xact_lock(42)';
	SELECT taskq.kind_define('lock', 'lock_work(jsonb)');
	SELECT taskq.kind_define('outside');
	SELECT taskq.kind_define('one', 'gate_work(jsonb)', max_running => 1);
	SELECT taskq.kind_define('slow_rate', 'short_work(jsonb)', rate => 1, rate_period => '1 day');
});

# --- the state

my $id = submit($node, $db, 'short', '{}', q{delay => '1 h'});
is(codes($id), 'scheduled', 'a scheduled task: its time');
like(first($id, q{->>'message'}), qr/^It is scheduled for .*, in (59 min \d+ s|1 h 0 min)\.$/, '... in words');
sql($node, $db, "SELECT taskq.task_reschedule('$id', 'infinity')");
is(codes($id), 'held', 'a held one');
my $blocked = submit($node, $db, 'short', '{}', "depends_on => '{$id}'");
is(codes($blocked), 'blocked', 'one that waits for another');
is(first($blocked, q{->'details'->'waits_for'->0->>'task'}), $id, '... which is named');
sql($node, $db, "SELECT taskq.task_cancel('$id', 'no need')");
is(codes($id), 'cancelled', 'a cancelled one');
like(first($id, q{->>'message'}), qr/: no need$/, '... for what reason');
wait_state($node, $db, $blocked, 'cancelled');
$id = submit($node, $db, 'fail');
wait_task($node, $db, $id);
like(first($id, q{->>'message'}), qr/^It failed at .*: could not do it$/, 'one that failed: its error');
$id = submit($node, $db, 'fail', '{}', 'max_attempts => 2');
wait_state($node, $db, $id, 'retrying');
like(first($id, q{->>'message'}), qr/^Attempt 1 failed: could not do it; it is tried again/, 'one that is tried again: its error');
sql($node, $db, "SELECT taskq.task_cancel('$id')");
$id = submit($node, $db, 'short');
wait_task($node, $db, $id);
is(codes($id), 'completed', 'one that is through');
my $gate = submit($node, $db, 'gate', '{"gate": "a"}');
wait_state($node, $db, $gate, 'running');
ok($node->poll_query_until($db, "SELECT taskq.task_explain('$gate')->>'answer' ~ '^It has been running for .*, 50 % done: at the gate'"), 'one that runs: since when, and how far it is');

# --- a session that is in the way of a running one

open_gate($node, $db, 'a');
wait_task($node, $db, $gate);
my $locker = $node->background_psql($db);
$locker->query_safe('SELECT pg_advisory_lock(42)');
$id = submit($node, $db, 'lock');
ok($node->poll_query_until($db, "SELECT taskq.task_explain('$id')->'reasons'->1->>'code' = 'waits_for_lock'"), 'a running one whose session waits for a lock');
$locker->quit;
wait_task($node, $db, $id);

# --- pauses

sql($node, $db, q{SELECT taskq.queue_pause('default', 'moving house')});
$id = submit($node, $db, 'short');
is(codes($id), 'queue_paused', 'a paused queue');
like(first($id, q{->>'message'}), qr/^Queue "default" is paused, since .*, by role ".*": moving house$/, '... by whom and why');
sql($node, $db, q{SELECT taskq.kind_pause('short')});
sql($node, $db, q{SELECT taskq.queue_resume('default')});
is(codes($id), 'kind_paused', 'a paused kind');
sql($node, $db, q{SELECT taskq.pause()});
is(codes($id), 'paused', 'everything is paused');
sql($node, $db, q{SELECT taskq.resume(), taskq.kind_resume('short')});
wait_task($node, $db, $id);

# --- its role: what waits for its time, since what could run fails at once

$id = sql($node, $db, q{SELECT taskq.task_submit('short', delay => '1 h')}, 'carol');
$node->safe_psql($db, 'ALTER ROLE carol NOLOGIN');
is(codes($id), 'scheduled role_login', 'a role that may not log in');
$node->safe_psql($db, 'ALTER ROLE carol LOGIN; REVOKE CONNECT ON DATABASE postgres FROM PUBLIC');
is(codes($id), 'scheduled role_connect', 'a role that may not connect');
$node->safe_psql($db, 'GRANT CONNECT ON DATABASE postgres TO PUBLIC; REVOKE EXECUTE ON FUNCTION short_work(jsonb) FROM PUBLIC');
is(codes($id), 'scheduled will_fail', 'a role that may not execute the handler');
like(sql($node, $db, "SELECT taskq.task_explain('$id')->'reasons'->1->>'message'"), qr/^It fails when its turn comes: permission denied for function short_work\.$/, '... in the words that it would fail with');
$node->safe_psql($db, 'GRANT EXECUTE ON FUNCTION short_work(jsonb) TO PUBLIC; ALTER ROLE carol CONNECTION LIMIT 0');
is(codes($id), 'scheduled', '... not when it may');
expect_log($node, qr/too many connections of role "carol"/, [ 0, undef ]);
sql($node, $db, "SELECT taskq.task_run_now('$id')");
becomes($id, 'connection_limit', 'a role whose CONNECTION LIMIT is reached');
$node->safe_psql($db, 'ALTER ROLE carol CONNECTION LIMIT -1');
wait_task($node, $db, $id);
$id = sql($node, $db, q{SELECT taskq.task_submit('short', delay => '1 h')}, 'carol');
ok($node->poll_query_until($db, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = 'carol'}), 'carol has no session');
$node->safe_psql($db, 'DROP ROLE carol');
is(codes($id), 'scheduled role_gone', 'a role that is gone');
sql($node, $db, "SELECT taskq.task_cancel('$id')");

# --- limits

wait_task($node, $db, sql($node, $db, q{SELECT taskq.task_submit('short')}, 'alice'));
my $first = submit($node, $db, 'one', '{"gate": "b"}');
wait_state($node, $db, $first, 'running');
$id = submit($node, $db, 'one', '{"gate": "b"}');
becomes($id, 'kind_limit', 'the limit of a kind');
is(first($id, q{->'details'->'tasks'->>0}), $first, '... and who has reached it');
sql($node, $db, q{SELECT taskq.kind_define('one', 'gate_work(jsonb)'), taskq.queue_define('default', max_running => 1)});
open_gate($node, $db, 'b');
wait_task($node, $db, $id);
$first = submit($node, $db, 'gate', '{"gate": "c"}');
wait_state($node, $db, $first, 'running');
$id = submit($node, $db, 'gate', '{"gate": "c"}');
becomes($id, 'queue_limit', 'the limit of a queue');
sql($node, $db, q{SELECT taskq.queue_define('default')});
wait_state($node, $db, $id, 'running');
configure($node, 'taskq.max_running', 2);
my $third = submit($node, $db, 'gate', '{"gate": "c"}');
becomes($third, 'database_limit', 'the limit of all');
configure($node, 'taskq.max_running', 0);
becomes($third, 'place_kept', 'the last worker is kept for other roles');
configure($node, 'taskq.reserve_worker', 'off');
wait_state($node, $db, $third, 'running');
$id = submit($node, $db, 'gate', '{"gate": "c"}');
becomes($id, 'no_worker_slot', 'all workers are busy');
is(first($id, q{->'details'->'workers'->0 ? 'task'}), 't', '... with what is told');
my $bobs = sql($node, $db, q{SELECT taskq.task_submit('short')}, 'bob');
ok($node->poll_query_until($db, "SELECT taskq.task_explain('$bobs')->'reasons'->0->>'code' IN ('no_worker_slot', 'not_its_turn')"), 'another role finds no slot');
is(first($bobs, q{->'details'->>'workers'}, 'bob'), '[]', '... and is not told what others do');
open_gate($node, $db, 'c');
wait_task($node, $db, $_) foreach $first, $third, $id, $bobs;

$id = submit($node, $db, 'slow_rate');
wait_task($node, $db, $id);
$id = submit($node, $db, 'slow_rate');
becomes($id, 'kind_rate', 'a rate');
sql($node, $db, "SELECT taskq.task_cancel('$id')");
sql($node, $db, q{SELECT taskq.queue_define('rated', rate => 1, rate_period => '1 day')});
wait_task($node, $db, submit($node, $db, 'short', '{}', q{queue => 'rated'}));
$id = submit($node, $db, 'short', '{}', q{queue => 'rated'});
becomes($id, 'queue_rate', 'that of a queue');
sql($node, $db, "SELECT taskq.task_cancel('$id')");

# --- places for workers

sql($node, $db, q{SELECT taskq.queue_define('reserved', reserved => 2)});
$first = submit($node, $db, 'gate', '{"gate": "r"}');
wait_state($node, $db, $first, 'running');
$id = submit($node, $db, 'gate', '{"gate": "r"}');
becomes($id, 'places_reserved', 'places that are reserved for another queue');
sql($node, $db, q{SELECT taskq.queue_define('reserved')});
configure($node, 'taskq.max_workers_per_role', 2);
$third = submit($node, $db, 'gate', '{"gate": "r"}');
becomes($third, 'role_worker_limit', 'a role that has all workers that it may have');
configure($node, 'taskq.max_workers_per_role', 0);
open_gate($node, $db, 'r');
wait_task($node, $db, $_) foreach $first, $third, $id;

# what a crash is blamed on runs alone
$first = submit($node, $db, 'gate', '{"gate": "alone"}', q{delay => '1 h'});
$id = submit($node, $db, 'gate', '{"gate": "alone"}', q{delay => '1 h'});
$node->safe_psql($db, "UPDATE taskq_internal.task SET crashes = 1 WHERE id IN ('$first', '$id')");
sql($node, $db, "SELECT taskq.task_run_now('$first')");
wait_state($node, $db, $first, 'running');
sql($node, $db, "SELECT taskq.task_run_now('$id')");
becomes($id, 'runs_alone', 'a task that may run alone only, beside another one');
is(first($id, q{->'details'->'tasks'->>0}), $first, '... which is named');
open_gate($node, $db, 'alone');
wait_task($node, $db, $id);

# --- in a worker's batch, and about to be started: the dispatcher is kept from helping

configure($node, 'taskq.worker_idle_timeout', -1);
wait_task($node, $db, $_) foreach split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('lock', array_fill('{}'::jsonb, ARRAY[80])) ORDER BY 1 DESC LIMIT 1});
$locker = $node->background_psql($db);
$locker->query_safe('SELECT pg_advisory_lock(42)');
my ($dispatcher) = backend_pids($node, 'dispatcher', $db);
kill 'STOP', $dispatcher;
my @batch = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('lock', array_fill('{}'::jsonb, ARRAY[3]))});
wait_state($node, $db, $batch[0], 'running');
becomes($batch[2], 'reserved', 'one that a worker has set aside');
is(first($batch[2], q{->'details'->'tasks'->>0}), $batch[0], '... and what it runs now');
is(first($batch[2], q{->'details'->>'before_it'}), 1, '... and how many it has before it');
$id = sql($node, $db, q{SELECT taskq.task_submit('short')}, 'alice');
is(codes($id), 'starting', 'nothing is in the way of one');
sql($node, $db, q{SELECT taskq.queue_define('urgent')});
my @urgent = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[2]), queue => 'urgent', priority => 1)}, 'alice');
is(first($id, q{->>'message'}), '2 tasks of role "alice" are before it.', 'more urgent ones of another queue are before it');
kill 'CONT', $dispatcher;
$locker->quit;
wait_task($node, $db, $_) foreach @batch, $id, @urgent;
configure($node, 'taskq.worker_idle_timeout', '1s');

# --- a key

$first = submit($node, $db, 'gate', '{"gate": "d"}', q{concurrency_key => 'k'});
wait_state($node, $db, $first, 'running');
$id = submit($node, $db, 'gate', '{"gate": "d"}', q{concurrency_key => 'k'});
becomes($id, 'key_busy', 'a key that another task has');
is(first($id, q{->'details'->'tasks'->>0}), $first, '... which is named');
open_gate($node, $db, 'd');
wait_task($node, $db, $id);
sql($node, $db, q{SELECT taskq.queue_pause('default')});
$id = submit($node, $db, 'short', '{}', q{concurrency_key => 'l'});
$locker = $node->background_psql($db);
$locker->query_safe("BEGIN; SELECT FROM taskq_internal.task WHERE id = '$id' FOR UPDATE");
sql($node, $db, q{SELECT taskq.queue_resume('default')});
ok($node->poll_query_until($db, "SELECT taskq.task_explain('$id')->'reasons' @> '[{\"code\": \"key_rests\"}, {\"code\": \"row_locked\"}]'"), 'a key whose first task was locked rests');
$locker->quit;
wait_task($node, $db, $id);

# --- the row

sql($node, $db, q{SELECT taskq.queue_pause('default')});
$id = submit($node, $db, 'short');
$locker = $node->background_psql($db);
$locker->query_safe("BEGIN; SELECT taskq.task_set_priority('$id', 1)");
is(codes($id), 'queue_paused row_locked', 'a row that another session has locked');
is(sql($node, $db, "SELECT a.query ~ 'set_priority' FROM pg_stat_activity a WHERE a.pid = (taskq.task_explain('$id')->'reasons'->1->'details'->>'pid')::int"), 't', '... and which one');
$locker->query_safe('ROLLBACK');
is(codes($id), 'queue_paused', '... not when that has ended');
$locker->query_safe("BEGIN; SAVEPOINT s; SELECT taskq.task_set_priority('$id', 1)");
is(codes($id), 'queue_paused row_locked', '... nor is it missed in a subtransaction');
$locker->quit;
$node->safe_psql($db, "BEGIN; SELECT taskq.task_set_priority('$id', 1); PREPARE TRANSACTION 'p'");
like(sql($node, $db, "SELECT taskq.task_explain('$id')->'reasons'->1->>'message'"), qr/^Its row is locked by prepared transaction \d+\.$/, 'a prepared transaction');
$node->safe_psql($db, "ROLLBACK PREPARED 'p'");

# --- those before it

sql($node, $db, q{SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[3]))});
my $last = submit($node, $db, 'short');
is(codes($last), 'queue_paused ahead', 'tasks that are before it');
is(sql($node, $db, "SELECT taskq.task_explain('$last')->'reasons'->1->>'message'"), '4 tasks of queue "default" are before it.', '... and how many');
sql($node, $db, q{SELECT taskq.queue_resume('default')});
wait_task($node, $db, $last);

# --- external workers

$id = submit($node, $db, 'outside');
is(codes($id), 'no_external_worker', 'a kind without handler, and nobody claims its tasks');
my $claimed = sql($node, $db, q{SELECT id FROM taskq.task_claim('w1', kinds => '{outside}')});
like(first($id, q{->>'message'}), qr/^External worker w1 has it/, '... who has it then');
$id = submit($node, $db, 'outside');
is(codes($id), 'waits_for_claim', 'another one waits for that worker');
is(first($id, q{->'details'->'workers'}), '["w1"]', '... who asks for such tasks');
$node->safe_psql($db, q{GRANT taskq_developer TO bob; BEGIN; SELECT taskq.kind_drop('outside'); SET LOCAL ROLE bob; SELECT taskq.kind_define('outside'); COMMIT});
is(codes($id), 'kind_of_another', 'a kind of that name is another role\'s by now');

# --- others' tasks

$id = sql($node, $db, q{SELECT taskq.task_submit('short')}, 'alice');
like(sql_error($node, $db, "SELECT taskq.task_explain('$id')", 'bob'), qr/PT404/, 'of others\' tasks nothing is explained');
wait_task($node, $db, $id);

# --- the server

sql($node, $db, q{SELECT taskq.queue_pause('default')});
$id = submit($node, $db, 'short');
$locker = $node->background_psql($db);
$locker->query('BEGIN; ALTER EXTENSION taskq UPDATE');
like(codes($id), qr/^database_in_use queue_paused/, 'a session that keeps taskq out of the database');
$locker->quit;
sql($node, $db, "SELECT taskq.task_cancel('$id'), taskq.queue_resume('default')");

configure($node, 'taskq.max_workers', 0);
$id = submit($node, $db, 'short');
becomes($id, 'no_workers', 'no worker is allowed');
configure($node, 'taskq.databases', 'other');
becomes($id, 'database_not_served', 'a database that taskq.databases does not name');
$node->safe_psql($db, 'ALTER SYSTEM RESET ALL');
$node->append_conf('postgresql.conf', "taskq.start_paused = on");
$node->restart;
becomes($id, 'start_paused', 'a server that was started paused');
sql($node, $db, q{SELECT taskq.resume()});
is(wait_task($node, $db, $id), 'completed', '... and all of that over it runs');

# --- a copy, and a standby

sql($node, $db, q{SELECT taskq.queue_pause('default')});
$id = submit($node, $db, 'short');
ok(wait_idle($node, $db), 'no process is left in the database');
$node->safe_psql('template1', 'CREATE DATABASE copy TEMPLATE postgres');
is(sql($node, 'copy', "SELECT taskq.task_explain('$id')->'reasons'->0->>'code'"), 'foreign', 'a task of a database of which this one is a copy');
$node->backup('b');
my $standby = PostgreSQL::Test::Cluster->new('explain_standby');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
is(sql($standby, $db, "SELECT taskq.task_explain('$id')->'reasons'->0->>'code'"), 'standby', 'on a standby nothing runs');
is(sql($standby, $db, "SELECT confidence FROM taskq.task_estimate('$id')"), 'none', '... and nothing is estimated');
is(sql($standby, $db, 'SELECT count(*) FROM taskq.queue_estimates() WHERE confidence <> $$none$$'), 0, '... of no queue');
$standby->stop;
$node->stop;

# --- no room for a process

my $small = taskq_node('explain_small', 'max_worker_processes' => 3);
expect_log($small, qr/taskq could not start a worker/, [ 0, undef ]);
$id = submit($small, $db, 'short');
ok($small->poll_query_until($db, "SELECT taskq.task_explain('$id')->'reasons'->0->>'code' = 'no_process'"), 'the server has no room for a worker');

$small->stop;
done_testing();
