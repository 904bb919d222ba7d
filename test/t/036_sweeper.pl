# Old leaves are emptied by a process of its own: nothing that waits is lost, nobody
# has to wait for it, and what goes wrong there costs nobody else anything.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub { taskq_node('sweeper', 'taskq.max_workers' => 2, 'taskq.retention' => '24h', 'taskq.worker_idle_timeout' => '60s') });
my $db = 'postgres';

# The clock is turned, and everybody notices.
sub turn
{
	my ($hours) = @_;
	set_clock($hours * 3600);
	$node->reload;
	return;
}

# A session of its own that is told command after command; the answer to one that waits is fetched later.
sub session
{
	my %s = (in => '', out => '', err => '', marks => 0);
	$s{h} = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ],
		'<', \$s{in}, '>', \$s{out}, '2>', \$s{err});
	return \%s;
}

sub begin_to_say
{
	my ($s, $query) = @_;
	$s->{out} = '';
	$s->{in} .= "$query;\n\\echo mark" . ++$s->{marks} . ".\n";
	$s->{h}->pump_nb;
	return;
}

sub answer
{
	my ($s) = @_;
	my $mark = "mark$s->{marks}\\.";
	$s->{h}->pump until $s->{out} =~ /$mark/;
	(my $out = $s->{out}) =~ s/\n?$mark\n//;
	return $out;
}

sub say_to
{
	my ($s, $query) = @_;
	begin_to_say($s, $query);
	return answer($s);
}

sub end_session
{
	my ($s) = @_;
	$s->{in} .= "\\q\n";
	$s->{h}->finish;
	return;
}

sub leaf
{
	my ($id) = @_;
	return sprintf('taskq_internal.task_%02d', sql($node, $db, "SELECT taskq_internal.id_slot('$id')"));
}

sub poll
{
	my ($query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, $query), $name);
}

$node->safe_psql($db, q{SELECT taskq.queue_define('held'), taskq.queue_pause('held')});

# --- a look-up that began before its task was moved, and its leaf emptied

{
	my @looks = (
		"SELECT state FROM taskq.task_status('%s')", "SELECT state FROM taskq.task_wait('%s', '0 s')",
		"SELECT cancelled FROM taskq.task_cancel('%s')");
	foreach my $look (@looks)
	{
		my $id = submit($node, $db, 'short', '{}', q{queue => 'held'});
		my $leaf = leaf($id);
		my $mover = session();
		my $looker = session();
		say_to($looker, sprintf($look, $id)) if $look !~ /cancel/;	# plans and caches are there
		say_to($mover, "BEGIN; LOCK $leaf IN ACCESS EXCLUSIVE MODE");
		begin_to_say($looker, sprintf($look, $id));
		poll("SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND relation = '$leaf'::regclass", 'somebody looks a task up');
		say_to($mover, "UPDATE taskq_internal.task SET slot = 16 WHERE id = '$id'; TRUNCATE $leaf; COMMIT");
		like(answer($looker), qr/^(pending|t)$/, '... finds it though it is moved meanwhile, and its leaf emptied');
		is($looker->{err}, '', '... without an error');
		end_session($_) foreach $mover, $looker;
		$node->safe_psql($db, "DELETE FROM taskq_internal.task_keep");
	}
}

# --- old snapshots, and dumps, see every waiting task, wherever it is

sub kept
{
	my ($ids, $name) = @_;
	return poll("SELECT count(*) = " . @$ids . " FROM taskq_internal.task_keep WHERE id IN ('" . join("','", @$ids) . "')", $name);
}

sub rows_left
{
	my ($leaf) = @_;
	return "SELECT count(*) > 0 FROM $leaf";
}

my @held = split /\n/, sql($node, $db, q{SELECT taskq.task_submit_many('short', array_fill('{"held": 1}'::jsonb, ARRAY[100]), queue => 'held')});
my $leaf = leaf($held[0]);
my $finished = submit($node, $db, 'short', '{"finished": 1}');
is(wait_task($node, $db, $finished), 'completed', 'one is finished');
my $old = session();
my $snapshot = say_to($old, 'BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT pg_export_snapshot()');
turn(26);
kept(\@held, 'what waits for more than a day is moved');
is(say_to($old, q{SELECT count(*) FROM taskq.task WHERE payload ? 'held'}), '100', '... and seen by a snapshot of before');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', "--snapshot=$snapshot", '-f', $dump, $db ], 'a dump of that snapshot');
is(scalar(grep { slurp_file($dump) =~ /^$_\t/m } @held), 100, '... has all of them');
is(sql($node, $db, rows_left($leaf)), 't', 'their leaf is not emptied');
say_to($old, 'COMMIT');
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", '... until that snapshot is gone');
is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE payload ? 'held'}), '100', 'they wait on');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
poll(q{SELECT count(*) = 100 FROM taskq.task WHERE payload ? 'held' AND state = 'completed'}, '... and run when they may');
$node->safe_psql($db, q{SELECT taskq.queue_pause('held')});

# --- what is put into a leaf after it was read is not lost with it

my $first = submit($node, $db, 'short', '{"first": 1}', q{queue => 'held'});
$leaf = leaf($first);
my $done = submit($node, $db, 'short', '{"done": 1}');
is(wait_task($node, $db, $done), 'completed', 'one more is finished');
say_to($old, "BEGIN; SELECT count(*) FROM $leaf");
turn(52);
kept([$first], 'a leaf has been read that cannot be emptied');
$node->safe_psql($db, qq{
	CREATE TEMP TABLE late AS SELECT * FROM taskq_internal.task WHERE id = '$first';
	UPDATE late SET id = (left(id::text, 35) || CASE right(id::text, 1) WHEN '0' THEN '1' ELSE '0' END)::uuid, slot = taskq_internal.id_slot(id);
	INSERT INTO taskq_internal.task SELECT * FROM late});
my $late = sql($node, $db, "SELECT id FROM $leaf WHERE state = 'p'");
isnt($late, '', '... and a task is put there, by somebody else');
$node->safe_psql($db, "UPDATE $leaf SET finished_at = now() WHERE id = '$done'");
say_to($old, 'COMMIT');
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", 'it is emptied');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$late')"), 'pending', '... and the late one waits');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$done')"), 'completed', 'what was made young is kept');

# --- attempts go with their task, and not before

$node->safe_psql($db, q{
	CREATE FUNCTION second_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry((p->>'in')::interval);
		END IF;
		RETURN p;
	END $$;
	SELECT taskq.kind_define('second', 'second_work(jsonb)')});
my $second = submit($node, $db, 'second', '{"in": "0 s"}');
is(wait_task($node, $db, $second), 'completed', 'a task with two attempts');
my $stopped = submit($node, $db, 'second', '{"in": "1 day"}');
wait_state($node, $db, $stopped, 'retrying');
$node->safe_psql($db, "SELECT taskq.task_cancel('$stopped')");
my $attempts = "SELECT count(*) FROM taskq_internal.attempt WHERE task IN ('$second', '$stopped')";
is(sql($node, $db, $attempts), '2', '... and one that was cancelled before its second');
$leaf = leaf($second);
say_to($old, "BEGIN; SELECT count(*) FROM $leaf");
my $waits = submit($node, $db, 'short', '{}', q{queue => 'held'});
turn(78);
kept([$waits], 'their leaf cannot be emptied now');
is(sql($node, $db, $attempts), '2', '... and their attempts stay, as they do');
is(sql($node, $db, "SELECT count(*) FROM taskq.task_attempts('$second')"), '2', '... for all to see');
say_to($old, 'COMMIT');
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", 'when they are forgotten');
poll("SELECT ($attempts) = 0", '... their attempts are too');

# --- a leaf that could not be emptied gets no new tasks when the ring comes round to it

$done = submit($node, $db, 'short', '{"round": 1}');
is(wait_task($node, $db, $done), 'completed', 'one is finished');
$leaf = leaf($done);
my $keeper = session();
say_to($keeper, "BEGIN; SELECT count(*) FROM $leaf");
turn(78 + 25);
poll("SELECT count(*) > 0 FROM pg_stat_activity WHERE backend_type = 'taskq launcher'", 'a day later');
$waits = submit($node, $db, 'short', '{}', q{queue => 'held'});
$node->poll_query_until($db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'taskq sweeper'");
turn(78 + 32);
my $round = submit($node, $db, 'short', '{"round": 2}');
isnt(leaf($round), $leaf, 'after a turn of the ring a new task goes elsewhere');
is(wait_task($node, $db, $round), 'completed', '... and runs');
end_session($keeper);
$node->reload;
poll("SELECT NOT EXISTS (SELECT FROM $leaf)", 'the leaf is emptied when it can be');

# --- an id of a clock that was ahead keeps nothing

# not more than 24 days: if a checkpoint falls into them, an assertion of the checkpointer fails after
set_clock((78 + 24 * 20) * 3600);
my $ahead = session();
my $future = say_to($ahead, "SELECT taskq.task_submit('short', queue => 'held')");
set_clock((78 + 32) * 3600);
$node->reload;
my $now = say_to($ahead, "SELECT taskq.task_submit('short')");
my $beside = submit($node, $db, 'short');
is(leaf($now), leaf($beside), 'a session whose ids are ahead uses the leaf of the day');
is(wait_task($node, $db, $beside), 'completed', 'one beside it');
sql($node, $db, "UPDATE taskq_internal.task SET slot = taskq_internal.id_slot('$beside'), id = overlay(id::text placing substr('$beside', 20, 2) from 20)::uuid WHERE id = '$future'");
turn(78 + 32 + 26);
poll('SELECT NOT EXISTS (SELECT FROM ' . leaf($beside) . ')', 'a leaf with an id of next year is emptied');
end_session($ahead);

# --- a leaf that an administrator has for himself keeps no other from being emptied

my $theirs = submit($node, $db, 'short');
is(wait_task($node, $db, $theirs), 'completed', 'one is finished');
my $admin = session();
my $other_leaf = sprintf('taskq_internal.task_%02d', (substr(leaf($theirs), -2) + 5) % 16);
say_to($admin, "BEGIN; LOCK $other_leaf IN ACCESS EXCLUSIVE MODE");
turn(78 + 32 + 26 + 26);
poll('SELECT NOT EXISTS (SELECT FROM ' . leaf($theirs) . ')', 'a leaf is emptied while somebody has another one for himself');
say_to($admin, 'COMMIT');
end_session($admin);

# --- a change of the retention takes effect at once

wait_task($node, $db, submit($node, $db, 'short', '{"short": 1}'));
end_session($old);
$node->safe_psql($db, q{SELECT taskq.worker_stop(name) FROM taskq.worker});
turn(78 + 32 + 26 + 27);
poll("SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('taskq worker', 'taskq dispatcher', 'taskq sweeper')", 'nobody is there');
is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE payload ? 'short'}), '1', '... and a task of an hour ago');
$node->append_conf('postgresql.conf', 'taskq.retention = 30min');
$node->reload;
poll(q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE payload ? 'short')}, 'with a shorter retention it is forgotten at once');
$node->append_conf('postgresql.conf', 'taskq.retention = 10d');
$node->reload;
wait_task($node, $db, submit($node, $db, 'short', '{"long": 1}'));
turn(78 + 32 + 26 + 27 + 48);
wait_task($node, $db, submit($node, $db, 'short', '{"longer": 1}'));
is(sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE payload ? 'long'}), '1', 'with a longer one it is kept');

done_testing();
