# Schedules with a cron expression: pg_cron calls, from its own database or for
# another one; what it misses is made up for; nothing is left in its table.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

chomp(my $libdir = qx{${\($ENV{PG_CONFIG} // 'pg_config')} --pkglibdir});
plan skip_all => 'pg_cron is not installed' if !-e "$libdir/pg_cron.so";

my $node = taskq_node('cron',
	'shared_preload_libraries' => 'pg_cron,taskq',
	'cron.database_name' => 'postgres',
	'cron.use_background_workers' => 'on',
	'cron.log_statement' => 'off',
	'max_worker_processes' => 20);
taskq_database($node, 'app');

sub define { my ($name, $more, $db, $role) = @_; return sql($node, $db // 'app', "SELECT taskq.schedule_define('$name', 'short', $more)", $role); }
sub jobs { return sql($node, 'postgres', "SELECT coalesce(string_agg(concat_ws('|', schedule, command, database, username), E'\n' ORDER BY jobname), '') FROM cron.job"); }

# --- without the extension

like(sql_error($node, 'app', "SELECT taskq.schedule_define('early', 'short', cron => '* * * * *')"),
	qr/55000.*"pg_cron" does not exist in database "postgres".*HINT:  Use CREATE EXTENSION pg_cron in that database/s,
	'without its extension pg_cron has no jobs');
is(sql($node, 'app', "SELECT count(*) FROM taskq.schedule"), 0, '... and there is no schedule');
$node->safe_psql('postgres', 'CREATE EXTENSION pg_cron');

# --- a job that really fires; what comes until then runs beside it

$node->safe_psql('app', 'CREATE ROLE dev LOGIN; GRANT taskq_developer, taskq_user TO dev');
my $began = time;
define('real', "cron => '* * * * *'", 'app', 'dev');
is(jobs(), "* * * * *|SELECT taskq.schedule_tick('real')|app|dev", 'pg_cron has the job, of the owner and for its database');
is(sql($node, 'app', "SELECT next_run = date_trunc('minute', now()) + interval '1 min' AND owner = 'dev' FROM taskq.schedule"), 't', 'the next run is the next minute');

# --- all or nothing

$node->safe_psql('app', "BEGIN; SELECT taskq.schedule_define('undone', 'short', cron => '0 0 1 1 *'); ROLLBACK");
unlike(jobs(), qr/undone/, 'rolled back, there is no job');
$node->safe_psql('app', q{
	BEGIN;
	SAVEPOINT s;
	SELECT taskq.schedule_define('inner', 'short', cron => '0 0 1 1 *');
	ROLLBACK TO s;
	SELECT taskq.schedule_define('outer', 'short', cron => '0 0 1 1 *');
	COMMIT});
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM cron.job WHERE command LIKE '%outer%'"), 'of a transaction with a savepoint');
unlike(jobs(), qr/inner/, '... only what is committed');
like(sql_error($node, 'app', "BEGIN; SELECT taskq.schedule_define('p', 'short', cron => '0 0 1 1 *'); PREPARE TRANSACTION 'p'"),
	qr/0A000.*cannot PREPARE/s, 'it cannot be prepared');
like(sql_error($node, 'app', "SELECT taskq.schedule_define('bad', 'short', cron => '61 * * * *')"), qr/22023.*not an expression of cron/s, 'no expression');
like(sql_error($node, 'app', "SELECT taskq.schedule_define('bad', 'short', cron => '* * * * *', timezone => 'Middle/Earth')"), qr/22023.*time zone/s, 'no zone');

# --- switched, replaced, dropped

sub job_is
{
	my ($name, $expected, $what) = @_;
	my $query = "SELECT coalesce(string_agg(schedule, ','), '') FROM cron.job WHERE command LIKE '%''$name''%'";
	return ok($node->poll_query_until('postgres', "SELECT ($query) = '$expected'"), $what) || diag(sql($node, 'postgres', $query));
}
$node->safe_psql('app', "SELECT taskq.schedule_disable('outer')");
job_is('outer', '', 'a schedule that is disabled has no job');
$node->safe_psql('app', "SELECT taskq.schedule_enable('outer')");
job_is('outer', '0 0 1 1 *', '... until it is enabled');
define('outer', "cron => '5 4 * * *'");
job_is('outer', '5 4 * * *', 'another expression, another job');
define('outer', "every => '1 day'");
job_is('outer', '', 'an interval has none');
$node->safe_psql('app', "SELECT taskq.schedule_drop('outer')");
define('x' x 60, "cron => '0 0 1 1 *'");
job_is('x' x 60, '0 0 1 1 *', 'a long name');
$node->safe_psql('app', "SELECT taskq.schedule_drop('" . 'x' x 60 . "')");
job_is('x' x 60, '', '... dropped');

# --- time zones

define('berlin', "cron => '30 2 * * *', timezone => 'Europe/Berlin'");
job_is('berlin', '0,15,30,45 * * * *', 'in another zone than its own pg_cron calls each quarter of an hour');
is(sql($node, 'app', "SELECT (next_run AT TIME ZONE 'Europe/Berlin')::time FROM taskq.schedule WHERE name = 'berlin'"), '02:30:00', '... and it is due once a day');
is(sql($node, 'app', "SELECT taskq.schedule_tick('berlin')"), 'f', '... the other calls do nothing');

# --- a call, by hand

my $due = "UPDATE taskq_internal.schedule_state SET next_run = now() - interval '%s', look_at = now() + interval '1 day' WHERE name = 'berlin'";
$node->safe_psql('app', sprintf($due, '10 s'));
is(sql($node, 'app', "SELECT taskq.schedule_tick('berlin')"), 't', 'called when it is due, it runs');
is(sql($node, 'app', "SELECT taskq.schedule_tick('berlin')"), 'f', '... once');
is(sql($node, 'app', "SELECT runs FROM taskq.schedule WHERE name = 'berlin'"), 1, '... with one task');
$node->safe_psql('app', sprintf($due, '10 days'));
is(sql($node, 'app', "SELECT taskq.schedule_tick('berlin')"), 't', 'after days without a call');
is(sql($node, 'app', "SELECT runs, missed_runs FROM taskq.schedule WHERE name = 'berlin'"), '2|10', '... one run is made for all');
$node->safe_psql('app', "SELECT taskq.kind_drop('short')");
$node->safe_psql('app', sprintf($due, '10 s'));
is(sql($node, 'app', "SELECT taskq.schedule_tick('berlin')"), 'f', 'a run that cannot be made');
is(sql($node, 'app', "SELECT error->>'sqlstate' FROM taskq.schedule WHERE name = 'berlin'"), '22023', '... is an error in the view');
$node->safe_psql('app', "SELECT taskq.kind_define('short', 'short_work(jsonb)')");
is(sql($node, 'app', "SELECT taskq.schedule_tick('berlin')"), 't', '... until it can');
is(sql($node, 'app', "SELECT error IS NULL, runs FROM taskq.schedule WHERE name = 'berlin'"), 't|3', '... and the error is gone');

# --- pg_cron does not call

$node->safe_psql('app', q{
	BEGIN;
	UPDATE taskq_internal.schedule_state SET next_run = now() - interval '89.5 s', look_at = now() + interval '0.5 s' WHERE name = 'berlin';
	SELECT taskq.schedule_define('wake', 'short', every => '1 day', starts_at => now() + interval '0.1 s');
	COMMIT});
ok($node->poll_query_until('app', "SELECT runs >= 4 FROM taskq.schedule WHERE name = 'berlin'"), 'a run for which pg_cron does not call is made all the same');
like(sql($node, 'app', "SELECT error->>'message' FROM taskq.schedule WHERE name = 'berlin'"), qr/pg_cron did not call/, '... and the view says so');

# --- pg_cron's own database

define('here', "cron => '0 0 1 1 *'", 'postgres');
job_is('here', '0 0 1 1 *', 'a schedule in the database of pg_cron');
$node->safe_psql('postgres', "SELECT taskq.schedule_drop('here')");
job_is('here', '', '... dropped');

# --- a job that calls for nothing

$node->safe_psql('postgres', "SELECT cron.schedule_in_database('taskq ' || oid || ' ghost', '0 0 1 1 *', 'SELECT taskq.schedule_tick(''ghost'')', 'app') FROM pg_database WHERE datname = 'app'");
is(sql($node, 'app', "SELECT taskq.schedule_tick('ghost')"), 'f', 'a job whose schedule is gone');
job_is('ghost', '', '... is removed when it calls');

# --- the real one

ok($node->poll_query_until('app', "SELECT runs >= 1 FROM taskq.schedule WHERE name = 'real'"), 'pg_cron has called after ' . (time - $began) . ' s');
is(sql($node, 'app', "SELECT s.last_run = date_trunc('minute', s.last_run) AND t.state = 'completed' AND t.submitted_by = 'dev' AND s.error IS NULL FROM taskq.schedule s, taskq.task_wait(s.last_task) t WHERE name = 'real'"),
	't', '... and the task of that minute is the owner\'s');

# --- the database is renamed, the extension and the database are dropped

$node->safe_psql('postgres', 'ALTER DATABASE app RENAME TO renamed');
ok($node->poll_query_until('postgres', "SELECT count(*) = 2 FROM cron.job WHERE database = 'renamed'"), 'the jobs of a database go with its name');
taskq_database($node, 'other');
define('other', "cron => '0 0 1 1 *'", 'other');
job_is('other', '0 0 1 1 *', 'a job of another database');
$node->safe_psql('renamed', 'DROP EXTENSION taskq CASCADE');
ok($node->poll_query_until('postgres', "SELECT count(*) = 1 FROM cron.job"), 'without the extension there are no jobs');
$node->safe_psql('postgres', 'DROP DATABASE other WITH (FORCE)');
ok($node->poll_query_until('postgres', "SELECT count(*) = 0 FROM cron.job"), '... nor without the database');

# --- a server without pg_cron

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'taskq'");
$node->restart;
like(sql_error($node, 'postgres', "SELECT taskq.schedule_define('none', 'short', cron => '* * * * *')"),
	qr/55000.*need pg_cron.*HINT:  Add pg_cron to shared_preload_libraries/s, 'a server that has not loaded pg_cron');
done_testing();
