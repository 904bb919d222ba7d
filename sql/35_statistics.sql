/* ---------------------------------------------------------------- statistics */

-- Bodies of functions are BEGIN ATOMIC, so that who calls one needs no right on the schema.

-- What was counted.  span: m minute, h hour, d day (of UTC), each from its beginning, at;
-- a of all time (at is -infinity).  All four have it at once, so a time is read by the
-- largest spans that fit.  type: l lane, w worker, t tag, m member of the payload, q length
-- of a queue, b workers' time: see TASKQ_GROUP_ in rollups.h; of: the lane, or the role.
-- waits and runs: pairs of bucket and number, see histogram.h.
CREATE TABLE taskq_internal.rollup (
	span "char" NOT NULL,
	at timestamptz NOT NULL,
	key int8 NOT NULL,			-- hash of what follows, or one of the next numbers
	type "char" NOT NULL,
	outcome "char" NOT NULL,	-- c, f, x as in table task; t an attempt that is followed by another one
	of int4 NOT NULL,			-- 0: of all that found no room
	tenant text COLLATE "C" NOT NULL,	-- '': none
	name text COLLATE "C" NOT NULL,
	n int8 NOT NULL,
	started int8 NOT NULL,		-- of these have run, and have the times
	wait_us int8 NOT NULL,
	run_us int8 NOT NULL,
	max_us int8 NOT NULL,
	waits int8[] NOT NULL,
	runs int8[] NOT NULL,
	resources int8[] NOT NULL,	-- pairs of number in TaskqResource and sum
	CONSTRAINT rollup_pkey PRIMARY KEY (span, at, key)
) USING heap WITH (fillfactor = 50);
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.rollup', '');
COMMENT ON TABLE taskq_internal.rollup IS 'what was counted, by minute, hour and day; look at it with taskq.statistics()';

-- How many tasks there are, by the leaf that they are stored in, lane and stored state.
CREATE TABLE taskq_internal.stock (
	leaf int2 NOT NULL,
	lane int4 NOT NULL,
	state "char" NOT NULL,
	n int8 NOT NULL,
	CONSTRAINT stock_pkey PRIMARY KEY (leaf, lane, state)
) USING heap WITH (fillfactor = 50);
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.stock', '');
COMMENT ON TABLE taskq_internal.stock IS 'how many tasks there are; look at it with taskq.task_counts()';

CREATE FUNCTION taskq_internal.counted(since timestamptz, until timestamptz, grain "char", types text, apart bool DEFAULT false, bare bool DEFAULT false,
	OUT type "char", OUT outcome "char", OUT at timestamptz, OUT kind text, OUT queue text, OUT category text, OUT role text, OUT submitted_by text,
	OUT tenant text, OUT name text, OUT n int8, OUT started int8,
	OUT wait_us int8, OUT run_us int8, OUT max_us int8, OUT waits int8[], OUT runs int8[], OUT resources int8[])
RETURNS SETOF record LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'taskq_counted';
COMMENT ON FUNCTION taskq_internal.counted(timestamptz, timestamptz, "char", text, bool, bool) IS
'what was counted between two moments of what the caller may see, by groups of these types, also what is not written yet; by whole minutes (m), hours (h) or days (d); bare: without histograms and resources';

CREATE FUNCTION taskq_internal.histogram_add(state internal, histogram int8[]) RETURNS internal
LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'taskq_histogram_add';
COMMENT ON FUNCTION taskq_internal.histogram_add(internal, int8[]) IS 'a step of histogram_sum';
CREATE FUNCTION taskq_internal.histogram_of(state internal) RETURNS int8[]
LANGUAGE c IMMUTABLE AS 'MODULE_PATHNAME', 'taskq_histogram_of';
COMMENT ON FUNCTION taskq_internal.histogram_of(internal) IS 'the end of histogram_sum';
CREATE AGGREGATE taskq_internal.histogram_sum(int8[]) (
	SFUNC = taskq_internal.histogram_add, STYPE = internal, FINALFUNC = taskq_internal.histogram_of);
COMMENT ON AGGREGATE taskq_internal.histogram_sum(int8[]) IS 'histograms add up';
CREATE FUNCTION taskq_internal.histogram_quantile(histogram int8[], quantile float8) RETURNS float8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_histogram_quantile_sql';
COMMENT ON FUNCTION taskq_internal.histogram_quantile(int8[], float8) IS
'so many microseconds that part took at most, off by a quarter at most; null if there are none';
CREATE FUNCTION taskq_internal.histogram_upto(histogram int8[], us int8) RETURNS int8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_histogram_upto_sql';
COMMENT ON FUNCTION taskq_internal.histogram_upto(int8[], int8) IS 'how many took so many microseconds at most, by whole buckets';
CREATE FUNCTION taskq_internal.histogram_bucket(us int8) RETURNS int4
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_histogram_bucket_sql';
COMMENT ON FUNCTION taskq_internal.histogram_bucket(int8) IS 'the bucket of a histogram that so many microseconds are in';

/* ---------------------------------------------------------------- what is asked */

CREATE FUNCTION taskq_internal.words(us float8) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT CASE
	WHEN us < 1e6 THEN round((us / 1e3)::numeric, 1) || ' ms'
	WHEN us < 60e6 THEN round((us / 1e6)::numeric, 1) || ' seconds'
	WHEN us < 3600e6 THEN round((us / 60e6)::numeric, 1) || ' minutes'
	WHEN us < 48 * 3600e6 THEN round((us / 3600e6)::numeric, 1) || ' hours'
	ELSE round((us / 86400e6)::numeric, 1) || ' days' END;
END;
COMMENT ON FUNCTION taskq_internal.words(float8) IS 'a time of so many microseconds in words, as "8.5 minutes"';

CREATE FUNCTION taskq_internal.sparse(pairs int8[], place int8) RETURNS int8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_sparse';
COMMENT ON FUNCTION taskq_internal.sparse(int8[], int8) IS 'the number at a place of an array that has places and numbers; 0 if there is none';

CREATE FUNCTION taskq_internal.times(histogram int8[], mean_us float8, max_us int8) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT jsonb_build_object('mean', round((mean_us / 1e6)::numeric, 6),
	'p50', round((least(taskq_internal.histogram_quantile(histogram, 0.5), max_us) / 1e6)::numeric, 6),
	'p95', round((least(taskq_internal.histogram_quantile(histogram, 0.95), max_us) / 1e6)::numeric, 6),
	'p99', round((least(taskq_internal.histogram_quantile(histogram, 0.99), max_us) / 1e6)::numeric, 6))
	|| CASE WHEN max_us IS NULL THEN '{}' ELSE jsonb_build_object('max', round(max_us / 1e6, 6)) END;
END;
COMMENT ON FUNCTION taskq_internal.times(int8[], float8, int8) IS 'mean, quantiles and maximum of a time, in seconds';

CREATE FUNCTION taskq_internal.trend(value float8, before float8, within float8) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT CASE WHEN value IS NULL OR before IS NULL THEN NULL
	WHEN abs(value - before) <= within THEN 'stable' WHEN value > before THEN 'increasing' ELSE 'decreasing' END;
END;
COMMENT ON FUNCTION taskq_internal.trend(float8, float8, float8) IS
'increasing, decreasing, or stable if they differ by no more than that; null if one of them is not known';

CREATE FUNCTION taskq_internal.timeframe(timeframe interval, OUT grain "char", OUT since timestamptz, OUT before timestamptz)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	unit text;
BEGIN
	IF timeframe IS NULL OR timeframe <= interval '0' THEN
		RAISE EXCEPTION 'timeframe must be longer than nothing' USING ERRCODE = '22023',
			HINT = 'Pass an interval as argument "timeframe", such as ''24 hours''.';
	END IF;
	unit := CASE WHEN timeframe <= interval '90 minutes' THEN 'minute' WHEN timeframe <= interval '7 days' THEN 'hour' ELSE 'day' END;
	grain := left(unit, 1)::"char";
	since := date_trunc(unit, now() - timeframe, 'UTC');
	before := date_trunc(unit, since - timeframe, 'UTC');
END
$$;
COMMENT ON FUNCTION taskq_internal.timeframe(interval) IS
'from when on the last minutes, hours or days are counted, by which spans, and when the same time before that began';

-- What group_by names: its letter, and the types of groups that are read for it.
CREATE FUNCTION taskq_internal.group_word(group_by text, OUT word text, OUT types text)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	word := CASE group_by WHEN 'type' THEN 'kind' WHEN 'status' THEN 'state' WHEN 'run_as' THEN 'role' ELSE group_by END;
	types := CASE word WHEN 'worker' THEN 'lw' WHEN 'tag' THEN 'lt' ELSE 'l' END;
	IF word IN ('kind', 'category', 'queue', 'role', 'submitted_by', 'tenant', 'state', 'worker', 'tag') THEN
		RETURN;
	END IF;
	types := 'lm';
	-- what is secret to one owner is no reason to keep another one from its own
	IF word IS NULL OR NOT EXISTS (SELECT FROM taskq.kind k WHERE word = ANY (k.indexed))
		OR EXISTS (SELECT FROM taskq.kind k JOIN taskq.kind s ON s.owner = k.owner WHERE word = ANY (k.indexed) AND word = ANY (s.secret)) THEN
		RAISE EXCEPTION 'cannot group by %', coalesce(quote_literal(group_by), 'null') USING ERRCODE = '22023',
			HINT = 'Argument "group_by" is kind, category, queue, role, submitted_by, tenant, state, worker, tag, or a member of the payload that kind_define(..., indexed => ...) names, and that is no secret.';
	END IF;
END
$$;
COMMENT ON FUNCTION taskq_internal.group_word(text) IS 'what argument group_by of the statistics means, and which groups are read for it';

-- A row for each group, and one, whose key is null and total true, for all; where types say so,
-- one each for the length of queues (key q) and for workers (b), whose total is null.
CREATE FUNCTION taskq_internal.summed(since timestamptz, until timestamptz, grain "char", word text, types text, include_failed bool, bare bool DEFAULT false,
	OUT total bool, OUT key text, OUT completed int8, OUT failed int8, OUT cancelled int8, OUT retried int8,
	OUT runs int8, OUT run_us float8, OUT busy_us float8, OUT max_us int8, OUT run_times int8[],
	OUT waits int8, OUT wait_us float8, OUT wait_times int8[],
	OUT cpu_us float8, OUT peak_memory int8, OUT disk_bytes float8)
RETURNS SETOF record LANGUAGE sql VOLATILE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS MATERIALIZED (
	SELECT c.*, c.type = 'l' AND types ~ '[twm]' AS only_total,
		CASE WHEN c.type = 'm' THEN substr(c.name, length(word) + 2)
			WHEN c.type IN ('t', 'w') THEN c.name
			WHEN c.type IN ('q', 'b') THEN c.type::text
			ELSE CASE word WHEN 'kind' THEN c.kind WHEN 'category' THEN c.category WHEN 'queue' THEN c.queue WHEN 'role' THEN c.role
				WHEN 'submitted_by' THEN c.submitted_by WHEN 'tenant' THEN c.tenant
				WHEN 'state' THEN CASE c.outcome WHEN 'c' THEN 'completed' WHEN 'f' THEN 'failed' WHEN 'x' THEN 'cancelled' ELSE 'retrying' END END END AS k,
		c.outcome = 'c' OR c.outcome = 'f' AND include_failed OR word = 'state' AS timed
	FROM taskq_internal.counted(since, until, grain, types, false, bare) c
	WHERE (include_failed OR c.outcome IN ('c', 'x', '-')) AND (c.type <> 'm' OR starts_with(c.name, word || '='))
)
SELECT g.total, g.key, g.completed, g.failed, g.cancelled, g.retried, g.runs, g.run_us, g.busy_us, g.max_us, g.run_times, g.waits, g.wait_us,
	g.wait_times, g.cpu_us, g.peak_memory, g.disk_bytes
FROM (
	SELECT g.total, g.key,
		coalesce(sum(c.n) FILTER (WHERE c.outcome = 'c'), 0)::int8 AS completed,
		coalesce(sum(c.n) FILTER (WHERE c.outcome = 'f'), 0)::int8 AS failed,
		coalesce(sum(c.n) FILTER (WHERE c.outcome = 'x'), 0)::int8 AS cancelled,
		coalesce(sum(c.n) FILTER (WHERE c.outcome = 't'), 0)::int8 AS retried,
		coalesce(sum(c.started) FILTER (WHERE c.timed), 0)::int8 AS runs,
		sum(c.run_us) FILTER (WHERE c.timed)::float8 AS run_us,
		sum(c.run_us)::float8 AS busy_us,
		max(c.max_us) FILTER (WHERE c.timed AND c.started > 0) AS max_us,
		taskq_internal.histogram_sum(c.runs) FILTER (WHERE c.timed) AS run_times,
		coalesce(sum(c.started), 0)::int8 AS waits,
		sum(c.wait_us)::float8 AS wait_us,
		taskq_internal.histogram_sum(c.waits) AS wait_times,
		sum(taskq_internal.sparse(c.resources, 0) + taskq_internal.sparse(c.resources, 1))::float8 AS cpu_us,
		max(taskq_internal.sparse(c.resources, 7)) AS peak_memory,
		sum(taskq_internal.sparse(c.resources, 4) * 8192 + taskq_internal.sparse(c.resources, 5))::float8 AS disk_bytes
	FROM c CROSS JOIN LATERAL (
		SELECT true AS total, NULL::text AS key WHERE c.type = 'l'
		UNION ALL SELECT CASE WHEN c.type NOT IN ('q', 'b') THEN false END, c.k WHERE NOT c.only_total
	) g
	GROUP BY g.total, g.key
) g;
END;
COMMENT ON FUNCTION taskq_internal.summed(timestamptz, timestamptz, "char", text, text, bool, bool) IS
'what was counted between two moments, by groups, and in all; bare: without histograms and resources';

CREATE FUNCTION taskq.statistics_by(timeframe interval DEFAULT '24 hours', group_by text DEFAULT 'kind', include_failed bool DEFAULT true,
	OUT key text, OUT total int8, OUT completed int8, OUT failed int8, OUT cancelled int8, OUT retried int8, OUT success_rate numeric,
	OUT throughput numeric, OUT mean_run interval, OUT p50_run interval, OUT p95_run interval, OUT p99_run interval, OUT max_run interval,
	OUT mean_wait interval, OUT p50_wait interval, OUT p95_wait interval, OUT p99_wait interval, OUT busy interval, OUT cpu interval, OUT peak_memory int8)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT s.key, s.completed + s.failed + s.cancelled, s.completed, s.failed, s.cancelled, s.retried,
	round(100.0 * s.completed / nullif(s.completed + s.failed + s.cancelled, 0), 1),
	round((s.completed / nullif(extract(epoch FROM clock_timestamp() - t.since) / 60, 0))::numeric, 2),
	s.run_us / nullif(s.runs, 0) * interval '1 us',
	least(taskq_internal.histogram_quantile(s.run_times, 0.5), s.max_us) * interval '1 us', least(taskq_internal.histogram_quantile(s.run_times, 0.95), s.max_us) * interval '1 us',
	least(taskq_internal.histogram_quantile(s.run_times, 0.99), s.max_us) * interval '1 us', s.max_us * interval '1 us',
	s.wait_us / nullif(s.waits, 0) * interval '1 us',
	taskq_internal.histogram_quantile(s.wait_times, 0.5) * interval '1 us', taskq_internal.histogram_quantile(s.wait_times, 0.95) * interval '1 us',
	taskq_internal.histogram_quantile(s.wait_times, 0.99) * interval '1 us',
	s.busy_us * interval '1 us', nullif(s.cpu_us, 0) * interval '1 us', nullif(s.peak_memory, 0)
FROM taskq_internal.timeframe(timeframe) t CROSS JOIN taskq_internal.group_word(group_by) w
CROSS JOIN LATERAL taskq_internal.summed(t.since, NULL, t.grain, w.word, w.types, coalesce(include_failed, true)) s
WHERE NOT s.total ORDER BY 2 DESC, 1;
END;
COMMENT ON FUNCTION taskq.statistics_by(interval, text, bool) IS
'Statistics of the tasks that ended lately, a row a group

group_by is kind, category, queue, worker, role, submitted_by, tenant, tag, state, or a member of the payload that kinds name as indexed. throughput is completed tasks a minute. Percentiles are off by a quarter at most. Up to 90 minutes are counted by the minute, up to 7 days by the hour, more by the day of UTC: from the beginning of the first one.';

CREATE FUNCTION taskq.statistics(timeframe interval DEFAULT '24 hours', group_by text DEFAULT 'kind', include_failed bool DEFAULT true) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH t AS MATERIALIZED (SELECT t.*, w.*, coalesce(include_failed, true) AS failed_too
	FROM taskq_internal.timeframe(timeframe) t CROSS JOIN taskq_internal.group_word(group_by) w),
s AS MATERIALIZED (
	SELECT s.*, s.completed + s.failed + s.cancelled AS ended,
		round(100.0 * s.completed / nullif(s.completed + s.failed + s.cancelled, 0), 1) AS success_rate,
		s.run_us / nullif(s.runs, 0) AS mean_us
	FROM t CROSS JOIN LATERAL taskq_internal.summed(t.since, NULL, t.grain, t.word, t.types || 'qb', t.failed_too) s),
b AS MATERIALIZED (
	SELECT s.*, round(100.0 * s.completed / nullif(s.completed + s.failed + s.cancelled, 0), 1) AS success_rate, s.run_us / nullif(s.runs, 0) AS mean_us
	FROM t CROSS JOIN LATERAL taskq_internal.summed(t.before, t.since, t.grain, NULL, 'lqb', t.failed_too, true) s),
q AS (SELECT s.key AS type, true AS now, s.wait_us, s.busy_us AS run_us FROM s WHERE s.total IS NULL
	UNION ALL SELECT b.key, false, b.wait_us, b.busy_us FROM b WHERE b.total IS NULL),
-- a sample a minute, while something runs; else nothing waits
l AS (SELECT q.now, q.wait_us / (extract(epoch FROM CASE WHEN q.now THEN clock_timestamp() - t.since ELSE t.since - t.before END) / 60) AS length
	FROM q CROSS JOIN t WHERE q.type = 'q'),
r AS (SELECT count(*) AS active FROM taskq.task WHERE state = 'running')
SELECT jsonb_build_object(
	'timeframe', timeframe, 'since', t.since, 'until', clock_timestamp(), 'group_by', t.word,
	'summary', jsonb_build_object(
		'total_tasks', coalesce(s.ended, 0) + r.active, 'completed_tasks', coalesce(s.completed, 0), 'failed_tasks', coalesce(s.failed, 0),
		'cancelled_tasks', coalesce(s.cancelled, 0), 'retried_attempts', coalesce(s.retried, 0), 'active_tasks', r.active,
		'success_rate', s.success_rate,
		'average_completion_time', taskq_internal.words(s.mean_us), 'average_seconds', round((s.mean_us / 1e6)::numeric, 6),
		'total_processing_time', taskq_internal.words(s.busy_us), 'total_seconds', round((s.busy_us / 1e6)::numeric, 6),
		'run', taskq_internal.times(s.run_times, s.mean_us, s.max_us), 'wait', taskq_internal.times(s.wait_times, s.wait_us / nullif(s.waits, 0), NULL),
		'throughput', round((coalesce(s.completed, 0) / nullif(extract(epoch FROM clock_timestamp() - t.since) / 60, 0))::numeric, 2)),
	'groups', (SELECT coalesce(jsonb_object_agg(coalesce(g.key, ''), jsonb_build_object(
			'total', g.ended, 'completed', g.completed, 'failed', g.failed, 'cancelled', g.cancelled, 'retried', g.retried, 'success_rate', g.success_rate,
			'average_time', taskq_internal.words(g.mean_us), 'average_seconds', round((g.mean_us / 1e6)::numeric, 6),
			'run', taskq_internal.times(g.run_times, g.mean_us, g.max_us), 'wait', taskq_internal.times(g.wait_times, g.wait_us / nullif(g.waits, 0), NULL),
			'throughput', round((g.completed / nullif(extract(epoch FROM clock_timestamp() - t.since) / 60, 0))::numeric, 2))), '{}')
		FROM s g WHERE NOT g.total),
	'performance_trends', jsonb_build_object(
		'completion_time_trend', taskq_internal.trend(s.mean_us, b.mean_us, 0.05 * b.mean_us),
		'success_rate_trend', taskq_internal.trend(s.success_rate, b.success_rate, 1),
		'throughput_trend', taskq_internal.trend(s.completed / extract(epoch FROM clock_timestamp() - t.since),
			b.completed / extract(epoch FROM t.since - t.before), 0.05 * b.completed / extract(epoch FROM t.since - t.before)),
		'queue_length_trend', (SELECT taskq_internal.trend(x.length, y.length, 0.05 * y.length) FROM l x CROSS JOIN l y WHERE x.now AND NOT y.now),
		'average_queue_length', (SELECT round(l.length::numeric, 1) FROM l WHERE l.now),
		'worker_utilization', (SELECT round((100 * q.run_us / nullif(q.wait_us, 0))::numeric, 1) FROM q WHERE q.type = 'b' AND q.now),
		'worker_utilization_trend', (SELECT taskq_internal.trend(100 * x.run_us / nullif(x.wait_us, 0), 100 * y.run_us / nullif(y.wait_us, 0), 5)
			FROM q x CROSS JOIN q y WHERE x.type = 'b' AND y.type = 'b' AND x.now AND NOT y.now)),
	'resource_usage', jsonb_build_object(
		'average_cpu_usage', round((100 * nullif(s.cpu_us, 0) / nullif(s.busy_us, 0))::numeric, 1),
		'cpu_seconds', round((nullif(s.cpu_us, 0) / 1e6)::numeric, 3),
		'peak_memory_usage', pg_size_pretty(nullif(s.peak_memory, 0)), 'peak_memory_bytes', nullif(s.peak_memory, 0),
		'total_disk_usage', CASE WHEN s.cpu_us > 0 THEN pg_size_pretty(s.disk_bytes::int8) END))
FROM t CROSS JOIN r LEFT JOIN s ON s.total LEFT JOIN b ON b.total;
END;
COMMENT ON FUNCTION taskq.statistics(interval, text, bool) IS
'Statistics of the tasks that ended lately, as one JSON object

In all, by groups, and how they compare with the time before. group_by is as for statistics_by. A trend compares with the time of the same length before: stable is what changed by a twentieth at most, of the success rate by one percent point. Rates are in percent. Who acts for one tenant gets its own tasks, without queues and workers.';

/* ---------------------------------------------------------------- how many tasks there are */

CREATE FUNCTION taskq_internal.stocks(OUT state text, OUT kind text, OUT queue text, OUT priority int2, OUT category text, OUT run_as text, OUT n int8)
RETURNS SETOF record LANGUAGE c VOLATILE ROWS 50 AS 'MODULE_PATHNAME', 'taskq_stock_sql';
COMMENT ON FUNCTION taskq_internal.stocks() IS 'how many tasks there are that the caller may see, by lane and state';

CREATE FUNCTION taskq.task_counts(OUT state text, OUT kind text, OUT queue text, OUT priority int2, OUT category text, OUT run_as text, OUT n int8)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 50 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT s.state, s.kind, s.queue, s.priority, s.category, s.run_as, sum(s.n)::int8 FROM taskq_internal.stocks() s
GROUP BY s.state, s.kind, s.queue, s.priority, s.category, s.run_as ORDER BY s.state, s.kind, s.queue, s.priority DESC, s.run_as;
END;
COMMENT ON FUNCTION taskq.task_counts() IS
'How many tasks there are, by state, kind, queue, priority and role

From counters: no task is read. A crash of the server loses what was counted in the last minute; taskq.task_recount() counts anew.';

CREATE FUNCTION taskq.task_recount() RETURNS int8
LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_task_recount';
COMMENT ON FUNCTION taskq.task_recount() IS
'Count all tasks anew, for task_counts

Reads all tasks. After a crash of the server, or a change of the tables by hand. Tasks that are submitted or end in that very moment may be counted twice, or not: it is exact while nothing happens.';

-- As the documents of those who came from other systems have it.
CREATE FUNCTION taskq.task_summary() RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS MATERIALIZED (SELECT c.state, c.kind, sum(c.n)::int8 AS n FROM taskq.task_counts() c GROUP BY 1, 2),
s AS (SELECT coalesce(sum(n), 0)::int8 AS total,
	coalesce(sum(n) FILTER (WHERE state IN ('pending', 'reserved', 'scheduled', 'blocked', 'retrying')), 0)::int8 AS queued,
	coalesce(sum(n) FILTER (WHERE state = 'running'), 0)::int8 AS running, coalesce(sum(n) FILTER (WHERE state = 'completed'), 0)::int8 AS completed,
	coalesce(sum(n) FILTER (WHERE state = 'failed'), 0)::int8 AS failed, coalesce(sum(n) FILTER (WHERE state = 'cancelled'), 0)::int8 AS cancelled,
	coalesce(sum(n) FILTER (WHERE state IN ('pending', 'reserved')), 0)::int8 AS waiting FROM c),
r AS (SELECT r.run_us / nullif(r.runs, 0) AS mean_us FROM taskq_internal.timeframe(interval '24 hours') t
	CROSS JOIN LATERAL taskq_internal.summed(t.since, NULL, t.grain, 'kind', 'l', true) r WHERE r.total)
SELECT jsonb_build_object('total_tasks', s.total,
	'by_status', jsonb_build_object('queued', s.queued, 'running', s.running, 'completed', s.completed, 'failed', s.failed, 'cancelled', s.cancelled),
	'by_type', (SELECT coalesce(jsonb_object_agg(k.kind, k.n), '{}') FROM (SELECT c.kind, sum(c.n) AS n FROM c GROUP BY 1) k),
	'active_workers', (SELECT count(*) FROM taskq.worker w WHERE w.task_id IS NOT NULL),
	'queue_length', s.waiting,
	'average_completion_time', taskq_internal.words((SELECT r.mean_us FROM r)))
FROM s;
END;
COMMENT ON FUNCTION taskq.task_summary() IS
'How many tasks there are, by status and type, in one JSON object

queued are all that do not run yet; queue_length those that could run now. average_completion_time is of the last 24 hours.';

CREATE FUNCTION taskq.task_recent(n int DEFAULT 20,
	OUT task_id uuid, OUT name text, OUT status text, OUT description text, OUT started_at timestamptz, OUT completed_at timestamptz,
	OUT duration_seconds numeric, OUT error_message text, OUT worker text)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 20 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT t.id, t.title, t.state,
	CASE t.state WHEN 'completed' THEN 'Task completed successfully'
		WHEN 'failed' THEN left('Task failed: ' || coalesce(t.error->>'message', 'no reason given'), 213)
		WHEN 'cancelled' THEN left('Task cancelled' || coalesce(': ' || t.cancel_reason, ''), 213)
		ELSE left(format('Running on %s: %s', t.worker, t.payload), 213) END,
	t.started_at, t.finished_at, round(extract(epoch FROM t.duration), 6), left(t.error->>'message', 200), t.worker
FROM taskq.task_list('{"state": ["running", "completed", "failed", "cancelled"]}', 'newest', NULL, greatest(100, least(coalesce(n, 20), 1000))) t
ORDER BY coalesce(t.finished_at, t.started_at) DESC NULLS LAST, t.id DESC LIMIT least(coalesce(n, 20), 1000);
END;
COMMENT ON FUNCTION taskq.task_recent(int) IS
'Tasks that run or have ended lately, the last one first

Of the hundred that were submitted last, or n if that is more. name is the title of the task: of its kind''s description, or the last part of the kind, in words.';

CREATE FUNCTION taskq.task_metrics(recent int DEFAULT 0) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS (SELECT coalesce(sum(c.n) FILTER (WHERE c.state = 'running'), 0)::int8 AS active,
	coalesce(sum(c.n) FILTER (WHERE c.state IN ('pending', 'reserved', 'scheduled', 'blocked', 'retrying')), 0)::int8 AS pending,
	coalesce(sum(c.n) FILTER (WHERE c.state = 'completed'), 0)::int8 AS completed,
	coalesce(sum(c.n) FILTER (WHERE c.state = 'failed'), 0)::int8 AS failed FROM taskq.task_counts() c)
SELECT jsonb_build_object('total_tasks', c.active + c.pending + c.completed + c.failed, 'active_tasks', c.active, 'pending_tasks', c.pending,
	'completed_tasks', c.completed, 'failed_tasks', c.failed,
	'success_rate', round(c.completed::numeric / nullif(c.completed + c.failed, 0), 2))
	|| CASE WHEN recent > 0 THEN jsonb_build_object('recent_tasks', (SELECT coalesce(jsonb_agg(to_jsonb(r)), '[]') FROM taskq.task_recent(recent) r))
		ELSE '{}' END
FROM c;
END;
COMMENT ON FUNCTION taskq.task_metrics(int) IS
'Numbers of tasks that are kept, and how many of those that ended succeeded; and so many recent tasks

success_rate is completed by completed and failed, null if there are none. pending_tasks are all that do not run yet. Cancelled ones are in none of the numbers.';

CREATE FUNCTION taskq.statistics_history(timeframe interval DEFAULT '24 hours', group_by text DEFAULT NULL,
	OUT at timestamptz, OUT key text, OUT completed int8, OUT failed int8, OUT cancelled int8, OUT retried int8,
	OUT mean_run interval, OUT p95_run interval, OUT mean_wait interval, OUT p95_wait interval, OUT queue_length numeric, OUT worker_utilization numeric)
RETURNS SETOF record LANGUAGE sql STABLE ROWS 100 SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
WITH c AS MATERIALIZED (
	SELECT c.*, w.word, CASE WHEN c.type = 'm' THEN substr(c.name, length(w.word) + 2) WHEN c.type IN ('t', 'w') THEN c.name
		ELSE CASE w.word WHEN 'kind' THEN c.kind WHEN 'category' THEN c.category WHEN 'queue' THEN c.queue WHEN 'role' THEN c.role
			WHEN 'submitted_by' THEN c.submitted_by WHEN 'tenant' THEN c.tenant
			WHEN 'state' THEN CASE c.outcome WHEN 'c' THEN 'completed' WHEN 'f' THEN 'failed' WHEN 'x' THEN 'cancelled' ELSE 'retrying' END END END AS k,
		CASE t.grain WHEN 'm' THEN 1 WHEN 'h' THEN 60 ELSE 1440 END AS minutes
	FROM taskq_internal.timeframe(timeframe) t
	CROSS JOIN LATERAL (SELECT g.* FROM taskq_internal.group_word(group_by) g WHERE group_by IS NOT NULL
		UNION ALL SELECT NULL, 'lqb' WHERE group_by IS NULL) w
	CROSS JOIN LATERAL taskq_internal.counted(t.since, NULL, t.grain, CASE WHEN length(w.types) = 2 THEN substr(w.types, 2) ELSE w.types END, true) c
	WHERE c.type <> 'm' OR starts_with(c.name, w.word || '=')
)
SELECT c.at, CASE WHEN group_by IS NOT NULL THEN c.k END,
	coalesce(sum(c.n) FILTER (WHERE c.outcome = 'c'), 0)::int8, coalesce(sum(c.n) FILTER (WHERE c.outcome = 'f'), 0)::int8,
	coalesce(sum(c.n) FILTER (WHERE c.outcome = 'x'), 0)::int8, coalesce(sum(c.n) FILTER (WHERE c.outcome = 't'), 0)::int8,
	sum(c.run_us) FILTER (WHERE c.outcome IN ('c', 'f')) / nullif(sum(c.started) FILTER (WHERE c.outcome IN ('c', 'f')), 0)::float8 * interval '1 us',
	taskq_internal.histogram_quantile(taskq_internal.histogram_sum(c.runs) FILTER (WHERE c.outcome IN ('c', 'f')), 0.95) * interval '1 us',
	sum(c.wait_us) FILTER (WHERE c.outcome <> '-') / nullif(sum(c.started) FILTER (WHERE c.outcome <> '-'), 0)::float8 * interval '1 us',
	taskq_internal.histogram_quantile(taskq_internal.histogram_sum(c.waits) FILTER (WHERE c.outcome <> '-'), 0.95) * interval '1 us',
	round(sum(c.wait_us) FILTER (WHERE c.type = 'q') / min(c.minutes), 1),
	round(100 * sum(c.run_us) FILTER (WHERE c.type = 'b') / nullif(sum(c.wait_us) FILTER (WHERE c.type = 'b'), 0), 1)
FROM c GROUP BY 1, 2 ORDER BY 1, 2;
END;
COMMENT ON FUNCTION taskq.statistics_history(interval, text) IS
'Statistics over time: a row for each minute, hour or day, and group

By the minute up to 90 minutes, by the hour up to 7 days, else by the day of UTC; where nothing happened there is no row. group_by as for statistics_by, null: all together, with the mean length of the queues and the percentage of their time that workers were busy.';

/* ---------------------------------------------------------------- for Prometheus */

CREATE FUNCTION taskq_internal.labels(VARIADIC pairs text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
SELECT '{' || string_agg(format('%s="%s"', pairs[2 * i - 1],
	replace(replace(replace(coalesce(pairs[2 * i], ''), E'\\', E'\\\\'), '"', E'\\"'), E'\n', E'\\n')), ',' ORDER BY i) || '}'
FROM generate_series(1, cardinality(pairs) / 2) i;
END;
COMMENT ON FUNCTION taskq_internal.labels(text[]) IS 'labels of a metric: names and values, as Prometheus reads them';
