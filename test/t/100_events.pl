# Each end of a task is in the feed, whatever happens between the two.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = taskq_node('events', 'allows_streaming' => 1,
	'taskq.max_workers' => 2, 'wal_keep_size' => '256MB');
my $db = 'postgres';

$node->safe_psql($db, q{
	SELECT taskq.kind_define('many', 'short_work(jsonb)', batch => true), taskq.kind_define('outside');
	-- what is told from a cursor on until all these tasks were told of
	CREATE PROCEDURE told(INOUT at text, INOUT tasks uuid[]) LANGUAGE plpgsql AS $$
	DECLARE
		seen uuid[] := '{}';
		e jsonb;
	BEGIN
		FOR i IN 1..20 LOOP
			e := taskq.events_since(at, '5 s');
			at := e->>'cursor';
			seen := seen || ARRAY(SELECT (x->>'task_id')::uuid FROM jsonb_array_elements(e->'events') x);
			EXIT WHEN tasks <@ seen;
		END LOOP;
		tasks := seen;
	END $$;
});

sub cursor
{
	return sql($node, $db, "SELECT taskq.events_since()->>'cursor'");
}

# Of these tasks each is told of; %opt: once => 1, and no other is.  Returns
# the cursor behind them.
sub told
{
	my ($at, $ids, $name, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($cursor, $tasks) = split /\|/,
	  sql($node, $db, "CALL told('$at', '{" . join(',', @$ids) . "}')");
	my %times;
	$times{$_}++ foreach split /[{},]+/, $tasks =~ s/^{//r;
	my @missing = grep { !$times{$_} } @$ids;
	is("@missing", '', $name);
	is(join(',', map { "$_: $times{$_}" } grep { $times{$_} > 1 } keys %times), '', '... once')
	  if $opt{once};
	return $cursor;
}

# Nobody writes into the feed before the session is ended.
sub lock_feed
{
	my $session = $node->background_psql($db);
	$session->query_safe('BEGIN; LOCK TABLE taskq_internal.feed IN EXCLUSIVE MODE');
	return $session;
}

# One of each way to end; returns their ids when all are over.
sub end_some
{
	my @ids = split /\n/, sql($node, $db, q{
		SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[30]));
		SELECT taskq.task_submit_many('many', array_fill('{}'::jsonb, ARRAY[30]));
		SELECT taskq.task_submit('fail');
		SELECT taskq.task_submit('outside');
		SELECT taskq.task_submit('outside');
	});
	my $failed = $ids[60];
	my ($held, $swept) = split /\n/, sql($node, $db,
		"SELECT taskq.task_submit('short', run_at => 'infinity') FROM generate_series(1, 2)");
	my $blocked = submit($node, $db, 'short', '{}', "depends_on => '{$failed}'");
	my $running = submit($node, $db, 'gate', '{"gate": "never"}');
	wait_state($node, $db, $running, 'running');
	sql($node, $db, qq{
		SELECT taskq.task_cancel('$held'), taskq.task_cancel('$running');
		SELECT taskq.task_bulk('cancel', '{$swept}'::uuid[]);
		SELECT taskq.task_complete(c.id, c.token) FROM taskq.task_claim('w', kinds => '{outside}') c;
		SELECT taskq.task_fail(c.id, c.token, 'no', retry => false) FROM taskq.task_claim('w', kinds => '{outside}') c;
	});
	push @ids, $held, $swept, $blocked, $running;
	sql($node, $db, "SELECT count(*) FROM taskq.task_wait_all('{" . join(',', @ids) . "}', '50 s') WHERE NOT ready") eq '0'
	  or die 'some task did not end';
	return @ids;
}

# --- a crash between the end and the feed

my $at = cursor();
my @ids = end_some();
$at = told($at, \@ids, 'each way to end is told', once => 1);

my $lock = lock_feed();
@ids = end_some();
is(sql($node, $db, "SELECT jsonb_array_length(taskq.events_since('$at')->'events')"), '0', 'what is not in the feed is not told');
$node->stop('immediate');
eval { $lock->quit };
$node->start;
$at = told($at, \@ids, 'what had ended before the server crashed is told', once => 1);

$lock = lock_feed();
@ids = end_some();
eval { $lock->query('COMMIT') };
$lock->quit;
$at = told($at, \@ids, 'a locked feed is written when it is free', once => 1);

# --- the dispatcher ends with what it knows

$lock = lock_feed();
@ids = end_some();
my ($pid) = backend_pids($node, 'dispatcher', $db);
expect_terminated($node, 'dispatcher');
sql($node, $db, "SELECT pg_terminate_backend($pid, 10000)");
$lock->query_safe('COMMIT');
$lock->quit;
$at = told($at, \@ids, 'so is what a dispatcher that was terminated knew');

# --- a worker is killed, and the server restarts

@ids = split /\n/, sql($node, $db,
	"SELECT taskq.task_submit_many('short', array_fill('{}'::jsonb, ARRAY[300]))");
my $gated = submit($node, $db, 'gate', '{"gate": "k"}');
wait_state($node, $db, $gated, 'running');
my $worker = sql($node, $db, "SELECT pid FROM taskq.worker WHERE kind = 'gate'");
expect_crashes($node);
kill 'KILL', $worker;
$node->poll_query_until($db, 'SELECT true') or die 'no restart';
open_gate($node, $db, 'k');
$at = told($at, [ @ids, $gated ], 'nothing is missing when a worker was killed');

# --- prepared transactions

my ($held) = split /\n/, sql($node, $db, "SELECT taskq.task_submit('short', run_at => 'infinity')");
sql($node, $db, "BEGIN; SELECT taskq.task_cancel('$held'); PREPARE TRANSACTION 'p1'");
sql($node, $db, "COMMIT PREPARED 'p1'");
$at = told($at, [$held], 'what a prepared transaction ended is told when it is committed', once => 1);
($held) = split /\n/, sql($node, $db, "SELECT taskq.task_submit('short', run_at => 'infinity')");
sql($node, $db, "BEGIN; SELECT taskq.task_cancel('$held'); PREPARE TRANSACTION 'p2'");
$node->restart;
sql($node, $db, "COMMIT PREPARED 'p2'");
$at = told($at, [$held], '... also after a restart', once => 1);
is(sql($node, $db, "SELECT jsonb_array_length(taskq.events_since('$at')->'events')"), '0', '... and nothing else');

# --- nobody is there

ok(wait_idle($node, $db), 'nobody is there when nothing happens');
($held) = split /\n/, sql($node, $db, "SELECT taskq.task_submit('short', run_at => 'infinity')");
ok(wait_idle($node, $db), '... nor for a task that is held');
sql($node, $db, "SELECT taskq.task_cancel('$held')");
$at = told($at, [$held], 'who cancels it calls somebody', once => 1);
$node->append_conf('postgresql.conf', "taskq.notify = off");
$node->reload;
ok(wait_idle($node, $db), 'they leave again');
($held) = split /\n/, sql($node, $db, "SELECT taskq.task_submit('short', run_at => 'infinity')");
sql($node, $db, "SELECT taskq.task_cancel('$held')");
$at = told($at, [$held], 'without notifications, too', once => 1);

# --- who waits sleeps

my $waiter = $node->background_psql($db);
my $waiting = $waiter->query_safe('SELECT pg_backend_pid()');
$waiter->query_until(qr/started/, "\\echo started\nSELECT jsonb_array_length(taskq.events_since('$at', '50 s')->'events');\n");
ok( $node->poll_query_until($db,
		"SELECT state = 'active' AND wait_event IS NOT NULL FROM pg_stat_activity WHERE pid = $waiting AND query LIKE '%events_since%'"),
	'a session waits for events');
# the time in which one that polls would give itself away
ok(sleep_on(1, [$waiting]), '... asleep');
my $awaited = submit($node, $db, 'short');
is($waiter->query_safe(''), '1', '... until a task has ended');
$waiter->quit;
$at = told($at, [$awaited], 'it is told', once => 1);

# --- outboxes take turns

@ids = split /\n/, sql($node, $db,
	"SELECT taskq.task_submit_many('gate', array_fill('{\"gate\": \"k\"}'::jsonb, ARRAY[60]))");
$at = told($at, \@ids, 'a kind becomes known as quick');
# one batch, of which only the last one is not over
@ids = split /\n/, sql($node, $db, q{
	SELECT taskq.task_submit_many('gate', ARRAY['{"gate": "k"}', '{"gate": "k"}', '{"gate": "long"}']::jsonb[])});
$at = told($at, [ @ids[0, 1] ], 'some of a batch have ended');
my $filled = sql($node, $db, q{
	INSERT INTO taskq_internal.outbox_0 SELECT now(), string_agg(uuid_send(gen_random_uuid()), '')
	FROM generate_series(1, 450000) n GROUP BY n / 450;
	INSERT INTO taskq_internal.outbox_0 SELECT * FROM taskq_internal.outbox_0 LIMIT 200});
my @more = split /\n/, sql($node, $db,
	"SELECT taskq.task_submit_many('many', array_fill('{}'::jsonb, ARRAY[2500]))");
$at = told($at, \@more, 'more tasks end');
@more = split /\n/, sql($node, $db, "SELECT taskq.task_submit_many('many', array_fill('{}'::jsonb, ARRAY[10]))");
$at = told($at, \@more, '... and more');
ok($node->poll_query_until($db, q{
	SELECT pg_relation_size('taskq_internal.outbox_0') = 0 AND taskq.task_submit('short') IS NOT NULL}),
	'a large outbox is emptied, while a task of it runs');
$at = cursor();
$lock = lock_feed();
open_gate($node, $db, 'long');
is(wait_task($node, $db, $ids[2]), 'completed', 'that ends');
$node->stop('immediate');
eval { $lock->quit };
$node->start;
$at = told($at, [ $ids[2] ], '... and is told after a crash');

# --- somebody has locked everything

my $admin = $node->background_psql($db);
$admin->query_safe('BEGIN');
$admin->query_safe("LOCK TABLE taskq_internal.outbox_$_") foreach 0 .. 3;
@ids = end_some();
$admin->query_safe('COMMIT');
$admin->quit;
$at = told($at, \@ids, 'tasks end, and are told, while outboxes are locked');

# --- a standby is promoted

my $standby = PostgreSQL::Test::Cluster->new('events_standby');
$node->backup('b');
$standby->init_from_backup($node, 'b', has_streaming => 1);
$standby->start;
$lock = lock_feed();
@ids = end_some();
$node->wait_for_catchup($standby);
is($standby->safe_psql($db, "SELECT taskq.events_since('$at')->>'cursor'"), $at, 'the feed can be read on a standby');
like(sql_error($standby, $db, "SELECT taskq.events_since('$at', '1 s')"), qr/0A000.*cannot wait for events on a standby/, '... but not waited for');
expect_primary_gone($standby);
$node->stop('immediate');
eval { $lock->quit };
$standby->promote;
$node = $standby;
my $before = $at;
$at = told($at, \@ids, 'who is promoted tells what had ended', once => 1);
my ($old) = $before =~ /\.(\d+)$/;
my ($new) = $at =~ /\.(\d+)$/;
cmp_ok($new, '>', $old + (1 << 39), '... with numbers that the other server never gave');

# --- how long it is kept

$before = $at;
@ids = end_some();
$at = told($at, \@ids, 'more have ended');
sql($node, $db, "UPDATE taskq_internal.feed SET at = at - interval '2 days'");
@ids = end_some();
$at = told($at, \@ids, 'and more');
ok($node->poll_query_until($db, qq{
	SELECT count(*) <= 40 AND min(at) > now() - interval '1 day' OR taskq.task_submit('short') IS NULL FROM taskq_internal.feed}),
	'what is older than the retention is deleted');
like(sql_error($node, $db, "SELECT taskq.events_since('$before')"), qr/PT410/, '... and its cursor refused');
ok(wait_idle($node, $db), 'all leave');
sql($node, $db, q{UPDATE taskq_internal.feed SET first = first + 10000100 WHERE first = (SELECT max(first) FROM taskq_internal.feed)});
@ids = end_some();
$at = told($at, \@ids, 'more have ended');
ok($node->poll_query_until($db, q{
	SELECT max(first) - min(first) < 10000000 OR taskq.task_submit('short') IS NULL FROM taskq_internal.feed}),
	'what has ten million events behind it is deleted, too');
$at = cursor();
$node->append_conf('postgresql.conf', "taskq.event_retention = 0");
$node->reload;
ok($node->poll_query_until($db, "SELECT current_setting('taskq.event_retention') = '0'"), 'the feed is switched off');
like(sql_error($node, $db, 'SELECT taskq.events_since()'), qr/55000/, '... and says so');
my $unseen = submit($node, $db, 'short');
wait_task($node, $db, $unseen);
ok($node->poll_query_until($db, q{SELECT count(*) = 1 FROM taskq_internal.feed}), '... and is empty');
$node->append_conf('postgresql.conf', "taskq.event_retention = '1d'");
$node->reload;
ok($node->poll_query_until($db, "SELECT current_setting('taskq.event_retention') = '1d'"), 'switched on again');
like(sql_error($node, $db, "SELECT taskq.events_since('$at')"), qr/PT410/, '... cursors from before are refused');
$at = cursor();
@ids = end_some();
$at = told($at, \@ids, '... and new ones good', once => 1);

done_testing();
