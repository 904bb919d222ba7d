/* alerts.h: definitions of alerts */
#ifndef TASKQ_ALERTS_H
#define TASKQ_ALERTS_H

#include "postgres.h"

/* columns of taskq_internal.alert */
enum
{
	Anum_alert_name = 1,
	Anum_alert_metric,
	Anum_alert_threshold,
	Anum_alert_clear_at,
	Anum_alert_window,
	Anum_alert_queue,
	Anum_alert_kind,
	Anum_alert_enabled,
	Anum_alert_description,
	Anum_alert_owner,
	Anum_alert_updated_at,
	Natts_alert = Anum_alert_updated_at
};

extern bool taskq_alert_find(const char *name);
extern Datum taskq_alert_write(const char *name, Datum *values, bool *nulls,
							   const bool *replace);
extern bool taskq_alert_delete(const char *name);
extern bool taskq_alerts_any(void);

#endif
