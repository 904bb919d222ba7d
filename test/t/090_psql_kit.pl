# examples/taskq.psqlrc: each word works, for an operator and for a user, and fits into 120 columns.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('kit', 'taskq.max_workers' => 2);
my $db = 'postgres';
my $kit = "$FindBin::RealBin/../../examples/taskq.psqlrc";
my @words = qw(sitrep queues running next failed workers kinds top task why attempts logs);

$node->safe_psql($db, q{
	CREATE ROLE kit_operator LOGIN IN ROLE taskq_operator, taskq_user;
	CREATE ROLE kit_user LOGIN IN ROLE taskq_user;
	CREATE FUNCTION broken_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.log('about to fail for a reason that is ' || repeat('very ', 40) || 'long', 'warning', '{"a": 1}');
		RAISE 'no such asset: %', repeat('x', 200);
	END $$;
	SELECT taskq.kind_define('a_kind_with_a_name_that_is_rather_long', 'broken_work(jsonb)', max_attempts => 1),
		taskq.queue_define('held'), taskq.queue_pause('held', repeat('a long reason ', 20));
	GRANT SELECT ON gate TO kit_user});
my $broken = submit($node, $db, 'a_kind_with_a_name_that_is_rather_long');
my $running = submit($node, $db, 'gate', '{"gate": "kit"}');
my $held = submit($node, $db, 'short', '{}', q{queue => 'held'});
wait_task($node, $db, $broken);
wait_state($node, $db, $running, 'running');

# What a word shows.
sub word
{
	my ($word, $id, $role) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-Xq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-U', $role ],
		'<', \"\\pset pager off\n\\i $kit\n\\set id $id\n:$word\n", '>', \$out, '2>', \$err);
	return ($out, $err);
}

my $user = getpwuid($<);
foreach my $word (@words)
{
	my ($out, $err) = word($word, $broken, $user);
	is($err, '', ":$word");
	is((sort { $b <=> $a } map { length } split /\n/, $out)[0] <= 120, 1, '... fits into 120 columns') or diag($out);
}
my ($top) = word('top', $running, $user);
like($top, qr/held +1 waiting +0 running +paused/, ':top has the queues');
like($top, qr/gate +##########\.{10} +50%  worker-\d +at the gate/, '... and bars');
like((word('why', $held, $user))[0], qr/held.*paused/, ':why has the answer');
like((word('failed', $held, $user))[0], qr/raise_exception.*no such asset/, ':failed the error');
my ($whole) = word('task', $broken, $user);
cmp_ok(scalar(() = $whole =~ /x{50}/g), '>=', 4, ':task the whole error');
like((word('logs', $broken, $user))[0], qr/warning.*about to fail/, ':logs the lines');
like((word('sitrep', $held, $user))[0], qr/Queue held is paused/, ':sitrep what is wrong');
like((word("newest\n\\echo newest is :id\n", $running, $user))[0], qr/newest is $held/, ':newest finds the last task');
foreach my $role ('kit_operator', 'kit_user')
{
	is((word($_, $broken, $role))[1], '', ":$_ for $role") foreach grep { $_ !~ /task|why|attempts|logs/ } @words;
}
open_gate($node, $db, 'kit');
is(wait_task($node, $db, $running), 'completed', 'it was only looked at');
done_testing();
