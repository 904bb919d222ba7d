/* outside.h: who works outside of the server */
#ifndef TASKQ_OUTSIDE_H
#define TASKQ_OUTSIDE_H

#include "postgres.h"

#include "base/shmem.h"
#include "utils/array.h"

#define TASKQ_OUTSIDERS 512
#define TASKQ_CAPABILITIES 504	/* bytes of names that are kept */

/* A list of names, or of all; each ends with a zero. */
typedef struct TaskqCapabilities
{
	bool		all;
	bool		cut;			/* there are more */
	int			len;
	char		names[TASKQ_CAPABILITIES];
} TaskqCapabilities;

/* A worker outside of the server, by name and role; the main lock guards it. */
typedef struct TaskqOutsider
{
	Oid			dbid;			/* InvalidOid: free */
	uint32		generation;
	Oid			role;			/* of the session that it came by */
	NameData	name;
	TimestampTz first_at;		/* heard of, by the system's clock */
	TimestampTz last_at;
	TimestampTz seen;			/* the same in steady time */
	int64		silence_us;		/* it may be silent for so long */
	int			waiting;		/* its claims that wait for tasks now */
	int			most;			/* tasks that it asks for at a time */
	int64		completed;
	int64		failed;
	int64		busy_us;
	TaskqCapabilities queues;
	TaskqCapabilities kinds;
} TaskqOutsider;

/* What a claim says of who makes it. */
typedef struct TaskqOutsiderClaim
{
	TaskqCapabilities queues;
	TaskqCapabilities kinds;
	int			n;
	int64		lease_us;
} TaskqOutsiderClaim;

extern void taskq_outside_init(void);
extern void taskq_capabilities(TaskqCapabilities *list, ArrayType *names);
extern bool taskq_capable(const TaskqCapabilities *list, const char *name);
extern void taskq_outside_claims(const char *name,
								 const TaskqOutsiderClaim *claim);
extern void taskq_outside_waits(bool waits);
extern void taskq_outside_heard(const char *name, int64 lease_us);
extern void taskq_outside_ended(Oid role, const char *name, bool completed,
								int n, int64 us);
extern int	taskq_outside_copy(TaskqOutsider **copy);
extern bool taskq_outside_online(const TaskqOutsider *outsider);

#endif
