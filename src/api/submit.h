/* submit.h: what submitting and retrying share */
#ifndef TASKQ_SUBMIT_H
#define TASKQ_SUBMIT_H

#include "postgres.h"

#include "lanes/enqueue.h"

extern void taskq_submit_begin(TaskqSubmit *submit);
extern void taskq_submit_claims(TaskqSubmit *submit);

#endif
