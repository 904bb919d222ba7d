/* ---------------------------------------------------------------- tenants */

CREATE FUNCTION taskq.tenant_delete(tenant text, n int DEFAULT NULL,
	OUT cancelled bigint, OUT deleted bigint, OUT running bigint, OUT schedules bigint, OUT links bigint, OUT more bool)
RETURNS record LANGUAGE c VOLATILE AS 'MODULE_PATHNAME', 'taskq_tenant_delete';
COMMENT ON FUNCTION taskq.tenant_delete IS
'Delete all tasks, schedules and links of a tenant

Finished tasks are deleted, waiting ones cancelled and deleted, running ones told to stop: they are deleted by the next call, after they have ended. With n it deletes at most so many tasks, so that a tenant with many can be deleted in several transactions: call it again as long as more is true. For members of taskq_operator.';
