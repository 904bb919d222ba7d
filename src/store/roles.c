/*-------------------------------------------------------------------------
 *
 * roles.c
 *		Table "role": roles by numbers that outlive a dump.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "store/cache.h"
#include "store/read.h"
#include "store/rows.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/syscache.h"

typedef struct RoleEntry
{
	Oid			oid;
	int32		id;
} RoleEntry;

static HTAB *roles = NULL;

/* taskq_roles_forget - an empty cache */
void
taskq_roles_forget(void)
{
	roles = taskq_defs_cache("taskq roles", sizeof(Oid), sizeof(RoleEntry),
							 HASH_BLOBS);
}

static int32
role_insert(Oid role)
{
	Relation	rel = taskq_store_open(TASKQ_REL_ROLE, RowExclusiveLock);
	int32		id = taskq_defs_number(rel, TASKQ_REL_ROLE_PKEY,
									   TASKQ_REL_ROLE_SEQ);
	NameData	name;
	Datum		values[4];
	bool		nulls[4] = {false, false, false, false};

	namestrcpy(&name, GetUserNameFromId(role, false));
	values[0] = Int32GetDatum(id);
	values[1] = NameGetDatum(&name);
	values[2] = ObjectIdGetDatum(role);
	values[3] = Int64GetDatum((int64) GetSystemIdentifier());
	taskq_rows_insert_one(rel, values, nulls, lengthof(values));
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return id;
}

/* The lowest number of a role that is in the table, or 0. */
static int32
role_search(Oid role)
{
	char	   *name = GetUserNameFromId(role, false);
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;
	int32		id = 0;

	taskq_key(&key, 3, F_OIDEQ, ObjectIdGetDatum(role));
	taskq_read_begin(&read, TASKQ_REL_ROLE, TASKQ_REL_ROLE_OID,
					 AccessShareLock, 1, &key);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		int32		found = DatumGetInt32(taskq_read_column(&read, tuple, 1));
		Name		found_name = DatumGetName(taskq_read_column(&read, tuple, 2));
		int64		system = DatumGetInt64(taskq_read_column(&read, tuple, 4));

		if (strcmp(NameStr(*found_name), name) == 0 &&
			system == (int64) GetSystemIdentifier() && (id == 0 || found < id))
			id = found;
	}
	taskq_read_end(&read);
	return id;
}

/*
 * taskq_role_id - taskq's number of a role, made if needed
 *
 * Two sessions may make one each at the same time; both are good.  A row that
 * came from elsewhere may have this oid under another name: it is not this
 * role.
 */
int32
taskq_role_id(Oid role)
{
	RoleEntry  *entry = hash_search(roles, &role, HASH_FIND, NULL);
	int32		id;

	if (entry != NULL)
		return entry->id;
	id = role_search(role);
	if (id == 0)
	{
		id = role_insert(role);
		taskq_defs_made_here();
	}
	entry = hash_search(roles, &role, HASH_ENTER, NULL);
	entry->id = id;
	return id;
}

/*
 * taskq_role_resolve - the role here that was noted by name and oid, or
 * InvalidOid
 *
 * In the server where it was noted the oid tells a role from one that was
 * created later under its name, and stays when a role is renamed.  In another
 * server there is only the name.
 */
Oid
taskq_role_resolve(const char *name, Oid oid, int64 system)
{
	if (system != (int64) GetSystemIdentifier())
		return get_role_oid(name, true);
	return SearchSysCacheExists1(AUTHOID, ObjectIdGetDatum(oid)) ? oid
		: InvalidOid;
}

/*
 * taskq_role_read - name of a role by taskq's number, and its oid here; false
 * if there is none
 */
bool
taskq_role_read(int32 id, Name name, Oid *oid)
{
	TaskqRead	read;
	ScanKeyData key;
	HeapTuple	tuple;

	taskq_key(&key, 1, F_INT4EQ, Int32GetDatum(id));
	taskq_read_begin(&read, TASKQ_REL_ROLE, TASKQ_REL_ROLE_PKEY,
					 AccessShareLock, 1, &key);
	tuple = taskq_read_next(&read);
	if (tuple != NULL)
	{
		*name = *DatumGetName(taskq_read_column(&read, tuple, 2));
		*oid = taskq_role_resolve(NameStr(*name),
								  DatumGetObjectId(taskq_read_column(&read, tuple, 3)),
								  DatumGetInt64(taskq_read_column(&read, tuple, 4)));
	}
	taskq_read_end(&read);
	return tuple != NULL;
}

/*
 * taskq_roles_take_over - give every role that still exists by name its oid
 * here; the others get none
 *
 * Also where no lane came from elsewhere: kinds have owners and grants, and a
 * name may be another role's tomorrow.
 */
void
taskq_roles_take_over(void)
{
	const bool	replace[4] = {false, false, true, true};
	bool		nulls[4] = {false, false, false, false};
	TaskqRead	read;
	HeapTuple	tuple;

	taskq_read_begin_all(&read, TASKQ_REL_ROLE, ShareUpdateExclusiveLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
	{
		Datum		values[4] = {0, 0, 0, 0};
		Name		name = DatumGetName(taskq_read_column(&read, tuple, 2));

		if (DatumGetInt64(taskq_read_column(&read, tuple, 4)) ==
			(int64) GetSystemIdentifier())
			continue;
		values[2] = ObjectIdGetDatum(get_role_oid(NameStr(*name), true));
		values[3] = Int64GetDatum((int64) GetSystemIdentifier());
		tuple = taskq_rows_modify(read.rel, tuple, values, nulls, replace,
								  lengthof(values));
		taskq_rows_update(read.rel, &tuple->t_self, tuple, lengthof(values));
		CacheInvalidateRelcache(read.rel);
	}
	taskq_read_end(&read);
}

/* taskq_role_ids - taskq's numbers of all roles, as a list of int */
List *
taskq_role_ids(void)
{
	TaskqRead	read;
	HeapTuple	tuple;
	List	   *ids = NIL;

	taskq_read_begin_all(&read, TASKQ_REL_ROLE, AccessShareLock);
	while ((tuple = taskq_read_next(&read)) != NULL)
		ids = lappend_int(ids,
						  DatumGetInt32(taskq_read_column(&read, tuple, 1)));
	taskq_read_end(&read);
	return ids;
}
