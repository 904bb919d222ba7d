/*-------------------------------------------------------------------------
 *
 * reason.c
 *		Telling why a task does not run.
 *
 * A reason is an object with code, message, hint and details.  Of other tasks
 * only those are named that the caller could see anyhow.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "api/explain.h"
#include "base/json.h"
#include "catalog/pg_type.h"
#include "lanes/keys.h"
#include "store/rights.h"
#include "store/state.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

/* ---- telling ---- */

/*
 * taskq_reason_begin - begin a reason; members of its details follow, and
 * taskq_reason_end()
 *
 * The first one is the answer.  hint may be NULL.
 */
void
taskq_reason_begin(TaskqExplain *explain, const char *code, char *message,
				   const char *hint)
{
	if (explain->answer == NULL)
		explain->answer = message;
	taskq_json_begin(&explain->json);
	taskq_json_text(&explain->json, "code", code);
	taskq_json_text(&explain->json, "message", message);
	taskq_json_text(&explain->json, "hint", hint);
	taskq_json_key(&explain->json, "details");
	taskq_json_begin(&explain->json);
}

/* taskq_reason_end - ... it is told */
void
taskq_reason_end(TaskqExplain *explain)
{
	taskq_json_end(&explain->json);
	taskq_json_end(&explain->json);
}

/* taskq_reason - a reason without details; hint may be NULL */
void
taskq_reason(TaskqExplain *explain, const char *code, char *message,
			 const char *hint)
{
	taskq_reason_begin(explain, code, message, hint);
	taskq_reason_end(explain);
}

/* taskq_reason_time - a member that is a time */
void
taskq_reason_time(TaskqExplain *explain, const char *key, TimestampTz at)
{
	char text[	MAXDATELEN + 1];

	JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL);
	taskq_json_text(&explain->json, key, pstrdup(text));
}

/* taskq_reason_name - a name, as an element of an array */
void
taskq_reason_name(TaskqExplain *explain, const char *name)
{
	JsonbValue	value = {.type = jbvString};

	value.val.string.val = pstrdup(name);
	value.val.string.len = strlen(name);
	pushJsonbValue(&explain->json, WJB_ELEM, &value);
}

/*
 * taskq_span_text - how long it is till then, or since then, in words
 */
char *
taskq_span_text(TimestampTz from, TimestampTz to)
{
	int64		s = (to - from) / USECS_PER_SEC;

	if (s < 60)
		return psprintf(INT64_FORMAT " s", Max(s, 0));
	if (s < 3600)
		return psprintf(INT64_FORMAT " min %d s", s / 60, (int) (s % 60));
	if (s < 2 * 86400)
		return psprintf(INT64_FORMAT " h %d min", s / 3600,
						(int) (s / 60 % 60));
	return psprintf(INT64_FORMAT " days", s / 86400);
}

/*
 * taskq_moment_text - the words for a moment, allocated; the buffer of
 * timestamptz_to_str is used again
 */
char *
taskq_moment_text(TimestampTz at)
{
	return pstrdup(timestamptz_to_str(at));
}

/* ---- other tasks ---- */

/*
 * taskq_others_add - one more task that is in the way; named only if the
 * caller may see it
 */
void
taskq_others_add(TaskqOthers *others, const pg_uuid_t *id)
{
	TaskqRow	row;
	const TaskqLaneDef *lane;

	for (int i = 0; i < others->nshown; i++)
	{
		if (taskq_id_eq(&others->shown[i], id))
			return;
	}
	others->n++;
	if (others->nshown == TASKQ_MAX_NAMED || !taskq_store_find(id, &row))
		return;
	lane = taskq_lane_get(DatumGetInt32(taskq_row_value(&row, lane)));
	if (lane != NULL && taskq_row_may_see(lane, &row))
		others->shown[others->nshown++] = *id;
}

/* taskq_others_put - those that are named, as a member "tasks" */
void
taskq_others_put(TaskqExplain *explain, const TaskqOthers *others)
{
	taskq_json_key(&explain->json, "tasks");
	pushJsonbValue(&explain->json, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < others->nshown; i++)
	{
		JsonbValue	value = {.type = jbvString};

		value.val.string.val = taskq_id_text(&others->shown[i]);
		value.val.string.len = strlen(value.val.string.val);
		pushJsonbValue(&explain->json, WJB_ELEM, &value);
	}
	pushJsonbValue(&explain->json, WJB_END_ARRAY, NULL);
}

/*
 * taskq_others_name - in words: "task ...", "task ... and others", "another
 * task"
 */
char *
taskq_others_name(const TaskqOthers *others)
{
	if (others->nshown == 0)
		return others->n > 1 ? "other tasks" : "another task";
	return psprintf("task %s%s", taskq_id_text(&others->shown[0]),
					others->n > 1 ? " and others" : "");
}

/* ---- slots ---- */

/* A slot's lock is held. */
static bool
slot_has_key(const TaskqSlot *slot, int64 key, pg_uuid_t *task)
{
	for (int i = 0; i < slot->nkeys; i++)
	{
		const TaskqSlotKey *held = &slot->keys[i];

		for (int j = held->first; held->key == key && j < held->end; j++)
		{
			if (j >= slot->nitems || slot->outcome[j] != TASKQ_UNDONE)
				continue;
			*task = slot->items[j].id;
			return true;
		}
	}
	return false;
}

/*
 * taskq_slots_look - copy what the slots say into an array, allocated; how
 * many there are
 *
 * key: or NULL; then the task is that of a key's holder.  Takes the main lock
 * and the slots' locks.
 */
int
taskq_slots_look(TaskqSeenSlot **seen, const TaskqKey *key)
{
	int			n = 0;

	*seen = palloc0(sizeof(TaskqSeenSlot) * TASKQ_MAX_WORKERS);
	LWLockAcquire(taskq_main_lock, LW_SHARED);
	for (int i = 0; i < taskq_shared->nslots; i++)
	{
		TaskqSlot  *slot = &taskq_shared->slots[i];
		TaskqSeenSlot *to = &(*seen)[n];

		if (slot->state == TASKQ_SLOT_FREE)
			continue;
		n++;
		LWLockAcquire(taskq_slot_lock(i), LW_SHARED);
		to->slotno = i;
		to->state = slot->state;
		to->dbid = slot->dbid;
		to->role = slot->role;
		to->pid = slot->pid;
		to->placed = slot->placed;
		to->place = slot->place;
		to->in_task = slot->in_task;
		to->task = slot->task;
		if (key != NULL && slot->dbid == key->dbid && slot->role == key->role)
			to->has_key = slot_has_key(slot, key->number, &to->task);
		LWLockRelease(taskq_slot_lock(i));
	}
	LWLockRelease(taskq_main_lock);
	return n;
}
