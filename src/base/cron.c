/*-------------------------------------------------------------------------
 *
 * cron.c
 *		Expressions of cron, as pg_cron reads them.
 *
 * When a schedule starts is pg_cron's business.  What it has missed, when it
 * is due next, and what a time zone makes of it pg_cron does not tell.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "base/cron.h"
#include "lib/stringinfo.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#define YEARS_AHEAD 9			/* from one 29th of February to the next */
#define CHANGE_HOURS 2			/* by which a clock is put forward or back */
#define ALL_HOURS 0xffffff
#define BIT(n) (UINT64CONST(1) << (n))

static const char *const month_names[] = {
	"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct",
	"nov", "dec", NULL
};
static const char *const weekday_names[] = {
	"sun", "mon", "tue", "wed", "thu", "fri", "sat", NULL
};

/* ---- reading ---- */

/* A number, or one of the names; moves *text past it.  -1: neither */
static int
read_value(const char **text, const char *const *names)
{
	int			value = 0;
	int			digits = 0;

	for (int i = 0; names != NULL && names[i] != NULL; i++)
	{
		if (names[i][0] != '\0' && pg_strncasecmp(*text, names[i], 3) == 0 &&
			!isalpha((unsigned char) (*text)[3]))
		{
			*text +=3;
			return i;
		}
	}
	for (; isdigit((unsigned char) **text) && digits < 4; digits++)
		value = value * 10 + *(*text) ++- '0';
	return digits > 0 ? value : -1;
}

/* One range: a star, a number, or two of them; with a step but after one. */
static bool
read_range(const char **text, int low, int high, const char *const *names,
		   uint64 *bits)
{
	int			from = low;
	int			to = high;
	int			step = 1;

	if (**text == '*')
		(*text) ++;
	else
	{
		from = to = read_value(text, names);
		if (**text == '-')
		{
			(*text) ++;
			to = read_value(text, names);
		}
		else if (**text == '/')
			return false;
	}
	if (**text == '/')
	{
		(*text) ++;
		step = read_value(text, NULL);
	}
	if (from < low || to > high || from > to || step < 1)
		return false;
	for (int i = from; i <= to; i += step)
		*bits |= BIT(i);
	return true;
}

/* A field: ranges with commas between them. */
static bool
read_field(const char **text, int low, int high, const char *const *names,
		   uint64 *bits)
{
	*bits = 0;
	while (isspace((unsigned char) **text))
		(*text) ++;
	for (;;)
	{
		if (!read_range(text, low, high, names, bits))
			return false;
		if (**text !=',')
			break;
		(*text) ++;
	}
	return **text == '\0' || isspace((unsigned char) **text);
}

static const char *
skip_space(const char *text)
{
	while (isspace((unsigned char) *text))
		text	  ++;
	return text;
}

/* The words that stand for expressions. */
static const char *
spelled_out(const char *text)
{
	static const char *const words[][2] = {
		{"@yearly", "0 0 1 1 *"}, {"@annually", "0 0 1 1 *"},
		{"@monthly", "0 0 1 * *"}, {"@weekly", "0 0 * * 0"},
		{"@daily", "0 0 * * *"}, {"@midnight", "0 0 * * *"},
		{"@hourly", "0 * * * *"}
	};

	for (int i = 0; i < lengthof(words); i++)
	{
		if (strcmp(text, words[i][0]) == 0)
			return words[i][1];
	}
	return text;
}

static bool
read_days(const char **text, TaskqCron *cron)
{
	uint64		days = 0;

	*text = skip_space(*text);
	cron->any_day = **text == '*';
	cron->last_day = **text == '$';
	if (cron->last_day)
	{
		(*text) ++;
		return isspace((unsigned char) **text);
	}
	if (!read_field(text, 1, 31, NULL, &days))
		return false;
	cron->days = days;
	return true;
}

/* taskq_cron_parse - read an expression; false if it is none */
bool
taskq_cron_parse(const char *text, TaskqCron *cron)
{
	uint64		hours;
	uint64		months;
	uint64		weekdays;

	memset(cron, 0, sizeof(*cron));
	text = spelled_out(text);

	if (!read_field(&text, 0, 59, NULL, &cron->minutes) ||
		!read_field(&text, 0, 23, NULL, &hours) ||
		!read_days(&text, cron) ||
		!read_field(&text, 1, 12, month_names, &months))
		return false;
	text = skip_space(text);

	cron->any_weekday = *text == '*';
	if (!read_field(&text, 0, 7, weekday_names, &weekdays) ||
		*skip_space(text) != '\0')
		return false;
	cron->hours = hours;
	cron->months = months;
	/* 7 is Sunday as well */
	cron->weekdays = (weekdays | weekdays >> 7) & 0x7f;
	return true;
}

/* ---- when ---- */

static bool
names_day(const TaskqCron *cron, int year, int month, int day)
{
	int			weekday = j2day(date2j(year, month, day));
	bool		is_day = cron->last_day
	? day == day_tab[isleap(year)][month - 1]
	: (cron->days & BIT(day)) != 0;
	bool		is_weekday = (cron->weekdays & BIT(weekday)) != 0;

	if ((cron->months & BIT(month)) == 0)
		return false;
	/* cron's rule: if both are restricted, either will do */
	return cron->any_day || cron->any_weekday ? is_day && is_weekday
		: is_day || is_weekday;
}

/* Keep a moment if it is after that one, and the first. */
static void
keep_first(TimestampTz moment, TimestampTz after, TimestampTz *next)
{
	if (moment > after)
		*next = Min(*next, moment);
}

/*
 * Look at a minute of this zone's clock.
 *
 * One that the clock passes over, being put forward, comes as long after the
 * minutes before it as ever.  One that it shows twice counts once, the second
 * time; but both times if every hour is named.
 */
static void
look_at_minute(const TaskqCron *cron, pg_tz * zone,
			   const struct pg_tm *minute, TimestampTz after,
			   TimestampTz *next)
{
	struct pg_tm tm = *minute;
	int			offset = DetermineTimeZoneOffset(&tm, zone);
	TimestampTz moment;
	TimestampTz before;
	fsec_t		fsec;

	if (tm2timestamp(&tm, 0, &offset, &moment) != 0)
		return;
	keep_first(moment, after, next);
	before = moment - USECS_PER_HOUR;
	if (cron->hours == ALL_HOURS &&
		timestamp2tm(before, &offset, &tm, &fsec, NULL, zone) == 0 &&
		tm.tm_hour == minute->tm_hour && tm.tm_min == minute->tm_min)
		keep_first(before, after, next);
}

/*
 * The first minute of a day that is named and after that moment, whose hour
 * is not before this one.
 */
static TimestampTz
next_of_day(const TaskqCron *cron, pg_tz * zone, const struct pg_tm *day,
			int hour, TimestampTz after)
{
	struct pg_tm minute = *day;
	TimestampTz next = DT_NOEND;

	minute.tm_sec = 0;
	for (int found = 24; hour < 24 && hour <= found + CHANGE_HOURS; hour++)
	{
		minute.tm_hour = hour;
		if ((cron->hours & BIT(hour)) == 0)
			continue;
		for (minute.tm_min = 0; minute.tm_min < 60; minute.tm_min++)
		{
			if ((cron->minutes & BIT(minute.tm_min)) != 0)
				look_at_minute(cron, zone, &minute, after, &next);
		}
		if (next != DT_NOEND && found == 24)
			found = hour;
	}
	return next;
}

/*
 * taskq_cron_next - the first minute after a moment that an expression names,
 * by the clock of a zone; DT_NOEND if there is none
 */
TimestampTz
taskq_cron_next(const TaskqCron *cron, pg_tz * zone, TimestampTz after)
{
	struct pg_tm day;
	fsec_t		fsec;
	int			offset;
	int			first;
	int			hour;

	if (timestamp2tm(after, &offset, &day, &fsec, NULL, zone) != 0)
		return DT_NOEND;
	first = date2j(day.tm_year, day.tm_mon, day.tm_mday);
	hour = Max(day.tm_hour - CHANGE_HOURS, 0);
	for (int date = first; date < first + YEARS_AHEAD * 366; date++, hour = 0)
	{
		TimestampTz next = DT_NOEND;

		j2date(date, &day.tm_year, &day.tm_mon, &day.tm_mday);
		if (names_day(cron, day.tm_year, day.tm_mon, day.tm_mday))
			next = next_of_day(cron, zone, &day, hour, after);
		if (next != DT_NOEND)
			return next;
	}
	return DT_NOEND;
}

/*
 * taskq_cron_anywhere - an expression, palloc'd, that names all minutes which
 * this one may name in some other zone
 *
 * Zones are apart by quarters of an hour.
 */
char *
taskq_cron_anywhere(const TaskqCron *cron)
{
	StringInfoData text;
	const char *comma = "";

	initStringInfo(&text);
	for (int minute = 0; minute < 60; minute++)
	{
		uint64		same = 0;

		for (int i = 0; i < 4; i++)
			same |= BIT((minute + i * 15) % 60);
		if ((cron->minutes & same) == 0)
			continue;
		appendStringInfo(&text, "%s%d", comma, minute);
		comma = ",";
	}
	appendStringInfoString(&text, " * * * *");
	return text.data;
}
