# Who waits for other tasks does so across crashes, restarts and promotion, in prepared
# transactions and copies, and is never left waiting for nothing.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('dependencies', allows_streaming => 1, 'taskq.worker_idle_timeout' => '500ms', 'taskq.max_workers' => 4);
my $db = 'postgres';

$node->safe_psql($db, q{
	SELECT taskq.queue_define('held'); SELECT taskq.queue_pause('held');
	CREATE FUNCTION no_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('noop', 'no_work(jsonb)');
	CREATE FUNCTION take_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_agg(d->'result') FROM taskq.current_task() t, jsonb_array_elements(t.dependencies) d $$;
	SELECT taskq.kind_define('take', 'take_work(jsonb)')});

sub after
{
	my ($id, $more, $kind) = @_;
	return submit($node, $db, $kind // 'short', '{}', "depends_on => '{$id}'" . (defined $more ? ", $more" : ''));
}

sub prepare
{
	my ($gid, $command) = @_;
	return $node->safe_psql($db, "BEGIN; $command; PREPARE TRANSACTION '$gid'");
}

sub blocked { return $node->safe_psql($db, 'SELECT count(*) FROM taskq_internal.blocked'); }

# --- restarts

my $first = submit($node, $db, 'short', '{"n": 1}', "queue => 'held'");
my $second = after($first);
my $third = after($second);
my $child = submit($node, $db, 'short', '{}', qq{parent => '$second', delay => '1 h', options => '{"cancel_with_parent": true}'});
$node->restart;
task_is($node, $db, $third, 'state', 'blocked', 'after a restart what was blocked is');
$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is(wait_task($node, $db, $third), 'completed', '... and is unblocked');
is(blocked(), '0', '... and nothing waits any more, nor has a child whose parent is over anything to wait for');

# the dispatcher is kept from the one who waits; the server crashes meanwhile
$first = submit($node, $db, 'gate', '{"gate": "a"}');
$second = after($first);
my $holder = $node->background_psql($db, on_error_stop => 1);
$holder->query("BEGIN; SELECT FROM taskq_internal.task WHERE id = '$second' FOR UPDATE");
open_gate($node, $db, 'a');
is(wait_task($node, $db, $first), 'completed', 'a dependency ends while somebody has the row of who waits for it');
task_is($node, $db, $second, 'state', 'blocked', '... who waits');
$node->stop('immediate');
$holder->quit;
$node->start;
is(wait_task($node, $db, $second), 'completed', '... and is found after a crash');

$first = submit($node, $db, 'gate', '{"gate": "b"}');
$second = after($first);
$holder = $node->background_psql($db, on_error_stop => 1);
$holder->query("BEGIN; SELECT FROM taskq_internal.task WHERE id = '$second' FOR UPDATE");
open_gate($node, $db, 'b');
is(wait_task($node, $db, $first), 'completed', 'the same again');
$holder->query('COMMIT');
is(wait_task($node, $db, $second), 'completed', '... who waits is come back to when his row is free');
$holder->quit;

# --- a parent that is cancelled after a restart

$first = submit($node, $db, 'short', '{}', "delay => '1 h'");
$child = submit($node, $db, 'gate', '{"gate": "never"}', qq{parent => '$first', options => '{"cancel_with_parent": true}'});
wait_state($node, $db, $child, 'running');
$node->restart;
wait_state($node, $db, $child, 'running');
$node->safe_psql($db, "SELECT taskq.task_cancel('$first')");
is(wait_task($node, $db, $child), 'cancelled', 'a child is cancelled with its parent, also after a restart');

# --- prepared transactions

$first = submit($node, $db, 'gate', '{"gate": "c"}');
$second = prepare('p', "SELECT taskq.task_submit('short', depends_on => '{$first}')");
open_gate($node, $db, 'c');
is(wait_task($node, $db, $first), 'completed', 'a dependency ends before who waits for it is committed');
$node->safe_psql($db, "COMMIT PREPARED 'p'");
is(wait_task($node, $db, $second), 'completed', '... who runs then');

$first = submit($node, $db, 'gate', '{"gate": "d"}');
$second = prepare('p', "SELECT taskq.task_submit('short', depends_on => '{$first}')");
$node->restart;
$node->safe_psql($db, "COMMIT PREPARED 'p'");
task_is($node, $db, $second, 'state', 'blocked', 'one that was prepared before a restart waits');
open_gate($node, $db, 'd');
is(wait_task($node, $db, $second), 'completed', '... and runs');

$first = submit($node, $db, 'short', '{}', "delay => '1 h'");
$second = after($first);
prepare('p', "SELECT FROM taskq.task_cancel('$first')");
task_is($node, $db, $second, 'state', 'blocked', 'a dependency is about to be cancelled');
$node->safe_psql($db, "COMMIT PREPARED 'p'");
is(wait_task($node, $db, $second), 'cancelled', '... when it is, so is who waits for it');

# --- more at once than shared memory tells of

$node->safe_psql($db, q{
	CREATE TABLE chain (n int, id uuid);
	DO $$
	DECLARE
		link uuid := taskq.task_submit('noop', delay => '1 h');
	BEGIN
		FOR n IN 0..5000 LOOP
			INSERT INTO chain VALUES (n, link);
			link := taskq.task_submit('noop', depends_on => ARRAY[link]);
		END LOOP;
	END $$;
	SELECT count(*) FROM chain, taskq.task_cancel(id) WHERE n = 0});
is($node->safe_psql($db, q{SELECT state FROM chain, taskq.task_wait(id) WHERE n = 5000}), 'cancelled', 'a chain of 5000 is cancelled from its beginning to its end');
my $all = $node->safe_psql($db, q{SELECT array_agg(taskq.task_submit('noop')) FROM generate_series(1, 5000)});
$second = submit($node, $db, 'noop', '{}', "depends_on => '$all'");
is(wait_task($node, $db, $second), 'completed', 'one that waits for 5000');

# --- both at once, again and again: the dependency ends while who waits for it is submitted

my $script = PostgreSQL::Test::Utils::tempdir() . '/race.sql';
append_to_file($script, q{SELECT taskq.task_submit('noop') AS id \gset
SELECT taskq.task_submit('noop', depends_on => '{:id}', tags => '{race}');
});
$node->command_ok([ 'pgbench', '-n', '-c', 8, '-t', 300, '-f', $script, '-h', $node->host, '-p', $node->port, $db ], 'submits at the same time as their dependencies end');
ok($node->poll_query_until($db, q{SELECT count(*) = 2400 FROM taskq.task WHERE tags = '{race}' AND state = 'completed'}), '... nobody is left waiting');

# --- a row that cannot be changed

$node->safe_psql($db, "SELECT taskq.queue_pause('held')");
$first = submit($node, $db, 'short', '{}', "queue => 'held'");
my @three = map { after($first) } 1 .. 3;
$node->safe_psql($db, "ALTER TABLE taskq_internal.task ADD CONSTRAINT bad CHECK (id <> '$three[1]' OR state <> 'p')");
expect_log($node, qr/taskq dispatcher\|23514/, [ 1, undef ]);
$node->safe_psql($db, "SELECT taskq.queue_resume('held')");
is(wait_task($node, $db, $three[$_]), 'completed', 'a row that raises an error keeps none of the others from being unblocked') foreach 0, 2;
task_is($node, $db, $three[1], 'state', 'blocked', '... it stays');
$node->safe_psql($db, 'ALTER TABLE taskq_internal.task DROP CONSTRAINT bad');
expect_no_more($node);
$node->restart;
is(wait_task($node, $db, $three[1]), 'completed', '... till the error is gone');

# --- an administrator empties a leaf

$first = submit($node, $db, 'short', '{}', "delay => '1 h'");
my $leaf = sprintf 'taskq_internal.task_%02d', $node->safe_psql($db, "SELECT taskq_internal.id_slot('$first')");
$second = $node->safe_psql($db, qq{
	SELECT taskq.task_submit('short', depends_on => '{$first}', on_dependency_failure => 'run')});
$node->safe_psql($db, "DELETE FROM $leaf WHERE id = '$first'");
is(wait_task($node, $db, $second), 'completed', 'nobody waits for a task that is gone');

# --- a copy

$first = submit($node, $db, 'short', '{"n": 7}', "delay => '1 h'");
$second = after($first, undef, 'take');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
$node->command_ok([ 'pg_dump', '-Fc', '-f', $dump, $node->connstr($db) ], 'pg_dump');
$node->safe_psql($db, "SELECT taskq.task_run_now('$first')");
is(wait_task($node, $db, $second), 'completed', 'the original completes');
$node->safe_psql($db, 'CREATE DATABASE restored');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ], 'pg_restore');
$node->safe_psql('restored', "SELECT taskq.task_run_now('$first')");
task_is($node, 'restored', $second, 'state', 'blocked', 'in the copy it waits');
$node->safe_psql('restored', 'SELECT taskq.resume()');
is(wait_task($node, 'restored', $second), 'completed', '... and runs when that is allowed to');
task_is($node, 'restored', $second, 'result', '[{"n": 7}]', '... with the result of what it waited for');

# --- promotion

wait_idle($node);
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('dependencies_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$first = submit($node, $db, 'gate', '{"gate": "f"}');
$second = after($first);
wait_state($node, $db, $first, 'running');
$node->wait_for_catchup($standby);
expect_primary_gone($standby);
$node->stop('immediate');
$standby->promote;
$standby->poll_query_until($db, 'SELECT NOT pg_is_in_recovery()');
task_is($standby, $db, $second, 'state', 'blocked', 'on a promoted standby it still waits');
open_gate($standby, $db, 'f');
is(wait_task($standby, $db, $second), 'completed', '... and runs');

done_testing();
