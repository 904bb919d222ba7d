/*-------------------------------------------------------------------------
 *
 * signature.h
 *		Functions that can be handlers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TASKQ_SIGNATURE_H
#define TASKQ_SIGNATURE_H

#include "access/htup_details.h"
#include "catalog/pg_proc.h"

extern bool taskq_is_handler(Form_pg_proc form);

#endif
