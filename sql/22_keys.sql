/* ---------------------------------------------------------------- concurrency keys */

-- Claimable tasks that have a concurrency key, in the order in which those of one key run.
-- A task has its row here from the transaction that makes it pending, also its submit; its
-- worker deletes the rows of what it has run, many at once.  Its lane has a negative number,
-- and is found by these rows only.
CREATE TABLE taskq_internal.keyed (
	lane int4 NOT NULL,
	key int8 NOT NULL,			-- hash of tenant and key
	due timestamptz NOT NULL,	-- run_at of the task, else the time of its submit
	id uuid NOT NULL,
	place tid NOT NULL,			-- of the task's row, unless it has moved
	CONSTRAINT keyed_pkey PRIMARY KEY (lane, key, due, id)
) USING heap WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
COMMENT ON TABLE taskq_internal.keyed IS 'tasks that are pending and have a concurrency key';
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.keyed', '');
