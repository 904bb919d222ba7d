# Alerts fire and clear by themselves, and listeners are told, also of tasks that stand still.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('alerts', 'taskq.max_workers' => 2, 'taskq.alert_interval' => '100ms', 'taskq.stalled_after' => '300ms',
	'taskq.worker_idle_timeout' => '100ms');
my $db = 'postgres';

my ($in, $out, $err) = ('', '', '');
my $timer = IPC::Run::timer($PostgreSQL::Test::Utils::timeout_default);
my $listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err, $timer);

# Are we told of what this is about?
sub told
{
	my ($what) = @_;
	$timer->start;
	until ($out =~ $what)
	{
		return 0 if $timer->is_expired;
		$in .= "SELECT pg_sleep(0.05) \\g /dev/null\n";
		$listener->pump_nb;
		select(undef, undef, undef, 0.05);
	}
	return 1;
}

sub state_is
{
	my ($name, $state) = @_;
	return $node->poll_query_until($db, "SELECT state = '$state' FROM taskq.alert WHERE name = '$name'");
}

sub nobody_there
{
	return 1 if $node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type IN ('taskq dispatcher', 'taskq worker'))});
	diag(sql($node, $db, q{SELECT json_agg(s) FROM (SELECT backend_type, state, wait_event, query FROM pg_stat_activity WHERE backend_type LIKE 'taskq%') s}));
	diag(sql($node, $db, q{SELECT json_agg(l) FROM taskq_internal.lanes() l}));
	return 0;
}

$in .= qq{LISTEN "taskq:alert"; LISTEN taskq;\nSELECT 'listens';\n};
told(qr/listens/);
$node->safe_psql($db, q{
	SELECT taskq.queue_define('slow'), taskq.queue_pause('slow'), taskq.kind_define('outside');
	SELECT taskq.alert_define('long', 'queue_length', 2, '0 s', queue => 'slow');
	SELECT taskq.alert_define('old', 'oldest', 0.2, '0 s', queue => 'slow');
	SELECT taskq.alert_define('patient', 'queue_length', 2, '1 h', queue => 'slow')});
ok(state_is('long', 'ok'), 'nothing waits: nothing fires');
submit($node, $db, 'short', '{}', q{queue => 'slow'}) for 1 .. 3;
ok(state_is('long', 'firing'), 'too many tasks in a queue that is paused');
ok(told(qr/Asynchronous notification "taskq:alert" with payload "\{.*"alert": "long".*"state": "firing"/), '... which listeners are told');
ok(state_is('old', 'firing'), 'the oldest has waited for too long');
is(sql($node, $db, q{SELECT state, value, times FROM taskq.alert WHERE name = 'patient'}), 'pending|3|0', 'one that has to last has not for so long');
is(sql($node, $db, q{SELECT value >= 0.2 FROM taskq.alert WHERE name = 'old'}), 't', '... by its seconds');
$in .= "UNLISTEN *;\n\\q\n";
$listener->finish;
$node->restart;
($in, $out, $err) = ('', '', '');
$timer->reset;
$listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= qq{LISTEN "taskq:alert"; LISTEN taskq;\nSELECT 'listens';\n};
told(qr/listens/);
is(sql($node, $db, q{SELECT state, times FROM taskq.alert WHERE name = 'long'}), 'firing|1', 'it still does after a restart');
is(sql($node, $db, q{SELECT waiting FROM taskq.queue WHERE name = 'slow'}), 3, '... and how many wait is known');
$node->safe_psql($db, q{SELECT taskq.queue_resume('slow')});
ok(state_is('long', 'ok') && state_is('old', 'ok'), 'they clear when the queue is empty');
ok(told(qr/"alert": "long".*"state": "cleared"/), '... which listeners are told');
ok(state_is('patient', 'ok'), '... and the one that never fired is told of no more');
ok(nobody_there(), 'then nobody stays to look');
is(sql($node, $db, q{SELECT times, cleared_at IS NOT NULL, firing_since IS NULL FROM taskq.alert WHERE name = 'long'}), '1|t|t', 'what happened is on record');

# failures
$node->safe_psql($db, q{
	SELECT taskq.alert_define('rate', 'failure_rate', 50, '5 min', kind => 'broken');
	SELECT taskq.alert_define('some', 'failures', 2, '5 min', kind => 'broken');
	CREATE FUNCTION broken_work(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE 'no'; END $$;
	SELECT taskq.kind_define('broken', 'broken_work(jsonb)', max_attempts => 1)});
my @broken = map { submit($node, $db, 'broken') } 1 .. 3;
wait_task($node, $db, $_) for @broken;
ok(state_is('rate', 'firing'), 'all of a kind fail');
ok(state_is('some', 'firing'), '... and more than some');
is(sql($node, $db, q{SELECT value FROM taskq.alert WHERE name = 'rate'}), '100', '... all, in percent');
$node->safe_psql($db, q{SELECT taskq.alert_disable('rate')});
ok(state_is('rate', 'disabled'), 'one that is switched off');
$node->safe_psql($db, q{SELECT taskq.alert_drop('rate'), taskq.alert_drop('some')});

# one that is dropped while it is looked at leaves nothing to the next of its name
$node->safe_psql($db, q{
	SELECT taskq.queue_pause('slow');
	SELECT taskq.alert_define('dropped', 'queue_length', 1, '1 h', queue => 'slow')});
my $dropper = $node->background_psql($db);
$dropper->query_safe(q{BEGIN; SELECT taskq.alert_drop('dropped')});
submit($node, $db, 'short', '{}', q{queue => 'slow'}) for 1 .. 3;
ok(state_is('long', 'firing'), 'others fire while one is being dropped');
$dropper->query_safe('COMMIT');
$dropper->quit;
is(sql($node, $db, q{SELECT count(*) FROM taskq_internal.alert_state WHERE name = 'dropped'}), 0, '... of which nothing is left');
$node->safe_psql($db, q{SELECT taskq.queue_resume('slow')});
ok(state_is('long', 'ok'), '... and the others clear');

# one that fired when the server was stopped, and has no reason to any more
ok(nobody_there(), 'nothing is there');
$node->safe_psql($db, q{UPDATE taskq_internal.alert_state SET firing_since = now(), exceeded_since = now() WHERE name = 'long'});
is(sql($node, $db, q{SELECT state FROM taskq.alert WHERE name = 'long'}), 'firing', 'an alert fires');
$in .= "UNLISTEN *;\n\\q\n";
$listener->finish;
$node->restart;
($in, $out, $err) = ('', '', '');
$timer->reset;
$listener = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err, $timer);
$in .= qq{LISTEN "taskq:alert"; LISTEN taskq;\nSELECT 'listens';\n};
told(qr/listens/);
ok(state_is('long', 'ok'), '... and clears after a restart, though nothing is done then');

# nobody works on it
$node->safe_psql($db, q{SELECT taskq.alert_define('alone', 'no_worker', 0, '0 s', kind => 'outside')});
my $outside = submit($node, $db, 'outside');
ok(state_is('alone', 'firing'), 'a task for an external worker, and none is there');
$node->safe_psql($db, qq{SELECT taskq.task_cancel('$outside')});
ok(state_is('alone', 'ok'), '... until it waits no more');

# who may
$node->safe_psql($db, q{CREATE ROLE op LOGIN IN ROLE taskq_operator; CREATE ROLE seer LOGIN IN ROLE taskq_monitor; CREATE ROLE plain LOGIN IN ROLE taskq_user});
ok(sql_ok($node, $db, q{SET ROLE op; SELECT taskq.alert_define('mine', 'stalled', 0)}), 'an operator defines alerts');
is(as_role($node, $db, 'seer', q{SELECT state, owner FROM taskq.alert WHERE name = 'mine'}), 'ok|op', '... a monitor sees them');
like(sql_error($node, $db, q{SET ROLE seer; SELECT taskq.alert_drop('mine')}), qr/permission denied/, '... and drops none');
like(sql_error($node, $db, q{SET ROLE plain; SELECT * FROM taskq.alert}), qr/permission denied/, 'who submits tasks does not');
like(sql_error($node, $db, q{SELECT taskq.alert_define('bad', 'temperature', 0)}), qr/there is no metric "temperature".*queue_length/s, 'a metric that is none');
like(sql_error($node, $db, q{SELECT taskq.alert_define('bad', 'oldest', 1, clear_at => 2)}), qr/clear_at/, 'one that would clear while it fires');
like(sql_error($node, $db, q{SELECT taskq.alert_enable('none')}), qr/alert "none" does not exist/, 'an alert that is none');

# a task that stands still
my $stuck = submit($node, $db, 'gate', '{"gate": "stuck"}');
ok(told(qr/Asynchronous notification "taskq" with payload "\{"task_id":"$stuck","state":"stalled"\}"/), 'listeners are told of a task that stands still');
open_gate($node, $db, 'stuck');
is(wait_task($node, $db, $stuck), 'completed', '... which goes on all the same');

# how long tasks of others take is not told
my $theirs = as_role($node, $db, 'plain', q{SELECT taskq.task_submit('gate', '{"gate": "theirs"}')});
my $usual = sub { as_role($node, $db, $_[0], "SELECT coalesce(usual::text, 'not known') FROM taskq.stalled WHERE id = '$theirs'") };
$node->poll_query_until($db, "SELECT count(*) > 0 FROM taskq.stalled WHERE id = '$theirs'") or die 'it does not stand still';
isnt($usual->('seer'), 'not known', 'a monitor is told how long tasks of the kind take');
is($usual->('plain'), 'not known', '... but not who has run none of them');
open_gate($node, $db, 'theirs');

$in .= "UNLISTEN *;\n\\q\n";
$listener->finish;
done_testing();
