-- What "make demo" runs, over pgbench's tables.  Copy from here.
--
--     pgbench -i -s 10 demo
--     psql demo -f examples/demo.sql
--
-- Needs the extension, and a role that owns the tables and is a member of
-- taskq_user (submit) and taskq_operator (define kinds, submit SQL).

CREATE SCHEMA demo;

/* ------------------------------------------------------------ a long task */

-- What a balance grows to when 10 are added each month.
CREATE FUNCTION demo.saved(balance float8, months int) RETURNS float8
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
	FOR month IN 1 .. months LOOP
		balance := (balance + 10) * 1.002;
	END LOOP;
	RETURN balance;
END
$$;

-- Works through accounts in chunks and says how far it is.  One transaction:
-- all of it happens, or, when it fails or is cancelled, nothing.
CREATE FUNCTION demo.savings_plan(job jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
	first int := job->>'first';
	last int := job->>'last';
	chunk constant int := 2500;
	done int := 0;
BEGIN
	FOR chunk_first IN first .. last BY chunk LOOP
		UPDATE pgbench_accounts SET abalance = demo.saved(abalance, 240)
		WHERE aid BETWEEN chunk_first AND least(chunk_first + chunk - 1, last);

		done := least(chunk_first + chunk, last + 1) - first;
		PERFORM taskq.progress(done, last + 1 - first, format('%s accounts', to_char(done, 'FM9,999,999')));
	END LOOP;
	RETURN jsonb_build_object('accounts', done, 'saved by each', demo.saved(0, 240)::int);
END
$$;

-- One attempt: a task of this kind that fails is not tried again.
SELECT taskq.kind_define('savings_plan', 'demo.savings_plan(jsonb)', max_attempts => 1,
	description => 'twenty years of saving for the accounts from first to last');

/* ------------------------------------------------------------ a task that fails */

CREATE FUNCTION demo.check_account(account pgbench_accounts) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	IF account.abalance < 0 THEN
		RAISE EXCEPTION 'account % is overdrawn', account.aid
			USING ERRCODE = 'check_violation',
				DETAIL = format('Its balance is %s, its branch is %s.', account.abalance, account.bid),
				HINT = 'Settle it, then submit the audit again.';
	END IF;
END
$$;

CREATE FUNCTION demo.audit(job jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
	account pgbench_accounts;
	total constant int := (SELECT max(aid) FROM pgbench_accounts);
	checked int := 0;
BEGIN
	FOR account IN SELECT * FROM pgbench_accounts ORDER BY aid LOOP
		PERFORM demo.check_account(account);
		checked := checked + 1;
		IF checked % 1000 = 0 THEN
			PERFORM taskq.progress(checked, total, format('%s accounts', to_char(checked, 'FM9,999,999')));
		END IF;
	END LOOP;
	RETURN jsonb_build_object('accounts', checked);
END
$$;

SELECT taskq.kind_define('audit', 'demo.audit(jsonb)', max_attempts => 1,
	description => 'looks at every account, fails at one that is overdrawn');

/* ------------------------------------------------------------ a short task */

CREATE FUNCTION demo.transfer(job jsonb) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
	UPDATE pgbench_accounts SET abalance = abalance - 1 WHERE aid = (job->>'from')::int;
	UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE aid = (job->>'to')::int;
	INSERT INTO pgbench_history (tid, bid, aid, delta, mtime)
	VALUES (1, 1, (job->>'from')::int, -1, clock_timestamp());
END
$$;

-- Two transfers may wait for each other in a circle; PostgreSQL then ends one
-- of them as a deadlock, and it is tried again.
SELECT taskq.kind_define('transfer', 'demo.transfer(jsonb)', max_attempts => 10, backoff => '10 ms',
	description => 'moves 1 from one account to another');

/* ------------------------------------------------------------ a look at it all */

-- A progress bar for each task: SELECT * FROM demo.bars \watch 0.2
CREATE VIEW demo.bars AS
SELECT
	t.id,
	t.kind,
	t.state,
	rpad(repeat('█', (t.progress * 0.3)::int), 30, '░') AS bar,
	t.progress,
	coalesce(CASE WHEN t.state = 'failed' THEN t.error->>'message'
				  WHEN t.state = 'cancelled' THEN t.cancel_reason
				  ELSE t.message END, '') AS message,
	extract(epoch FROM t.estimated_completion - clock_timestamp())::int AS seconds_left,
	t.payload->>'title' AS title
FROM taskq.task t;

/* ------------------------------------------------------------ a workflow */

CREATE TABLE demo.model AS SELECT false AS there;

-- A step: what it is called with says what to do.
CREATE FUNCTION demo.step(job jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
BEGIN
	CASE job->>'do'
	WHEN 'analyse' THEN
		RETURN (SELECT jsonb_build_object('accounts', count(*)) FROM pgbench_accounts WHERE bid = (job->>'branch')::int);
	WHEN 'decompile' THEN
		RETURN jsonb_build_object('lines', (job->>'accounts')::int / 100);
	WHEN 'explain' THEN
		IF NOT (SELECT there FROM demo.model) THEN
			RAISE EXCEPTION 'no model to explain % lines', job->>'lines';
		END IF;
		RETURN jsonb_build_object('words', (job->>'lines')::int * 7);
	ELSE
		RETURN '{}';
	END CASE;
END
$$;

SELECT taskq.kind_define('step', 'demo.step(jsonb)', max_attempts => 1);

-- {"$input": ...} is from what the workflow is submitted with, {"$result": ...} from what
-- another step returned; a step that takes a result waits for it.
SELECT taskq.template_define('analysis', '[
	{"name": "analyse", "kind": "step", "payload": {"do": "analyse", "branch": {"$input": "branch"}}, "expected_duration": "10 s"},
	{"name": "decompile", "kind": "step", "payload": {"do": "decompile", "accounts": {"$result": "analyse.accounts"}}, "expected_duration": "60 s"},
	{"name": "explain", "kind": "step", "payload": {"do": "explain", "lines": {"$result": "decompile.lines"}}, "expected_duration": "20 s"},
	{"name": "scan", "kind": "step", "depends_on": "explain", "payload": {"do": "scan"}, "expected_duration": "10 s"},
	{"name": "say so", "kind": "step", "depends_on": "explain", "run_when": "failed", "payload": {"do": "tell"}}]',
	'what a workflow looks like');
