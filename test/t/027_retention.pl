# What has been finished for long is forgotten, and nothing else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub { taskq_node('retention', 'taskq.max_workers' => 2, 'taskq.retention' => '24h', 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';

# The clock is turned, and everybody notices.
sub turn
{
	my ($hours) = @_;
	set_clock($hours * 3600);
	$node->reload;
	return;
}

sub count_tasks
{
	my ($where) = @_;
	return sql($node, $db, "SELECT count(*) FROM taskq.task WHERE $where");
}

sub size
{
	return sql($node, $db, q{SELECT sum(pg_relation_size(inhrelid)) FROM pg_inherits
		WHERE inhparent = 'taskq_internal.task'::regclass AND inhrelid <> 'taskq_internal.task_keep'::regclass});
}

sub gone
{
	my ($where) = @_;
	return $node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE $where)");
}

$node->safe_psql($db, q{
	SELECT taskq.queue_define('held'), taskq.queue_pause('held'), taskq.kind_define('outside');
	CREATE FUNCTION second_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry('0 s');
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('second', 'second_work(jsonb)')});

# old ones, of all sorts
$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{"old": true}'::jsonb, ARRAY[3000]))});
my $second = submit($node, $db, 'second');
is(wait_task($node, $db, $second), 'completed', 'a task with two attempts');
my $held = submit($node, $db, 'short', '{"held": 1}', q{queue => 'held'});
my $large = submit($node, $db, 'short', '{}', q{queue => 'held', metadata => jsonb_build_object('text', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 3000) i))});
my $later = submit($node, $db, 'short', '{"later": 1}', q{delay => '3 days'});
my $outside = submit($node, $db, 'outside');
my $token = sql($node, $db, q{SELECT token FROM taskq.task_claim('w', kinds => '{outside}', lease => '10 days')});
my $running = submit($node, $db, 'gate', '{"gate": "old"}');
wait_state($node, $db, $running, 'running');
ok($node->poll_query_until($db, q{SELECT count(*) = 3000 FROM taskq.task WHERE kind = 'short' AND state = 'completed'}), '3,000 tasks are done');
is(count_tasks('ready'), '3001', 'they are there');

# half a day later
turn(12);
my $young = submit($node, $db, 'short', '{"young": 1}');
is(wait_task($node, $db, $young), 'completed', 'one of half a day later');
is(count_tasks('ready'), '3002', '... all are there');

# a day after the first
turn(27);
my $new = submit($node, $db, 'short', '{"new": 1}');
is(wait_task($node, $db, $new), 'completed', 'one of the next day');
# the leaf has a running task, whose row cannot be moved
is(count_tasks(q{state = 'running' AND kind = 'gate'}), '1', 'the one that runs still does');
open_gate($node, $db, 'old');
is(wait_task($node, $db, $running), 'completed', '... and comes to its end');
$node->reload;
ok(gone(q{payload ? 'old'}), 'what was finished a day ago is forgotten');
is(count_tasks("id IN ('$young', '$new', '$running')"), '3', '... not what was finished since');
is(count_tasks("id IN ('$held', '$large', '$later', '$outside') AND NOT ready"), '4', '... nor what is not finished');
is(sql($node, $db, "SELECT length(metadata->>'text') FROM taskq.task_status('$large')"), '96000', '... also where it is large');
ok($node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq_internal.attempt WHERE task = '$second'"), 'their attempts are forgotten too');
like(sql_error($node, $db, "SELECT * FROM taskq.task_status('$second')"), qr/does not exist/, '... which is said');
my $size = size();
cmp_ok($size, '<', 100_000, "their place is free ($size bytes)");

# what was moved works on
is(sql($node, $db, "SELECT cancel_requested FROM taskq.task_heartbeat('$outside', '$token')"), 'f', 'an external worker keeps its claim');
$node->safe_psql($db, "SELECT taskq.task_complete('$outside', '$token', '1')");
is(wait_task($node, $db, $outside), 'completed', '... and completes it');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($node, $db, $held), 'completed', 'a queue that was paused for long is worked off');
is(wait_task($node, $db, $large), 'completed', '... all of it');
turn(75);
is(wait_task($node, $db, $later), 'completed', 'what was due after days has run');
is(count_tasks("id = '$later'"), '1', '... and is kept from then on');

# they too are forgotten in the end, also by a server that was idle, and one that was restarted
turn(24 * 6);
ok(gone('ready'), 'all of them are forgotten in their turn');
start_turned(sub { $node->restart });
my $last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'it goes on');

# a copy is not touched before somebody takes it over
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', $db ], 'a dump of it');
turn(24 * 7 + 12);
$node->safe_psql($db, 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '-d', 'copy', $node->basedir . '/dump' ], '... is restored a day and a half later');
my $new_there = submit($node, 'copy', 'short');
is(wait_task($node, 'copy', $new_there), 'completed', 'the copy has a dispatcher, that runs what is submitted there');
$node->reload;
ok(gone("id = '$last'"), 'what is over is forgotten here');
is(sql($node, 'copy', "SELECT state FROM taskq.task_status('$last')"), 'completed', '... but not there');
$node->safe_psql('copy', 'SELECT taskq.resume()');
ok($node->poll_query_until('copy', "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id = '$last')"), '... until it is resumed');
is(sql($node, 'copy', "SELECT state FROM taskq.task_status('$new_there')"), 'completed', '... and nothing else is forgotten');

# ... nor is one that already had a dispatcher, which saw no tasks yet, when they were put in
configure($node, 'log_min_messages' => 'debug1');
$node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq sweeper')}) or die 'those of other databases stay';
my $log = -s $node->logfile;
$node->safe_psql($db, 'CREATE DATABASE early');
$node->command_ok([ 'pg_restore', '--section=pre-data', '-d', 'early', $node->basedir . '/dump' ], 'a copy without rows');
$node->safe_psql('early', q{SELECT taskq.queue_pause('default')});
$node->safe_psql('early', q{SELECT taskq.queue_resume('default')});
# the dispatcher starts it when it has read the lanes
$node->wait_for_log(qr/starting background worker process "taskq sweeper"/, $log);
$node->safe_psql('early', q{DELETE FROM taskq_internal.role});
$node->command_ok([ 'pg_restore', '--section=data', '-d', 'early', $node->basedir . '/dump' ], '... and then its rows');
$log = -s $node->logfile;
configure($node, 'log_min_messages' => undef, 'taskq.retention' => '23h');
$node->wait_for_log(qr/taskq leaves tasks alone that were submitted in another database/, $log);
is(sql($node, 'early', "SELECT state FROM taskq.task_status('$last')"), 'completed', '... which are not forgotten');
$node->safe_psql('early', 'SELECT taskq.resume()');
ok($node->poll_query_until('early', "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id = '$last')"), '... until it is resumed');

$last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'one more');

# a session that reads old tasks and stays is no reason to wait, nor does anybody wait for it
my ($in, $out, $err) = ('', '', '');
my $reader = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err);
$in .= "BEGIN; SELECT count(*) FROM taskq.task;\n\\echo read\n";
$reader->pump until $out =~ /read/;
turn(24 * 10);
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'an open reader keeps nobody from submitting');
is(count_tasks("id = '$last'"), '1', '... what it has locked stays');
$in .= "COMMIT;\n\\q\n";
$reader->finish;
$node->reload;
ok(gone("id = '$last'"), '... until it ends');

done_testing();
