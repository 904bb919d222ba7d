/* inside.h: what functions for running tasks have in common */
#ifndef TASKQ_INSIDE_H
#define TASKQ_INSIDE_H

extern void taskq_refuse_over_http(const char *function);

#endif
