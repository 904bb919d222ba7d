# Who asks the view for a task again and again sees it go one way: a row each time, and
# never "pending" once it ran, also where the query's snapshot is older than its end.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('polled', 'taskq.max_workers' => 2);
my $db = 'postgres';

$node->safe_psql($db, q{
	CREATE FUNCTION tiny(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.progress(1, 2);
		PERFORM pg_sleep(0.003);
	END $$;
	SELECT taskq.kind_define('tiny', 'tiny(jsonb)');
	SELECT taskq.kind_define('batch', 'tiny(jsonb)', batch => true);
	CREATE TABLE polled (states text, most int, least int);
	-- each task's states as they are seen one after the other, and how many rows there were
	CREATE PROCEDURE poll(kind text, n int) LANGUAGE plpgsql AS $$
	<<mine>>
	DECLARE
		id uuid; state text; states text; rows int; most int; least int; ended bool;
	BEGIN
		FOR i IN 1..n LOOP
			id := taskq.task_submit(kind);
			states := '';
			most := 1;
			least := 1;
			COMMIT;
			LOOP
				SELECT min(t.state), count(*), bool_or(t.ready) INTO state, rows, ended FROM taskq.task t WHERE t.id = mine.id;
				COMMIT;
				most := greatest(most, rows);
				least := least(least, rows);
				IF states NOT LIKE '%' || state THEN
					states := states || ' ' || state;
				END IF;
				EXIT WHEN ended OR rows = 0;
			END LOOP;
			INSERT INTO polled VALUES (states, most, least);
		END LOOP;
	END $$;});

# --- a snapshot from before the end, and all else after it

# The view is read when the task is over, by a snapshot from before.
sub seen_late
{
	my ($kind, $payload, $until, $gate) = @_;
	my $id = submit($node, $db, $kind, $payload);
	wait_state($node, $db, $id, 'running');
	my $session = $node->background_psql($db);
	$session->query_until(qr/started/, qq{
\\echo started
SELECT until_true(\$\$$until\$\$, '$id'), (SELECT concat_ws(' ', count(*), min(state), min(current), min(attempt)) FROM taskq.task WHERE id = '$id'),
	(SELECT count(*) FROM taskq.task WHERE state = 'running' AND id = '$id');
});
	$node->poll_query_until($db, q{SELECT count(*) = 1 FROM pg_stat_activity WHERE query LIKE '%until_true%' AND wait_event = 'PgSleep'})
	  or die 'it does not look';
	open_gate($node, $db, $gate);
	my $seen = $session->query_safe('');
	$session->quit;
	return ($id, $seen);
}

$node->safe_psql($db, q{
	CREATE FUNCTION until_true(condition text, id uuid) RETURNS bool LANGUAGE plpgsql VOLATILE AS $$
	DECLARE
		found bool;
	BEGIN
		LOOP
			EXECUTE condition INTO found USING id;
			EXIT WHEN found;
			PERFORM pg_sleep(0.005);
		END LOOP;
		RETURN found;
	END $$;
	CREATE FUNCTION steps(p jsonb) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.progress(7, 10);
		WHILE NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
			PERFORM pg_sleep(0.01);
		END LOOP;
		IF p ? 'again' AND (SELECT attempt FROM taskq.current_task()) = 1 THEN
			PERFORM taskq.retry('1 h', 'later');
		END IF;
	END $$;
	SELECT taskq.kind_define('steps', 'steps(jsonb)', max_attempts => 2);
	SELECT taskq.kind_define('shared', 'steps(jsonb)', batch => true);});

my $over = 'SELECT ready FROM taskq.task_status($1)';
my ($id, $seen) = seen_late('steps', '{"gate": "a"}', $over, 'a');
is($seen, 't|1 running 7 1|1', 'what ended after the snapshot runs for it, with its progress');
is(sql($node, $db, "SELECT state FROM taskq.task WHERE id = '$id'"), 'completed', '... and has ended for the next one');
($id, $seen) = seen_late('shared', '{"gate": "b"}', $over, 'b');
is($seen, 't|1 running 7 1|1', 'so does one that may share a transaction');
($id, $seen) = seen_late('steps', '{"gate": "d", "again": 1}', q{SELECT state = 'retrying' FROM taskq.task_status($1)}, 'd');
is($seen, 't|1 running 7 1|1', 'and one whose attempt has failed meanwhile');
is(sql($node, $db, "SELECT state FROM taskq.task WHERE id = '$id'"), 'retrying', '... which waits for the next one');
sql($node, $db, "SELECT taskq.task_run_now('$id')");
is(wait_task($node, $db, $id), 'completed', '... is run again');
is(sql($node, $db, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT state FROM taskq.task WHERE id = '$id'; COMMIT"), 'completed', '... and is over');

# --- many, by one who does not stop asking

sql($node, $db, "CALL poll('$_', 200)") foreach qw(tiny batch);
is(sql($node, $db, "SELECT string_agg(DISTINCT states, ';') FROM polled WHERE states !~ '^( pending)?( reserved)?( running)? completed\$'"),
	'', 'no task seems to wait when it ran');
is(sql($node, $db, 'SELECT count(*) FROM polled WHERE most > 1 OR least < 1'), '0', '... is missing, or twice');
is(sql($node, $db, 'SELECT count(*) FROM polled'), '400', '... of 400');

done_testing();
