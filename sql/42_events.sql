/* ---------------------------------------------------------------- events */

-- The tasks that have ended, many in a row: store/feed.c.  It is not dumped: what is
-- restored elsewhere is not told again.
CREATE TABLE taskq_internal.feed (
	first int8 NOT NULL CONSTRAINT feed_pkey PRIMARY KEY,
	after int8 NOT NULL,
	at timestamptz NOT NULL,
	events bytea NOT NULL
) USING heap;
ALTER TABLE taskq_internal.feed ALTER COLUMN events SET STORAGE PLAIN;
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.feed', 'WHERE false');
COMMENT ON TABLE taskq_internal.feed IS 'tasks that have ended, in the order of telling; look at it with taskq.events_since()';

-- Tasks whose end the feed may not have yet: store/outbox.c.  They are written in turns, and
-- truncated.
CREATE TABLE taskq_internal.outbox_0 (
	at timestamptz NOT NULL,
	ids bytea NOT NULL
) USING heap;
ALTER TABLE taskq_internal.outbox_0 ALTER COLUMN ids SET STORAGE PLAIN;
CREATE TABLE taskq_internal.outbox_1 (LIKE taskq_internal.outbox_0 INCLUDING STORAGE) USING heap;
CREATE TABLE taskq_internal.outbox_2 (LIKE taskq_internal.outbox_0 INCLUDING STORAGE) USING heap;
CREATE TABLE taskq_internal.outbox_3 (LIKE taskq_internal.outbox_0 INCLUDING STORAGE) USING heap;
COMMENT ON TABLE taskq_internal.outbox_0 IS 'tasks whose end the feed may not have yet';
COMMENT ON TABLE taskq_internal.outbox_1 IS 'tasks whose end the feed may not have yet';
COMMENT ON TABLE taskq_internal.outbox_2 IS 'tasks whose end the feed may not have yet';
COMMENT ON TABLE taskq_internal.outbox_3 IS 'tasks whose end the feed may not have yet';
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.outbox_0', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.outbox_1', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.outbox_2', 'WHERE false');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.outbox_3', 'WHERE false');

CREATE FUNCTION taskq.events_since(cursor text DEFAULT NULL, wait interval DEFAULT '0', n int DEFAULT 1000)
RETURNS jsonb LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_events_since';
COMMENT ON FUNCTION taskq.events_since IS
'The tasks that have ended since a cursor, in the order of telling

Returns an object of cursor, events and more. Pass the cursor to the next call; without one it begins now, and there are no events yet. An event has task_id, state, kind, queue, finished_at and more of a task that the caller may see. With wait it sleeps until there is one, at most taskq.max_wait. Each end is told at least once, after taskq.event_retention no more: then the cursor is refused with PT410.';
