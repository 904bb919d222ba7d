# Whoever may create schemas in the database that cron.database_name names does
# not get code run by the superuser's process that writes the jobs there.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use Test::More;

chomp(my $libdir = qx{${\($ENV{PG_CONFIG} // 'pg_config')} --pkglibdir});
plan skip_all => 'pg_cron is not installed' if !-e "$libdir/pg_cron.so";

my $node = taskq_node('hostile_cron',
	'shared_preload_libraries' => 'pg_cron,taskq',
	'cron.database_name' => 'postgres',
	'cron.use_background_workers' => 'on',
	'max_worker_processes' => 20);
taskq_database($node, 'app');
$node->safe_psql('postgres', 'CREATE ROLE evil LOGIN; GRANT taskq_developer, taskq_user TO evil; CREATE ROLE dev LOGIN; GRANT taskq_developer, taskq_user TO dev');
$node->safe_psql('postgres', 'ALTER DATABASE postgres OWNER TO evil');

sub define { my $role = shift; return "SET SESSION AUTHORIZATION $role; SELECT taskq.schedule_define('nightly', 'short', cron => '0 2 * * *')"; }
sub evils_code_ran { return sql($node, 'postgres', "SELECT count(*) FROM public.ran"); }

# --- no extension yet, but what looks like it

sql($node, 'postgres', q{
	CREATE TABLE public.ran (who name);
	GRANT ALL ON public.ran TO PUBLIC;
	SET SESSION AUTHORIZATION evil;
	CREATE SCHEMA cron;
	GRANT USAGE ON SCHEMA cron TO PUBLIC;
	CREATE TABLE cron.job (jobid bigint, jobname text, database text);
	CREATE FUNCTION cron.unschedule(bigint) RETURNS bool LANGUAGE sql AS 'INSERT INTO public.ran VALUES (current_user) RETURNING true';
	CREATE FUNCTION cron.schedule_in_database(job_name text, schedule text, command text, database text, username text) RETURNS bigint
		LANGUAGE sql AS 'INSERT INTO public.ran VALUES (current_user) RETURNING 1'});
for my $role ('evil', 'dev')
{
	like(sql_error($node, 'app', define($role)), qr/55000.*extension "pg_cron" does not exist in database "postgres"/s,
		"a schema that has the name of pg_cron's is not pg_cron's, for $role");
}
is(evils_code_ran(), 0, '... and nothing in it was called');
taskq_database($node, 'gone');
sql($node, 'postgres', "INSERT INTO cron.job SELECT 1, 'taskq ' || oid || ' x', 'gone' FROM pg_database");
$node->safe_psql('postgres', 'ALTER DATABASE gone RENAME TO gone2');
$node->safe_psql('postgres', 'DROP DATABASE gone2 WITH (FORCE)');
is(evils_code_ran(), 0, '... nor when a database is renamed and dropped');

# --- the extension, and somebody who may create functions beside it

sql($node, 'postgres', 'DROP SCHEMA cron CASCADE');
sql($node, 'postgres', 'CREATE EXTENSION pg_cron; GRANT CREATE, USAGE ON SCHEMA cron TO evil');
sql($node, 'postgres', q{
	SET SESSION AUTHORIZATION evil;
	CREATE FUNCTION cron.schedule_in_database(job_name text, schedule text, command text, database text, username text) RETURNS bigint
		LANGUAGE sql AS 'INSERT INTO public.ran VALUES (current_user) RETURNING 1'});
like(sql_error($node, 'app', define('dev')), qr/55000.*schema "cron" of database "postgres" has functions that are not pg_cron's/s, 'another function of the name is not called either');
is(evils_code_ran(), 0, '... nor was it');
sql($node, 'postgres', 'DROP FUNCTION cron.schedule_in_database(text, text, text, text, text)');
is(sql($node, 'postgres', 'SELECT count(*) FROM cron.job'), 0, '... and there is no job');
sql($node, 'app', define('dev'));
is(sql($node, 'postgres', "SELECT count(*) FROM cron.job WHERE username = 'dev'"), 1, 'without it the job is written');

$node->stop;
done_testing();
