# The dispatcher waits for nobody's transaction, and trouble in one of its chores, or in
# the sweeper, costs that one only.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub { taskq_node('waits_for_nobody', 'taskq.max_workers' => 4, 'taskq.retention' => '24h', 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';
my $roles = 0;

# A session of its own that is told command after command.
sub session
{
	my ($role) = @_;
	my %s = (in => '', out => '', err => '', marks => 0);
	$s{h} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), $role ? ('-U', $role) : (), '-f', '-' ],
		'<', \$s{in}, '>', \$s{out}, '2>', \$s{err});
	return \%s;
}

sub say_to
{
	my ($s, $query) = @_;
	my $mark = 'mark' . ++$s->{marks} . '\\.';
	$s->{out} = '';
	$s->{in} .= "$query;\n\\echo mark$s->{marks}.\n";
	$s->{h}->pump until $s->{out} =~ /$mark/;
	(my $out = $s->{out}) =~ s/\n?$mark\n//;
	return $out;
}

sub poll
{
	my ($query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, $query), $name);
}

sub leaf
{
	my ($id) = @_;
	return sprintf('taskq_internal.task_%02d', sql($node, $db, "SELECT taskq_internal.id_slot('$id')"));
}

# What only the dispatcher can do: fire a timer, and start a worker for a role that has none.
sub dispatcher_works
{
	my ($when) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $role = 'new_' . ++$roles;
	$node->safe_psql($db, "CREATE ROLE $role LOGIN IN ROLE taskq_user");
	my $delayed = submit($node, $db, 'short', '{}', "delay => '20 ms'");
	my $first = as_role($node, $db, $role, q{SELECT taskq.task_submit('short')});
	is(wait_task($node, $db, $delayed), 'completed', "a timer fires, $when");
	is(wait_task($node, $db, $first), 'completed', '... and a role without a worker gets one');
	return;
}

# Hours from the real time; a leaf takes the tasks of two.
my $hours = 0;

sub finish_one
{
	my $id = submit($node, $db, 'short');
	is(wait_task($node, $db, $id), 'completed', 'a task is finished');
	return $id;
}

# ... which is old then; whoever notices that the clock was set may look at once
sub pass_a_day
{
	$hours += 26;
	set_clock($hours * 3600);
	return;
}

$node->safe_psql($db, q{
	CREATE FUNCTION second_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry('0 s');
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('second', 'second_work(jsonb)');
	CREATE ROLE plain LOGIN IN ROLE taskq_user});
dispatcher_works('at first');
my ($dispatcher) = backend_pids($node, 'dispatcher', $db);

# --- a user who deletes an old task of two attempts, and leaves the transaction open

my $id = as_role($node, $db, 'plain', q{SELECT taskq.task_submit('second')});
is(wait_task($node, $db, $id), 'completed', 'a task of two attempts');
my $user = session('plain');
say_to($user, "BEGIN; SELECT taskq.task_delete('$id')");
my $leaf = leaf($id);
pass_a_day();
$node->reload;
dispatcher_works('while a user has an old task deleted and does not commit');
say_to($user, 'COMMIT');
$user->{in} .= "\\q\n";
$user->{h}->finish;
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", 'when he does, its leaf is emptied');

# --- a trigger of the administrator that keeps a table from being truncated

my $guarded = finish_one();
$leaf = leaf($guarded);
$node->safe_psql($db, qq{
	CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS \$\$ BEGIN RAISE 'not this one'; END \$\$;
	CREATE TRIGGER keeps BEFORE TRUNCATE ON $leaf FOR EACH STATEMENT EXECUTE FUNCTION keeps()});
pass_a_day();
my $open = finish_one();
pass_a_day();
$node->reload;
poll('SELECT NOT EXISTS (SELECT FROM ' . leaf($open) . ')', 'the leaf that can be emptied is');
$node->wait_for_log(qr/WARNING: .*taskq could not empty leaf \d+: not this one/);
pass('the log says why the other one is not');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$guarded')"), 'completed', '... which stays');
dispatcher_works('while a leaf cannot be emptied');

# --- a sweeper that takes long

$node->safe_psql($db, q{
	CREATE OR REPLACE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		WHILE NOT EXISTS (SELECT FROM public.gate WHERE name = 'keeps') LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		RETURN NULL;
	END $$});
$node->reload;
my $sweeper = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'taskq sweeper'";
poll("SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE backend_type = 'taskq sweeper' AND mode = 'AccessExclusiveLock')", 'a sweeper that does not come to its end');
# who looks into that leaf, as the views do, waits for the trigger
my $meanwhile = submit($node, $db, 'short', '{}', "delay => '20 ms'");
poll("SELECT count(*) = 1 FROM effect WHERE task = '$meanwhile'", 'a timer fires meanwhile, and the task runs');
is(sql($node, $db, $sweeper), '1', '... and there is one sweeper');
expect_terminated($node, 'sweeper', [ 1, undef ]);
sql_ok($node, 'template1', "ALTER DATABASE $db RENAME TO other", 'it leaves a database that is to be renamed');
$node->safe_psql('template1', "ALTER DATABASE other RENAME TO $db");
open_gate($node, $db, 'keeps');
expect_no_more($node);
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", 'the next one goes on where it was');

# --- tables that somebody has locked

my $admin = session();
expect_log($node, qr/^taskq dispatcher\|55P03 ERROR:  canceling statement due to lock timeout/, [ 0, undef ]);
say_to($admin, 'BEGIN; LOCK taskq_internal.timer IN ACCESS EXCLUSIVE MODE');
my $due = session();
$due->{in} .= "SELECT taskq.task_submit('short', delay => '10 ms');\n\\q\n";
$due->{h}->pump_nb;
$node->reload;
my $role = 'new_' . ++$roles;
$node->safe_psql($db, "CREATE ROLE $role LOGIN IN ROLE taskq_user");
$id = as_role($node, $db, $role, q{SELECT taskq.task_submit('short')});
is(wait_task($node, $db, $id), 'completed', 'while the timers are locked, a role without a worker gets one');
my ($before) = backend_pids($node, 'dispatcher', $db);
$node->wait_for_log(qr/WARNING: .*taskq could not see to what is due/);
pass('... and the log says so');
say_to($admin, 'COMMIT');
$due->{h}->finish;
poll('SELECT NOT EXISTS (SELECT FROM taskq.task WHERE NOT ready)', 'what was due runs when they are free');

# --- a leaf that somebody has for himself, with timers of tasks in it

configure($node, deadlock_timeout => '10ms', log_lock_waits => 'on');
my @waiting = map { submit($node, $db, 'short', '{}', "delay => '1 h'") } 1 .. 5;
say_to($admin, 'BEGIN; LOCK ' . leaf($waiting[0]) . ' IN ACCESS EXCLUSIVE MODE');
my $seen = -s $node->logfile;
$hours += 2;
set_clock($hours * 3600);
$node->reload;
poll(q{SELECT count(*) FILTER (WHERE due < clock_timestamp()) = 5 FROM taskq_internal.timer}, 'timers are due in a leaf that is locked');
my ($busy) = backend_pids($node, 'dispatcher', $db);
my $switches = context_switches($busy);
select(undef, undef, undef, 0.05) until context_switches($busy) > $switches + 2;
unlike(slurp_file($node->logfile, $seen), qr/taskq dispatcher.* still waiting for RowExclusiveLock/, 'the dispatcher has come to them and does not wait for it');
say_to($admin, 'COMMIT');
is(wait_task($node, $db, $_), 'completed', 'a task of it runs when it is free') for @waiting;
configure($node, deadlock_timeout => undef, log_lock_waits => undef);

# --- somebody cancels what the dispatcher does

my ($now) = backend_pids($node, 'dispatcher', $db);
is($now, $before, 'it is the same dispatcher');
$node->safe_psql($db, "SELECT pg_cancel_backend($now)");
dispatcher_works('after a cancel');
is((backend_pids($node, 'dispatcher', $db))[0], $now, '... which did not end it');

done_testing();
