/* json.h: members of a JSON object, one by one */
#ifndef TASKQ_JSON_H
#define TASKQ_JSON_H

#include "postgres.h"

#include "utils/jsonb.h"

extern void taskq_json_begin(JsonbParseState **state);
extern void taskq_json_key(JsonbParseState **state, const char *key);
extern void taskq_json_text(JsonbParseState **state, const char *key,
							const char *text);
extern void taskq_json_number(JsonbParseState **state, const char *key,
							  int64 number);
extern void taskq_json_float(JsonbParseState **state, const char *key,
							 double number);
extern void taskq_json_true(JsonbParseState **state, const char *key);
extern void taskq_json_jsonb(JsonbParseState **state, const char *key,
							 Datum jsonb);
extern void taskq_json_texts(JsonbParseState **state, const char *key,
							 Datum array);
extern Datum taskq_json_end(JsonbParseState **state);
extern char *taskq_json_get_text(Jsonb *object, const char *key);

#endif
