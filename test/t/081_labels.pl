# Labels live as long as their tasks: they are emptied with the leaf, move along, and
# leave with what is deleted; they are dumped, prepared, and in nobody's way.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = start_turned(
	sub {
		taskq_node('labels', 'taskq.max_workers' => 2, 'taskq.retention' => '24h', 'taskq.worker_idle_timeout' => '60s',
			'max_prepared_transactions' => 2);
	});
my $db = 'postgres';

# The clock is turned, and everybody notices.
sub turn
{
	my ($hours) = @_;
	set_clock($hours * 3600);
	$node->reload;
	return;
}

sub poll
{
	my ($query, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($node->poll_query_until($db, $query), $name);
}

# Labels of these tasks, each with where it is: r in the ring, k among the kept ones.
sub labels
{
	my ($database, @ids) = @_;
	return sql($node, $database, "SELECT string_agg(place || ' ' || label, ', ' ORDER BY id, place, label) FROM all_labels
		WHERE id IN ('" . join("','", @ids) . "')");
}

sub leaf
{
	my ($id) = @_;
	return sprintf('%02d', sql($node, $db, "SELECT taskq_internal.id_slot('$id')"));
}

my $view = q{DO $$ BEGIN
	EXECUTE 'CREATE VIEW all_labels AS ' || (SELECT string_agg(format('SELECT %L AS place, regexp_replace(label, %L, %L) AS label, id FROM %s',
			CASE WHEN relname ~ 'keep' THEN 'k' ELSE 'r' END, ':-?\d+$', ':lane', oid::regclass), ' UNION ALL ')
		FROM pg_class WHERE relnamespace = 'taskq_internal'::regnamespace AND relname ~ '^label_(\d\d|keep)$');
END $$};
$node->safe_psql($db, $view);
$node->safe_psql($db, q{
	SELECT taskq.queue_define('held'), taskq.queue_pause('held');
	SELECT taskq.kind_define('lasting', 'short_work(jsonb)', retention => '7 days', indexed => '{customer}');
	SELECT taskq.kind_define('quick', 'fail_work(jsonb)', max_attempts => 1, retention => '1 h');
	SELECT taskq.kind_define('outside', max_attempts => 1)});

# --- with the leaf

my $old = submit($node, $db, 'short', '{}', q{tags => '{old}'});
my $quick = submit($node, $db, 'quick', '{}', q{tags => '{quick}'});
my $held = submit($node, $db, 'short', '{}', q{queue => 'held', tags => '{held}', options => '{"tenant": "acme"}'});
my $lasting = submit($node, $db, 'lasting', '{"customer": "c1"}', q{tags => '{lasting}'});
my $failed = submit($node, $db, 'fail');
wait_task($node, $db, $_) foreach $old, $quick, $lasting, $failed;
my $leaf = leaf($old);
is(labels($db, $held), 'r n:acme, r t:held', 'a task that waits, with a tag and a tenant');
is(labels($db, $lasting), 'r m:customer=c1, r t:lasting', 'one that is kept for long');
turn(1.9);
poll("SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id = '$quick')", 'what is kept for an hour is deleted after that');
is(labels($db, $quick), '', '... with its labels');
is(labels($db, $failed), 'r f, r f:lane', '... and those of others stay');

# somebody who reads a label keeps the leaf, and nobody waits for him
my ($in, $out, $err) = ('', '', '');
my $reader = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err);
$in .= "BEGIN; SELECT count(*) FROM taskq_internal.label_$leaf;\n\\echo read\n";
$reader->pump until $out =~ /read/;
turn(27);
poll("SELECT count(*) = 2 FROM taskq_internal.task_keep WHERE id IN ('$held', '$lasting')", 'a day later what is to be kept has moved');
is(wait_task($node, $db, submit($node, $db, 'short', '{}', q{tags => '{young}'})), 'completed', '... while somebody reads labels, new ones are written');
isnt(sql($node, $db, "SELECT count(*) FROM taskq_internal.task_$leaf"), '0', '... and the leaf stays');
$in .= "COMMIT;\n\\q\n";
$reader->finish;
$node->reload;
poll("SELECT pg_relation_size('taskq_internal.task_$leaf') = 0", '... until he is through');
is(sql($node, $db, "SELECT pg_relation_size('taskq_internal.label_$leaf')"), '0', 'its labels are emptied with it');
is(labels($db, $held), 'k n:acme, k t:held', 'a task that waits has taken its labels along');
is(labels($db, $lasting), 'k m:customer=c1, k t:lasting', '... and one that is kept for long');
is(labels($db, $old, $failed), '', '... the others have none');
$node->safe_psql($db, "SELECT taskq.task_cancel('$held')");
is(labels($db, $held), 'k n:acme, k t:held, k x, k x:lane', 'one that ends among the kept ones gets those of its end there');

# --- with what is deleted from the kept ones

$node->safe_psql($db, q{SELECT taskq.kind_define('lasting', 'short_work(jsonb)', retention => '7 days')});
turn(24 * 9);
poll("SELECT NOT EXISTS (SELECT FROM taskq.task WHERE id IN ('$held', '$lasting'))", 'the kept ones are forgotten in their turn');
is(labels($db, $held, $lasting), '', '... with all their labels, also of members that are not named any more');
is(sql($node, $db, 'SELECT count(*) FROM taskq_internal.label_keep'), '0', '... and none is left');

# --- prepared transactions

$node->safe_psql($db, q{BEGIN; SELECT taskq.task_submit('short', queue => 'held', tags => '{prepared}'); PREPARE TRANSACTION 'one'});
$node->safe_psql($db, q{BEGIN; SELECT taskq.task_submit('short', queue => 'held', tags => '{never}'); PREPARE TRANSACTION 'two'});
$node->stop('immediate');
start_turned(sub { $node->start });
$node->safe_psql($db, q{COMMIT PREPARED 'one'});
$node->safe_psql($db, q{ROLLBACK PREPARED 'two'});
is(sql($node, $db, q{SELECT count(*) FROM all_labels WHERE label = 't:prepared'}), '1', 'a prepared submit has its label after a crash');
is(sql($node, $db, q{SELECT count(*) FROM all_labels WHERE label = 't:never'}), '0', '... one that is rolled back has none');

# --- dump and restore

my @dumped = (submit($node, $db, 'short', '{}', q{queue => 'held', tags => '{a,b}'}), submit($node, $db, 'fail'));
wait_task($node, $db, $dumped[1]);
my $before = labels($db, @dumped);
$node->command_ok([ 'pg_dump', '-Fc', '-f', $node->basedir . '/dump', $db ], 'a dump');
$node->safe_psql($db, 'CREATE DATABASE copy');
$node->command_ok([ 'pg_restore', '--exit-on-error', '-d', 'copy', $node->basedir . '/dump' ], '... is restored');
is(labels('copy', @dumped), $before, '... and the labels are there');
$node->safe_psql($db, 'DROP DATABASE copy');

# --- an administrator who has them for himself

my $outside = submit($node, $db, 'outside');
$node->safe_psql($db, q{SELECT token FROM taskq.task_claim('w', kinds => '{outside}', lease => '1 s')});
my $admin = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr($db), '-f', '-' ], '<', \$in, '>', \$out, '2>', \$err);
$leaf = leaf($outside);
$out = '';
$in .= "BEGIN; LOCK TABLE taskq_internal.label_$leaf, taskq_internal.label_keep IN ACCESS EXCLUSIVE MODE;\n\\echo locked\n";
$admin->pump until $out =~ /locked/;
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', 'while an administrator has the labels for himself plain tasks run');
$node->safe_psql($db, 'CREATE ROLE newcomer LOGIN IN ROLE taskq_user');
my $first = as_role($node, $db, 'newcomer', q{SELECT taskq.task_submit('short')});
is(wait_task($node, $db, $first), 'completed', '... also those of a role that had no worker');
poll("SELECT until < now() FROM taskq_internal.lease WHERE task = '$outside'", '... and a lease ends');
is(sql($node, $db, "SELECT state FROM taskq.task_status('$outside')"), 'running', '... which is not written yet');
$in .= "COMMIT;\n\\q\n";
$admin->finish;
is(wait_task($node, $db, $outside), 'failed', '... but is when he is through');
is(labels($db, $outside), 'r d, r f, r f:lane', '... with its labels');

# --- built anew meanwhile

$node->safe_psql($db, "REINDEX TABLE CONCURRENTLY taskq_internal.label_$leaf");
$node->safe_psql($db, "VACUUM FULL taskq_internal.label_$leaf");
my $after = submit($node, $db, 'fail', '{}', q{tags => '{after}'});
is(wait_task($node, $db, $after), 'failed', 'a task that fails after its table of labels was built anew');
is(labels($db, $after), 'r f, r f:lane, r t:after', '... has its labels');
$node->safe_psql($db, "SELECT taskq.task_delete('$after')");
is(labels($db, $after), '', '... until it is deleted');

done_testing();
