/* utility.h: commands before which taskq's processes must leave a database */
#ifndef TASKQ_UTILITY_H
#define TASKQ_UTILITY_H

extern void taskq_utility_init(void);

#endif
