# Who gets something wrong is told what, and by whom it can be put right.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('reasons', 'shared_preload_libraries' => '');
my $db = 'postgres';

sub why { return sql($node, $db, q{SELECT s->>'running' || ': ' || coalesce(s->>'why_not_running', '-') FROM taskq.sitrep() s}) }

sub says
{
	my ($query, $role) = @_;
	my ($stdout, $stderr);
	$node->psql($db, $query, stdout => \$stdout, stderr => \$stderr, extra_params => [ '-U', $role ]);
	return $stderr;
}

# --- a server that runs nothing

my $stderr;
$node->psql($db, 'DROP EXTENSION taskq; CREATE EXTENSION taskq', stderr => \$stderr, on_error_die => 1);
like($stderr, qr/WARNING:  taskq is not loaded by the server\nHINT:  Add taskq to shared_preload_libraries and restart the server/, 'CREATE EXTENSION in a server without the library');
like(why(), qr/^false: .*shared_preload_libraries/, '... sitrep says so');
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'taskq'");
$node->restart;
ok($node->poll_query_until($db, q{SELECT (taskq.sitrep()->>'running')::bool}), 'with the library it runs');
is(why(), 'true: -', '... for no reason');
$node->psql($db, 'DROP EXTENSION taskq; CREATE EXTENSION taskq', stderr => \$stderr, on_error_die => 1);
is($stderr, '', '... and CREATE EXTENSION says nothing');

$node->append_conf('postgresql.conf', 'taskq.max_workers = 0');
$node->reload;
ok($node->poll_query_until($db, q{SELECT taskq.sitrep()->>'why_not_running' = 'taskq.max_workers is 0.'}), 'no workers: sitrep says so');
$node->append_conf('postgresql.conf', "taskq.max_workers = 2\ntaskq.databases = 'one, \"Other\"'");
$node->reload;
ok($node->poll_query_until($db, q{SELECT taskq.sitrep()->>'why_not_running' = 'taskq.databases does not name this database.'}), 'another database: sitrep says so');
$node->append_conf('postgresql.conf', qq{taskq.databases = 'one, "$db"'});
$node->reload;
ok($node->poll_query_until($db, q{SELECT (taskq.sitrep()->>'running')::bool}), 'named again, it runs');

# --- kinds with a handler are not for external workers

$node->safe_psql(
	$db, q{
	CREATE FUNCTION echo(p jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT p';
	CREATE ROLE ext LOGIN;
	CREATE ROLE gate_role LOGIN;
	GRANT taskq_worker TO ext;
	GRANT taskq_user TO gate_role;
	SELECT taskq.kind_define('inside', 'echo(jsonb)'), taskq.kind_define('outside');
});
like(says(q{SELECT * FROM taskq.task_claim('w', kinds => '{inside}')}, 'ext'), qr/ERROR:  these kinds of task have handlers\nHINT:  Workers of the server run them/, 'to claim a kind that has a handler');
like(says(q{SELECT * FROM taskq.task_claim('w', kinds => '{inside, outside}')}, 'ext'), qr/ERROR:  permission denied .*\n.*kind_grant/, '... beside one that was not given');
my $me = sql($node, $db, 'SELECT current_user');
like(says(q{SELECT taskq.kind_grant('inside', 'ext', 'work')}, $me), qr/NOTICE:  kind "inside" has a handler/, 'work on a kind that has one is given with a notice');
like(says(q{SELECT taskq.kind_grant('inside', 'ext')}, $me), qr/NOTICE:  kind "inside" runs as whoever submits it/, '... so is the submit of a kind for everybody');
is(says(q{SELECT taskq.kind_grant('outside', 'ext', 'work all')}, $me), '', '... not what has an effect');

# --- claims that are none

configure($node, 'taskq.trusted_gateways' => 'gate_role');
ok($node->poll_query_until($db, q{SELECT current_setting('taskq.trusted_gateways') = 'gate_role'}), 'a gateway');
sql($node, $db, q{SELECT taskq.task_submit('inside')}, 'gate_role');
foreach my $query (q{SELECT taskq.task_submit('inside')}, q{SELECT count(*) FROM taskq.task})
{
	like(says("SET request.jwt.claims = 'garbage'; $query", 'gate_role'), qr/invalid input syntax for type json.*setting request\.jwt\.claims/s, "claims that are no JSON are named: $query");
}

$node->stop;
done_testing();
