/* hooks.h: kinds that are submitted when a task of another one has ended */
#ifndef TASKQ_HOOKS_H
#define TASKQ_HOOKS_H

extern void taskq_hooks_init(void);

#endif
