/*-------------------------------------------------------------------------
 *
 * compat.h
 *		Differences between PostgreSQL 15 to 18, and nothing else.
 *
 * Each shim has the newest version's shape.  No other file looks at
 * PG_VERSION_NUM.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TASKQ_COMPAT_H
#define TASKQ_COMPAT_H

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "catalog/pg_database.h"
#include "catalog/pg_proc.h"
#include "commands/tablecmds.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodes.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/regproc.h"

/* 15.1 brought InitMaterializedSRF. */
#if PG_VERSION_NUM < 150001
#error "taskq needs PostgreSQL 15.1 or newer"
#endif

/* A function that does not return is marked in front since 18. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()

/* Where a column is in a row is known by a struct of its own since then. */
#define TupleDescCompactAttr(desc, i) TupleDescAttr(desc, i)
#endif

#if PG_VERSION_NUM < 160000
#include "utils/builtins.h"

#define check_can_set_role(member, role) check_is_member_of_role(member, role)
#define taskq_can_set_role(member, role) is_member_of_role(member, role)

static inline AclResult
taskq_function_aclcheck(Oid function, Oid role)
{
	return pg_proc_aclcheck(function, role, ACL_EXECUTE);
}

static inline AclResult
taskq_database_aclcheck(Oid database, Oid role)
{
	return pg_database_aclcheck(database, role, ACL_CONNECT);
}

static inline bool
taskq_database_ownercheck(Oid database, Oid role)
{
	return pg_database_ownercheck(database, role);
}
#else
#define taskq_can_set_role(member, role) member_can_set_role(member, role)

static inline AclResult
taskq_function_aclcheck(Oid function, Oid role)
{
	return object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE);
}

static inline AclResult
taskq_database_aclcheck(Oid database, Oid role)
{
	return object_aclcheck(DatabaseRelationId, database, role, ACL_CONNECT);
}

static inline bool
taskq_database_ownercheck(Oid database, Oid role)
{
	return object_ownercheck(DatabaseRelationId, database, role);
}
#endif

/* The number of this process in ProcGlobal->allProcs. */
static inline int
taskq_my_procno(void)
{
#if PG_VERSION_NUM < 170000
	return MyProc->pgprocno;
#else
	return MyProcNumber;
#endif
}

/*
 * transaction_timeout came with 17; before, the one that is there is looked
 * at twice.
 */
#if PG_VERSION_NUM < 170000
#define TASKQ_TRANSACTION_TIMEOUT STATEMENT_TIMEOUT
#else
#define TASKQ_TRANSACTION_TIMEOUT TRANSACTION_TIMEOUT
#endif

/* Wait events have names of their own since 17. */
#if PG_VERSION_NUM < 170000
#include "utils/wait_event.h"
#define taskq_wait_event(name) PG_WAIT_EXTENSION
#else
#include "utils/wait_event.h"

/*
 * Known by its name's address, a literal's, so that only the first wait has
 * it looked up.
 */
static inline uint32
taskq_wait_event(const char *name)
{
	static struct
	{
		const char *name;
		uint32		event;
	}			known[8];
	static int	nknown = 0;
	uint32		event;

	for (int i = 0; i < nknown; i++)
	{
		if (known[i].name == name)
			return known[i].event;
	}
	event = WaitEventExtensionNew(name);
	if (nknown < lengthof(known))
	{
		known[nknown].name = name;
		known[nknown++].event = event;
	}
	return event;
}
#endif

/*
 * Which indexes want an entry for a new version of a row; summarizing ones
 * are told apart since 16.
 */
typedef enum TaskqIndexes
{
	TASKQ_NO_INDEX,
	TASKQ_ALL_INDEXES,
	TASKQ_SUMMARIZING_INDEXES
} TaskqIndexes;

static inline TaskqIndexes
taskq_heap_update(Relation rel, ItemPointer tid, HeapTuple tuple)
{
#if PG_VERSION_NUM < 160000
	simple_heap_update(rel, tid, tuple);
	return HeapTupleIsHeapOnly(tuple) ? TASKQ_NO_INDEX : TASKQ_ALL_INDEXES;
#else
	TU_UpdateIndexes which;

	simple_heap_update(rel, tid, tuple, &which);
	return which == TU_None ? TASKQ_NO_INDEX
		: which == TU_Summarizing ? TASKQ_SUMMARIZING_INDEXES
		: TASKQ_ALL_INDEXES;
#endif
}

/* ... and ExecInsertIndexTuples is told. */
static inline List *
taskq_insert_index_tuples(ResultRelInfo *target, TupleTableSlot *slot,
						  EState *estate, bool only_summarizing)
{
	return ExecInsertIndexTuples(target, slot, estate, false, false, NULL, NIL
#if PG_VERSION_NUM >= 160000
								 ,only_summarizing
#endif
		);
}

/*
 * The expression of a check, as ExecConstraints takes it, or NULL; since 18
 * there are checks that are not enforced, and columns that are only computed.
 */
#if PG_VERSION_NUM < 180000
#define ri_CheckConstraintExprs ri_ConstraintExprs
#endif

static inline Expr *
taskq_check_expr(Relation rel, const ConstrCheck *check)
{
#if PG_VERSION_NUM < 180000
	return (Expr *) stringToNode(check->ccbin);
#else
	if (!check->ccenforced)
		return NULL;
	return (Expr *)
		expand_generated_columns_in_expr(stringToNode(check->ccbin), rel, 1);
#endif
}

/* ExecuteTruncateGuts has an argument more since 16. */
static inline void
taskq_truncate(Relation rel)
{
	ExecuteTruncateGuts(list_make1(rel), list_make1_oid(RelationGetRelid(rel)),
						NIL, DROP_RESTRICT, false
#if PG_VERSION_NUM >= 160000
						,
						false
#endif
		);
}

/* stringToQualifiedNameList can report softly since 16. */
#if PG_VERSION_NUM < 160000
#define taskq_qualified_name(text) stringToQualifiedNameList(text)
#else
#define taskq_qualified_name(text) stringToQualifiedNameList(text, NULL)
#endif

/*
 * What would end a session of ours from without; transaction_timeout came
 * with 17.
 */
#if PG_VERSION_NUM < 170000
#define TASKQ_SESSION_SETTINGS {"exit_on_error", "off"}
#else
#define TASKQ_SESSION_SETTINGS {"exit_on_error", "off"}, {"transaction_timeout", "0"}
#endif

/* Has this transaction a lock of this mode on a table?  17 can be told more. */
static inline bool
taskq_lock_held(Oid table, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, table);
#if PG_VERSION_NUM < 170000
	return LockHeldByMe(&tag, mode);
#else
	return LockHeldByMe(&tag, mode, false);
#endif
}

/* PortalRun lost an argument in 18. */
#if PG_VERSION_NUM < 180000
#define taskq_portal_run(portal, top, dest, qc) PortalRun(portal, FETCH_ALL, top, true, dest, dest, qc)
#else
#define taskq_portal_run(portal, top, dest, qc) PortalRun(portal, FETCH_ALL, top, dest, dest, qc)
#endif

#endif
