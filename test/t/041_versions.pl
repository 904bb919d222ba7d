# Library and extension of different versions meet at every upgrade, in one order or
# the other: every call is refused with a hint, no process does anything, and
# when they fit together again what waited runs.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'mixed';
my $node = taskq_node('versions');
taskq_database($node, $db);
my $rightful = sql($node, $db, 'SELECT taskq_internal.script_version()');
my $different = 'of different versions';

# As if the extension's script were of another version.
sub script_is
{
	my ($number) = @_;
	$node->safe_psql($db,
		"CREATE OR REPLACE FUNCTION taskq_internal.script_version() RETURNS int4
		 LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS 'SELECT $number'");
	return;
}

# How often a process has said so since a place in the log.
sub times_logged
{
	my ($from) = @_;
	my $text = slurp_file($node->logfile, $from);
	return scalar(() = $text =~ /LOG:  extension "taskq" in database "$db" and its library are $different/g);
}

sub stored
{
	my ($id) = @_;
	return sql($node, $db, "SELECT state, attempt FROM taskq_internal.task WHERE id = '$id'");
}

foreach my $case ([ 'an older extension', $rightful - 1, 'Use ALTER EXTENSION taskq UPDATE' ],
	[ 'a newer extension', $rightful + 1, 'Install the library that belongs to the extension, and restart the server' ])
{
	my ($name, $number, $hint) = @$case;
	my $before = submit($node, $db, 'short', '{"a": 1}');
	is(wait_task($node, $db, $before), 'completed', "before $name");
	$node->safe_psql($db, q{SELECT taskq.queue_define('held'), taskq.queue_pause('held')});
	my $held = submit($node, $db, 'short', '{}', "queue => 'held'");
	my $running = submit($node, $db, 'gate', qq({"gate": "$number"}));
	wait_state($node, $db, $running, 'running');

	# sessions that knew better, and those that did not
	my $psql = $node->background_psql($db, on_error_stop => 0);
	$psql->query(q{SELECT taskq.task_submit('short', delay => '1 day')});
	script_is($number);
	my ($out, $ret) = $psql->query(q{SELECT taskq.task_submit('short')});
	like($psql->{stderr}, qr/$different/, "$name: a session that has used taskq notices");
	$psql->quit;
	foreach my $call (q{taskq.task_submit('short')}, "taskq.task_status('$before')", "taskq.task_cancel('$held')",
		q{taskq.kind_define('new')}, q{taskq.task_claim('w')}, 'taskq.sitrep()', 'count(*) FROM taskq.task', 'count(*) FROM taskq.worker')
	{
		like(sql_error($node, $db, "SELECT $call"),
			qr/55000: extension "taskq" in database "$db" and its library are $different.*DETAIL:  The database has number $number, and the library that is loaded needs $rightful.*HINT:  $hint/s,
			"... $call is refused");
	}
	open_gate($node, $db, $number);
	$node->poll_query_until($db, "SELECT state = 'c' FROM taskq_internal.task WHERE id = '$running'") or die;
	pass('... a task that ran already comes to its end');

	my $from = -s $node->logfile;
	$node->restart;
	$node->poll_query_until('postgres', 'SELECT true') or die;
	is(wait_task($node, 'postgres', submit($node, 'postgres', 'short')), 'completed', '... other databases are served');
	usleep_until(sub { times_logged($from) > 0 });
	wait_idle($node) or die 'processes stay';
	is(times_logged($from), 1, '... the log says so, once');
	is(stored($held), 'p|0', '... and the tasks are as they were');

	# made right: ALTER EXTENSION UPDATE tells taskq that it is needed
	script_is($rightful);
	$node->safe_psql($db, 'ALTER EXTENSION taskq UPDATE');
	$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
	is(wait_task($node, $db, $held), 'completed', '... fitting together again, what waited runs');
	is(sql($node, $db, "SELECT attempt FROM taskq.task_status('$held')"), 1, '... for the first time');
}

# another version may have other tables
script_is($rightful + 1);
$node->safe_psql($db, 'ALTER TABLE taskq_internal.watermark RENAME TO watermarks');
like(sql_error($node, $db, q{SELECT taskq.task_submit('short')}), qr/$different/, 'a table is missing: that is of another version, not that the extension is not there');
$node->safe_psql($db, 'ALTER TABLE taskq_internal.watermarks RENAME TO watermark');
script_is($rightful);

# what waits runs by ALTER EXTENSION alone
my $waits = submit($node, $db, 'short', '{}', "delay => '50 ms'");
script_is($rightful + 1);
$node->restart;
wait_idle($node) or die;
script_is($rightful);
$node->safe_psql($db, 'ALTER EXTENSION taskq UPDATE');
$node->poll_query_until($db, "SELECT state = 'c' FROM taskq_internal.task WHERE id = '$waits'") or die;
pass('nobody has to submit anything for that');

# an extension from before there were numbers
$node->safe_psql($db, 'ALTER EXTENSION taskq DROP FUNCTION taskq_internal.script_version(); DROP FUNCTION taskq_internal.script_version()');
like(sql_error($node, $db, q{SELECT taskq.task_submit('short')}), qr/$different.*The database has number 0/s, 'a script that has no number');
$node->safe_psql($db, 'DROP EXTENSION taskq; CREATE EXTENSION taskq');
$node->safe_psql($db, q{SELECT taskq.kind_define('short', 'short_work(jsonb)')});
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'it can be dropped, and made anew');

# Until a condition, which is not one of SQL, holds.
sub usleep_until
{
	my ($condition) = @_;
	for (1 .. 10 * $PostgreSQL::Test::Utils::timeout_default)
	{
		return if $condition->();
		select(undef, undef, undef, 0.1);
	}
	die 'a condition did not come true';
}

$node->stop;
done_testing();
