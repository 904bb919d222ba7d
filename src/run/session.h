/* session.h: what one task leaves in the session is gone for the next */
#ifndef TASKQ_SESSION_H
#define TASKQ_SESSION_H

extern void taskq_session_init(void);
extern void taskq_session_pin(void);
extern void taskq_session_leaves_cursors(void);
extern void taskq_session_clean(void);
extern void taskq_session_reset(bool managed);

#endif
