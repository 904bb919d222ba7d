/*-------------------------------------------------------------------------
 *
 * audit.c
 *		Table "audit": who did what.
 *
 * A row is written in the transaction that does it, so it is there exactly
 * if that was done.  Whose the task or kind is stands in the row: that is
 * asked of who looks at it when the task is long forgotten.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/current.h"
#include "base/json.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "store/audit.h"
#include "store/claims.h"
#include "store/defs.h"
#include "store/read.h"
#include "store/rights.h"
#include "store/rows.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/timestamp.h"

/* columns of taskq_internal.audit */
enum
{
	Anum_audit_id = 1,
	Anum_audit_verb,
	Anum_audit_object,
	Anum_audit_name,
	Anum_audit_kind,
	Anum_audit_task,
	Anum_audit_tasks,
	Anum_audit_count,
	Anum_audit_role,
	Anum_audit_submitted_by,
	Anum_audit_tenant,
	Anum_audit_by_role,
	Anum_audit_by_session,
	Anum_audit_by_task,
	Anum_audit_claims,
	Anum_audit_client,
	Anum_audit_application,
	Anum_audit_pid,
	Anum_audit_force,
	Anum_audit_reason,
	Anum_audit_outcome,
	Anum_audit_details,
	Natts_audit = Anum_audit_details
};

#define MAX_TASKS 100			/* named in a row */
#define MAX_TEXT 1000			/* bytes of a reason */
#define MAX_JSON 8192			/* of details, and of claims */

/* The columns of a row to be. */
typedef struct AuditRow
{
	Datum		values[Natts_audit];
	bool		nulls[Natts_audit];
} AuditRow;

static void
set(AuditRow *row, int column, Datum value)
{
	row->values[column - 1] = value;
	row->nulls[column - 1] = false;
}

/* A text of bounded length, or NULL. */
static void
set_text(AuditRow *row, int column, const char *text)
{
	int			len;

	if (text == NULL)
		return;
	len = strlen(text);
	if (len > MAX_TEXT)
		len = pg_mbcliplen(text, len, MAX_TEXT);
	set(row, column, PointerGetDatum(cstring_to_text_with_len(text, len)));
}

/* The same of jsonb: what is too large is said to be. */
static void
set_json(AuditRow *row, int column, Datum jsonb)
{
	JsonbParseState *state = NULL;
	Size		size;

	if (jsonb == 0)
		return;
	size = VARSIZE_ANY(DatumGetPointer(jsonb));
	if (size > MAX_JSON)
	{
		taskq_json_begin(&state);
		taskq_json_number(&state, "bytes_left_out", size);
		jsonb = taskq_json_end(&state);
	}
	set(row, column, jsonb);
}

static void
set_client(AuditRow *row)
{
	LOCAL_FCINFO(fcinfo, 0);
	Datum		address;

	InitFunctionCallInfoData(*fcinfo, NULL, 0, InvalidOid, NULL, NULL);
	address = inet_client_addr(fcinfo);
	if (!fcinfo->isnull)
		set(row, Anum_audit_client, address);
}

/* Who acts here, as far as is known for sure, and what it says of itself. */
static void
set_who(AuditRow *row)
{
	Jsonb	   *claims = taskq_caller_claims();

	set(row, Anum_audit_by_role, Int32GetDatum(taskq_role_id(GetUserId())));
	set_text(row, Anum_audit_by_session,
			 GetUserNameFromId(GetSessionUserId(), true));
	if (taskq_in_task())
		set(row, Anum_audit_by_task, UUIDPGetDatum(&taskq_current->id));
	if (claims != NULL)
		set_json(row, Anum_audit_claims, JsonbPGetDatum(claims));
	set_client(row);
	if (application_name != NULL && application_name[0] != '\0')
		set_text(row, Anum_audit_application, application_name);
	set(row, Anum_audit_pid, Int32GetDatum(MyProcPid));
}

/*
 * What is done to nobody's is done for the tenant that the session acts for.
 * Who acts for all has none, whatever its claims.
 */
static const char *
acting_tenant(void)
{
	return taskq_tenant_is_limited()
		? taskq_claims_tenant(taskq_caller_claims())
		: NULL;
}

static void
set_tasks(AuditRow *row, const TaskqAudit *audit)
{
	int			n = Min(audit->ntasks, MAX_TASKS);
	Datum		ids[MAX_TASKS];

	if (audit->ntasks == 1)
		set(row, Anum_audit_task, UUIDPGetDatum(audit->tasks));
	if (audit->ntasks <= 1)
		return;
	for (int i = 0; i < n; i++)
		ids[i] = UUIDPGetDatum(&audit->tasks[i]);
	set(row, Anum_audit_tasks,
		PointerGetDatum(construct_array(ids, n, UUIDOID, UUID_LEN, false,
										TYPALIGN_CHAR)));
}

static void
set_what(AuditRow *row, const TaskqAudit *audit)
{
	set_text(row, Anum_audit_verb, audit->verb);
	set_text(row, Anum_audit_object, audit->object);
	set_text(row, Anum_audit_name, audit->name);
	set_text(row, Anum_audit_kind, audit->kind);
	set_tasks(row, audit);
	set(row, Anum_audit_count,
		Int64GetDatum(Max(audit->count, audit->ntasks)));
	if (audit->role != 0)
		set(row, Anum_audit_role, Int32GetDatum(audit->role));
	if (audit->submitted_by != 0)
		set(row, Anum_audit_submitted_by, Int32GetDatum(audit->submitted_by));
	set_text(row, Anum_audit_tenant,
			 audit->of_tasks ? audit->tenant : acting_tenant());
	set(row, Anum_audit_force, BoolGetDatum(audit->force));
	set_text(row, Anum_audit_reason, audit->reason);
	set_text(row, Anum_audit_outcome, audit->outcome);
	set_json(row, Anum_audit_details, audit->details);
}

/*
 * taskq_audit_insert - write that something was done, by the caller
 *
 * taskq_defs_begin was called.  Waits for nobody.
 */
void
taskq_audit_insert(const TaskqAudit *audit)
{
	Relation	rel;
	AuditRow	row;
	pg_uuid_t	id;

	memset(&row, 0, sizeof(row));
	memset(row.nulls, true, sizeof(row.nulls));
	taskq_id_make(&id);
	set(&row, Anum_audit_id, UUIDPGetDatum(&id));
	set_what(&row, audit);
	set_who(&row);
	rel = taskq_store_open(TASKQ_REL_AUDIT, RowExclusiveLock);
	taskq_rows_insert_one(rel, row.values, row.nulls, Natts_audit);
	table_close(rel, NoLock);
}

/*
 * taskq_audit_forget - delete rows that were written before this moment, from
 * *from on
 *
 * Returns how many, at most max, and moves *from past the last.
 */
int
taskq_audit_forget(pg_uuid_t *from, TimestampTz before, int max)
{
	Relation	rel = taskq_store_open(TASKQ_REL_AUDIT, RowExclusiveLock);
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int			n = 0;

	taskq_key_from(&key, Anum_audit_id, F_UUID_GE, UUIDPGetDatum(from));
	taskq_read_begin_ordered(&read, TASKQ_REL_AUDIT, TASKQ_REL_AUDIT_PKEY,
							 NULL, 1, &key);
	while (n < max && (tuple = taskq_read_next(&read)) != NULL)
	{
		pg_uuid_t	id =
		*DatumGetUUIDP(taskq_read_column(&read, tuple, Anum_audit_id));

		CHECK_FOR_INTERRUPTS();
		if (taskq_id_time(&id) >= before)
			break;
		CatalogTupleDelete(rel, &tuple->t_self);
		*from = id;
		n++;
	}
	taskq_read_end(&read);
	table_close(rel, NoLock);
	taskq_id_next(from);
	return n;
}
