# Whatever holds for a task in a transaction of its own holds for one that shares
# it with others: every behaviour twice, of a plain kind and of one with
# batch => true.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('shared_matrix', 'taskq.max_workers' => 2, 'taskq.trusted_gateways' => 'gate',
	'taskq.worker_idle_timeout' => '60s');
my $db = 'postgres';

$node->safe_psql(
	$db, q{
	CREATE ROLE gate LOGIN NOINHERIT;
	CREATE ROLE web NOLOGIN;
	CREATE ROLE app LOGIN;
	GRANT web TO gate;
	GRANT taskq_user TO web, app;

	CREATE TABLE did (kind text, task uuid, n int, found text, xid xid8 DEFAULT pg_current_xact_id(), at timestamptz DEFAULT clock_timestamp());
	CREATE TABLE once (n int UNIQUE DEFERRABLE INITIALLY DEFERRED);
	CREATE TABLE outbox (task uuid, do_it text);
	CREATE TABLE fired (task uuid, knew uuid, claims text, tenants bigint, child uuid, xid xid8 DEFAULT pg_current_xact_id());
	CREATE SEQUENCE numbers;
	GRANT ALL ON did, outbox, fired TO app;

	-- what it finds of others in the session
	CREATE FUNCTION residue() RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		found text[] := '{}';
	BEGIN
		IF random() = 0.9867818053928526 THEN found := found || 'seed'::text; END IF;
		IF current_setting('matrix.left', true) <> '' THEN found := found || 'setting'::text; END IF;
		IF current_setting('work_mem') = '1234kB' THEN found := found || 'work_mem'::text; END IF;
		IF current_setting('search_path') LIKE '%elsewhere%' THEN found := found || 'search_path'::text; END IF;
		IF current_setting('transaction_read_only') = 'on' THEN found := found || 'read only'::text; END IF;
		IF current_user <> session_user THEN found := found || 'role'::text; END IF;
		IF EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_my_temp_schema()) THEN found := found || 'temporary table'::text; END IF;
		IF EXISTS (SELECT FROM pg_proc WHERE pronamespace = pg_my_temp_schema()) THEN found := found || 'temporary function'::text; END IF;
		IF EXISTS (SELECT FROM pg_prepared_statements) THEN found := found || 'prepared statement'::text; END IF;
		IF EXISTS (SELECT FROM pg_cursors) THEN found := found || 'cursor'::text; END IF;
		IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND pid = pg_backend_pid()) THEN found := found || 'lock'::text; END IF;
		BEGIN
			PERFORM loread(0, 1);
			found := found || 'large object'::text;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		BEGIN
			PERFORM lastval();
			found := found || 'sequence'::text;
		EXCEPTION WHEN OTHERS THEN NULL;
		END;
		RETURN array_to_string(found, ', ');
	END $$;

	-- does what it is told
	CREATE FUNCTION act(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		found text := CASE WHEN p ? 'look' THEN residue() END;
	BEGIN
		INSERT INTO did (kind, task, n, found) SELECT kind, id, (p->>'n')::int, found FROM taskq.current_task();
		IF p ? 'outbox' THEN
			INSERT INTO outbox SELECT id, p->>'outbox' FROM taskq.current_task();
		END IF;
		IF p ? 'do' THEN
			EXECUTE p->>'do';
		END IF;
		IF p ? 'gate' THEN
			WHILE NOT EXISTS (SELECT FROM gate WHERE name = p->>'gate') LOOP
				PERFORM pg_sleep(0.01);
			END LOOP;
		END IF;
		IF p ? 'then' THEN
			EXECUTE p->>'then';
		END IF;
		RETURN jsonb_build_object('n', p->'n');
	END $$;

	-- what a deferred trigger sees, and does
	CREATE FUNCTION deliver() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO fired (task, knew, claims, tenants, child) VALUES (NEW.task, (SELECT id FROM taskq.current_task()),
			current_setting('request.jwt.claims', true), CASE WHEN NEW.do_it = 'submit, look' THEN (SELECT count(DISTINCT coalesce(tenant, '')) FROM taskq.task WHERE tags = '{tenants}') END,
			CASE WHEN NEW.do_it LIKE 'submit%' THEN taskq.task_submit((SELECT kind FROM taskq.current_task()), '{"n": 0}', tags => '{child}') END);
		IF NEW.do_it NOT LIKE 'submit%' THEN
			EXECUTE NEW.do_it;
		END IF;
		RETURN NULL;
	END $$;
	CREATE CONSTRAINT TRIGGER deliver AFTER INSERT ON outbox DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION deliver();

	SELECT taskq.kind_define('plain', 'act(jsonb)', max_attempts => 1);
	SELECT taskq.kind_define('batch', 'act(jsonb)', max_attempts => 1, batch => true);
	SELECT taskq.kind_define('plain_again', 'act(jsonb)', max_attempts => 5, backoff => '10 ms');
	SELECT taskq.kind_define('batch_again', 'act(jsonb)', max_attempts => 5, backoff => '10 ms', batch => true);
	SELECT taskq.kind_define('plain_later', 'act(jsonb)', max_attempts => 5, backoff => '1 hour');
	SELECT taskq.kind_define('batch_later', 'act(jsonb)', max_attempts => 5, backoff => '1 hour', batch => true);
	SELECT taskq.kind_define('plain_app', 'act(jsonb)', max_attempts => 1, run_as => 'app'), taskq.kind_grant('plain_app', 'web'), taskq.kind_grant('plain_app', 'app');
	SELECT taskq.kind_define('batch_app', 'act(jsonb)', max_attempts => 1, run_as => 'app', batch => true), taskq.kind_grant('batch_app', 'web'), taskq.kind_grant('batch_app', 'app');
});

$node->safe_psql(
	$db, q{
	CREATE PROCEDURE all_over(tag text) LANGUAGE plpgsql AS $$
	BEGIN
		WHILE EXISTS (SELECT FROM taskq_internal.task WHERE tags = ARRAY[tag] AND state NOT IN ('c', 'f', 'x')) LOOP
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
	END $$;

	-- A shared transaction needs a batch of several, and those are as large as the last ones were quick.
	CREATE PROCEDURE warm(warm_kind text) LANGUAGE plpgsql AS $$
	BEGIN
		PERFORM taskq.queue_pause('default');
		PERFORM taskq.task_submit_many(warm_kind, array_fill('{}'::jsonb, ARRAY[150]), tags => '{warm}');
		PERFORM taskq.queue_resume('default');
		CALL all_over('warm');
		DELETE FROM did WHERE task NOT IN (SELECT id FROM taskq_internal.task WHERE tags <> '{warm}');
	END $$;

	-- Some tasks in a row that look for residue, and some with something special, by their numbers.
	CREATE PROCEDURE submit_row(tag text, kind text, warm_kind text, n int, special jsonb) LANGUAGE plpgsql AS $$
	BEGIN
		CALL warm(warm_kind);
		PERFORM taskq.queue_pause('default');
		PERFORM taskq.task_submit(kind, jsonb_build_object('n', i, 'look', true) || coalesce(special->(i::text), special->'all', '{}'), tags => ARRAY[tag])
		FROM generate_series(1, n) i;
	END $$;

	-- How the tenth ended, how the others did, how often these had their effect, what was found.
	CREATE FUNCTION outcome(tag text) RETURNS text LANGUAGE sql AS $$
		SELECT concat_ws(' ', (SELECT concat_ws(' ', state, error->>'sqlstate') FROM taskq_internal.task WHERE tags = ARRAY[tag] AND payload->>'n' = '10'), '|',
			string_agg(DISTINCT t.state::text, ','), count(*) FILTER (WHERE (SELECT count(*) FROM did WHERE task = t.id) <> 1),
			count(*) FILTER (WHERE t.attempt <> 1), '|', (SELECT string_agg(DISTINCT found, ', ') FROM did WHERE task IN (SELECT id FROM taskq_internal.task WHERE tags = ARRAY[tag]) AND found <> ''))
		FROM taskq_internal.task t WHERE tags = ARRAY[tag] AND payload->>'n' <> '10'
	$$;
});

my $runs = 0;

# The tenth is special, or all are, or those given by their numbers.
sub submit_row
{
	my ($kind, $special, %option) = @_;
	my $tag = 'run' . ++$runs;
	my $n = $option{n} // 20;
	$special = $option{all} ? qq({"all": $special}) : qq({"10": $special}) unless $option{numbered};
	$node->safe_psql($db, sprintf(q{CALL submit_row('%s', '%s', '%s', %s, $special$%s$special$)}, $tag, $kind, $option{warm} // $kind, $n, $special));
	return $tag;
}

sub release
{
	$node->safe_psql($db, "SELECT taskq.queue_resume('default')");
	return;
}

sub all_ready
{
	my ($tag) = @_;
	$node->safe_psql($db, "CALL all_over('$tag')");
	return;
}

sub run_row
{
	my $tag = submit_row(@_);
	$node->safe_psql($db, "SELECT taskq.queue_resume('default'); CALL all_over('$tag')");
	return $tag;
}

sub outcome
{
	my ($tag) = @_;
	return $node->safe_psql($db, "SELECT outcome('$tag')");
}

# Did several of them share a transaction?
sub shared
{
	my ($tag) = @_;
	return $node->safe_psql($db,
		"SELECT count(DISTINCT xid) < count(*) FROM did WHERE task IN (SELECT id FROM taskq_internal.task WHERE tags = '{$tag}')");
}

sub the_tenth
{
	my ($tag) = @_;
	return $node->safe_psql($db, "SELECT id FROM taskq_internal.task WHERE tags = '{$tag}' AND payload->>'n' = '10'");
}

sub restarts
{
	my @lines = grep { /terminated by signal/ } split /\n/, slurp_file($node->logfile);
	return scalar @lines;
}

my $kill = q{COPY (SELECT 1) TO PROGRAM 'kill -9 $PPID; sleep 5'};

foreach my $way ('plain', 'batch')
{
	my $is_batch = $way eq 'batch';
	my $tag;

	# --- nothing is left for the next

	my @residue = (
		[ 'a cursor', 'DECLARE c CURSOR FOR SELECT 1' ],
		[ 'a cursor WITH HOLD', 'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)' ],
		[ 'a temporary table', 'CREATE TEMP TABLE t AS SELECT 1' ],
		[ 'a temporary table that goes with the commit', 'CREATE TEMP TABLE t (n int) ON COMMIT DROP' ],
		[ 'a temporary function', 'CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS $$SELECT 1$$' ],
		[ 'settings', q{SELECT set_config('matrix.left', 'x', false); SET work_mem = '1234kB'; SET search_path = elsewhere, public} ],
		[ 'SET LOCAL', q{SET LOCAL work_mem = '1234kB'} ],
		[ 'SET ROLE', 'SET ROLE app' ],
		[ 'SET SESSION AUTHORIZATION', 'SET SESSION AUTHORIZATION app' ],
		[ 'SET TRANSACTION READ ONLY', 'SET TRANSACTION READ ONLY' ],
		[ 'a prepared statement', 'PREPARE s AS SELECT 1' ],
		[ 'an advisory lock', 'SELECT pg_advisory_lock(4711)' ],
		[ 'a large object', 'SELECT lo_open(lo_create(0), 131072)' ],
		[ 'a sequence', q{SELECT nextval('numbers')} ],
		[ 'a seed', 'SELECT setseed(0.5)' ]);
	my @numbered;
	foreach my $i (0 .. $#residue)
	{
		(my $sql = $residue[$i][1]) =~ s/"/\\"/g;
		push @numbered, sprintf('"%d": {"do": "%s"}', 3 * $i + 2, $sql);
	}
	$tag = run_row($way, '{' . join(',', @numbered) . '}', numbered => 1, n => 3 * @residue + 2);
	is(outcome($tag), 'c | c 0 0 |', "$way: nothing is left of: " . join(', ', map { $_->[0] } @residue));
	is(shared($tag), $is_batch ? 't' : 'f', "$way: ... and " . ($is_batch ? 'several share' : 'each has') . ' a transaction');

	# --- cursors left open, thousands in a row

	$tag = run_row($way, '{"do": "DECLARE c CURSOR FOR SELECT 1"}', n => 3000, all => 1);
	is(outcome($tag), 'c | c 0 0 |', "$way: thousands of tasks that leave a cursor");
	is($node->safe_psql($db, 'SELECT count(*) FROM pg_locks l WHERE pid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.pid = l.pid)'),
		'0', "$way: ... no lock of a process that is gone");

	# --- the queries of cursors belong to their task

	$tag = run_row($way, q{{"do": "DECLARE c CURSOR WITH HOLD FOR SELECT 1 / (n - 5) FROM generate_series(1, 9) n"}});
	is(outcome($tag), 'f 22012 | c 0 0 |', "$way: the query of a cursor WITH HOLD fails its task");

	# --- errors

	$tag = run_row($way, q{{"then": "SELECT 1 / 0"}});
	is(outcome($tag), 'f 22012 | c 0 0 |', "$way: one that fails is the only one");
	$node->safe_psql($db, 'TRUNCATE once; INSERT INTO once VALUES (1)');
	$tag = run_row($way, q{{"do": "INSERT INTO once VALUES (1)"}});
	is(outcome($tag), 'f 23505 | c 0 0 |', "$way: ... by a constraint that is deferred");
	$tag = run_row($way, q{{"outbox": "SELECT 1 / 0"}});
	is(outcome($tag), 'f 22012 | c 0 0 |', "$way: ... by a deferred trigger");
	$tag = run_row("${way}_again", q{{"do": "SELECT taskq.fail('no use', '{\"a\": 1}')"}});
	is(outcome($tag), 'f TQ001 | c 0 0 |', "$way: ... by taskq.fail(): no retry");
	$tag = run_row("${way}_again", q{{"do": "SELECT taskq.retry('20 ms', 'later') FROM taskq.current_task() WHERE attempt = 1"}});
	is(outcome($tag), 'c | c 0 0 |', "$way: one that asks for a retry");
	task_is($node, $db, the_tenth($tag), 'attempt', '2', "$way: ... has it");

	# --- what it tells

	$tag = run_row($way, q{{"do": "SELECT taskq.progress(3, 4, 'nearly', 1, '{}')"}});
	is(outcome($tag), 'c | c 0 0 |', "$way: progress");
	task_is($node, $db, the_tenth($tag), q{current, total, message, failed_steps, result->>'n'}, '3|4|nearly|1|10', "$way: ... is its own");
	is($node->safe_psql($db, "SELECT count(*) FROM taskq.task WHERE tags = '{$tag}' AND message IS NOT NULL"), '1', "$way: ... and nobody else's");

	# --- notifications: once, and not of those that failed

	my $listener = $node->background_psql($db);
	$listener->query_safe('LISTEN matrix');
	$tag = submit_row($way, q{{"do": "SELECT pg_notify('matrix', 'ten'); SELECT 1 / 0"}});
	$node->safe_psql($db, "SELECT taskq.task_submit('$way', jsonb_build_object('n', i, 'do', format('NOTIFY matrix, %L', 'from ' || i)), tags => '{$tag}') FROM generate_series(31, 33) i");
	release();
	all_ready($tag);
	my $heard = $listener->query('SELECT 1');
	is(join(',', sort($heard =~ /with payload "([^"]*)"/g)), 'from 31,from 32,from 33', "$way: notifications of those that are completed");
	$listener->quit;

	# --- deferred triggers run inside of their task

	$tag = run_row($way, '{"outbox": "submit"}', all => 1);
	is(outcome($tag), 'c | c 0 0 |', "$way: deferred triggers");
	is($node->safe_psql($db, "SELECT count(*), count(*) FILTER (WHERE f.knew = f.task), count(*) FILTER (WHERE c.parent = f.task)
		FROM fired f JOIN taskq.task c ON c.id = f.child WHERE f.task IN (SELECT id FROM taskq.task WHERE tags = '{$tag}')"),
		'20|20|20', "$way: ... know their task, and what they submit are its children");
	is($node->safe_psql($db, "SELECT min(depth), max(depth) FROM taskq_internal.task WHERE id IN
		(SELECT child FROM fired WHERE task IN (SELECT id FROM taskq.task WHERE tags = '{$tag}'))"), '1|1', "$way: ... and as deep");
	all_ready('child');
	$tag = run_row($way, qq{{"outbox": "SELECT taskq.task_submit_many('$way', array_fill('{}'::jsonb, ARRAY[3]))", "do": "SET LOCAL taskq.max_children = 2"}});
	is(outcome($tag), 'f PT429 | c 0 0 |', "$way: ... and the number of children is limited");
	$tag = run_row($way, q{{"outbox": "SELECT taskq.task_wait(NEW.task)"}});
	like(outcome($tag), qr/^f \w+ \| c 0 0 \|$/, "$way: ... and one cannot wait there");
	my $waiting = submit($node, $db, $way, '{}', q{delay => '1 day'});
	$tag = run_row($way, qq{{"outbox": "SELECT taskq.task_wait('$waiting')"}});
	is(outcome($tag), 'f 55000 | c 0 0 |', "$way: ... as in the handler");

	# --- tenants

	$node->safe_psql($db, "CALL warm('${way}_app')");
	$node->safe_psql($db, "SELECT taskq.queue_pause('default')");
	$node->safe_psql(
		$db, qq{
		SET ROLE web;
		DO \$\$
		BEGIN
			FOR i IN 1..40 LOOP
				PERFORM set_config('request.jwt.claims', format('{"sub": "%s"}', CASE WHEN i / 5 % 2 = 0 THEN 'alice' ELSE 'bob' END), false);
				PERFORM taskq.task_submit('${way}_app', jsonb_build_object('n', i, 'outbox', CASE WHEN i % 10 = 3 THEN 'submit, look' ELSE 'submit' END, 'do',
					format('INSERT INTO did (kind, task, found) SELECT ''tenant'', id, current_setting(''request.jwt.claims'') FROM taskq.current_task()')),
					tags => '{tenants}', metadata => '{"way": "$way"}');
			END LOOP;
		END \$\$;}, extra_params => [ '-U', 'gate' ]);
	release();
	all_ready('tenants');
	all_ready('child');
	my $mine = qq{t.tags = '{tenants}' AND t.metadata->>'way' = '$way'};
	is($node->safe_psql($db, "SELECT count(*), count(DISTINCT tenant), min(state) FROM taskq.task t WHERE $mine"), '40|2|completed', "$way: tasks of two tenants");
	is($node->safe_psql($db, "SELECT count(*) FROM taskq.task t JOIN fired f ON f.task = t.id JOIN taskq.task c ON c.id = f.child
		WHERE $mine AND f.claims::jsonb->>'sub' = t.tenant AND coalesce(f.tenants, 1) = 1 AND f.knew = t.id AND c.tenant = t.tenant"),
		'40', "$way: ... each with its claims in the trigger, sees its own, and its children are its own");
	is($node->safe_psql($db, "SELECT count(*) FROM taskq.task t JOIN did d ON d.task = t.id AND d.kind = 'tenant' WHERE $mine AND d.found::jsonb->>'sub' = t.tenant"),
		'40', "$way: ... and in the handler");
	is($node->safe_psql($db, "SELECT count(*) FROM (SELECT FROM taskq.task t JOIN fired f ON f.task = t.id WHERE $mine GROUP BY f.xid HAVING count(DISTINCT t.tenant) > 1) x"),
		'0', "$way: never two of them in one transaction");
	is($node->safe_psql($db, "SELECT count(DISTINCT f.xid) < 40 FROM taskq.task t JOIN fired f ON f.task = t.id WHERE $mine"),
		$is_batch ? 't' : 'f', "$way: ... one may have several");
	$node->safe_psql($db, "SELECT taskq.task_delete(id) FROM taskq.task WHERE tags IN ('{tenants}', '{child}') AND ready");

	# --- cancels

	$tag = submit_row($way, '{}');
	is($node->safe_psql($db, "SELECT cancelled FROM taskq.task_cancel('" . the_tenth($tag) . "', 'why')"), 't', "$way: one that waits is cancelled");
	release();
	all_ready($tag);
	is(outcome($tag), 'x | c 0 0 |', "$way: ... alone");
	is(effects_of(the_tenth($tag)), '0', "$way: ... and does not run");

	$tag = submit_row($way, '{"gate": "never"}');
	release();
	my $id = the_tenth($tag);
	at_gate($id);
	is($node->safe_psql($db, "SELECT cancelled FROM taskq.task_cancel('$id', 'why')"), 't', "$way: one that runs is cancelled");
	all_ready($tag);
	is(outcome($tag), 'x | c 0 0 |', "$way: ... alone");
	task_is($node, $db, $id, 'cancel_reason', 'why', "$way: ... for the reason given");
	is(effects_of($id), '0', "$way: ... and has no effect");

	# cancelled while it ran, but its attempt has failed when that is committed
	my $canceller = $node->background_psql($db);
	$id = submit($node, $db, "${way}_later", qq{{"gate": "fails $way", "then": "SELECT 1 / 0"}});
	at_gate($id);
	$canceller->query_safe('BEGIN');
	is($canceller->query_safe("SELECT cancelled FROM taskq.task_cancel('$id', 'in time')"), 't', "$way: one whose attempt is about to fail");
	open_gate($node, $db, "fails $way");
	wait_state($node, $db, $id, 'retrying');
	$canceller->query_safe('COMMIT');
	is(wait_task($node, $db, $id), 'cancelled', "$way: ... is cancelled before the next one");
	$canceller->quit;

	# one that is through already, while another one runs; that one is completed, or fails
	foreach my $then ('SELECT 1', 'SELECT 1 / 0')
	{
		my $end = $then =~ /0/ ? 'failed 22012' : 'completed';
		my ($gate, $first);
		# once more where a shared transaction ended just before the tenth: it was long enough
		foreach (1 .. 20)
		{
			$gate = "open $runs";
			$tag = submit_row($way, qq{{"gate": "$gate", "then": "$then"}});
			release();
			at_gate(the_tenth($tag));
			$first = $node->safe_psql($db, "SELECT id FROM taskq.task WHERE tags = '{$tag}' AND payload->>'n' = '9'");
			last if !$is_batch || same_worker($first, the_tenth($tag));
			open_gate($node, $db, $gate);
			all_ready($tag);
		}
		wait_task($node, $db, $first) unless $is_batch;
		my ($cancelled, $at) = split /\|/, $node->safe_psql($db, "SELECT cancelled, clock_timestamp() FROM taskq.task_cancel('$first', 'too late?')");
		open_gate($node, $db, $gate);
		all_ready($tag);
		is($cancelled, $is_batch ? 't' : 'f', "$way: a task cancelled while another one runs that $end: the answer");
		task_is($node, $db, $first, 'state, cancel_reason', $is_batch ? 'cancelled|too late?' : 'completed|', "$way: ... is true");
		is(effects_of($first), $is_batch ? '0' : '1', "$way: ... its effect");
		is($node->safe_psql($db, "SELECT count(*) FROM did WHERE task = '$first' AND at > '$at'"), '0', "$way: ... does not come later");
		is($node->safe_psql($db, "SELECT concat_ws(' ', state, error->>'sqlstate') FROM taskq.task_status('" . the_tenth($tag) . "')"), $end, "$way: ... the other one: $end");
		is($node->safe_psql($db, "SELECT count(*), count(DISTINCT task) FROM did WHERE task IN (SELECT id FROM taskq.task WHERE tags = '{$tag}' AND state = 'completed')"),
			join('|', (18 + !$is_batch + ($end eq 'completed')) x 2), "$way: ... all others have one effect");
	}

	# --- timeouts

	$node->safe_psql($db, sprintf(q{SELECT taskq.kind_define('%s_short', 'act(jsonb)', max_attempts => 1, timeout => '300 ms', batch => %s)}, $way, $is_batch ? 'true' : 'false'));
	$tag = run_row("${way}_short", '{"do": "SELECT pg_sleep(600)"}');
	is(outcome($tag), 'f 57014 | c 0 0 |', "$way: one that runs out of time");
	$tag = run_row("${way}_short", '{"outbox": "SELECT pg_sleep(600)"}');
	is(outcome($tag), 'f 57014 | c 0 0 |', "$way: ... in a deferred trigger");
	$tag = run_row("${way}_short", '{"do": "DECLARE c CURSOR WITH HOLD FOR SELECT pg_sleep(600)"}');
	is(outcome($tag), 'f 57014 | c 0 0 |', "$way: ... in the query of a cursor");

	# --- the worker ends

	expect_terminated($node, 'worker');
	$tag = run_row($way, '{"do": "SELECT pg_terminate_backend(pg_backend_pid()), pg_sleep(600)"}');
	is(outcome($tag), 'f 57P01 | c 0 0 |', "$way: one that ends its process");

	# --- the server crashes: at most twice for one task, and nobody else is blamed

	foreach my $where ('do', 'outbox')
	{
		my $before = restarts();
		expect_crashes($node, 2);
		$tag = submit_row("${way}_again", qq{{"$where": "$kill"}}, warm => $way);
		$node->psql($db, "SELECT taskq.queue_resume('default')");
		$node->poll_query_until($db, "SELECT count(*) = 0 FROM taskq_internal.task WHERE tags = '{$tag}' AND state NOT IN ('c', 'f', 'x')");
		is(outcome($tag), 'f 57P02 | c 0 0 |', "$way: one that crashes the server in its " . ($where eq 'do' ? 'handler' : 'deferred trigger'));
		is(restarts() - $before, 2, "$way: ... twice");
	}
}

sub effects_of
{
	my ($id) = @_;
	return $node->safe_psql($db, "SELECT count(*) FROM did WHERE task = '$id'");
}

sub at_gate
{
	my ($id) = @_;
	$node->poll_query_until($db, "SELECT count(*) = 1 FROM taskq.worker WHERE task_id = '$id'") or die "$id is not run";
	return;
}

# Does one worker have both, and neither is ready?
sub same_worker
{
	my @ids = @_;
	return $node->safe_psql($db, sprintf(q{SELECT count(*) = 2 AND count(DISTINCT worker) = 1 FROM taskq.task WHERE id IN ('%s', '%s') AND state = 'running'}, @ids)) eq 't';
}

done_testing();
