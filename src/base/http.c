/*-------------------------------------------------------------------------
 *
 * http.c
 *		The request that a session serves, as PostgREST tells it.
 *
 * The settings request.* are for everybody to set.  So nothing here gives a
 * right: whoever sets them by hand gets what it could have without them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/args.h"
#include "base/compat.h"
#include "base/current.h"
#include "base/http.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"

/* A setting that has a value, or NULL. */
static const char *
setting(const char *name)
{
	const char *value = GetConfigOption(name, true, false);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

/* taskq_http - is it a request over HTTP that is served? */
bool
taskq_http(void)
{
	return setting("request.method") != NULL;
}

/*
 * taskq_http_calls - is this what the client named in its URL, a function or
 * a view?
 *
 * Not so where a function of an API of somebody's own is what was called.
 */
bool
taskq_http_calls(const char *name)
{
	const char *path = setting("request.path");
	const char *last = path ? strrchr(path, '/') : NULL;

	return taskq_http() && last != NULL && strcmp(last + 1, name) == 0;
}

/* taskq_http_is - the same, and by this method */
bool
taskq_http_is(const char *method, const char *name)
{
	return taskq_http_calls(name) &&
		strcmp(setting("request.method"), method) == 0;
}

/*
 * taskq_http_header - a header of the request, palloc'd, or NULL
 *
 * name is in small letters, as PostgREST has them.  Raises 22P02 if the
 * setting, which somebody else has made then, is no JSON.
 */
char *
taskq_http_header(const char *name)
{
	const char *headers = setting("request.headers");
	JsonbValue	key = {.type = jbvString};
	JsonbValue *value;
	Jsonb	   *parsed;

	if (headers == NULL || !taskq_http())
		return NULL;
	parsed = DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
												CStringGetDatum(headers)));
	if (!JB_ROOT_IS_OBJECT(parsed))
		return NULL;
	key.val.string.val = unconstify(char *, name);
	key.val.string.len = strlen(name);
	value = findJsonbValueFromContainer(&parsed->root, JB_FOBJECT, &key);
	if (value == NULL || value->type != jbvString)
		return NULL;
	return pnstrdup(value->val.string.val, value->val.string.len);
}

static void
set_local(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_LOCAL, true, 0, false);
}

/*
 * taskq_http_respond - the answer's status, and headers: an array of objects
 * of one member
 *
 * NULL leaves what is there.
 */
void
taskq_http_respond(const char *status, const char *headers)
{
	if (status != NULL)
		set_local("response.status", status);
	if (headers != NULL)
		set_local("response.headers", headers);
}

/* ---- errors ---- */

/*
 * taskq_http_refuse_sql - PT403 for SQL text that comes over HTTP
 *
 * A token that got into wrong hands shall not be a console of the database.
 */
void
taskq_http_refuse_sql(void)
{
	if (!taskq_http() || taskq_in_task())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_TASK_FORBIDDEN),
			 errmsg("SQL text is not taken over HTTP"),
			 errhint("Define a kind whose handler does what the text does, or use a session of the database.")));
}

/* By which names tasks are submitted over HTTP. */
static const char *const submits[] = {
	"task", "task_submit", "task_submit_many", "task_submit_batch",
	"task_retry", "workflow_submit", "workflow_retry", "template_submit",
	"task_group", "task_chain", "task_chord", "schedule_run"
};

/* How long who is told that there are too many tasks had better wait. */
#define RETRY_AFTER_S "10"

static bool
http_submits(void)
{
	char	   *schema = taskq_http_header("content-profile");

	/* somebody else's function of the same name knows SQLSTATEs */
	if (taskq_in_task() || (schema != NULL && strcmp(schema, "taskq") != 0))
		return false;
	for (int i = 0; i < lengthof(submits); i++)
	{
		if (taskq_http_calls(submits[i]))
			return true;
	}
	return false;
}

static void
append_member(StringInfo json, const char *name, const char *value)
{
	appendStringInfo(json, "%s\"%s\": ", json->len == 0 ? "{" : ", ", name);
	escape_json(json, value);
}

/*
 * taskq_too_many - raise PT429
 *
 * To who has called a function of taskq over HTTP it says when to come again:
 * PostgREST adds headers to errors with the SQLSTATE PGRST, whose message and
 * detail are JSON.
 */
void
taskq_too_many(const char *message, const char *detail, const char *hint)
{
	StringInfoData json;

	if (!http_submits())
		ereport(ERROR,
				(errcode(ERRCODE_TASK_TOO_MANY), errmsg("%s", message),
				 errdetail("%s", detail), errhint("%s", hint)));
	initStringInfo(&json);
	append_member(&json, "code", "PT429");
	append_member(&json, "message", message);
	append_member(&json, "details", detail);
	append_member(&json, "hint", hint);
	appendStringInfoChar(&json, '}');
	ereport(ERROR,
			(errcode(MAKE_SQLSTATE('P', 'G', 'R', 'S', 'T')),
			 errmsg_internal("%s", json.data),
			 errdetail_internal("{\"status\": 429, \"headers\": {\"Retry-After\": \"" RETRY_AFTER_S "\"}}")));
}
