# The audit outlives the tasks, is forgotten after its own time in portions, and goes with a dump.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub { taskq_node('audit', 'taskq.max_workers' => 2, 'taskq.retention' => '1h', 'taskq.audit_retention' => '-1', 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';

sub turn
{
	my ($hours) = @_;
	set_clock($hours * 3600);
	$node->reload;
	return;
}

sub rows
{
	my ($where) = @_;
	return sql($node, $db, "SELECT count(*) FROM taskq.audit WHERE $where");
}

sql($node, $db, q{SELECT taskq.queue_define('audited')});
# many, and a task that was cancelled
sql($node, $db, q{SELECT count(*) FROM (SELECT taskq.queue_pause('audited'), taskq.queue_resume('audited') FROM generate_series(1, 700)) s});
my $id = submit($node, $db, 'short', '1', q{delay => '1 h'});
sql($node, $db, "SELECT taskq.task_cancel('$id', 'not needed')");
is(rows(q{name = 'audited' AND action <> 'define'}), 1400, 'a row for each act');

# what a server that is killed had committed is there, with its row; nothing else is
my $other = submit($node, $db, 'short', '1', q{delay => '1000 h'});
my $open = $node->background_psql($db);
$open->query_safe("BEGIN; SELECT taskq.task_cancel('$other', 'never committed')");
$node->stop('immediate');
eval { $open->quit };

start_turned(sub { $node->start });
is(rows(qq{task_id = '$id' AND reason = 'not needed'}), 1, 'what was committed is there after a crash');
is(rows(qq{task_id = '$other'}), 0, '... and nothing else');

# tasks go, the audit stays
turn(4);
ok($node->poll_query_until($db, "SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id = '$id')"), 'the task is forgotten');
is(rows(qq{task_id = '$id'}), 1, 'what was done to it is not');
is(rows(q{name = 'audited' AND action <> 'define'}), 1400, 'nothing is forgotten where it is kept for ever');

sql($node, $db, q{SELECT taskq.queue_pause('audited', 'later')});
$node->append_conf('postgresql.conf', "taskq.audit_retention = '2h'");
turn(5.9);
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM taskq.audit}), 'what is older than taskq.audit_retention is forgotten');
is(rows(q{reason = 'later'}), 1, '... and what is not, is not');

# also where tasks are kept for ever
$node->append_conf('postgresql.conf', "taskq.retention = -1");
$node->reload;
sql($node, $db, q{SELECT taskq.queue_resume('audited')});
is(rows(q{action = 'resume'}), 1, 'one more act');
turn(9);
ok($node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.audit}), 'what is old is forgotten where tasks are kept for ever');
sql($node, $db, q{SELECT taskq.queue_pause('audited', 'later')});

# what is secret is hidden at once, to those too who had it in their caches, and in a restored dump
$node->safe_psql($db, q{SELECT taskq.kind_define('hiding', 'short_work(jsonb)')});
my $hidden = submit($node, $db, 'hiding', '{"word": "hunter"}', q{delay => '1000 h'});
my $reader = $node->background_psql($db);
my $look = "SELECT payload->>'word' FROM taskq.task_status('$hidden')";
is($reader->query_safe($look), 'hunter', 'a payload with nothing secret in it');
$node->safe_psql($db, q{SELECT taskq.kind_define('hiding', 'short_work(jsonb)', secret => '{word}')});
is($reader->query_safe($look), '***', 'what is secret from now on is hidden to a session that had seen it');
$node->safe_psql($db, q{BEGIN; SELECT taskq.kind_define('hiding', 'short_work(jsonb)', secret => '{}'); ROLLBACK});
is($reader->query_safe($look), '***', '... whatever is undone');
$reader->quit;

# a dump has it
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-p', $node->port, '-h', $node->host, $db ], 'dump');
$node->safe_psql($db, 'CREATE DATABASE restored');
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-p', $node->port, '-h', $node->host, 'restored' ], 'restore');
my $all = q{SELECT string_agg(a::text, E'\n' ORDER BY id) FROM taskq.audit a};
is(sql($node, 'restored', $all), sql($node, $db, $all), 'a dump has it');
is(sql($node, 'restored', $look), '***', '... and what is secret stays so');
is(sql($node, 'restored', q{SELECT secret FROM taskq.kind WHERE name = 'hiding'}), '{word}', '... as the kind says');

done_testing();
