# The ids of a server's tasks carry its number.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use Test::More;

my $node = taskq_node('node');

# Every session that begins from now on has the number.
sub is_number
{
	my ($number) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET taskq.node = $number");
	$node->reload;
	return $node->poll_query_until('postgres', "SELECT current_setting('taskq.node') = '$number'");
}

sub node_of
{
	my ($id) = @_;
	return $node->safe_psql('postgres', "SELECT taskq.task_node('$id')");
}

my $first = submit($node, 'postgres', 'short');
is(node_of($first), 0, 'a server has number 0, and so have its tasks');

ok(is_number(1023), 'it is given another one');
my $second = submit($node, 'postgres', 'short');
is(node_of($second), 1023, 'its ids carry it');
is(wait_task($node, 'postgres', $second), 'completed', 'they are found by it');
is(node_of($first), 0, 'older ids keep theirs');

is_number(614);
is($node->safe_psql('postgres', q{SELECT count(DISTINCT id), string_agg(DISTINCT taskq.task_node(id)::text, ' ')
	FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[5000])) id}), '5000|614', 'each of many ids does, and they differ');
like(sql_error($node, 'postgres', 'ALTER SYSTEM SET taskq.node = 1024'), qr/22023/, 'there are 1024 numbers');

done_testing;
