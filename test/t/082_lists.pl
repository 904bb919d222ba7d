# Lists while tasks are submitted, run and kept; after a restart, and on a standby.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('lists', allows_streaming => 1, 'taskq.max_workers' => 2, 'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE FUNCTION pages(filter jsonb, order_by text, n int) RETURNS uuid[] LANGUAGE plpgsql AS $$
	DECLARE
		ids uuid[] := '{}';
		page uuid[];
		after uuid;
	BEGIN
		LOOP
			SELECT array_agg(l.id ORDER BY l.ordinality) INTO page FROM taskq.task_list(filter, order_by, after, n) WITH ORDINALITY l;
			ids := ids || page;
			EXIT WHEN coalesce(cardinality(page), 0) < n;
			after := page[n];
		END LOOP;
		RETURN ids;
	END $$;
	-- how often the pages have missed one of these tasks, or had one twice
	CREATE PROCEDURE watch(filter jsonb, ids uuid[], rounds int, INOUT faults int DEFAULT 0) LANGUAGE plpgsql AS $$
	DECLARE
		seen uuid[];
		still int := 1;
	BEGIN
		WHILE still > 0 OR rounds > 0 LOOP
			seen := pages(filter, (ARRAY['newest', 'oldest', 'priority'])[1 + rounds % 3], 97);
			faults := faults + abs(cardinality(ids) - (SELECT count(DISTINCT s) FROM unnest(seen) s))::int
				+ (cardinality(seen) - (SELECT count(DISTINCT s) FROM unnest(seen) s))::int;
			COMMIT;
			rounds := greatest(rounds - 1, 0);
			still := cardinality(pages('{"state": "unfinished", "kind": "short"}', 'newest', 1000));
			COMMIT;
		END LOOP;
	END $$;
	SELECT taskq.kind_define('kept', 'fail_work(jsonb)', max_attempts => 1, retention => '1 year', indexed => '{n}');
});

# --- while they run

$node->safe_psql($db, q{SELECT taskq.queue_pause('default')});
my $ids = sql($node, $db, q{SELECT array_agg(t) FROM taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[3000]), tags => '{watched}') t});
is(sql($node, $db, q{SELECT cardinality(pages('{"tag": "watched"}', 'newest', 1000))}), 3000, 'all are there');
is(sql($node, $db, q{SELECT cardinality(pages('{"state": "pending"}', 'priority', 1000))}), 3000, '... pending');
$node->safe_psql($db, q{SELECT taskq.queue_resume('default')});
foreach my $filter ('{"tag": "watched"}', '{"kind": "short", "state": ["waiting", "running", "completed"]}')
{
	is(sql($node, $db, "CALL watch('$filter', '$ids', 3)"), 0, "each is in the pages of $filter once, whatever its state");
}
is(sql($node, $db, q{SELECT cardinality(pages('{"state": "unfinished"}', 'oldest', 10))}), '0', 'none is left');
is(sql($node, $db, "SELECT pages('{}', 'oldest', 1000) = (SELECT array_agg(i ORDER BY i) FROM unnest('$ids'::uuid[]) i)"), 't', 'the oldest come in the order of their ids');

# --- a task whose end is not committed

my $gate = submit($node, $db, 'gate', '{"gate": "a"}');
wait_state($node, $db, $gate, 'running');
is(sql($node, $db, q{SELECT id, message FROM taskq.task_list('{"text": "AT THE gate"}')}), "$gate|at the gate", 'found by what it says while it runs');
is(sql($node, $db, q{SELECT count(*) FROM taskq.task_list('{"state": "finished", "kind": "gate"}')}), '0', '... and not as finished');
my $session = $node->background_psql($db);
$session->query_safe("BEGIN; SELECT taskq.task_submit('short', tags => '{open}')");
is(sql($node, $db, q{SELECT count(*) FROM taskq.task_list('{"tag": "open"}')}), '0', 'what is not committed is not listed');
is($session->query_safe(q{SELECT count(*) FROM taskq.task_list('{"tag": "open"}')}), '1', '... but to who submits it');
$session->query_safe('ROLLBACK');
$session->quit;

# --- who is over is kept

my $kept = submit($node, $db, 'kept', '{"n": 7}', "tags => '{keep}'");
is(wait_task($node, $db, $kept), 'failed', 'one failed');
my $keeps = q{SELECT string_agg(l.id::text, ' ') FROM (VALUES ('{"state": "failed"}', 'newest'), ('{"tag": "keep"}', 'oldest'), ('{"kind": "kept"}', 'priority'),
	('{"kind": "kept", "payload": {"n": 7}}', 'newest'), ('{"category": null}', 'newest')) v (filter, order_by), taskq.task_list(filter::jsonb - 'category', order_by, n => 1) l};
is(sql($node, $db, $keeps), join(' ', ($kept) x 5), 'found in every way');

# --- without what shared memory knew

open_gate($node, $db, 'a');
wait_task($node, $db, $gate);
$node->safe_psql($db, q{SELECT taskq.queue_pause('default'); SELECT taskq.task_submit('short', priority => i, tags => '{later}') FROM generate_series(1, 3) i; SELECT taskq.task_submit('short', run_at => 'infinity')});
my $waiting = q{SELECT string_agg(state || priority, ' ' ORDER BY ordinality) FROM taskq.task_list('{"state": "waiting"}', 'priority') WITH ORDINALITY};
is(sql($node, $db, $waiting), 'pending3 pending2 pending1 scheduled0', 'by priority');
$node->restart;
is(sql($node, $db, $waiting), 'pending3 pending2 pending1 scheduled0', 'the same after a restart');
$node->stop('immediate');
$node->start;
is(sql($node, $db, $waiting), 'pending3 pending2 pending1 scheduled0', '... and after a crash');

# --- where nothing can be written

$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('lists_standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
$node->wait_for_catchup($standby);
is(sql($standby, $db, $waiting), 'pending3 pending2 pending1 scheduled0', 'a standby lists what waits');
is(sql($standby, $db, $keeps), join(' ', ((sql($node, $db, q{SELECT id FROM taskq.task_list('{"state": "failed"}', n => 1)})) x 4), sql($node, $db, 'SELECT id FROM taskq.task_list(n => 1)')), '... and what is over');
$standby->stop;

done_testing();
