/*-------------------------------------------------------------------------
 *
 * secrets.c
 *		Table "secret": members of payloads and metadata that are shown to
 *		nobody but the handler, and hiding them.
 *
 * What stands in a task's row is what was submitted; wherever it is shown, or
 * a filter asks for it, what is secret is replaced.  So a change of what is
 * secret counts at once, for all tasks of the kind.  The rows outlive their
 * kind, as its tasks do, and are one owner's: another one's kind of the same
 * name is another kind.
 *
 * They are few: a backend has all of them, until one changes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/args.h"
#include "base/json.h"
#include "catalog/indexing.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "store/read.h"
#include "store/rows.h"
#include "store/secrets.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/inval.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

/* columns of taskq_internal.secret: kind, owner, members */
#define Natts_secret 3

#define MAX_MEMBERS 100
#define MAX_NAME 1000			/* bytes of one */
#define SHOWN "***"

/* A member by its name, wherever it is, or by its path from the top. */
typedef struct Path
{
	const char *whole;
	List	   *names;			/* of a path; NIL: it is none */
} Path;

typedef struct Secret
{
	NameData	kind;
	int32		owner;
	List	   *paths;
} Secret;

static MemoryContext context = NULL;
static List *secrets = NIL;
static bool loaded = false;

/* ---- what is secret ---- */

static void
on_relcache_change(Datum arg, Oid relid)
{
	if (!OidIsValid(relid) || taskq_store_is(TASKQ_REL_SECRET, relid))
		loaded = false;
}

/* taskq_secrets_init - once per process */
void
taskq_secrets_init(void)
{
	CacheRegisterRelcacheCallback(on_relcache_change, (Datum) 0);
}

/* The names of a path; NIL if it is a name. */
static List *
split(const char *whole)
{
	char	   *copy = pstrdup(whole);
	List	   *names = NIL;

	if (strchr(copy, '.') == NULL)
		return NIL;
	for (char *dot; (dot = strchr(copy, '.')) != NULL; copy = dot + 1)
	{
		*dot = '\0';
		names = lappend(names, copy);
	}
	return lappend(names, copy);
}

static List *
paths_of(ArrayType *members)
{
	Datum	   *items;
	int			n;
	List	   *paths = NIL;

	deconstruct_array(members, TEXTOID, -1, false, TYPALIGN_INT, &items, NULL,
					  &n);
	for (int i = 0; i < n; i++)
	{
		Path	   *path = palloc(sizeof(Path));

		path->whole = TextDatumGetCString(items[i]);
		path->names = split(path->whole);
		paths = lappend(paths, path);
	}
	return paths;
}

/* All of them, into memory that stays. */
static void
load(void)
{
	TaskqRead	read;
	HeapTuple	tuple;
	MemoryContext old;

	taskq_store_require();
	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext, "taskq secrets",
										ALLOCSET_SMALL_SIZES);
	else
		MemoryContextReset(context);
	secrets = NIL;
	loaded = true;				/* unless there is a change from now on */
	old = MemoryContextSwitchTo(context);
	taskq_read_begin_all(&read, TASKQ_REL_SECRET, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		Secret	   *secret = palloc0(sizeof(Secret));

		namestrcpy(&secret->kind,
				   TextDatumGetCString(taskq_read_column(&read, tuple, 1)));
		secret->owner = DatumGetInt32(taskq_read_column(&read, tuple, 2));
		secret->paths =
			paths_of(DatumGetArrayTypeP(taskq_read_column(&read, tuple, 3)));
		secrets = lappend(secrets, secret);
	}
	taskq_read_end(&read);
	MemoryContextSwitchTo(old);
}

/* What is secret in tasks of this kind, of this owner's or (0) of anybody's. */
static List *
find(const char *kind, int32 owner)
{
	ListCell   *lc;
	List	   *paths = NIL;

	if (!loaded)
		load();
	foreach(lc, secrets)
	{
		const Secret *secret = lfirst(lc);

		if ((owner == 0 || secret->owner == owner) &&
			strcmp(NameStr(secret->kind), kind) == 0)
			paths = list_concat(paths, secret->paths);
	}
	return paths;
}

/* ---- defining them ---- */

/* taskq_secrets_check - are these names of members?  22023 */
void
taskq_secrets_check(ArrayType *members)
{
	Datum	   *items;
	bool	   *nulls;
	int			n;

	deconstruct_array(members, TEXTOID, -1, false, TYPALIGN_INT, &items,
					  &nulls, &n);
	if (ARR_NDIM(members) > 1 || n > MAX_MEMBERS)
		taskq_invalid_argument("secret", "must be a list of at most 100 names of members");
	for (int i = 0; i < n; i++)
	{
		const char *name = nulls[i] ? "" : TextDatumGetCString(items[i]);
		size_t		len = strlen(name);

		if (len == 0 || len > MAX_NAME)
			taskq_invalid_argument("secret", "must list names of members of the payload, or paths such as \"server.password\"");
	}
}

static HeapTuple
find_row(TaskqRead *read, const char *kind, int32 owner, LOCKMODE lockmode)
{
	ScanKeyData keys[2];

	taskq_key(&keys[0], 1, F_TEXTEQ, CStringGetTextDatum(kind));
	taskq_key(&keys[1], 2, F_INT4EQ, Int32GetDatum(owner));
	taskq_read_begin(read, TASKQ_REL_SECRET, TASKQ_REL_SECRET_PKEY, lockmode,
					 2, keys);
	return taskq_read_next(read);
}

/* taskq_secrets_of - what is secret in a kind, or NULL */
ArrayType *
taskq_secrets_of(const char *kind, int32 owner)
{
	TaskqRead	read;
	HeapTuple	tuple = find_row(&read, kind, owner, AccessShareLock);
	ArrayType  *members = NULL;

	if (tuple != NULL)
		members = DatumGetArrayTypePCopy(taskq_read_column(&read, tuple, 3));
	taskq_read_end(&read);
	return members;
}

/*
 * taskq_secrets_write - what is secret from now on in tasks of a kind; an empty
 * list: nothing
 *
 * Who defines a kind has the table of kinds locked against others.
 */
void
taskq_secrets_write(const char *kind, int32 owner, ArrayType *members)
{
	Datum		values[Natts_secret] = {CStringGetTextDatum(kind),
	Int32GetDatum(owner), PointerGetDatum(members)};
	bool		nulls[Natts_secret] = {false};
	TaskqRead	read;
	HeapTuple	tuple = find_row(&read, kind, owner, ShareRowExclusiveLock);
	bool		none = ArrayGetNItems(ARR_NDIM(members), ARR_DIMS(members)) == 0;

	if (tuple != NULL)
		CatalogTupleDelete(read.rel, &tuple->t_self);
	if (!none)
		taskq_rows_insert_one(read.rel, values, nulls, Natts_secret);
	CacheInvalidateRelcache(read.rel);
	taskq_read_end(&read);
	CommandCounterIncrement();
}

/*
 * taskq_secrets_name - do these name the member at the top, or something in
 * it?
 */
bool
taskq_secrets_name(ArrayType *members, const char *member)
{
	ListCell   *lc;

	foreach(lc, paths_of(members))
	{
		const Path *path = lfirst(lc);

		if (strcmp(path->whole, member) == 0 ||
			(path->names != NIL && strcmp(linitial(path->names), member) == 0))
			return true;
	}
	return false;
}

/* ---- hiding them ---- */

/* Where a walk through a document is: the members that it is in. */
typedef struct Place
{
	JsonbValue *keys;
	int			depth;
	int			room;
} Place;

static bool
is_name(const JsonbValue *key, const char *name)
{
	return key->val.string.len == strlen(name) &&
		memcmp(key->val.string.val, name, key->val.string.len) == 0;
}

static bool
is_at(const Place *place, const Path *path)
{
	ListCell   *lc;
	int			i = 0;

	if (is_name(&place->keys[place->depth - 1], path->whole))
		return true;
	if (list_length(path->names) != place->depth)
		return false;
	foreach(lc, path->names)
	{
		if (!is_name(&place->keys[i++], lfirst(lc)))
			return false;
	}
	return true;
}

static bool
is_secret(const Place *place, const List *paths)
{
	ListCell   *lc;

	foreach(lc, paths)
	{
		if (is_at(place, lfirst(lc)))
			return true;
	}
	return false;
}

static void
enter_object(Place *place)
{
	if (place->depth == place->room)
	{
		place->room = Max(place->room * 2, 16);
		place->keys = place->keys
			? repalloc(place->keys, sizeof(JsonbValue) * place->room)
			: palloc(sizeof(JsonbValue) * place->room);
	}
	place->depth++;
}

/* A copy of the document without what is secret. */
static Datum
hide(Jsonb *document, const List *paths)
{
	JsonbIterator *iterator = JsonbIteratorInit(&document->root);
	JsonbParseState *state = NULL;
	JsonbValue *result = NULL;
	JsonbValue	value;
	JsonbValue	shown = {.type = jbvString,
	.val.string = {.val = SHOWN,.len = strlen(SHOWN)}};
	JsonbIteratorToken token;
	Place		place = {0};

	while ((token = JsonbIteratorNext(&iterator, &value, false)) != WJB_DONE)
	{
		if (token == WJB_BEGIN_OBJECT)
			enter_object(&place);
		else if (token == WJB_END_OBJECT)
			place.depth--;
		result = pushJsonbValue(&state, token,
								token < WJB_BEGIN_ARRAY ? &value : NULL);
		if (token != WJB_KEY)
			continue;
		place.keys[place.depth - 1] = value;
		if (is_secret(&place, paths))
		{
			(void) JsonbIteratorNext(&iterator, &value, true);
			result = pushJsonbValue(&state, WJB_VALUE, &shown);
		}
	}
	return JsonbPGetDatum(JsonbValueToJsonb(result));
}

/*
 * taskq_secrets_mask - a payload, or metadata, of a task of this kind as it is
 * shown
 *
 * owner: the kind's, by taskq's number; 0: it is not known, and all count.
 * The value itself if there is nothing to hide.
 */
Datum
taskq_secrets_mask(Datum value, const char *kind, int32 owner)
{
	List	   *paths;
	Jsonb	   *document;

	if (loaded && secrets == NIL)
		return value;
	paths = find(kind, owner);
	if (paths == NIL)
		return value;
	document = DatumGetJsonbP(value);
	if (JB_ROOT_IS_SCALAR(document))
		return value;
	return hide(document, paths);
}

/* ---- for the views ---- */

/* The same of a member of an object, if it has one. */
static Datum
mask_member(Datum object, const char *member, const char *kind, int32 owner)
{
	JsonbValue	value;
	JsonbParseState *state = NULL;
	Datum		masked;

	if (getKeyJsonValueFromContainer(&DatumGetJsonbP(object)->root, member,
									 strlen(member), &value) == NULL ||
		value.type != jbvBinary)
		return object;
	masked = taskq_secrets_mask(JsonbPGetDatum(JsonbValueToJsonb(&value)),
								kind, owner);
	taskq_json_begin(&state);
	taskq_json_jsonb(&state, member, masked);
	return DirectFunctionCall2(jsonb_concat, object, taskq_json_end(&state));
}

/* A member of an object that is a string, or NULL. */
static char *
text_member(Jsonb *object, const char *member)
{
	JsonbValue	value;

	if (!JB_ROOT_IS_OBJECT(object) ||
		getKeyJsonValueFromContainer(&object->root, member, strlen(member),
									 &value) == NULL ||
		value.type != jbvString)
		return NULL;
	return pnstrdup(value.val.string.val, value.val.string.len);
}

/*
 * taskq_secrets_mask_step - a step of a workflow, as it was defined, as it is
 * shown; the same of other objects with kind, payload and metadata
 */
Datum
taskq_secrets_mask_step(Datum step)
{
	char	   *kind = text_member(DatumGetJsonbP(step), "kind");

	if (kind == NULL)
		return step;
	step = mask_member(step, "payload", kind, 0);
	return mask_member(step, "metadata", kind, 0);
}

/* A hook's payload has copies of the ended task's. */
static bool
is_hook(Jsonb *options)
{
	JsonbValue	value;

	return JB_ROOT_IS_OBJECT(options) &&
		getKeyJsonValueFromContainer(&options->root, "hook", 4, &value) != NULL;
}

static Datum
shown(Datum value, const char *kind, int32 owner, Jsonb *options)
{
	if (options != NULL && is_hook(options))
		value = taskq_secrets_mask_step(value);
	return taskq_secrets_mask(value, kind, owner);
}

/*
 * taskq_secrets_shown - a task's payload or metadata, which is not null, as it
 * is shown
 */
Datum
taskq_secrets_shown(TaskqRow *row, const TaskqLaneDef *lane, int column)
{
	Jsonb	   *options = NULL;

	if (column == Anum_task_payload && !taskq_row_isnull(row, options))
		options = DatumGetJsonbP(taskq_row_value(row, options));
	return shown(row->values[column - 1], NameStr(lane->kind),
				 lane->kind_owner, options);
}

PG_FUNCTION_INFO_V1(taskq_masked);

/*
 * taskq_masked - masked(value, kind, owner, options) returns jsonb: a task's
 * payload or metadata as it is shown
 *
 * owner is that of the kind, or null; options the task's, or null.
 */
Datum
taskq_masked(PG_FUNCTION_ARGS)
{
	Datum		value = PG_GETARG_DATUM(0);
	int32		owner = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT32(2);

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(1) || (loaded && secrets == NIL))
		PG_RETURN_DATUM(value);
	PG_RETURN_DATUM(shown(value, text_to_cstring(PG_GETARG_TEXT_PP(1)), owner,
						  PG_ARGISNULL(3) ? NULL : PG_GETARG_JSONB_P(3)));
}

PG_FUNCTION_INFO_V1(taskq_masked_steps);

/* taskq_masked_steps - masked_steps(steps) returns jsonb, of a template */
Datum
taskq_masked_steps(PG_FUNCTION_ARGS)
{
	Jsonb	   *steps = PG_GETARG_JSONB_P(0);
	JsonbIterator *iterator = JsonbIteratorInit(&steps->root);
	JsonbParseState *state = NULL;
	JsonbValue	value;
	JsonbValue *result;
	JsonbIteratorToken token;

	if (!JB_ROOT_IS_ARRAY(steps) || JB_ROOT_IS_SCALAR(steps))
		PG_RETURN_JSONB_P(steps);
	(void) JsonbIteratorNext(&iterator, &value, true);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	while ((token = JsonbIteratorNext(&iterator, &value, true)) == WJB_ELEM)
	{
		Datum		step = JsonbPGetDatum(JsonbValueToJsonb(&value));

		if (value.type == jbvBinary)
			JsonbToJsonbValue(DatumGetJsonbP(taskq_secrets_mask_step(step)),
							  &value);
		pushJsonbValue(&state, WJB_ELEM, &value);
	}
	result = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(result));
}
