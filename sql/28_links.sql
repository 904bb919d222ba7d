/* ---------------------------------------------------------------- links */

-- Which task made which object.  What is kept of the task is here once, as long as it
-- has links: the task may be forgotten before.
CREATE TABLE taskq_internal.link_task (
	task uuid NOT NULL CONSTRAINT link_task_pkey PRIMARY KEY,
	role int4 NOT NULL,			-- that it ran as
	submitted_by int4 NOT NULL,
	tenant text,
	kind text COLLATE "C" NOT NULL,
	payload jsonb
) USING heap;
CREATE TABLE taskq_internal.link (
	task uuid NOT NULL,
	object text COLLATE "C" NOT NULL,
	id text COLLATE "C" NOT NULL,	-- empty: object says it all
	created_at timestamptz NOT NULL,
	CONSTRAINT link_pkey PRIMARY KEY (task, object, id)
) USING heap;
CREATE INDEX link_object_idx ON taskq_internal.link (object, id);
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.link_task', '');
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.link', '');
COMMENT ON TABLE taskq_internal.link_task IS 'what is kept of tasks that have links';
COMMENT ON TABLE taskq_internal.link IS 'which task made which object; look at them in view taskq.link';

CREATE VIEW taskq.link WITH (security_barrier) AS
SELECT l.object, NULLIF(l.id, '') AS id, l.task AS task_id, t.kind, taskq_internal.masked(t.payload, t.kind, NULL, NULL) AS payload, t.tenant, s.name AS submitted_by, r.name AS run_as, l.created_at
FROM taskq_internal.link l
JOIN taskq_internal.link_task t ON t.task = l.task
JOIN taskq_internal.role r ON r.id = t.role
JOIN taskq_internal.role s ON s.id = t.submitted_by
WHERE (taskq_internal.role_visible(s.name, s.oid, s.system) OR taskq_internal.role_visible(r.name, r.oid, r.system))
	AND taskq_internal.tenant_visible(t.tenant);
COMMENT ON VIEW taskq.link IS
'Links: which task made which object

With the task''s kind and payload, also when the task is forgotten. Shown are links of tasks that the caller may see, or could when they were there.';
COMMENT ON COLUMN taskq.link.object IS 'the object, or the sort of object';
COMMENT ON COLUMN taskq.link.id IS 'the object''s id; null: object says it all';
COMMENT ON COLUMN taskq.link.task_id IS 'id of the task';
COMMENT ON COLUMN taskq.link.kind IS 'the task''s kind';
COMMENT ON COLUMN taskq.link.payload IS 'the task''s payload, its input';
COMMENT ON COLUMN taskq.link.tenant IS 'the task''s tenant; null: none';
COMMENT ON COLUMN taskq.link.submitted_by IS 'role that submitted the task';
COMMENT ON COLUMN taskq.link.run_as IS 'role that the task ran as';
COMMENT ON COLUMN taskq.link.created_at IS 'when they were linked';
CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.link
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly('taskq.link() or unlink()');
CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.link
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly('taskq.link() or unlink()');

CREATE FUNCTION taskq.link(object text, id text DEFAULT NULL, task uuid DEFAULT NULL, token uuid DEFAULT NULL)
RETURNS void LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_link';
COMMENT ON FUNCTION taskq.link IS
'Note that a task made, or used, an object of the application

Inside a task it is that one; elsewhere argument task says which, by who may steer it, or by the external worker that has it, with its token. Without argument task, id is the task''s there. The link comes with the calling transaction, and stays until taskq.unlink, whatever becomes of the task.';

CREATE FUNCTION taskq.unlink(object text, id text DEFAULT NULL, task uuid DEFAULT NULL)
RETURNS int LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_unlink';
COMMENT ON FUNCTION taskq.unlink IS
'Take links of an object away

Of the task named, or that runs in this session; else of all tasks that the caller may steer. Returns how many.';
