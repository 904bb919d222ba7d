# What a task carries is written once: whatever becomes of it, its large values
# stay where they are.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use Test::More;

my $node = taskq_node('large_payloads', 'full_page_writes' => 'off', 'wal_compression' => 'off',
	'taskq.max_workers' => 1);
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	-- that does not compress, or does
	CREATE FUNCTION noise(kb int) RETURNS text LANGUAGE sql AS $$
		SELECT string_agg(md5(random()::text), '') FROM generate_series(1, kb * 32)
	$$;
	CREATE FUNCTION payload(sort text) RETURNS jsonb LANGUAGE sql AS $$
		SELECT jsonb_build_object('text', CASE sort WHEN 'out of line' THEN noise(100) WHEN 'compressed' THEN repeat('taskq ', 2000)
			ELSE repeat('taskq ', 50000) || noise(100) END)
	$$;
	-- gets it, and finds it in the task again
	CREATE FUNCTION large_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		t record;
	BEGIN
		SELECT * INTO t FROM taskq.current_task();
		IF t.payload IS DISTINCT FROM p OR t.metadata->>'text' <> p->>'text' THEN
			RAISE EXCEPTION 'this is not what was submitted';
		END IF;
		RETURN to_jsonb(md5(p->>'text'));
	END $$;
	CREATE FUNCTION large_fail(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	BEGIN
		RAISE EXCEPTION 'no';
	END $$;
	SELECT taskq.kind_define('large_plain', 'large_work(jsonb)'), taskq.kind_define('large_batch', 'large_work(jsonb)', batch => true),
		taskq.kind_define('large_fail', 'large_fail(jsonb)', max_attempts => 2, backoff => '1 ms'),
		taskq.kind_define('large_external', NULL);
	CREATE VIEW toast_writes AS
		SELECT sum(n_tup_ins) AS inserted, sum(n_tup_upd) AS updated, sum(n_tup_del) AS deleted FROM pg_stat_all_tables
		WHERE relid IN (SELECT reltoastrelid FROM pg_class WHERE relnamespace = 'taskq_internal'::regnamespace AND relname LIKE 'task\_%');
});

# What is written of $n tasks after their submit: rows of TOAST tables, and bytes of WAL a task.
sub writes_of
{
	my ($n, $updates, $submit, $rest) = @_;
	$node->safe_psql($db, "SELECT taskq.queue_pause('default'); $submit; SELECT pg_stat_force_next_flush();");
	my $before = $node->safe_psql($db, 'SELECT * FROM toast_writes');
	my $done = $node->safe_psql($db, 'SELECT sum(n_tup_upd) FROM pg_stat_user_tables WHERE schemaname = \'taskq_internal\' AND relname LIKE \'task\_%\'');
	my $lsn = $node->safe_psql($db, 'SELECT pg_current_wal_insert_lsn()');
	$node->safe_psql($db, $rest);
	$node->poll_query_until($db, q{SELECT count(*) = 0 FROM taskq.task WHERE NOT ready});
	my $wal = $node->safe_psql($db, "SELECT (pg_current_wal_insert_lsn() - '$lsn'::pg_lsn)::bigint / $n");
	# the figures of all processes are in
	$node->poll_query_until($db, "SELECT sum(n_tup_upd) >= $done + $updates FROM pg_stat_user_tables WHERE schemaname = 'taskq_internal' AND relname LIKE 'task\\_%'")
	  or die 'the statistics do not come';
	my $after = $node->safe_psql($db, 'SELECT * FROM toast_writes');
	return ($before eq $after, $wal);
}

my $resume = q{SELECT taskq.queue_resume('default')};

foreach my $sort ('out of line', 'compressed', 'compressed and out of line')
{
	foreach my $kind ('large_plain', 'large_batch')
	{
		my ($same, $wal) = writes_of(20, 20,
			"SELECT taskq.task_submit('$kind', p, metadata => p, tags => '{$kind}') FROM generate_series(1, 20) i, LATERAL (SELECT payload('$sort') AS p OFFSET 0 * i) x", $resume);
		ok($same, "$kind, $sort: nothing is written to a TOAST table");
		cmp_ok($wal, '<', 2500, "$kind, $sort: ... and little to the WAL");
	}
}
# those that are small enough to stay in the row are not written to the WAL again either
foreach my $kind ('large_plain', 'large_batch')
{
	my ($same, $wal) = writes_of(300, 300,
		"SELECT taskq.task_submit('$kind', p, tags => '{in line}') FROM (SELECT jsonb_build_object('text', noise(1)) AS p) x, generate_series(1, 300)", $resume);
	ok($same, "$kind, in line: nothing is written to a TOAST table");
	cmp_ok($wal, '<', 800, "$kind, in line: ... and less than the payload to the WAL");
}

is($node->safe_psql($db, q{SELECT count(*) FROM taskq.task WHERE state = 'completed' AND metadata IS NOT NULL AND result #>> '{}' = md5(payload->>'text') AND metadata = payload}), '120',
	'handlers got what was submitted, and it is there');

my ($same, $wal) = writes_of(10, 20,
	q{SELECT taskq.task_submit('large_fail', payload('out of line'), metadata => payload('out of line')) FROM generate_series(1, 10)}, $resume);
ok($same, 'tasks that fail twice: nothing is written to a TOAST table');
cmp_ok($wal, '<', 10000, '... and little to the WAL');

($same, $wal) = writes_of(10, 10,
	q{SELECT taskq.task_submit('large_plain', payload('out of line'), delay => '1 day') FROM generate_series(1, 10)},
	q{SELECT taskq.task_cancel(id) FROM taskq.task WHERE state = 'scheduled'; SELECT taskq.queue_resume('default')});
ok($same, 'tasks that are cancelled');

($same, $wal) = writes_of(10, 20,
	q{SELECT taskq.task_submit('large_external', payload('out of line')) FROM generate_series(1, 10)},
	q{SELECT taskq.queue_resume('default');
	CREATE TEMP TABLE claimed AS SELECT * FROM taskq.task_claim('w', n => 10);
	SELECT taskq.task_heartbeat(id, token) FROM claimed;
	SELECT taskq.task_complete(id, token, '{}') FROM claimed});
ok($same, 'tasks of an external worker');

# a copy has its own
my $id = $node->safe_psql($db, q{SELECT id FROM taskq.task WHERE tags = '{large_plain}' LIMIT 1});
my $copy = $node->safe_psql($db, "SELECT taskq.task_retry('$id')");
is(wait_task($node, $db, $copy), 'completed', 'a task that is run again');
$node->safe_psql($db, "SELECT taskq.task_delete('$id')");
$node->safe_psql($db, "VACUUM taskq_internal.task");
is($node->safe_psql($db, "SELECT result #>> '{}' = md5(payload->>'text') FROM taskq.task_status('$copy')"), 't', '... has a payload of its own');

done_testing();
