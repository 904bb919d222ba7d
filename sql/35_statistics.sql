/* ---------------------------------------------------------------- statistics */

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

CREATE FUNCTION taskq_internal.counted(since timestamptz, until timestamptz, grain "char", types text, apart bool DEFAULT false,
	OUT type "char", OUT outcome "char", OUT at timestamptz, OUT kind text, OUT queue text, OUT category text, OUT role text, OUT submitted_by text,
	OUT tenant text, OUT name text, OUT n int8, OUT started int8,
	OUT wait_us int8, OUT run_us int8, OUT max_us int8, OUT waits int8[], OUT runs int8[], OUT resources int8[])
RETURNS SETOF record LANGUAGE c VOLATILE ROWS 100 AS 'MODULE_PATHNAME', 'taskq_counted';
COMMENT ON FUNCTION taskq_internal.counted(timestamptz, timestamptz, "char", text, bool) IS
'what was counted between two moments of what the caller may see, by groups of these types, also what is not written yet; by whole minutes (m), hours (h) or days (d)';

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
'so many microseconds that part took at most, to an eighth; null if there are none';
CREATE FUNCTION taskq_internal.histogram_upto(histogram int8[], us int8) RETURNS int8
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_histogram_upto_sql';
COMMENT ON FUNCTION taskq_internal.histogram_upto(int8[], int8) IS 'how many took so many microseconds at most, by whole buckets';
CREATE FUNCTION taskq_internal.histogram_bucket(us int8) RETURNS int4
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'taskq_histogram_bucket_sql';
COMMENT ON FUNCTION taskq_internal.histogram_bucket(int8) IS 'the bucket of a histogram that so many microseconds are in';
