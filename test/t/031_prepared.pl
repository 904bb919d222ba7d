# Prepared transactions: what they submit runs when they are committed, whoever
# does that and when, and nothing else is looked through for it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('prepared', 'taskq.worker_idle_timeout' => '200ms');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE FUNCTION no_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('noop', 'no_work(jsonb)', batch => true);
	CREATE FUNCTION saved(kind text) RETURNS uuid LANGUAGE sql AS $$
		SELECT coalesce(max(w.id::text), '00000000-0000-0000-0000-000000000000')::uuid
		FROM taskq_internal.lane l JOIN taskq_internal.watermark w ON w.lane = l.id WHERE l.kind = $1 $$;
});

sub finish
{
	my ($n, $kind) = @_;
	$node->safe_psql($db,
		"SELECT count(*) FROM taskq.task_submit_many('$kind', array_fill('{}'::jsonb, ARRAY[$n]))");
	return $node->poll_query_until($db,
		"SELECT NOT EXISTS (SELECT FROM taskq_internal.lanes() WHERE waiting > 0 OR running > 0)");
}

sub rows_read
{
	return $node->safe_psql($db,
		q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_user_tables
		  WHERE schemaname = 'taskq_internal' AND relname ~ '^task_'});
}

sub prepare
{
	my ($gid, $command) = @_;
	my $id = $node->safe_psql($db, "BEGIN; $command; PREPARE TRANSACTION '$gid';");
	return $id;
}

my $submit = "SELECT taskq.task_submit('short')";

# --- nothing that is finished is looked through

ok(finish(100_000, 'noop'), 'many tasks are finished');
my $last = submit($node, $db, 'noop');
is(wait_task($node, $db, $last), 'completed', '... and one more');
wait_idle($node);
my $before = rows_read();
my $id = prepare('a', "SELECT taskq.task_submit('noop')");
$node->safe_psql($db, "COMMIT PREPARED 'a'");
is(wait_task($node, $db, $id), 'completed', 'what a prepared transaction submitted runs');
prepare('b', 'INSERT INTO gate VALUES (1)');
$node->safe_psql($db, "COMMIT PREPARED 'b'");
prepare('c', $submit);
$node->safe_psql($db, "ROLLBACK PREPARED 'c'");
wait_idle($node);
cmp_ok(rows_read() - $before, '<', 10_000, '... and the finished ones were not read');

# --- others pass it while it is prepared

$last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'one runs');
$id = prepare('a', $submit);
ok(finish(3000, 'short'), 'many pass the prepared one');
ok($node->poll_query_until($db, "SELECT saved('short') > '$last'"), 'what is before it is saved');
is(sql($node, $db, "SELECT saved('short') <= '$id'"), 't', '... but not more');
my $other = submit($node, $db, 'noop');
is(wait_task($node, $db, $other), 'completed', 'another lane goes on');
ok($node->poll_query_until($db, "SELECT saved('noop') > '$other'"), '... and is saved');

# --- the server crashes: nothing is known of it any more

$node->stop('immediate');
$node->start;
ok(finish(3000, 'short'), 'after a crash others pass it again');
wait_idle($node);
is(sql($node, $db, "SELECT saved('short') <= '$id'"), 't', 'it is still not saved past');
$node->safe_psql($db, "COMMIT PREPARED 'a'");
is(wait_task($node, $db, $id), 'completed', 'it runs when it is committed');
$last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', '... and later ones');
ok($node->poll_query_until($db, "SELECT saved('short') > '$id'"), '... and now it is saved past');

# --- committed, and then a crash

$id = prepare('a', $submit);
ok(finish(3000, 'short'), 'others pass it');
$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
$node->safe_psql($db, "COMMIT PREPARED 'a'");
$node->stop('immediate');
$node->start;
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
is(wait_task($node, $db, $id), 'completed', 'committed and then a crash: it runs');

# --- many lanes, more than are told one by one

$id = prepare('a', join '; ', map { "SELECT taskq.task_submit('short', priority => $_)" } 1 .. 12);
$node->safe_psql($db, "COMMIT PREPARED 'a'");
ok($node->poll_query_until($db, 'SELECT count(*) = 0 FROM taskq.task WHERE NOT ready'), 'tasks of twelve lanes all run');

# --- what it does is more than submitting

$id = prepare('a', "SELECT taskq.task_submit('short', delay => '300 ms')");
$node->safe_psql($db, "COMMIT PREPARED 'a'");
is(wait_task($node, $db, $id), 'completed', 'a delayed one runs when it is due');

$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
$id = submit($node, $db, 'short');
prepare('a', "SELECT taskq.task_cancel('$id')");
$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
ok(finish(300, 'short') || 1, 'others pass one whose cancel is prepared');
$node->safe_psql($db, "ROLLBACK PREPARED 'a'");
is(wait_task($node, $db, $id), 'completed', 'when that is rolled back it runs');

prepare('a', "SELECT taskq.kind_define('made', 'short_work(jsonb)')");
$node->safe_psql($db, "COMMIT PREPARED 'a'");
is(wait_task($node, $db, submit($node, $db, 'made')), 'completed', 'a kind that a prepared transaction made is there');

# --- a COMMIT PREPARED that fails changes nothing of what is known

$id = prepare('a', $submit);
isnt(sql_error($node, $db, "BEGIN; COMMIT PREPARED 'a';"), '', 'COMMIT PREPARED in a transaction block fails');
$node->safe_psql($db, "COMMIT PREPARED 'a'");
is(wait_task($node, $db, $id), 'completed', '... and later it succeeds');

$node->stop;
done_testing();
