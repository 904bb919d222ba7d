# pg_upgrade: tasks, definitions and attempts come along, and wait until somebody
# says that they shall run there.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $old = taskq_node('old');
my $db = 'postgres';
$old->safe_psql(
	$db, q{
	CREATE ROLE alice LOGIN;
	GRANT taskq_user TO alice;
	SELECT taskq.kind_define('granted', 'short_work(jsonb)', run_as => 'alice', description => 'kept'), taskq.kind_grant('granted', 'taskq_user');
	SELECT taskq.kind_define('fail_twice', 'fail_work(jsonb)', max_attempts => 2, backoff => '10 ms');
	SELECT taskq.queue_define('held', description => 'held back'), taskq.queue_pause('held');
});
my $done = submit($old, $db, 'short', '{"a": 1}');
is(wait_task($old, $db, $done), 'completed', 'a completed one');
my $failed = submit($old, $db, 'fail_twice');
is(wait_task($old, $db, $failed), 'failed', 'a failed one');
my $waiting = as_role($old, $db, 'alice', q{SELECT taskq.task_submit('short', queue => 'held')});
my $later = submit($old, $db, 'short', '{}', "delay => '1 s'");
my $running = submit($old, $db, 'gate', '{"gate": "x"}');
wait_state($old, $db, $running, 'running');
my $columns = 'state, attempt, payload, result, error, submitted_by, run_as, created_at, finished_at';
my $before = sql($old, $db, "SELECT $columns FROM taskq.task_status('$done'); SELECT $columns FROM taskq.task_status('$failed')");
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', "$_\n")
  foreach "shared_preload_libraries = 'taskq'", 'max_worker_processes = 16', 'max_prepared_transactions = 10';
chdir(PostgreSQL::Test::Utils::tempdir());
chomp(my $bindir = `$ENV{PG_CONFIG} --bindir`) if $ENV{PG_CONFIG};
chomp($bindir = `pg_config --bindir`) if !$bindir;
my ($out, $err) = ('', '');
my $upgraded = IPC::Run::run(
	[ "$bindir/pg_upgrade", '--no-sync', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bindir, '-B', $bindir,
		'-s', $new->host, '-p', $old->port, '-P', $new->port ],
	'>', \$out, '2>', \$err);
ok($upgraded, 'pg_upgrade') or diag("$out\n$err");
$new->start;

is(sql($new, $db, "SELECT $columns FROM taskq.task_status('$done'); SELECT $columns FROM taskq.task_status('$failed')"),
	$before, 'finished tasks are as they were');
is( sql($new, $db, "SELECT string_agg(state, ' ' ORDER BY attempt) FROM taskq.task_attempts('$failed')"),
	'failed failed', '... with their attempts');
is( sql($new, $db, q{SELECT k.run_as, k.owner = current_user, k.submitters, k.description FROM taskq.kind k WHERE k.name = 'granted'}),
	'alice|t|{taskq_user}|kept', 'kinds with their grants');
is(sql($new, $db, q{SELECT paused, description FROM taskq.queue WHERE name = 'held'}), 't|held back', 'queues');
my $own = submit($new, $db, 'short');
is(wait_task($new, $db, $own), 'completed', 'new tasks run');
task_is($new, $db, $_, 'state', 'pending', 'what came along waits') foreach $running, $waiting;
is(sql($new, $db, q{SELECT (s->>'foreign_lanes')::int > 0, s->>'why_foreign' ~ 'resume' FROM taskq.sitrep() s}), 't|t', 'sitrep says why');
open_gate($new, $db, 'x');
cmp_ok(sql($new, $db, 'SELECT taskq.resume()'), '>', 0, 'resumed');
is(wait_task($new, $db, $running), 'completed', '... what ran runs again');
is(effects($new, $db, $running), 1, '... with one effect');
is(wait_task($new, $db, $later), 'completed', '... what was scheduled runs');
sql($new, $db, q{SELECT taskq.queue_resume('held')});
is(wait_task($new, $db, $waiting), 'completed', '... what waited too');
is(sql($new, $db, "SELECT who FROM effect WHERE task = '$waiting'"), 'alice', '... as its role');

done_testing();
