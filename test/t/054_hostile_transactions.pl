# Transactions of others that are prepared or left open: they take nothing from
# anybody's prepared transaction, and who is in the way is named.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('hostile_transactions', 'taskq.worker_idle_timeout' => '200ms');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE ROLE stranger LOGIN;
	CREATE DATABASE elsewhere;
	CREATE FUNCTION saved(kind text) RETURNS uuid LANGUAGE sql AS $$
		SELECT coalesce(max(w.id::text), '00000000-0000-0000-0000-000000000000')::uuid
		FROM taskq_internal.lane l JOIN taskq_internal.watermark w ON w.lane = l.id WHERE l.kind = $1 $$;
});

# --- a name that is made for another's

# PostgreSQL's hash of both names is the same
my ($name, $forged) = ('transfer-4711', 'wJ6FKA4h/HUabwOkE.3xJfa');
is(sql($node, $db, "SELECT hashtextextended('$name', 0) = hashtextextended('$forged', 0)"), 't', 'two names with one hash')
  or diag('of use on machines of another byte order only if the names are found anew');

my $last = submit($node, $db, 'short');
is(wait_task($node, $db, $last), 'completed', 'one runs');
wait_idle($node);
my $id = $node->safe_psql($db, "BEGIN; SELECT taskq.task_submit('short'); PREPARE TRANSACTION '$name';");
sql($node, 'elsewhere', "BEGIN; SELECT pg_current_xact_id(); PREPARE TRANSACTION '$forged';", 'stranger');
$node->safe_psql($db, "SELECT count(*) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[3000]))");
ok($node->poll_query_until($db, "SELECT saved('short') > '$last'"), 'others pass it and are saved');
wait_idle($node);
is(sql($node, $db, "SELECT saved('short') <= '$id'"), 't', '... but not beyond it, whatever a stranger prepares elsewhere');
$node->safe_psql($db, "COMMIT PREPARED '$name'");
is(wait_task($node, $db, $id), 'completed', 'what it submitted runs when it is committed');
sql($node, 'elsewhere', "ROLLBACK PREPARED '$forged'", 'stranger');

# --- a prepared transaction of many lanes, while nothing can be saved

sub rows_read
{
	wait_idle($node);
	return sql($node, $db, q{SELECT coalesce(sum(idx_tup_fetch + seq_tup_read), 0) FROM pg_stat_user_tables
		WHERE schemaname = 'taskq_internal' AND relname ~ '^task_'});
}

$node->safe_psql($db, q{
	CREATE FUNCTION no_work(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	SELECT taskq.kind_define('noop', 'no_work(jsonb)', batch => true)});
my $unended = "NOT EXISTS (SELECT FROM taskq_internal.lanes() WHERE waiting > 0 OR running > 0)";
my $holds = $node->background_psql($db);
$holds->query_safe('BEGIN');
$holds->query_safe("SELECT taskq.task_submit('noop')");
$node->safe_psql($db, "SELECT count(*) FROM taskq.task_submit_many('noop', array_fill('{}'::jsonb, ARRAY[30000]))");
ok($node->poll_query_until($db, "SELECT $unended"), 'many are finished beside an open transaction');
my $before = rows_read();
$id = $node->safe_psql($db, 'BEGIN; '
	  . join('; ', map { "SELECT taskq.task_submit('noop', priority => $_)" } 1 .. 12) . "; PREPARE TRANSACTION 'many';");
$id = (split "\n", $id)[-1];
$node->safe_psql($db, "COMMIT PREPARED 'many'");
is(wait_task($node, $db, $id), 'completed', 'a prepared one has submitted to more lanes than are told one by one');
ok($node->poll_query_until($db, "SELECT $unended"), '... which all run');
cmp_ok(rows_read() - $before, '<', 10_000, '... and the finished ones were not read again');
$holds->query_safe('ROLLBACK');
$holds->quit;

# --- who is in the way

my $open = $node->background_psql($db, extra_params => [ '-U', 'stranger' ]);
$open->query_safe('BEGIN');
my $pid = $open->query_safe('SELECT pg_backend_pid()');
$open->query_safe('SELECT pg_current_xact_id()');
is(sql($node, $db, "SELECT backend_xmin IS NULL FROM pg_stat_activity WHERE pid = $pid"), 't',
	'a transaction that is left open has no snapshot between two commands');
like(sql($node, $db, "SELECT taskq.sitrep()->'oldest_snapshot'->>'holder'"), qr/^process $pid .*stranger.*idle in transaction/,
	'... and keeps dead rows all the same: sitrep names it');
$open->query_safe('ROLLBACK');
$open->quit;
unlike(sql($node, $db, "SELECT taskq.sitrep()->'oldest_snapshot'"), qr/process $pid /, '... and not any more when it is over');

$node->stop;
done_testing();
