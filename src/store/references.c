/*-------------------------------------------------------------------------
 *
 * references.c
 *		What payloads take from the input of a workflow and from results.
 *
 * An object whose only member is "$input" or "$result", with a text, stands
 * for something else.  What is put in its place is not looked through: what a
 * task returned, or a caller gave, refers to nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "base/guc.h"
#include "miscadmin.h"
#include "store/state.h"
#include "store/steps.h"
#include "utils/builtins.h"

typedef struct Replacing
{
	const char *reference;
	TaskqResolve resolve;
	void	   *arg;
} Replacing;

/* The path of a reference, or NULL if the value is none. */
static char *
reference_path(const JsonbValue *value, const char *reference)
{
	JsonbValue	path;

	if (value->type != jbvBinary ||
		!JsonContainerIsObject(value->val.binary.data) ||
		JsonContainerSize(value->val.binary.data) != 1 ||
		getKeyJsonValueFromContainer(value->val.binary.data, reference,
									 strlen(reference), &path) == NULL ||
		path.type != jbvString)
		return NULL;
	return pnstrdup(path.val.string.val, path.val.string.len);
}

static JsonbValue *replace_in(JsonbParseState **state,
							  JsonbContainer * container,
							  Replacing *replacing);

/* One element of an array, or value of an object. */
static void
put_value(JsonbParseState **state, JsonbIteratorToken token,
		  JsonbValue *value, Replacing *replacing)
{
	char	   *path = reference_path(value, replacing->reference);
	JsonbValue	other;

	if (path != NULL && replacing->resolve(path, &other, replacing->arg))
		(void) pushJsonbValue(state, token, &other);
	else if (path == NULL && value->type == jbvBinary)
		(void) replace_in(state, value->val.binary.data, replacing);
	else
		(void) pushJsonbValue(state, token, value);
}

static JsonbValue *
replace_in(JsonbParseState **state, JsonbContainer * container,
		   Replacing *replacing)
{
	JsonbIterator *iterator = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	value;
	JsonbValue *done = NULL;
	bool		object = JsonContainerIsObject(container);

	check_stack_depth();
	(void) JsonbIteratorNext(&iterator, &value, true);
	(void) pushJsonbValue(state, object ? WJB_BEGIN_OBJECT : WJB_BEGIN_ARRAY,
						  NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token == WJB_KEY)
			(void) pushJsonbValue(state, token, &value);
		else if (token == WJB_VALUE || token == WJB_ELEM)
			put_value(state, token, &value, replacing);
		else
			done = pushJsonbValue(state, token, NULL);
	}
	return done;
}

/*
 * taskq_references_replace - a payload with all references of a sort replaced
 * by what they stand for
 */
Jsonb *
taskq_references_replace(Jsonb *payload, const char *reference,
						 TaskqResolve resolve, void *arg)
{
	Replacing	replacing = {.reference = reference,.resolve = resolve,
	.arg = arg};
	JsonbParseState *state = NULL;
	JsonbValue	root = {.type = jbvBinary,
		.val.binary = {.len = VARSIZE(payload) - VARHDRSZ,
	.data = &payload->root}};
	JsonbValue	other;
	char	   *path;

	if (JB_ROOT_IS_SCALAR(payload))
		return payload;
	path = reference_path(&root, reference);
	if (path != NULL)
		return resolve(path, &other, arg) ? JsonbValueToJsonb(&other)
			: payload;
	return JsonbValueToJsonb(replace_in(&state, &payload->root, &replacing));
}

/* The member, or element, of this name; false if there is none. */
static bool
step_down(JsonbValue *value, const char *name, int len)
{
	JsonbContainer *container = value->val.binary.data;
	JsonbValue *found = NULL;

	if (value->type != jbvBinary)
		return false;
	if (JsonContainerIsObject(container))
		found = getKeyJsonValueFromContainer(container, name, len, NULL);
	else if (JsonContainerIsArray(container) && len > 0 && len < 9 &&
			 strspn(name, "0123456789") >= len)
		found = getIthJsonbValueFromContainer(container, atoi(name));
	if (found == NULL)
		return false;
	*value = *found;
	return true;
}

/*
 * taskq_reference_value - what a path of names, with dots between them, finds;
 * false if nothing
 *
 * An empty path finds all of it.
 */
bool
taskq_reference_value(Jsonb *from, const char *path, JsonbValue *value)
{
	if (JB_ROOT_IS_SCALAR(from))
		return JsonbExtractScalar(&from->root, value) && path[0] == '\0';
	value->type = jbvBinary;
	value->val.binary.data = &from->root;
	value->val.binary.len = VARSIZE(from) - VARHDRSZ;
	while (path[0] != '\0')
	{
		int			len = strcspn(path, ".");

		if (!step_down(value, path, len))
			return false;
		path += len;
		path += path[0] == '.';
	}
	return true;
}

/* ---- results ---- */

typedef struct Results
{
	const pg_uuid_t *workflow;
	Size		size;			/* of what was put in */
} Results;

/*
 * The result of the newest task of a step that has completed.  A retry of one
 * that had completed may be under way.
 */
static bool
find_result(const pg_uuid_t *workflow, const char *name, TaskqRow *row)
{
	TaskqStep	step;
	pg_uuid_t	id;

	if (!taskq_step_find(workflow, name, &step) || !step.has_task)
		return false;
	for (id = step.task; taskq_store_find(&id, row);
		 id = *DatumGetUUIDP(taskq_row_value(row, retry_of)))
	{
		CHECK_FOR_INTERRUPTS();
		if (taskq_row_state(row) == TASKQ_COMPLETED)
			return !taskq_row_isnull(row, result);
		if (taskq_row_isnull(row, retry_of))
			return false;
	}
	return false;
}

static bool
resolve_result(const char *path, JsonbValue *value, void *arg)
{
	Results    *results = arg;
	int			len = strcspn(path, ".");
	TaskqRow	row;

	if (find_result(results->workflow, pnstrdup(path, len), &row))
	{
		Jsonb	   *result = (Jsonb *)
		PG_DETOAST_DATUM_COPY(taskq_row_value(&row, result));

		if (taskq_reference_value(result, path + len + (path[len] == '.'),
								  value))
		{
			results->size += value->type == jbvBinary ? value->val.binary.len
				: value->type == jbvString ? value->val.string.len : 16;
			/* it is told when all has been gone through */
			if (results->size <= (Size) taskq_max_payload * 1024)
				return true;
		}
	}
	value->type = jbvNull;
	return true;
}

/*
 * taskq_references_resolve - the payload of a step, whose dependencies are
 * over, with their results in it; 0 if that would be too large
 *
 * A task that is no step has none.
 */
Datum
taskq_references_resolve(TaskqRow *row, Datum payload)
{
	Results		results = {0};
	Jsonb	   *resolved;

	if (taskq_row_isnull(row, workflow) || taskq_row_isnull(row, step))
		return payload;
	results.workflow = DatumGetUUIDP(taskq_row_value(row, workflow));
	resolved = taskq_references_replace(DatumGetJsonbP(payload),
										TASKQ_REF_RESULT, resolve_result,
										&results);
	if (results.size > (Size) taskq_max_payload * 1024)
		return (Datum) 0;
	return JsonbPGetDatum(resolved);
}
