# A task runs as a session of its role, in its database; nothing takes it
# further, and nothing of it reaches the next one.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('roles', 'taskq.worker_idle_timeout' => '10min');
taskq_database($node, 'other');

$node->safe_psql(
	'postgres', q{
	CREATE ROLE alice LOGIN;
	ALTER ROLE alice SET work_mem = '64kB';
	CREATE ROLE bob LOGIN;
	CREATE ROLE carol LOGIN;
	CREATE ROLE watcher LOGIN;
	CREATE ROLE team;
	CREATE ROLE web;
	GRANT team TO alice;
	GRANT taskq_user TO alice, bob, carol, web;
	GRANT taskq_monitor TO watcher;});

foreach my $db ('postgres', 'other')
{
	$node->safe_psql(
		$db, q{
		GRANT CREATE ON SCHEMA public TO alice, bob;
		CREATE FUNCTION who(p jsonb) RETURNS jsonb LANGUAGE sql AS $$
			SELECT jsonb_build_object('session', session_user, 'current', current_user, 'database', current_database(),
				'role', current_setting('role'), 'submitter', (SELECT submitted_by FROM taskq.current_task()))
		$$;
		SELECT taskq.kind_define('who', 'who(jsonb)');
		SELECT taskq.kind_define('who_as_bob', 'who(jsonb)', run_as => 'bob');
		SELECT taskq.kind_grant('who_as_bob', 'taskq_user');});
}

# --- two databases and two roles at once

my %task;
foreach my $db ('postgres', 'other')
{
	foreach my $role ('alice', 'bob')
	{
		$task{$db}{$role} = as_role($node, $db, $role,
			q{SELECT taskq.task_submit('gate', '{"gate": "both"}')});
	}
}
foreach my $db ('postgres', 'other')
{
	wait_state($node, $db, $task{$db}{$_}, 'running')
	  foreach 'alice', 'bob';
	is( sql($node, $db,
			"SELECT string_agg(DISTINCT role, ',' ORDER BY role), count(DISTINCT pid) FROM taskq.worker WHERE task_id IS NOT NULL"
		),
		'alice,bob|2',
		"$db: two roles run at once, each in a process of its own");
	is( sql($node, $db, q{
			SELECT string_agg(usename, ',' ORDER BY usename) FROM pg_stat_activity
			WHERE backend_type = 'taskq worker' AND datname = current_database()}),
		'alice,bob',
		'... that belongs to the role in pg_stat_activity');
	open_gate($node, $db, 'both');
}
foreach my $db ('postgres', 'other')
{
	foreach my $role ('alice', 'bob')
	{
		is(wait_task($node, $db, $task{$db}{$role}),
			'completed', "$db: the task of $role completes");
		is( sql($node, $db,
				"SELECT who FROM effect WHERE task = '$task{$db}{$role}'"),
			$role, "... as $role");

		my $id = as_role($node, $db, $role, q{SELECT taskq.task_submit('who')});
		wait_task($node, $db, $id);
		is( sql($node, $db,
				"SELECT r->>'session', r->>'current', r->>'role', r->>'database', r->>'submitter' FROM taskq.task_result('$id') r"
			),
			"$role|$role|none|$db|$role",
			"$db: $role is session_user and current_user");
	}
}

# --- run_as

my $id = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('who_as_bob')});
is(wait_task($node, 'postgres', $id), 'completed', 'a kind with run_as runs');
is( sql($node, 'postgres',
		"SELECT r->>'session', r->>'current', r->>'submitter' FROM taskq.task_result('$id') r"
	),
	'bob|bob|alice',
	'... as that role, submitted by the submitter');
task_is($node, 'postgres', $id, 'submitted_by, run_as', 'alice|bob',
	'its status says both');

my $error = sql_error($node, 'postgres',
	q{SET ROLE team; SELECT taskq.task_submit('who')}, 'alice');
like($error, qr/ERROR:  42501|ERROR:  \w{5}: .*(log in|login)/i,
	'a role that cannot log in cannot submit tasks that run as itself');
$error = sql_error($node, 'postgres',
	q{SET ROLE web; SELECT taskq.task_submit('who')});
like($error, qr/HINT:.*run_as/s, '... with a hint at run_as');
$id = sql($node, 'postgres', q{SET ROLE web; SELECT taskq.task_submit('who_as_bob')});
is(wait_task($node, 'postgres', $id),
	'completed', '... but tasks of a kind with run_as');
is( sql($node, 'postgres',
		"SELECT r->>'session', r->>'submitter' FROM taskq.task_result('$id') r"
	),
	'bob|web',
	'... which run as that role');

# --- who sees what

$id = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('who_as_bob')});
wait_task($node, 'postgres', $id);
foreach my $case (
	[ 'alice', 1, 'the submitter' ],
	[ 'bob', 1, 'the role that it runs as' ],
	[ 'carol', 0, 'a stranger' ],
	[ 'watcher', 1, 'a member of taskq_monitor' ])
{
	my ($role, $sees, $what) = @$case;
	is( as_role($node, 'postgres', $role, "SELECT count(*) FROM taskq.task WHERE id = '$id'"),
		$sees,
		"$what " . ($sees ? 'sees' : 'does not see') . ' the task in the view');
	$error = sql_error($node, 'postgres', "SELECT taskq.task_status('$id')", $role);
	$sees
	  ? is($error, '', '... and has its status')
	  : like($error, qr/ERROR:  PT404/, '... and its status is PT404');
}
foreach my $call ("task_result('$id')", "task_progress('$id')", "task_wait('$id', '0')", "task_cancel('$id')")
{
	like(sql_error($node, 'postgres', "SELECT taskq.$call", 'carol'),
		qr/ERROR:  PT404/, "a stranger gets PT404 from $call" =~ s/'[0-9a-f-]{36}'/.../r);
}
my $running = as_role($node, 'postgres', 'alice',
	q{SELECT taskq.task_submit('gate', '{"gate": "private"}')});
wait_state($node, 'postgres', $running, 'running');
like(sql_error($node, 'postgres', "SELECT taskq.task_cancel('$running')", 'carol'),
	qr/ERROR:  PT404/, 'a stranger cannot cancel a running task');
like(sql_error($node, 'postgres', "SELECT taskq.task_cancel('$running')", 'watcher'),
	qr/ERROR:  42501/, 'a monitor may look, and not cancel');
is( as_role($node, 'postgres', 'carol', 'SELECT count(*) FROM taskq.worker WHERE task_id IS NOT NULL'),
	'0',
	'a stranger does not see the worker at it');
open_gate($node, 'postgres', 'private');
is(wait_task($node, 'postgres', $running), 'completed', 'it completes');

# --- what is not for everyone

like(sql_error($node, 'postgres', "SELECT taskq.task_submit('who')", 'watcher'),
	qr/ERROR:  42501/, 'a monitor cannot submit');
like(sql_error($node, 'postgres', "SELECT taskq.task_submit_sql('SELECT 1')", 'alice'),
	qr/ERROR:  42501/, 'a user cannot submit SQL text');
like(sql_error($node, 'postgres', "SELECT taskq.kind_define('mine', 'who(jsonb)')", 'alice'),
	qr/ERROR:  42501/, 'a user cannot define a kind');
like(sql_error($node, 'postgres', "SELECT taskq.queue_pause('default')", 'alice'),
	qr/ERROR:  42501/, 'a user cannot pause a queue');
foreach my $table ('task', 'task_00', 'task_keep', 'lane', 'role', 'kind', 'queue', 'timer')
{
	like(sql_error($node, 'postgres', "SELECT * FROM taskq_internal.$table", 'alice'),
		qr/ERROR:  42501/, "a user cannot read taskq_internal.$table");
}
$node->safe_psql('postgres', 'CREATE ROLE chief LOGIN; GRANT taskq_operator TO chief');
like( sql_error($node, 'postgres',
		"SELECT taskq.kind_define('root', 'who(jsonb)', run_as => 'postgres')",
		'chief'),
	qr/ERROR:  42501/,
	'an operator cannot define a kind that runs as a role it is no member of');

# --- attempts to be somebody else

$node->safe_psql(
	'postgres', q{
	CREATE FUNCTION attempt(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		error text;
	BEGIN
		BEGIN
			EXECUTE p->>'do';
		EXCEPTION WHEN OTHERS THEN
			error := sqlstate;
		END;
		RETURN jsonb_build_object('error', error, 'session', session_user, 'current', current_user);
	END $$;
	SELECT taskq.kind_define('attempt', 'attempt(jsonb)');});
foreach my $case (
	[ 'RESET ROLE', '' ],
	[ 'SET ROLE NONE', '' ],
	[ 'SET ROLE postgres', '42501' ],
	[ 'SET SESSION AUTHORIZATION postgres', '42501' ],
	[ 'SET SESSION AUTHORIZATION DEFAULT', '' ],
	[ 'RESET SESSION AUTHORIZATION', '' ])
{
	my ($command, $sqlstate) = @$case;
	$id = as_role($node, 'postgres', 'alice',
		"SELECT taskq.task_submit('attempt', jsonb_build_object('do', '$command'))");
	is(wait_task($node, 'postgres', $id), 'completed', "$command in a task");
	is( sql($node, 'postgres',
			"SELECT r->>'error', r->>'session', r->>'current' FROM taskq.task_result('$id') r"
		),
		"$sqlstate|alice|alice",
		'... stays what it is');
}

# A trigger deferred to the commit, and a query kept over it, run as the role too.
$node->safe_psql(
	'postgres', q{
	CREATE TABLE late (note text);
	CREATE TABLE seen (who text, session text);
	GRANT ALL ON late, seen TO PUBLIC;
	CREATE FUNCTION note_who() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO seen VALUES (current_user, session_user);
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION note_who();
	CREATE FUNCTION defer(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO late VALUES ('x') $$;
	SELECT taskq.kind_define('defer', 'defer(jsonb)');
	CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused at commit'; END $$;
	CREATE TABLE strict (note text);
	GRANT ALL ON strict TO PUBLIC;
	CREATE CONSTRAINT TRIGGER strict AFTER INSERT ON strict DEFERRABLE INITIALLY DEFERRED
		FOR EACH ROW EXECUTE FUNCTION refuse();
	CREATE FUNCTION defer_refused(p jsonb) RETURNS void LANGUAGE sql AS $$ INSERT INTO strict VALUES ('x') $$;
	SELECT taskq.kind_define('defer_refused', 'defer_refused(jsonb)', max_attempts => 1);});
$id = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('defer')});
is(wait_task($node, 'postgres', $id), 'completed',
	'a task with a deferred trigger');
is(sql($node, 'postgres', 'SELECT * FROM seen'),
	'alice|alice', '... which runs as the task\'s role');
$id = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('defer_refused')});
is(wait_task($node, 'postgres', $id), 'failed',
	'a task whose deferred trigger refuses fails');
task_is($node, 'postgres', $id, q{error->>'message'}, 'refused at commit',
	'... with that error');
is(sql($node, 'postgres', 'SELECT count(*) FROM strict'),
	'0', '... and without effect');

# --- residue

$node->safe_psql(
	'postgres', q{
	CREATE SEQUENCE counter;
	GRANT ALL ON counter TO PUBLIC;
	CREATE FUNCTION litter(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		CREATE TEMP TABLE leftover (a int);
		CREATE TEMP TABLE effect (a int);
		PERFORM set_config('app.secret', 'hidden', false);
		PERFORM set_config('work_mem', '123kB', false);
		PERFORM set_config('search_path', 'nowhere', false);
		PERFORM pg_catalog.pg_advisory_lock(777);
		PERFORM pg_catalog.nextval('public.counter');
		EXECUTE 'PREPARE prepared AS SELECT 1';
		EXECUTE 'DECLARE kept CURSOR WITH HOLD FOR SELECT 1';
		SET SESSION ROLE team;
		SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY;
		RETURN pg_catalog.pg_backend_pid();
	END $$;
	CREATE FUNCTION look(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		last text := 'none';
	BEGIN
		BEGIN
			last := lastval();
		EXCEPTION WHEN object_not_in_prerequisite_state THEN
			NULL;
		END;
		RETURN jsonb_build_object(
			'temp table', to_regclass('pg_temp.leftover'),
			'secret', nullif(current_setting('app.secret', true), ''),
			'work_mem', nullif(current_setting('work_mem'), '64kB'),
			'search_path', nullif(current_setting('search_path'), '"$user", public'),
			'advisory', (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
			'lastval', nullif(last, 'none'),
			'prepared', (SELECT count(*) FROM pg_prepared_statements),
			'cursors', (SELECT count(*) FROM pg_cursors WHERE name = 'kept'),
			'current', current_user,
			'read only', current_setting('transaction_read_only'));
	END $$;
	SELECT taskq.kind_define('litter', 'litter(jsonb)', max_attempts => 1);
	SELECT taskq.kind_define('look', 'look(jsonb)', max_attempts => 1);});
configure($node, 'taskq.max_workers' => 1);
$id = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('litter')});
my $look = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('look')});
is(wait_task($node, 'postgres', $id), 'completed',
	'a task that leaves all sorts of things in its session')
  or diag(sql($node, 'postgres', "SELECT error FROM taskq.task_status('$id')"));
is(wait_task($node, 'postgres', $look), 'completed', 'the next one runs')
  or diag(sql($node, 'postgres', "SELECT error FROM taskq.task_status('$look')"));
is( sql($node, 'postgres',
		"SELECT jsonb_strip_nulls(result) FROM taskq.task_status('$look')"),
	'{"current": "alice", "cursors": 0, "advisory": 0, "prepared": 0, "read only": "off"}',
	'... and finds none of them');
$id = as_role($node, 'postgres', 'alice', q{SELECT taskq.task_submit('short')});
is(wait_task($node, 'postgres', $id), 'completed',
	'a table that a task hid behind a temporary one is found again');
is(effects($node, 'postgres', $id), 1, '... and written to');

# --- a role dropped and made again does not inherit

$node->safe_psql('postgres', 'CREATE ROLE shortlived LOGIN; GRANT taskq_user TO shortlived');
$node->safe_psql('postgres', q{SELECT taskq.queue_pause('default')});
$id = as_role($node, 'postgres', 'shortlived', q{SELECT taskq.task_submit('who')});
$node->safe_psql('postgres', q{
	DROP ROLE shortlived;
	CREATE ROLE shortlived LOGIN;
	GRANT taskq_user TO shortlived;
	SELECT taskq.queue_resume('default');});
my $new = as_role($node, 'postgres', 'shortlived', q{SELECT taskq.task_submit('who')});
is(wait_task($node, 'postgres', $new), 'completed',
	'a role made again under an old name runs its own tasks');
is( sql($node, 'postgres', "SELECT count(*) FROM taskq.task WHERE id = '$id' AND state = 'completed'"),
	'0',
	'... and not those of its namesake');
is( as_role($node, 'postgres', 'shortlived', "SELECT count(*) FROM taskq.task WHERE id = '$id'"),
	'0',
	'... nor does it see them');

$node->stop;
done_testing();
