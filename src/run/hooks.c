/*-------------------------------------------------------------------------
 *
 * hooks.c
 *		Hooks of a kind: a task that is submitted when one of it has ended.
 *
 * It is submitted where the state becomes final, whoever brings that about
 * (store/state.c tells us), in the same transaction: so it is there exactly
 * if the task has ended.  All that may go wrong with it, from a kind that is
 * gone to a limit, is undone in a subtransaction and told in the log; to the
 * task that ended it makes no difference.
 *
 * For a kind without hooks it is told once per lane and change of definitions
 * that there are none; after that two numbers are compared.
 *
 * Who owns a kind could have tasks submitted in other roles' names by this:
 * taskq_kind_check_hook in store/kind_rights.c says why it can't.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/xact.h"
#include "base/clock.h"
#include "base/current.h"
#include "base/guc.h"
#include "base/json.h"
#include "lanes/enqueue.h"
#include "lanes/outbox.h"
#include "run/hooks.h"
#include "store/defs.h"
#include "store/rights.h"
#include "store/secrets.h"
#include "store/state.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/jsonb.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#define MAX_LEVEL 5				/* hooks of hooks of ... */
#define ENVELOPE 4096			/* of a payload: names, ids */
#define QUIET_US (60 * USECS_PER_SEC)	/* after a failed hook of a kind */

static const char *const events[TASKQ_HOOKS] = {"success", "failure", "cancel"};

/* ---- what the hook's task is told ---- */

/* What is secret was for the ended task's handler, not for the hook's. */
static Datum
told(TaskqRow *row, const TaskqLaneDef *lane, int column)
{
	if (column == Anum_task_payload - 1 || column == Anum_task_metadata - 1)
		return taskq_secrets_shown(row, lane, column + 1);
	return row->values[column];
}

/*
 * What may be large, in the order in which it is told while there is room:
 * the rest is the ended task's for whoever looks.
 */
static void
push_large(JsonbParseState **state, TaskqRow *row, const TaskqLaneDef *lane)
{
	static const struct
	{
		const char *name;
		int			column;
	}			members[] = {
		{"error", Anum_task_error},
		{"metadata", Anum_task_metadata},
		{"result", Anum_task_result},
		{"payload", Anum_task_payload}
	};
	int64		room = (int64) taskq_max_payload * 1024 - ENVELOPE;

	if (!taskq_row_isnull(row, tags))
	{
		room -= toast_raw_datum_size(taskq_row_value(row, tags));
		if (room > 0)
			taskq_json_texts(state, "tags",
							 taskq_row_value(row, tags));
	}
	for (int i = 0; i < lengthof(members); i++)
	{
		int			column = members[i].column - 1;
		int64		size;

		if (row->nulls[column])
			continue;
		size = toast_raw_datum_size(row->values[column]);
		if (size <= room)
		{
			taskq_json_jsonb(state, members[i].name, told(row, lane, column));
			room -= size;
		}
		else
			/* there is one, but not here */
			taskq_json_true(state, psprintf("%s_omitted", members[i].name));
	}
}

static Datum
hook_payload(const TaskqLaneDef *lane, TaskqRow *row)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_text(&state, "task_id",
					taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id))));
	taskq_json_text(&state, "kind", NameStr(lane->kind));
	taskq_json_text(&state, "queue", NameStr(lane->queue));
	taskq_json_text(&state, "state", taskq_state_name(taskq_row_state(row)));
	taskq_json_number(&state, "attempt",
					  DatumGetInt16(taskq_row_value(row, attempt)));
	if (!taskq_row_isnull(row, cancel_reason))
		taskq_json_text(&state, "reason",
						TextDatumGetCString(taskq_row_value(row, cancel_reason)));
	push_large(&state, row, lane);
	return taskq_json_end(&state);
}

/* metadata: of what it is the hook, for whoever looks */
static Datum
hook_metadata(const TaskqLaneDef *lane, TaskqRow *row, TaskqHookEvent event)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_text(&state, "hook_of",
					taskq_id_text(DatumGetUUIDP(taskq_row_value(row, id))));
	taskq_json_text(&state, "kind", NameStr(lane->kind));
	taskq_json_text(&state, "event", events[event]);
	return taskq_json_end(&state);
}

/* options: what no submit can say, so it is believed */
static Datum
hook_options(const TaskqKind *kind, TaskqHookEvent event, int level)
{
	JsonbParseState *state = NULL;

	taskq_json_begin(&state);
	taskq_json_key(&state, "hook");
	taskq_json_begin(&state);
	taskq_json_text(&state, "event", events[event]);
	taskq_json_number(&state, "by", kind->owner_id);
	taskq_json_number(&state, "level", level);
	(void) taskq_json_end(&state);
	return taskq_json_end(&state);
}

/* ---- submitting it ---- */

/* One task has ended, and its kind has a hook for that. */
typedef struct Ended
{
	TaskqRow   *row;
	const TaskqLaneDef *lane;
	const TaskqKind *kind;
	TaskqHookEvent event;
} Ended;

/* Who submitted the task; if that role is gone, whom it ran as. */
static Oid
submitter_of(const Ended *ended)
{
	NameData	name;
	Oid			role = InvalidOid;

	if (!taskq_row_isnull(ended->row, submitted_by))
		(void) taskq_role_read(DatumGetInt32(taskq_row_value(ended->row, submitted_by)),
							   &name, &role);
	return OidIsValid(role) ? role : ended->lane->role_oid;
}

static void
copy_columns(TaskqSubmit *submit, const Ended *ended, int level)
{
	static const int same[] = {Anum_task_claims, Anum_task_tenant};
	TaskqRow   *row = &submit->row;

	for (int i = 0; i < lengthof(same); i++)
	{
		row->values[same[i] - 1] = ended->row->values[same[i] - 1];
		row->nulls[same[i] - 1] = ended->row->nulls[same[i] - 1];
	}
	taskq_row_set(row, parent, taskq_row_value(ended->row, id));
	taskq_row_set(row, depth, Int16GetDatum(Min(taskq_row_depth(ended->row),
												PG_INT16_MAX - 1) + 1));
	taskq_submit_depth(submit);
	taskq_row_set(row, metadata,
				  hook_metadata(ended->lane, ended->row, ended->event));
	taskq_row_set(row, options,
				  hook_options(ended->kind, ended->event, level));
}

/* Raises whatever is in the way. */
static void
submit_hook(const Ended *ended)
{
	const		TaskqHook *hook = &ended->kind->hooks[ended->event];
	const TaskqKind *kind = taskq_kind_get(NameStr(hook->kind));
	TaskqSubmit submit;
	pg_uuid_t	id;
	Datum		payload;
	Oid			role;
	int			level;

	(void) taskq_row_hook(ended->row, &level);
	if (++level > MAX_LEVEL)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("the task is the hook of a hook, %d in a row",
						MAX_LEVEL)));
	if (kind == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("kind of task \"%s\" does not exist any more", NameStr(hook->kind))));
	role = kind->run_as_id != 0 ? kind->run_as_oid : ended->lane->role_oid;
	if (!OidIsValid(role))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("the role that it would run as does not exist any more")));
	taskq_kind_check_hook(ended->kind, hook, kind, ended->lane, ended->row,
						  role);
	taskq_submit_new(&submit);
	submit.submitter = submitter_of(ended);
	taskq_submit_place(&submit, NameStr(kind->name), kind, role,
					   NameStr(kind->queue), kind->priority);
	copy_columns(&submit, ended, level);
	payload = hook_payload(ended->lane, ended->row);
	taskq_submit_rows(&submit, &payload, 1, &id);
}

/*
 * Say in the log that a hook was not submitted; of the many tasks of a kind
 * once in a while.
 */
static void
tell_failure(const Ended *ended, const ErrorData *error)
{
	static NameData told;
	static TimestampTz until = 0;
	static int	untold = 0;
	TimestampTz now = taskq_steady_now();
	int			more = untold;

	if (strcmp(NameStr(told), NameStr(ended->kind->name)) == 0 && now < until)
	{
		untold++;
		return;
	}
	told = ended->kind->name;
	until = now + QUIET_US;
	untold = 0;
	ereport(WARNING,
			(errcode(error->sqlerrcode),
			 errmsg("hook on %s of kind \"%s\" was not submitted: %s",
					events[ended->event], NameStr(ended->kind->name),
					error->message),
			 errdetail_log("Task %s has ended all the same.%s%s%s",
						   taskq_id_text(DatumGetUUIDP(taskq_row_value(ended->row, id))),
						   error->detail ? " " : "",
						   error->detail ? error->detail : "",
						   more > 0 ? psprintf(" So it was with %d others before.", more) : ""),
			 error->hint ? errhint("%s", error->hint)
			 : errhint("Define the hooks again with taskq.kind_define().")));
}

/*
 * In a subtransaction, which may write though the task has made its
 * transaction read-only.  Only what was meant for the whole transaction, a
 * cancel or a timeout, is passed on.
 */
static void
try_hook(const Ended *ended)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	TaskqCurrent *current = taskq_current;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		/* what it may submit is not counted as the running task's own */
		taskq_current = NULL;
		XactReadOnly = false;
		submit_hook(ended);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		taskq_defs_doubt();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	taskq_current = current;
	if (error == NULL)
		return;
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	tell_failure(ended, error);
}

static TaskqHookEvent
event_of(char state)
{
	switch (state)
	{
		case TASKQ_COMPLETED:
			return TASKQ_ON_SUCCESS;
		case TASKQ_FAILED:
			return TASKQ_ON_FAILURE;
		default:
			return TASKQ_ON_CANCEL;
	}
}

/* A task has come to its end; its row says which. */
static void
on_ended(TaskqRow *row)
{
	static int32 plain = 0;		/* a lane whose kind has no hooks ... */
	static uint64 known = 0;	/* ... by these definitions */
	Ended		ended = {.row = row};
	int32		lane = DatumGetInt32(taskq_row_value(row, lane));

	taskq_outbox_ended(DatumGetUUIDP(taskq_row_value(row, id)));
	if (lane == plain && known == taskq_defs_generation)
		return;
	ended.lane = taskq_lane_get(lane);
	if (ended.lane != NULL)
		ended.kind = taskq_kind_get(NameStr(ended.lane->kind));

	/* somebody else's kind of the same name is another kind */
	if (ended.kind == NULL || !ended.kind->hooked ||
		ended.kind->owner_id != ended.lane->kind_owner)
	{
		plain = lane;
		known = taskq_defs_generation;
		return;
	}
	ended.event = event_of(taskq_row_state(row));
	if (NameStr(ended.kind->hooks[ended.event].kind)[0] != '\0')
		try_hook(&ended);
}

/* taskq_hooks_init - once per process */
void
taskq_hooks_init(void)
{
	taskq_state_ended = on_ended;
}
