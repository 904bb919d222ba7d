/* ---------------------------------------------------------------- audit */

-- Who did what.  Whose the task, or kind, was stands in the row, since the row is for
-- who may see that, also when it is gone.  The id has the moment.
CREATE TABLE taskq_internal.audit (
	id uuid NOT NULL CONSTRAINT audit_pkey PRIMARY KEY,
	verb text NOT NULL,
	object text NOT NULL,
	name text,
	kind text,
	task uuid,
	tasks uuid[],				-- of many, the first ones
	count int8 NOT NULL,
	role int4,					-- that the tasks run as, or that owns it; taskq_internal.role
	submitted_by int4,
	tenant text,				-- of the tasks, or of who acts
	by_role int4 NOT NULL,
	by_session text,
	by_task uuid,
	claims jsonb,				-- only those that are believed
	client inet,
	application text,
	pid int4 NOT NULL,
	force bool NOT NULL,
	reason text,
	outcome text,
	details jsonb
) USING heap;
CREATE INDEX audit_task_idx ON taskq_internal.audit (task);
CREATE INDEX audit_tenant_idx ON taskq_internal.audit (tenant, id);
-- A plan is for any tenant, and must be good for those of which there is little: few rows are
-- to be expected of one, more than of a task.  Else all of the table were read.
ALTER TABLE taskq_internal.audit ALTER tenant SET (n_distinct = -0.2), ALTER task SET (n_distinct = -1);
SELECT pg_catalog.pg_extension_config_dump('taskq_internal.audit', '');
COMMENT ON TABLE taskq_internal.audit IS 'who did what; look at it in view taskq.audit';

-- OFFSET: row by row, so that a page in the order of id reads no more than the page.  It is
-- in that order, for a view that hides rows is planned without knowing of a LIMIT outside.
-- What is one tenant's goes by its index; of both halves one is read.  They hide nothing:
-- who sees what stands below.
CREATE VIEW taskq.audit WITH (security_barrier) AS
SELECT taskq_internal.id_time(a.id) AS created_at,
	CASE WHEN b.mine OR NOT (SELECT taskq_internal.tenant_limited()) THEN b.name END AS role,
	CASE WHEN b.mine THEN a.by_session END AS session_role,
	a.verb AS action,
	a.object,
	a.name,
	a.kind,
	a.task AS task_id,
	a.tasks AS task_ids,
	a.count,
	a.reason,
	a.force,
	a.outcome,
	a.details,
	r.name AS run_as,
	s.name AS submitted_by,
	a.tenant,
	CASE WHEN b.mine THEN a.claims END AS claims,
	CASE WHEN b.mine THEN a.by_task END AS by_task,
	CASE WHEN b.mine THEN a.client END AS client_addr,
	CASE WHEN b.mine THEN a.application END AS application_name,
	CASE WHEN b.mine THEN a.pid END AS pid,
	a.id
FROM (
	(SELECT * FROM taskq_internal.audit WHERE (SELECT taskq_internal.tenant_only() IS NULL) ORDER BY id DESC)
	UNION ALL
	(SELECT * FROM taskq_internal.audit WHERE tenant = (SELECT taskq_internal.tenant_only()) ORDER BY id DESC)
) a
CROSS JOIN LATERAL (
	SELECT b.name, taskq_internal.role_visible(b.name, b.oid, b.system) AND taskq_internal.actor_visible(a.claims) AS mine FROM taskq_internal.role b WHERE b.id = a.by_role OFFSET 0
) b
LEFT JOIN LATERAL (
	SELECT r.name, taskq_internal.role_visible(r.name, r.oid, r.system) AS visible FROM taskq_internal.role r WHERE r.id = a.role OFFSET 0
) r ON true
LEFT JOIN LATERAL (
	SELECT s.name, taskq_internal.role_visible(s.name, s.oid, s.system) AS visible FROM taskq_internal.role s WHERE s.id = a.submitted_by OFFSET 0
) s ON true
WHERE (b.mine OR r.visible OR s.visible)
	AND taskq_internal.tenant_visible(a.tenant)
	AND (a.tenant IS NOT NULL OR a.object = 'task' OR NOT (SELECT taskq_internal.tenant_limited()))
ORDER BY a.id DESC;
COMMENT ON VIEW taskq.audit IS
'Audit: who did what

One row for each thing that was done, by a function of taskq and in the transaction that committed it; one for many tasks of the same roles, tenant and kind. Shown is what the caller''s roles did, and what was done to tasks and definitions that it may see, or could when they were there. Setting taskq.audit says what is written, taskq.audit_retention how long it is kept.';
COMMENT ON COLUMN taskq.audit.created_at IS 'when it was done';
COMMENT ON COLUMN taskq.audit.role IS 'role that did it';
COMMENT ON COLUMN taskq.audit.session_role IS 'role that the session was authenticated as; shown, as what follows of the session, to members of role';
COMMENT ON COLUMN taskq.audit.action IS 'cancel, retry, delete, priority, reschedule, run, clear, pause, resume, define, limit, drop, grant, revoke, enable, disable, stop, restart, submit';
COMMENT ON COLUMN taskq.audit.object IS 'task, workflow, queue, kind, schedule, template, worker, tenant or database';
COMMENT ON COLUMN taskq.audit.name IS 'name of the queue, kind, schedule, ...';
COMMENT ON COLUMN taskq.audit.kind IS 'kind, or kind of the tasks';
COMMENT ON COLUMN taskq.audit.task_id IS 'id of the task';
COMMENT ON COLUMN taskq.audit.task_ids IS 'of many tasks the first hundred';
COMMENT ON COLUMN taskq.audit.count IS 'how many';
COMMENT ON COLUMN taskq.audit.reason IS 'reason that was given';
COMMENT ON COLUMN taskq.audit.force IS 'with force';
COMMENT ON COLUMN taskq.audit.outcome IS 'what it came to';
COMMENT ON COLUMN taskq.audit.details IS 'more of it: the values before and after, the id of a new task; never a payload';
COMMENT ON COLUMN taskq.audit.run_as IS 'role that the tasks run as, or that owns the definition';
COMMENT ON COLUMN taskq.audit.submitted_by IS 'role that submitted the tasks';
COMMENT ON COLUMN taskq.audit.tenant IS 'tenant of the tasks, or else of who did it; null: none';
COMMENT ON COLUMN taskq.audit.claims IS 'for whom the session said that it acts, where a trusted gateway said so';
COMMENT ON COLUMN taskq.audit.by_task IS 'task whose handler did it';
COMMENT ON COLUMN taskq.audit.client_addr IS 'address of the session''s client; null: a local one, or a worker';
COMMENT ON COLUMN taskq.audit.application_name IS 'what the session called itself: anybody may call itself anything';
COMMENT ON COLUMN taskq.audit.pid IS 'process of the session';
COMMENT ON COLUMN taskq.audit.id IS 'id of the row; it rises with time';
CREATE TRIGGER readonly BEFORE INSERT OR UPDATE OR DELETE ON taskq.audit
	FOR EACH STATEMENT EXECUTE FUNCTION taskq_internal.view_readonly('setting taskq.audit_retention');
CREATE TRIGGER readonly_row INSTEAD OF INSERT OR UPDATE OR DELETE ON taskq.audit
	FOR EACH ROW EXECUTE FUNCTION taskq_internal.view_readonly('setting taskq.audit_retention');
