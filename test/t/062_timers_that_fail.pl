# Nothing that is due can be written, as on a full disk: the log tells of some of
# it, not of each timer; and when there is room again everything runs.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('timers_that_fail');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION no_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('noop', 'no_work(jsonb)', batch => true);
	ALTER TABLE taskq_internal.ready ADD CONSTRAINT no_room CHECK (lane IS NULL) NOT VALID;
});
expect_log($node, qr/ ERROR:  .*no_room/, [1, 20]);
my $from = -s $node->logfile;
$node->safe_psql($db, q{SELECT count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[1500]), delay => '1 ms')});
ok($node->poll_query_until($db, 'SELECT true') && $node->wait_for_log(qr/could not see to what is due in 1\d\d\d tries/, $from),
	'none of many timers can be fired, and the log says so');
my @told = slurp_file($node->logfile, $from) =~ /leaves the timer of task/g;
cmp_ok(scalar @told, '<=', 20, '... and names some of them only');
is($node->safe_psql($db, q{SELECT count(*) FROM taskq.task WHERE state = 'scheduled'}), '1500', '... they all wait');

$node->safe_psql($db, 'ALTER TABLE taskq_internal.ready DROP CONSTRAINT no_room');
$node->restart;
ok($node->poll_query_until($db, q{SELECT count(*) = 1500 FROM taskq.task WHERE state = 'completed'}),
	'when that is mended they all run');

$node->stop;
done_testing();
