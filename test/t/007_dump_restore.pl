# pg_dump and pg_restore of a database with tasks in every state.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('dump');
my $dump = PostgreSQL::Test::Utils::tempdir() . '/dump';
my %id;

$node->safe_psql('postgres', q{
	CREATE ROLE alice LOGIN;
	GRANT taskq_user TO alice;});
taskq_database($node, 'source');
$node->safe_psql(
	'source', q{
	SELECT taskq.kind_define('fail_later', 'fail_work(jsonb)', max_attempts => 3, backoff => '1 day', backoff_max => '2 days');
	SELECT taskq.queue_define('held', description => 'kept back');
	SELECT taskq.queue_pause('held');});

$id{completed} = submit($node, 'source', 'short', '{"a": [1, 2]}', q{tags => '{x,y}', metadata => '{"m": 1}'});
$id{failed} = submit($node, 'source', 'fail');
$id{cancelled} = submit($node, 'source', 'short', '{}', "queue => 'held'");
$node->safe_psql('source', "SELECT taskq.task_cancel('$id{cancelled}', 'why not')");
$id{pending} = submit($node, 'source', 'short', '{"p": 1}', "queue => 'held', priority => 5");
$id{scheduled} = submit($node, 'source', 'short', '{}', "run_at => '2100-01-01 00:00:00+00'");
$id{retrying} = submit($node, 'source', 'fail_later');
$id{alice} = as_role($node, 'source', 'alice', q{SELECT taskq.task_submit('short', queue => 'held')});
$id{running} = submit($node, 'source', 'gate', '{"gate": "x"}');
is(wait_task($node, 'source', $id{completed}), 'completed', 'one completes');
is(wait_task($node, 'source', $id{failed}), 'failed', 'one fails');
wait_state($node, 'source', $id{retrying}, 'retrying');
wait_state($node, 'source', $id{running}, 'running');
my $summary = 'SELECT state, count(*) FROM taskq.task GROUP BY state ORDER BY state';
is( sql($node, 'source', $summary),
	"cancelled|1\ncompleted|1\nfailed|1\npending|2\nretrying|1\nrunning|1\nscheduled|1",
	'tasks in every state');
my $lasting = q{SELECT id, kind, queue, state, priority, payload, result, error - 'context', attempt, max_attempts,
	run_at, created_at, started_at, finished_at, submitted_by, run_as, tags, metadata, cancel_reason
	FROM taskq.task WHERE state NOT IN ('running', 'pending') ORDER BY id};
my $before = sql($node, 'source', $lasting);

$node->command_ok(
	[ 'pg_dump', '-Fc', '-f', $dump, $node->connstr('source') ],
	'pg_dump while a task runs');
$node->safe_psql('postgres', 'CREATE DATABASE restored');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('restored'), $dump ],
	'pg_restore --exit-on-error');

# --- what a restored database is

is( sql($node, 'restored', $summary),
	"cancelled|1\ncompleted|1\nfailed|1\npending|3\nretrying|1\nscheduled|1",
	'the tasks are there; the one that ran is pending');
is(sql($node, 'restored', $lasting), $before, '... and as they were');
is(sql($node, 'restored', "SELECT taskq.task_result('$id{completed}')"),
	'{"a": [1, 2]}', 'results are kept');
is( sql($node, 'restored',
		q{SELECT name, paused, description FROM taskq.queue WHERE name = 'held'}),
	'held|t|kept back',
	'so are queues');
is( sql($node, 'restored',
		q{SELECT max_attempts, backoff, handler FROM taskq.kind WHERE name = 'fail_later'}),
	sql($node, 'source',
		q{SELECT max_attempts, backoff, handler FROM taskq.kind WHERE name = 'fail_later'}),
	'and kinds');

# --- it starts paused

open_gate($node, 'restored', 'x');
my $own = submit($node, 'restored', 'gate', '{"gate": "x"}');
is(wait_task($node, 'restored', $own),
	'completed', 'a task submitted after the restore runs');
task_is($node, 'restored', $id{running}, 'state', 'pending',
	'one of the dump does not');
is(effects($node, 'restored', $id{running}), 0, '... and has no effect');

cmp_ok(sql($node, 'restored', 'SELECT taskq.resume()'),
	'>', 0, 'taskq.resume() takes the lanes over');
is(wait_task($node, 'restored', $id{running}),
	'completed', '... and it runs');
is(effects($node, 'restored', $id{running}), 1, '... once');
task_is($node, 'restored', $id{pending}, 'state', 'pending',
	'a paused queue stays paused');
$node->safe_psql('restored', q{SELECT taskq.queue_resume('held')});
is(wait_task($node, 'restored', $id{pending}),
	'completed', '... until it is resumed');
is(wait_task($node, 'restored', $id{alice}), 'completed', 'another role\'s task runs');
is(sql($node, 'restored', "SELECT who FROM effect WHERE task = '$id{alice}'"),
	'alice', '... as that role');
task_is($node, 'restored', $id{retrying}, 'state, attempt, error->>\'sqlstate\'', 'retrying|1|TT001',
	'a retry waits for its time');

open_gate($node, 'source', 'x');
is(wait_task($node, 'source', $id{running}),
	'completed', 'the source goes on by itself');
is(effects($node, 'source', $id{running}), 1, '... with one effect');

# --- into another server, where roles have other oids

my $other = taskq_node('restore');
$other->safe_psql(
	'postgres', q{
	CREATE ROLE somebody LOGIN;
	GRANT taskq_user TO somebody;
	CREATE ROLE alice LOGIN;
	GRANT taskq_user TO alice;
	CREATE DATABASE restored;});
$other->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $other->connstr('restored'), $dump ],
	'pg_restore into another server');
isnt(
	sql($other, 'postgres', q{SELECT oid FROM pg_roles WHERE rolname = 'alice'}),
	sql($node, 'postgres', q{SELECT oid FROM pg_roles WHERE rolname = 'alice'}),
	'where the role has another oid');
is( sql($other, 'postgres', q{SELECT oid FROM pg_roles WHERE rolname = 'somebody'}),
	sql($node, 'postgres', q{SELECT oid FROM pg_roles WHERE rolname = 'alice'}),
	'... and its own is somebody else\'s');
is(as_role($other, 'restored', 'somebody', 'SELECT count(*) FROM taskq.task'),
	'0', 'a role that has its oid there sees nothing of it');
$own = as_role($other, 'restored', 'somebody', q{SELECT taskq.task_submit('short', queue => 'held')});
$other->safe_psql('restored', q{SELECT taskq.queue_resume('held'); SELECT taskq.resume();});
is(as_role($other, 'restored', 'alice', "SELECT count(*) FROM taskq.task WHERE id = '$id{alice}'"),
	'1', 'resumed, the role sees its task');
is(wait_task($other, 'restored', $id{alice}), 'completed', '... and it runs');
is(sql($other, 'restored', "SELECT who FROM effect WHERE task = '$id{alice}'"),
	'alice', '... as that role');
is(wait_task($other, 'restored', $own), 'completed', 'a new role\'s task runs');
is(sql($other, 'restored', "SELECT who FROM effect WHERE task = '$own'"),
	'somebody', '... as that role');
$other->stop;

# --- a second round: what was restored can be dumped and restored

$node->command_ok(
	[ 'pg_dump', '-Fc', '-f', "$dump.2", $node->connstr('restored') ],
	'pg_dump of a restored database');
$node->safe_psql('postgres', 'CREATE DATABASE again');
$node->command_ok(
	[ 'pg_restore', '--exit-on-error', '-d', $node->connstr('again'), "$dump.2" ],
	'... restored again');
is(sql($node, 'again', $summary),
	sql($node, 'restored', $summary), '... with the same tasks');

$node->stop;
done_testing();
