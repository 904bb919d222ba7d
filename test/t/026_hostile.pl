# Roles that would keep others from their work, or be somebody else.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node(
	'hostile',
	'taskq.max_workers' => 3,
	'taskq.max_lanes' => 16,
	'taskq.trusted_gateways' => 'gate_role',
	'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE ROLE alice LOGIN;
	CREATE ROLE mallory LOGIN CREATEROLE;
	CREATE ROLE oper LOGIN;
	CREATE ROLE worker_role LOGIN;
	CREATE ROLE nobody_role LOGIN;
	CREATE ROLE gate_role LOGIN NOINHERIT;
	CREATE ROLE web NOLOGIN;
	CREATE ROLE runner LOGIN;
	GRANT taskq_user TO alice, mallory, oper, web, runner;
	GRANT taskq_operator TO oper;
	GRANT taskq_worker TO worker_role, web;
	GRANT web TO gate_role;
	CREATE SCHEMA oper AUTHORIZATION oper;
	SELECT taskq.kind_define('ext1'), taskq.kind_define('ext2');
	SELECT taskq.kind_grant(k, r::regrole, 'work') FROM unnest(ARRAY['ext1', 'ext2']) k, unnest(ARRAY['worker_role', 'web']) r;
	CREATE FUNCTION who_work(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
		SELECT to_jsonb(c) FROM taskq.current_task() c $$;
	SELECT taskq.kind_define('who', 'who_work(jsonb)', run_as => 'runner'), taskq.kind_grant('who', 'alice'), taskq.kind_grant('who', 'oper');
	CREATE FUNCTION any_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		r text;
	BEGIN
		IF p ? 'do' THEN
			EXECUTE p->>'do';
			RETURN NULL;
		END IF;
		EXECUTE p->>'sql' INTO r;
		RETURN to_jsonb(r);
	END $$;
	SELECT taskq.kind_define('any', 'any_work(jsonb)', max_attempts => 1);
});

sub as { my ($role, $query) = @_; return sql($node, $db, "SET SESSION AUTHORIZATION $role; $query"); }
sub error_as { my ($role, $query) = @_; return sql_error($node, $db, "SET SESSION AUTHORIZATION $role; $query"); }

# --- an operator, a superuser's old task and a new handler

as('oper', q{CREATE FUNCTION oper.h(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT j'; SELECT taskq.kind_define('nice', 'oper.h(jsonb)')});
like(sql_error($node, $db, q{SELECT taskq.task_submit('nice')}), qr/superusers run no tasks of kind "nice"/, 'a superuser runs no task of an operator\'s kind');
$node->safe_psql($db, q{ALTER ROLE oper SUPERUSER});
my $id = submit($node, $db, 'nice');
is(wait_task($node, $db, $id), 'completed', '... but of one who is a superuser');
$node->safe_psql($db, q{ALTER ROLE oper NOSUPERUSER});
as('oper', q{CREATE OR REPLACE FUNCTION oper.h(j jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN EXECUTE 'ALTER ROLE oper SUPERUSER'; RETURN j; END $$});
like(error_as('oper', "SELECT taskq.task_retry('$id')"), qr/permission denied to retry a task of superuser/, 'the operator cannot run it again with another handler');

# --- who asks for another payload is the one who submits

$id = as('alice', q{SELECT taskq.task_submit('who', '{"a": 1}')});
is(wait_task($node, $db, $id), 'completed', 'a task of a kind with run_as');
my $again = as('oper', "SELECT taskq.task_retry('$id')");
is(wait_task($node, $db, $again), 'completed', '... runs again for an operator');
is(sql($node, $db, "SELECT result->>'submitted_by' FROM taskq.task_status('$again')"), 'alice', '... as submitted by whom it was');
$again = as('oper', qq{SELECT taskq.task_retry('$id', payload => '{"a": 2}')});
is(wait_task($node, $db, $again), 'completed', '... and with another payload');
is(sql($node, $db, "SELECT result->>'submitted_by' FROM taskq.task_status('$again')"), 'oper', '... as submitted by the operator');

# --- numbers that nothing can be computed with

for my $bad (q{timeout => '178000000 years'}, q{timeout => '11 years'})
{
	like(error_as('mallory', "SELECT taskq.task_submit('ext1', $bad)"), qr/timeout must not be longer than ten years/, "refused: $bad");
}
like(error_as('oper', q{SELECT taskq.kind_define('x', backoff => '100000000 years')}), qr/backoff must not be longer/, 'refused: such a backoff');
for my $numbers ('1e308, 1e308', '1e-300, 1e300', '1e-300, 1e-300', '1e15, 1e-5', '1e-5, 1e15')
{
	$id = as('mallory', qq{SELECT taskq.task_submit('any', '{"sql": "SELECT taskq.progress($numbers)::text"}')});
	wait_task($node, $db, $id);
	is(sql($node, $db, "SELECT count(*) FROM taskq.task WHERE id = '$id' AND progress >= 0"), '1', "the view can be read after progress($numbers)");
}

# --- more lanes than there is room for

as('mallory', q{SELECT count(taskq.task_submit(k, priority => p)) FROM unnest(ARRAY['ext1', 'ext2']) k, generate_series(-20, 20) p});
$id = as('alice', q{SELECT taskq.task_submit('short', '{"by": "alice"}')});
is(wait_task($node, $db, $id), 'completed', 'a role that fills the table of lanes keeps nobody else out');
$id = as('mallory', q{SELECT taskq.task_submit('short', priority => 7)});
is(wait_task($node, $db, $id), 'completed', '... nor its own tasks for good');
as('mallory', q{SELECT count(taskq.task_submit('short', priority => p)) FROM generate_series(-25, 25) p});
ok( $node->poll_query_until($db, q{SELECT count(*) = 52 FROM taskq.task WHERE kind = 'short' AND submitted_by = 'mallory' AND state = 'completed'}),
	'all of its lanes have their turn');
is(as('worker_role', q{SELECT count(*) FROM taskq.task_claim('w', n => 1)}), '1', 'external workers get of the others');
as('mallory', q{SELECT count(*) FROM taskq.task t, taskq.task_cancel(t.id) WHERE t.kind LIKE 'ext%'});

# --- depth

configure($node, 'taskq.max_depth' => 5);
$node->safe_psql(
	$db, q{
	CREATE FUNCTION chain_work(p jsonb) RETURNS text LANGUAGE plpgsql AS $$
	BEGIN
		IF p ? 'retry' THEN
			PERFORM taskq.task_retry((p->>'retry')::uuid);
		ELSE
			PERFORM taskq.task_submit('chain', p, parent => (p->>'root')::uuid);
		END IF;
		RETURN 'went on';
	EXCEPTION WHEN SQLSTATE 'PT429' THEN
		RETURN 'stopped';
	END $$;
	SELECT taskq.kind_define('chain', 'chain_work(jsonb)');
});
$id = submit($node, $db, 'short');
wait_task($node, $db, $id);
submit($node, $db, 'chain', qq({"root": "$id"}));
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM taskq.task WHERE kind = 'chain' AND result = '"stopped"'}),
	'descendants are counted whatever parent they name');
$id = submit($node, $db, 'chain', '{}');
ok($node->poll_query_until($db, q{SELECT count(*) = 2 FROM taskq.task WHERE kind = 'chain' AND result = '"stopped"'}), '... by default too');
$id = sql($node, $db, q{SELECT id FROM taskq.task WHERE kind = 'chain' AND result = '"stopped"' LIMIT 1});
is( wait_task($node, $db, submit($node, $db, 'chain', qq({"retry": "$id"}))), 'completed', 'a task that runs another one again');
ok($node->poll_query_until($db, q{SELECT count(*) >= 3 AND bool_and(ready) FROM taskq.task WHERE kind = 'chain' AND (result = '"stopped"' OR NOT ready)}),
	'... is its ancestor');

# --- rows that somebody holds

my %open = map { $_ => as('mallory', "SELECT taskq.task_submit('ext1', '{\"n\": \"$_\"}')") } qw(held free);
my %token = map { split /\|/ } split /\n/, as('worker_role', q{SELECT id, token FROM taskq.task_claim('w', kinds => '{ext1}', n => 10, lease => '1 h')});
my $holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ],
	'<', \my $in, '>', \my $out, '2>', \my $err);
($in, $out, $err) = ('', '', '');
$in .= "SET SESSION AUTHORIZATION mallory; BEGIN; SELECT cancelled FROM taskq.task_cancel('$open{held}');\n\\echo held\n";
$holder->pump until $out =~ /held/;
like(error_as('worker_role', "SELECT taskq.task_heartbeat('$open{held}', '$token{$open{held}}')"), qr/is being changed by another session/,
	'a heartbeat does not wait for ever for a cancel that is not committed');
is(as('worker_role', "SELECT cancel_requested FROM taskq.task_heartbeat('$open{free}', '$token{$open{free}}')"), 'f', '... others go on');

# the dispatcher neither
configure($node, 'taskq.databases' => 'nowhere');
ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'taskq dispatcher')}), 'no dispatcher');
configure($node, 'taskq.databases' => undef);
is(wait_task($node, $db, as('alice', q{SELECT taskq.task_submit('short')})), 'completed', 'one that comes while a lease is held does its work');
$in .= "ROLLBACK;\n\\q\n";
$holder->finish;
$node->safe_psql($db, qq{SET SESSION AUTHORIZATION worker_role; BEGIN;
	SELECT taskq.task_heartbeat('$open{free}', '$token{$open{free}}'); PREPARE TRANSACTION 'lease'});
$node->restart;
is(wait_task($node, $db, as('alice', q{SELECT taskq.task_submit('short')})), 'completed', '... also after a restart, while a prepared transaction holds it');
$node->safe_psql($db, q{ROLLBACK PREPARED 'lease'});

# --- events of a database that is not served

taskq_database($node, 'unserved');
configure($node, 'taskq.databases' => 'postgres');
$node->safe_psql('unserved', q{
	SELECT taskq.kind_define('ext');
	CREATE TABLE ids AS SELECT taskq.task_submit_many('ext', array_fill('{}'::jsonb, ARRAY[9000])) AS id});
$node->safe_psql('unserved', q{SELECT count(*) FROM ids, taskq.task_cancel(ids.id)});
is(wait_task($node, $db, as('alice', q{SELECT taskq.task_submit('short')})), 'completed', 'events of a database that is not served leave room for others');
my $lost = sql($node, $db, q{SELECT taskq.sitrep()->>'events_lost'});
$node->safe_psql($db, q{SELECT count(*) FROM (SELECT taskq.task_submit('short') FROM generate_series(1, 3000)) s});
ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'short' AND NOT ready)}), '... 3,000 tasks');
is(sql($node, $db, q{SELECT taskq.sitrep()->>'events_lost'}), $lost, '... and no event of theirs is lost');
# a dispatcher that starts while its database goes, and may say so after the DROP has returned
expect_fatal($node, 'database \S+ does not exist', [ 0, 1 ]);
configure($node, 'taskq.databases' => undef);
$node->safe_psql($db, 'DROP DATABASE unserved');

# --- tenants

sub web
{
	my ($claims, $query) = @_;
	return as('gate_role', "SET ROLE web; SET request.jwt.claims = '$claims'; $query");
}
$id = web('{"sub": "T1"}', q{SELECT taskq.task_submit('ext2', '{"secret": 1}')});
is(web('{"sub": "T2"}', q{SELECT count(*) FROM taskq.task_claim('x', kinds => '{ext2}')}), '0', 'a worker behind a gateway does not claim tasks of another tenant');
is(web('{}', q{SELECT count(*) FROM taskq.task_claim('x', kinds => '{ext2}')}), '0', '... nor one without a tenant');
is(web('{"sub": "T1"}', q{SELECT payload FROM taskq.task_claim('x', kinds => '{ext2}')}), '{"secret": 1}', '... but those of its own');

# --- code that runs when the task is over

# its worker may have to be ended
expect_terminated($node, 'worker', [ 0, 1 ]);
$id = as('mallory', q{SELECT taskq.task_submit('any', '{"do": "DECLARE c CURSOR WITH HOLD FOR SELECT pg_sleep(600)"}', timeout => '200 ms')});
is(wait_task($node, $db, $id), 'failed', 'a cursor that runs in the commit is under the timeout');
is(sql($node, $db, "SELECT error->>'sqlstate' FROM taskq.task_status('$id')"), '57014', '... which is said');

# --- databases that are not to be copied

$id = submit($node, $db, 'gate', '{"gate": "copy"}');
wait_state($node, $db, $id, 'running');
my $pid = sql($node, $db, "SELECT w.pid FROM taskq.worker w WHERE task_id = '$id'");
like(error_as('nobody_role', 'CREATE DATABASE copy TEMPLATE postgres'), qr/permission denied/, 'who may not create databases');
is(sql($node, $db, "SELECT w.pid FROM taskq.worker w WHERE task_id = '$id'"), $pid, '... ends nobody\'s task by trying');
open_gate($node, $db, 'copy');
wait_task($node, $db, $id);

# --- prepared transactions of others

$node->safe_psql($db, q{BEGIN; CREATE TABLE other (); PREPARE TRANSACTION 'other'});
$id = submit($node, $db, 'short');
wait_task($node, $db, $id);
$node->safe_psql($db, q{COMMIT PREPARED 'other'});
$node->safe_psql($db, q{BEGIN; SELECT taskq.task_submit('short', '{"by": "prepared"}'); PREPARE TRANSACTION 'other'});
$node->safe_psql($db, q{COMMIT PREPARED 'other'});
ok($node->poll_query_until($db, q{SELECT state = 'completed' FROM taskq.task WHERE payload->>'by' = 'prepared'}), 'a submit in a prepared transaction, of a name that was there before');
$node->safe_psql($db, q{BEGIN; SELECT taskq.task_submit('short', '{"by": "restart"}'); PREPARE TRANSACTION 'other'});
$node->restart;
$node->safe_psql($db, q{COMMIT PREPARED 'other'});
ok($node->poll_query_until($db, q{SELECT state = 'completed' FROM taskq.task WHERE payload->>'by' = 'restart'}), '... and across a restart');

# --- one role's endless tasks

configure($node, 'taskq.max_workers_per_role' => 2);
as('mallory', q{SELECT taskq.task_submit('gate', '{"gate": "endless"}') FROM generate_series(1, 5)});
ok($node->poll_query_until($db, q{SELECT count(*) = 2 FROM taskq.task WHERE kind = 'gate' AND state = 'running'}), 'a role has two workers and no more');
is(wait_task($node, $db, as('alice', q{SELECT taskq.task_submit('short')})), 'completed', '... so there is one for another');
open_gate($node, $db, 'endless');
ok($node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'gate' AND NOT ready)}), '... and both do all of it');

# --- resume beside an open submit

$holder = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err);
($in, $out, $err) = ('', '', '');
$in .= "BEGIN; SELECT taskq.task_submit('short', priority => 99);\n\\echo open\n";
$holder->pump until $out =~ /open/;
is(sql($node, $db, q{SET lock_timeout = '20 s'; SELECT taskq.resume()}), '0', 'resume() does not wait for an open submit to a new lane');
$in .= "COMMIT;\n\\q\n";
$holder->finish;

done_testing();
