# What a session that acts for others gets, and when: statuses, waits, and a server without the library.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('rights', 'taskq.trusted_gateways' => 'gate_role', 'taskq.max_wait' => '300 ms');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION echo(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';
	CREATE ROLE gate_role LOGIN NOINHERIT;
	CREATE ROLE web NOLOGIN;
	CREATE ROLE ext NOLOGIN;
	CREATE ROLE runner LOGIN;
	GRANT web, ext TO gate_role;
	GRANT taskq_user TO web, runner;
	GRANT taskq_worker TO ext;
	SELECT taskq.kind_define('web', 'echo(jsonb)', run_as => 'runner'), taskq.kind_grant('web', 'web');
	SELECT taskq.kind_define('web_ext', run_as => 'runner'), taskq.kind_grant('web_ext', 'web'), taskq.kind_grant('web_ext', 'ext', 'work');
	SELECT taskq.kind_define('web_none', run_as => 'runner');
	SELECT taskq.queue_define('held'), taskq.queue_pause('held');
});

# A request as PostgREST makes it: status and rows.
sub request
{
	my ($role, $path, $query, %more) = @_;
	my $tenant = $more{tenant} // 'a';
	my $settings = $more{settings} // '';
	my ($stdout, $stderr);
	$node->psql(
		$db, qq{
		\\set VERBOSITY verbose
		BEGIN;
		SELECT set_config('role', '$role', true), set_config('request.jwt.claims', '{"sub": "$tenant"}', true),
			set_config('request.method', 'POST', true), set_config('request.path', '$path', true) \\g /dev/null
		$settings
		$query;
		COMMIT},
		stdout => \$stdout, stderr => \$stderr, on_error_stop => 0, extra_params => [ '-U', 'gate_role' ]);
	return $1 if $stderr =~ /ERROR:  (\w{5}):/;
	return $stdout;
}

my $id = request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web', '{"n": 1}')});
like($id, qr/^[0-9a-f-]{36}$/, 'a submit over a gateway');
is(request('web', '/rpc/task_wait', "SELECT state, tenant FROM taskq.task_wait('$id', '50 s')"), 'completed|a', '... is waited for');

# --- waits

my $held = request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web', queue => 'held')});
# without the cap these would be there after the test
is(request('web', '/rpc/task_wait', "SELECT state FROM taskq.task_wait('$held', '30 days')"), 'pending', 'a wait ends with taskq.max_wait');
is(request('web', '/rpc/task_wait_all', "SELECT state FROM taskq.task_wait_all('{$held,$id}', '30 days') ORDER BY 1"), "completed\npending", '... one for several');
is(request('web', '/rpc/task_wait_any', "SELECT count(*) FROM taskq.task_wait_any('{$held}', '30 days')"), '0', '... or any of them');
is(request('ext', '/rpc/task_claim', "SELECT count(*) FROM taskq.task_claim('w', wait => '30 days')"), '0', '... and one for work');
is(request('web', '/rpc/task_wait', "SELECT state FROM taskq.task_wait('$held', '30 days')", settings => "SET LOCAL taskq.max_wait = 0;"),
	'42501', 'nobody lengthens his own');
# superusers wait as long as they like: until the cap is over
my $waiter = $node->background_psql($db);
$waiter->query_until(qr/started/, "\\echo started\nSELECT state FROM taskq.task_wait('$held', '30 days');\n");
ok($node->poll_query_until($db, q{SELECT state = 'active' AND now() - query_start > '600 ms' FROM pg_stat_activity WHERE query LIKE 'SELECT state FROM taskq.task_wait%'}),
	'a superuser waits longer than that');

my %wait = (
	task_wait => "SELECT state FROM taskq.task_wait('$held', '30 days')",
	task_wait_all => "SELECT state FROM taskq.task_wait_all('{$held}', '30 days')",
	task_wait_any => "SELECT 'pending' WHERE NOT EXISTS (SELECT FROM taskq.task_wait_any('{$held}', '30 days'))",
	task_claim => "SELECT 'pending' WHERE NOT EXISTS (SELECT FROM taskq.task_claim('w', wait => '30 days'))");
foreach my $call (sort keys %wait)
{
	is(sql($node, $db, "SET statement_timeout = '1 s'; $wait{$call}"), 'pending', "statement_timeout ends $call with what there is");
}
is(sql($node, $db, "SET statement_timeout = '1 s'; CALL taskq.task_wait_long('$held', '30 days')"), 'pending', '... and task_wait_long');
is(request('web', '/rpc/task_wait', $wait{task_wait}, settings => "SET LOCAL statement_timeout = '1 s';"), 'pending', '... over a gateway');
like(sql_error($node, $db, "SET statement_timeout = '300 ms'; SELECT pg_sleep(60), state FROM taskq.task_wait('$id')"), qr/57014/, 'what else takes long is cancelled');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is($waiter->query_safe(''), 'completed', 'who waits on is told');

# --- a row that another session has

my ($live, $done) = map { request('web', '/rpc/task_submit', "SELECT taskq.task_submit('$_')") } qw(web_ext web);
is(wait_task($node, $db, $done), 'completed', 'a task is finished');
my $claim = request('ext', '/rpc/task_claim', q{SELECT token FROM taskq.task_claim('w')});
my $waiting = request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web_ext', delay => '1 day')});
my $holder = $node->background_psql($db);
$holder->query_safe("BEGIN; SELECT id FROM taskq_internal.task WHERE id IN ('$live', '$done', '$waiting') FOR UPDATE");
my %busy = (
	"task_heartbeat('$live', '$claim')" => 'ext',
	"task_complete('$live', '$claim')" => 'ext',
	"task_fail('$live', '$claim')" => 'ext',
	"task_release('$live', '$claim')" => 'ext',
	"task_cancel('$waiting')" => 'web',
	"task_retry('$done')" => 'web',
	"task_delete('$done')" => 'web');
foreach my $call (sort keys %busy)
{
	my ($name) = $call =~ /^(\w+)/;
	# most are in a hurry, or the test would take long
	my $hurry = $name =~ /complete|delete/ ? '' : q{SET LOCAL statement_timeout = '600 ms';};
	is(request($busy{$call}, "/rpc/$name", "SELECT taskq.$call", settings => $hurry), 'PT503', "another session has the row: $name says so, and does not wait for ever");
}
is(request('web', '/rpc/task_delete', "SELECT taskq.task_delete('$done')", settings => q{SET LOCAL lock_timeout = '1 ms';}), 'PT503', '... also with lock_timeout');
$holder->query_safe('COMMIT');
is(request('ext', '/rpc/task_complete', "SELECT taskq.task_complete('$live', '$claim')"), '', 'let go, it is changed');
is(request('web', '/rpc/task_delete', "SELECT taskq.task_delete('$done')"), '', '... and deleted');
$_->quit foreach $holder, $waiter;

# --- other statuses

is(request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web', to_jsonb(repeat('x', 2000000)))}), 'PT413', 'a payload that is too large');
is(request('web', '/rpc/task_submit_batch', q{SELECT taskq.task_submit_batch('web', jsonb_build_array(1, repeat('x', 2000000)))}), 'PT413', '... one of many');
is(request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web', tags => ARRAY[repeat('x', 2000000)])}), 'PT413', '... tags');
is(request('web', '/queue', "UPDATE taskq.queue SET paused = true"), '42501', 'nobody changes a view');
foreach my $dml ("UPDATE taskq.task SET state = 'x'",
	"WITH x AS (UPDATE taskq.task SET state = 'x' RETURNING 1) SELECT * FROM x", 'DELETE FROM taskq.kind', 'DELETE FROM taskq.queue', 'DELETE FROM taskq.worker', 'DELETE FROM taskq.task_attempt')
{
	my $error = sql_error($node, $db, $dml);
	like($error, qr/PT405: view taskq\.\w+ cannot be changed.*HINT:  Use taskq\.\w+\(\)/s, "not by a superuser either, and is told what to use: $dml");
	unlike($error, qr/task_all|internal/, '... no word of what is inside');
}
is(request('ext', '/rpc/task_claim', q{SELECT * FROM taskq.task_claim('w', kinds => '{no_such, neither}', wait => '1 h')}), 'PT404', 'to claim kinds that do not exist');
is(request('ext', '/rpc/task_claim', q{SELECT * FROM taskq.task_claim('w', kinds => '{no_such, web_none}')}), '42501', '... or were not granted');
is(request('ext', '/rpc/task_claim', q{SELECT * FROM taskq.task_claim('w', kinds => '{web_none, web_ext}')}), '', '... of which one was');
$node->safe_psql($db, "SELECT taskq.task_cancel('$waiting', 'no more')");
is(request('web', '/rpc/task_result', "SELECT taskq.task_result('$waiting')"), 'PT409', 'a cancelled task has no result');
is(request('web', '/rpc/task_result', "SELECT coalesce(taskq.task_result('$live')::text, 'null')"), 'null', 'a completed one may have none');

my %inside = (progress => '1', current_task => '', cancel_requested => '', fail => q{'x'}, retry => '');
foreach my $name (sort keys %inside)
{
	is(request('web', "/rpc/$name", "SELECT taskq.$name($inside{$name})"), 'PT409', "$name() is not inside a task");
}
is(request('web', '/rpc/my_function', 'SELECT taskq.progress(1)'), '', 'a handler that is run by hand, in a function of an API, goes on');
is(sql($node, $db, 'SELECT taskq.cancel_requested()'), 'f', '... as it does in plain SQL');

like(sql_error($node, $db, 'BEGIN READ ONLY; SELECT taskq.worker_restart()'), qr/25006/, 'a read-only transaction sends no worker away');
like(sql_error($node, $db, q{BEGIN READ ONLY; SELECT taskq.worker_stop('worker-1')}), qr/25006/, '... nor one');

# --- roles that are there before the extension

$node->safe_psql($db, q{CREATE DATABASE other});
my $stderr;
$node->psql('other', 'CREATE EXTENSION taskq', stderr => \$stderr, on_error_die => 1);
is($stderr, '', 'a second database with taskq: nothing to say of its roles');
$node->safe_psql($db, q{ALTER ROLE taskq_monitor LOGIN; DROP DATABASE other; CREATE DATABASE other});
$node->psql('other', 'CREATE EXTENSION taskq', stderr => \$stderr, on_error_die => 1);
like($stderr, qr/WARNING:  role "taskq_monitor" existed before and can log in/, 'a role that can log in is told of');
$node->safe_psql($db, q{ALTER ROLE taskq_monitor NOLOGIN; DROP DATABASE other; DROP EXTENSION taskq CASCADE});
$node->psql($db, 'CREATE EXTENSION taskq', stderr => \$stderr, on_error_die => 1);
like($stderr, qr/WARNING:  role "taskq_user" existed before and has members.*runner, web/s, '... and one that has members');

# --- without the library

$node->safe_psql($db, q{CREATE OR REPLACE FUNCTION echo(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';
	SELECT taskq.kind_define('web', 'echo(jsonb)', run_as => 'runner'), taskq.kind_grant('web', 'web')});
my %task = map { $_ => request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web', '{"secret": 1}')}, tenant => $_) } qw(a b);
is(wait_task($node, $db, $task{$_}), 'completed', "the task of $_") foreach qw(a b);
$node->adjust_conf('postgresql.conf', 'shared_preload_libraries', "''");
$node->restart;
is(request('web', '/rpc/task_status', "SELECT tenant FROM taskq.task_status('$task{a}')"), 'a', 'without the library a tenant sees its own');
is(request('web', '/rpc/task_status', "SELECT tenant FROM taskq.task_status('$task{b}')"), 'PT404', '... and no other\'s');
is(request('web', '/task', 'SELECT DISTINCT tenant FROM taskq.task'), 'a', '... in the view');
is(request('web', '/rpc/task_result', "SELECT taskq.task_result('$task{b}')"), 'PT404', '... its result');
is(request('web', '/rpc/task_delete', "SELECT taskq.task_delete('$task{b}')"), 'PT404', '... and cannot delete it');
is(request('web', '/rpc/task_status', "SELECT tenant FROM taskq.task_status('$task{b}')", tenant => 'a", "org": "b', settings => q{SET LOCAL taskq.tenant_claim = 'org';}), 'PT404', '... nor say what a tenant is');
is(request('web', '/rpc/task_submit', q{SELECT taskq.task_submit('web')}), 'PT503', 'a submit is answered with 503');
is(request('web', '/rpc/task_cancel', "SELECT taskq.task_cancel('$task{a}')"), 'PT503', '... and a cancel');

$node->stop;
done_testing();
