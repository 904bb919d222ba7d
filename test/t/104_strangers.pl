# Tenants are kept apart also where the library is not preloaded, or the gateway forgotten, and on a standby.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('strangers', 'taskq.max_workers' => 2, 'taskq.trusted_gateways' => 'authenticator', allows_streaming => 1);
my $db = 'postgres';

$node->safe_psql($db, "\\i $FindBin::RealBin/../pgtap/include/strangers.psql");
$node->safe_psql($db, 'SELECT alpha_begin()');
as_role($node, $db, 'authenticator', 'SELECT alpha_submit()');
as_role($node, $db, 'authenticator', 'SELECT alpha_claim()');
$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_wait_all(ARRAY(SELECT id FROM alpha WHERE name IN ('completed', 'failed')))});
my $before = $node->safe_psql($db, 'SELECT alpha_stands()');

# What strangers are told in this server, in how many calls.
sub strangers
{
	my ($server, $where) = @_;
	foreach my $who (['web_user', '{"sub": "beta"}'], ['web_user', '{}'], ['web_worker', '{"sub": "beta"}'])
	{
		my $told = as_role($server, $db, 'authenticator', "SELECT command, answer FROM told('$who->[0]', '$who->[1]')");
		like($told, qr/\Aasked\|[2-9]\d\d\z/, "$where nothing is told to $who->[0] with $who->[1]");
	}
	return;
}

my $told = as_role($node, $db, 'authenticator', q{BEGIN; SELECT command FROM told('web_user', '{"sub": "alpha"}'); ROLLBACK});
like($told, qr/task_status.*\n.*task_status/, 'alpha is told');

# a standby: reads alone
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
strangers($standby, 'on a standby');
$standby->stop;

# not preloaded
$node->append_conf('postgresql.conf', q{shared_preload_libraries = ''});
$node->restart;
strangers($node, 'not preloaded');
$told = as_role($node, $db, 'authenticator', q{BEGIN; SELECT command FROM told('web_user', '{"sub": "alpha"}'); ROLLBACK});
like($told, qr/task_status/, '... though alpha is told there');
is($node->safe_psql($db, 'SELECT alpha_stands()'), $before, '... and has what it had');
$node->append_conf('postgresql.conf', q{taskq.trusted_gateways = ''});
$node->reload;
ok($node->poll_query_until($db, q{SELECT coalesce(current_setting('taskq.trusted_gateways', true), '') = ''}), 'the gateway is forgotten');
strangers($node, 'not preloaded and no gateway');
$node->append_conf('postgresql.conf', q{shared_preload_libraries = 'taskq'});
$node->restart;
strangers($node, 'no gateway');
is($node->safe_psql($db, 'SELECT alpha_stands()'), $before, '... and alpha has what it had');

done_testing();
