-- :n finished tasks of the last 20 hours, put straight into the leaves that their ids
-- name: 20 kinds in 5 queues, 100 lanes of 50 tenants, one in a hundred failed, one in a
-- thousand cancelled, one in twenty with one of 1,000 tags, one in a hundred slow.
SELECT taskq.kind_define('list_' || i, 'noop(jsonb)', queue => 'lists_' || i % 5, category => CASE WHEN i < 3 THEN 'few' END) FROM generate_series(0, 19) i;
SELECT taskq.queue_pause('lists_' || i) FROM generate_series(0, 4) i;
CREATE TEMP TABLE sample AS
	SELECT i AS no, taskq.task_submit('list_' || i) AS id, NULL::text AS tenant FROM generate_series(0, 19) i
	UNION ALL SELECT 100 + i, taskq.task_submit('list_' || i % 2, options => jsonb_build_object('tenant', 'tenant_' || i / 2)), 'tenant_' || i / 2 FROM generate_series(0, 99) i;
CREATE TEMP TABLE lane AS SELECT s.no, s.tenant, t.lane FROM sample s JOIN taskq_internal.task t USING (id);
SELECT count(*) FROM sample s, taskq.task_cancel(s.id);
ALTER TABLE lane ADD PRIMARY KEY (no);

CREATE FUNCTION list_id(at timestamptz, leaf int, i bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
	SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000' || to_hex(128 + leaf) || '00' || lpad(to_hex(i), 12, '0'))::uuid
$$;

CREATE PROCEDURE list_fill(n bigint) LANGUAGE plpgsql AS $$
DECLARE
	begin_at timestamptz := date_trunc('second', now()) - interval '20 h';
	step float8 := 72000.0 / n;		-- seconds from one to the next
	period float8 := 7200;			-- of a leaf, with a retention of a day
	first bigint := 0;
	last bigint;
	leaf int;
	suffix text;
BEGIN
	WHILE first < n LOOP
		leaf := floor(extract(epoch FROM begin_at + first * step * interval '1 s') / period)::bigint % 16;
		last := least(n, ceil(((floor(extract(epoch FROM begin_at + first * step * interval '1 s') / period) + 1) * period - extract(epoch FROM begin_at)) / step)::bigint) - 1;
		last := greatest(last, first);
		suffix := lpad(leaf::text, 2, '0');
		EXECUTE format($sql$
			WITH new AS (
				INSERT INTO taskq_internal.task_%1$s (id, lane, slot, attempt, state, started_at, finished_at, error, worker, tags, tenant, payload)
				SELECT list_id(at, %2$s, i), l.lane, %2$s, 1, state::"char", at + interval '5 ms', at + interval '5 ms' + run,
					CASE state WHEN 'f' THEN jsonb_build_object('message', 'pump ' || i || ' is broken', 'sqlstate', 'P0001') END,
					CASE state WHEN 'x' THEN NULL ELSE 'worker-' || 1 + i %% 4 END, CASE WHEN i %% 20 = 0 THEN ARRAY['tag_' || i / 20 %% 1000] END, l.tenant,
					jsonb_build_object('n', i)
				FROM (SELECT i, $1 + i * $2 * interval '1 s' AS at, CASE WHEN i * 7919 %% 1000 < 10 THEN 'f' WHEN i * 7919 %% 1000 = 10 THEN 'x' ELSE 'c' END AS state,
						CASE WHEN i * 6151 %% 100 = 0 THEN interval '100 ms' + i * 389 %% 900000 * interval '10 us' ELSE i %% 20 * interval '1 ms' END AS run,
						CASE WHEN i %% 10 = 0 THEN 100 + i / 10 %% 100 ELSE i * 13 %% 20 END AS no
					FROM generate_series($3, $4) i) t
				JOIN lane l USING (no)
				RETURNING id, lane, state, started_at, finished_at, tags, tenant)
			INSERT INTO taskq_internal.label_%1$s
			SELECT l.label, l.rank, new.id FROM new, LATERAL (
				SELECT 't:' || tags[1], 0::bigint WHERE tags IS NOT NULL
				UNION ALL SELECT 'n:' || tenant, 0 WHERE tenant IS NOT NULL
				UNION ALL SELECT state::text, 0 WHERE state IN ('f', 'x')
				UNION ALL SELECT state::text || ':' || lane, 0 WHERE state IN ('f', 'x')
				UNION ALL SELECT 'd', -(1000000 * extract(epoch FROM finished_at - started_at))::bigint WHERE finished_at - started_at >= interval '100 ms') l (label, rank)$sql$, suffix, leaf)
		USING begin_at, step, first, last;
		COMMIT;
		first := last + 1;
	END LOOP;
END $$;
CALL list_fill(:n);

-- what is not over
SELECT count(*) FROM generate_series(1, 1000) i, taskq.task_submit('list_' || i % 20, delay => '1 d') AS t;
SELECT count(*) FROM generate_series(1, 1000) i, taskq.task_submit('list_' || i % 20, priority => i % 3) AS t;
