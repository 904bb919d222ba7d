/*-------------------------------------------------------------------------
 *
 * fair.c
 *		Tenants of a role take turns.
 *
 * Of the lanes of the same priority that is looked into first whose tenant
 * has waited longest since its last batch; what has no tenant is one tenant
 * among them.  So a tenant's thousand tasks do not make another one's wait,
 * and where there are no tenants all lanes have the same turn, and only
 * their first tasks count.
 *
 * Nothing is kept of a tenant but the number of its last batch, in a place
 * found by a hash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "lanes/fair.h"

static uint64 *
place_of(const TaskqLane *lane, Oid role)
{
	uint32		hash = murmurhash32(lane->dbid);

	hash = hash_combine(hash, murmurhash32(role));
	hash = hash_combine(hash, murmurhash32((uint32) lane->priority));
	hash = hash_combine(hash, murmurhash32((uint32) lane->tenant));
	hash = hash_combine(hash, murmurhash32((uint32) (lane->tenant >> 32)));
	return &taskq_shared->tenant_turns[hash % TASKQ_TENANT_TURNS];
}

/* taskq_fair_turn - when the lane's tenant was served last; less: earlier */
uint64
taskq_fair_turn(const TaskqLane *lane, Oid role)
{
	return *place_of(lane, role);
}

/* taskq_fair_served - tasks of this lane have been claimed */
void
taskq_fair_served(TaskqLane *lane, Oid role)
{
	uint64		turn = ++taskq_shared->turn;

	*place_of(lane, role) = turn;
	if (lane->tenant != 0)
		lane->turn = turn;
}
