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

done_testing();
