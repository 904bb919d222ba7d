# What a superuser does to taskq's tables: indexes are rebuilt while tasks run,
# columns, indexes, constraints, triggers and policies of all sorts are added.
# Tasks go on, and every index says the same as its table.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use TurnedClock;
use PostgreSQL::Test::Utils;
use Test::More;

my $db = 'postgres';
my ($out, $err);
my $node = start_turned(sub { taskq_node('dba') });
$node->safe_psql($db, q{
	CREATE EXTENSION amcheck;
	CREATE EXTENSION btree_gist;
	CREATE FUNCTION nothing(p jsonb) RETURNS void LANGUAGE plpgsql AS 'BEGIN END';
	CREATE FUNCTION fails_once(p jsonb) RETURNS int LANGUAGE plpgsql AS $$
	BEGIN
		IF (SELECT attempt FROM taskq.current_task()) = 1 THEN RAISE EXCEPTION 'once'; END IF;
		RETURN 1;
	END $$;
	SELECT taskq.kind_define('nothing', 'nothing(jsonb)', max_attempts => 1);
	SELECT taskq.kind_define('once', 'fails_once(jsonb)', backoff => '1 ms', backoff_max => '1 ms');
	SELECT taskq.kind_define('outside');
});

# Every btree index has an entry for every row, as if it had been made now.
sub indexes_are_whole
{
	my ($name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return is(
		$node->safe_psql($db, q{
		SELECT count(bt_index_check(i.indexrelid, true)) > 40 FROM pg_index i
		JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
		WHERE c.relnamespace = 'taskq_internal'::regnamespace AND a.amname = 'btree' AND c.relkind = 'i' AND i.indisvalid}),
		't', $name);
}

# A query by an index and without one: the answers.
sub both_ways
{
	my ($query) = @_;
	return ($node->safe_psql($db, "SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = on; $query"),
		$node->safe_psql($db, "SET jit = off; SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off; $query"));
}

# One task of every way: completed, failed and retried, scheduled, external, cancelled, moved to another lane.
sub tasks_of_all_sorts
{
	my $ids = $node->safe_psql($db, q{
		SELECT taskq.task_submit('nothing', '{"customer": 1}', tags => '{a,b}'), taskq.task_submit('once'),
			taskq.task_submit('nothing', '{"customer": 2}', delay => '1 ms'), taskq.task_submit('short', to_jsonb(repeat(md5('x'), 3000)));
		SELECT taskq.task_submit('nothing', jsonb_build_object('customer', g)) FROM generate_series(1, 5) g;
		SELECT taskq.task_submit_many('nothing', array_agg(jsonb_build_object('customer', g))) FROM generate_series(1, 20) g;});
	my @ids = split /[|\n]/, $ids;
	my $list = join(',', @ids);
	my $bad = $node->safe_psql($db, "SELECT count(*) FROM unnest('{$list}'::uuid[]) id, taskq.task_wait(id) WHERE state <> 'completed'");
	my ($id, $token, $fail, $later) = split /[|\n]/, $node->safe_psql($db, q{
		SELECT FROM taskq.task_submit('outside', '{"customer": 3}') \gset
		SELECT id, token FROM taskq.task_claim('w');
		SELECT taskq.task_submit('fail'), taskq.task_submit('short', delay => '1 day')});
	return $bad + $node->safe_psql($db, "
		SELECT FROM taskq.task_heartbeat('$id', '$token', '1 h', 1, 2, 'half') \\gset
		SELECT FROM taskq.task_complete('$id', '$token', '{}') \\gset
		SELECT FROM taskq.task_cancel('$later') \\gset
		SELECT count(*) FROM (VALUES ('$id', 'completed'), ('$fail', 'failed'), ('$later', 'cancelled')) v(id, state), taskq.task_wait(v.id::uuid) t
		WHERE t.state <> v.state;
		SELECT FROM taskq.task_delete('$later') \\gset");
}

# How many tasks of a table have come to which end, when all have.
sub ends_of
{
	my ($table) = @_;
	$node->poll_query_until($db, "SELECT count(*) = 0 FROM $table JOIN taskq.task USING (id) WHERE NOT ready") or die;
	return $node->safe_psql($db, "SELECT state, count(*) FROM $table JOIN taskq.task USING (id) GROUP BY state");
}

# Commands, each a transaction, in a session of their own.
sub beside
{
	my ($commands) = @_;
	my $file = PostgreSQL::Test::Utils::tempdir() . '/commands.sql';
	append_to_file($file, $commands);
	($out, $err) = ('', '');
	return IPC::Run::start([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', '-d', $node->connstr($db), '-f', $file ], '>', \$out, '2>', \$err);
}

# --- indexes are rebuilt beside tasks

my $long = submit($node, $db, 'gate', '{"gate": "long"}', 'max_attempts => 1');
wait_state($node, $db, $long, 'running');
my $leaf = $node->safe_psql($db, "SELECT 'taskq_internal.task_' || lpad(taskq_internal.id_slot('$long')::text, 2, '0')");
# waits for the long task, half made
my $rebuild = beside("REINDEX TABLE CONCURRENTLY $leaf;\n");
$node->poll_query_until($db, "SELECT count(*) >= 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = '$leaf'::regclass AND NOT i.indisready")
  or die "REINDEX does not wait: $out $err";
# neither in place nor without an index: in another lane
$node->safe_psql($db, q{
	CREATE TABLE mine AS SELECT taskq.task_submit('nothing', priority => g % 3) AS id FROM generate_series(1, 300) g;
	INSERT INTO mine SELECT taskq.task_submit_many('nothing', array_fill('{}'::jsonb, ARRAY[300]));});
is(ends_of('mine'), 'completed|600', 'tasks complete while an index is not ready');
open_gate($node, $db, 'long');
is(wait_task($node, $db, $long), 'completed', 'so does the long one');
$rebuild->finish;
is($err, '', 'the indexes are rebuilt');

$node->safe_psql($db, 'CREATE TABLE done (n int)');
(my $labels = $leaf) =~ s/task_/label_/;
my $loop = q{
} . join('', map { "REINDEX TABLE CONCURRENTLY $leaf; REINDEX TABLE CONCURRENTLY $labels; REINDEX TABLE CONCURRENTLY taskq_internal.timer; REINDEX TABLE CONCURRENTLY taskq_internal.lane; REINDEX TABLE CONCURRENTLY taskq_internal.ready;\n"
	. "CREATE INDEX CONCURRENTLY dba_$_ ON $leaf (finished_at); DROP INDEX CONCURRENTLY taskq_internal.dba_$_;\n" } 1 .. 25) . "INSERT INTO done VALUES (1);\n";
$rebuild = beside($loop);
my $rounds = 0;
$node->safe_psql($db, 'CREATE TABLE ours (id uuid)');
until ($node->safe_psql($db, 'SELECT count(*) FROM done') ne '0' || $rounds++ > 500 || $err =~ /ERROR/)
{
	$node->safe_psql($db, q{
		INSERT INTO ours SELECT taskq.task_submit_many('nothing', array_fill('{}'::jsonb, ARRAY[500]));
		INSERT INTO ours SELECT taskq.task_submit('nothing', priority => g % 5, delay => '1 ms', tags => '{ours}') FROM generate_series(1, 20) g;});
}
$rebuild->finish;
is($err, '', 'rebuilt again and again');
is( ends_of('ours'), 'completed|' . $node->safe_psql($db, 'SELECT count(*) FROM ours'), 'none of the tasks beside it failed, with one attempt each');
note($node->safe_psql($db, 'SELECT count(*) FROM ours') . ' tasks');
is($node->safe_psql($db, "SET enable_seqscan = off; SELECT count(*) FROM $labels WHERE label = 't:ours'"), 20 * $rounds, '... and each label is there')
	if $node->safe_psql($db, "SELECT count(DISTINCT taskq_internal.id_slot(id)) FROM ours") eq '1';
indexes_are_whole('the indexes are whole');

# an index that is not valid is not used
$node->safe_psql($db, 'SET allow_system_table_mods = on; UPDATE pg_index SET indisvalid = false WHERE indexrelid = \'taskq_internal.kind_pkey\'::regclass');
like(sql_error($node, $db, q{SELECT taskq.task_submit('short')}),
	qr/55000: index "taskq_internal.kind_pkey" is not valid.*HINT:  Use REINDEX INDEX taskq_internal.kind_pkey/s, 'an invalid index: an error with a hint');
$node->safe_psql($db, 'REINDEX INDEX taskq_internal.kind_pkey');
is(wait_task($node, $db, submit($node, $db, 'short')), 'completed', '... until it is rebuilt');

# --- what a superuser adds

my @additions = (
	[ 'a column', 'ALTER TABLE taskq_internal.task ADD COLUMN note text',
		'ALTER TABLE taskq_internal.task DROP COLUMN note' ],
	[ 'a column with a default, that is kept', q{ALTER TABLE taskq_internal.task ADD COLUMN note2 text DEFAULT 'noted' NOT NULL},
		undef, q{SELECT count(*) FROM taskq_internal.task WHERE note2 IS DISTINCT FROM 'noted'}, '0' ],
	[ 'a computed column with an index', q{ALTER TABLE taskq_internal.task ADD COLUMN customer int GENERATED ALWAYS AS ((payload->>'customer')::int) STORED;
		CREATE INDEX dba ON taskq_internal.task (customer)}, 'ALTER TABLE taskq_internal.task DROP COLUMN customer',
		q{SELECT count(*) FROM taskq_internal.task WHERE customer IS DISTINCT FROM (payload->>'customer')::int}, '0' ],
	[ 'columns of the small tables', join(';', map { "ALTER TABLE taskq_internal.$_ ADD COLUMN note text DEFAULT 'x'" } qw(role lane kind kind_grant queue attempt lease timer ready watermark)),
		join(';', map { "ALTER TABLE taskq_internal.$_ DROP COLUMN note" } qw(role lane kind kind_grant queue attempt lease timer ready watermark)) ],
	[ 'an index of an expression', q{CREATE INDEX dba ON taskq_internal.task ((payload->>'customer'))}, 'DROP INDEX taskq_internal.dba',
		q{SELECT count(*) FROM taskq_internal.task WHERE payload->>'customer' = '2'} ],
	[ 'an index of what changes', 'CREATE INDEX dba ON taskq_internal.task (state, finished_at)', 'DROP INDEX taskq_internal.dba',
		q{SELECT count(*) FROM taskq_internal.task WHERE state = 'c'} ],
	[ 'a partial index', q{CREATE INDEX dba ON taskq_internal.task (lane) WHERE state = 'f'}, 'DROP INDEX taskq_internal.dba',
		q{SELECT count(*) FROM taskq_internal.task WHERE state = 'f' AND lane > 0} ],
	[ 'a GIN index', 'CREATE INDEX dba ON taskq_internal.task USING gin (payload); CREATE INDEX dba2 ON taskq_internal.task USING gin (tags)',
		'DROP INDEX taskq_internal.dba, taskq_internal.dba2', q{SELECT count(*) FROM taskq_internal.task WHERE payload @> '{"customer": 2}'} ],
	[ 'a BRIN index', 'CREATE INDEX dba ON taskq_internal.task USING brin (finished_at, attempt) WITH (pages_per_range = 1)', 'DROP INDEX taskq_internal.dba',
		q{SELECT count(*) FROM taskq_internal.task WHERE finished_at > now() - interval '1 h'} ],
	[ 'a hash index', 'CREATE INDEX dba ON taskq_internal.task USING hash (result)', 'DROP INDEX taskq_internal.dba',
		q{SELECT count(*) FROM taskq_internal.task WHERE result = '{}'} ],
	[ 'an exclusion constraint', join(';', map { "ALTER TABLE taskq_internal.$_ ADD CONSTRAINT dba_$_ EXCLUDE USING gist (id WITH =, lane WITH <>)" } 'task_keep', $leaf =~ /(task_\d+)/),
		join(';', map { "ALTER TABLE taskq_internal.$_ DROP CONSTRAINT dba_$_" } 'task_keep', $leaf =~ /(task_\d+)/) ],
	[ 'a deferrable unique constraint', "ALTER TABLE $leaf ADD CONSTRAINT dba UNIQUE (id, run_at) DEFERRABLE INITIALLY DEFERRED", "ALTER TABLE $leaf DROP CONSTRAINT dba" ],
	[ 'a check constraint', 'ALTER TABLE taskq_internal.task ADD CONSTRAINT dba CHECK (attempt >= 0 AND lane > 0)', 'ALTER TABLE taskq_internal.task DROP CONSTRAINT dba' ],
	[ 'triggers', q{CREATE FUNCTION public.forbid() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''fired''; END';
		CREATE TRIGGER dba1 BEFORE INSERT OR UPDATE OR DELETE ON taskq_internal.task FOR EACH ROW EXECUTE FUNCTION public.forbid();
		CREATE TRIGGER dba2 AFTER INSERT OR UPDATE OR DELETE ON taskq_internal.task FOR EACH ROW EXECUTE FUNCTION public.forbid();
		CREATE TRIGGER dba3 BEFORE INSERT ON taskq_internal.timer FOR EACH STATEMENT EXECUTE FUNCTION public.forbid()},
		'DROP TRIGGER dba1 ON taskq_internal.task; DROP TRIGGER dba2 ON taskq_internal.task; DROP TRIGGER dba3 ON taskq_internal.timer' ],
	[ 'a foreign key', 'CREATE TABLE public.lanes (lane int PRIMARY KEY); INSERT INTO public.lanes SELECT id FROM taskq_internal.lane;
		ALTER TABLE taskq_internal.task ADD CONSTRAINT dba FOREIGN KEY (lane) REFERENCES public.lanes', 'ALTER TABLE taskq_internal.task DROP CONSTRAINT dba' ],
	[ 'row security', join(';', map { "ALTER TABLE taskq_internal.$_ ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY" } qw(task kind lane role timer), $leaf =~ /(task_\d+)/),
		join(';', map { "ALTER TABLE taskq_internal.$_ DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY" } qw(task kind lane role timer), $leaf =~ /(task_\d+)/) ],
);
foreach my $addition (@additions)
{
	my ($name, $add, $remove, $query, $expected) = @$addition;
	$node->safe_psql($db, $add);
	is(tasks_of_all_sorts(), 0, "$name: tasks run");
	indexes_are_whole('... the indexes are whole') if $add =~ /dba/;
	if ($query)
	{
		my ($by_index, $without) = both_ways($query);
		is($by_index, $without, '... and say what the table says');
		is($without, $expected, '... as it shall be') if defined $expected;
	}
	$node->safe_psql($db, $remove) if $remove;
}
is(tasks_of_all_sorts(), 0, 'all gone again: tasks run');

# what retention moves keeps what others wrote into it
$node->safe_psql($db, q{SELECT taskq.queue_define('held'), taskq.queue_pause('held')});
my $held = submit($node, $db, 'short', '{}', q{queue => 'held'});
$node->safe_psql($db, "UPDATE taskq_internal.task SET note2 = 'by hand' WHERE id = '$held'");
set_clock(40 * 3600);
$node->reload;
$node->poll_query_until($db, "SELECT slot = 16 FROM taskq_internal.task WHERE id = '$held'") or die 'not moved';
is($node->safe_psql($db, "SELECT note2 FROM taskq_internal.task WHERE id = '$held'"), 'by hand', 'a column keeps its value where a task is moved');
$node->safe_psql($db, q{SELECT taskq.queue_resume('held')});
is(wait_task($node, $db, $held), 'completed', '... and it runs');
is($node->safe_psql($db, "SELECT note2 FROM taskq_internal.task WHERE id = '$held'"), 'by hand', '... and completes');
set_clock(0);
$node->reload;

# what is refused is refused cleanly, and without harm
$node->safe_psql($db, "CREATE UNIQUE INDEX dba ON $leaf (tenant, (payload->>'unique')) WHERE payload ? 'unique'");
is(wait_task($node, $db, submit($node, $db, 'nothing', '{"unique": 1}')), 'completed', 'an index that refuses duplicates');
$node->safe_psql($db, "DROP INDEX taskq_internal.dba; CREATE UNIQUE INDEX dba ON $leaf ((payload->>'unique')) WHERE payload ? 'unique'");
like(sql_error($node, $db, q{SELECT taskq.task_submit('nothing', '{"unique": 1}')}), qr/23505/, '... refuses the submit of one');
$node->safe_psql($db, q{DROP INDEX taskq_internal.dba; ALTER TABLE taskq_internal.task ADD CONSTRAINT dba CHECK (payload->>'customer' <> '1300')});
like(sql_error($node, $db, q{SELECT taskq.task_submit('nothing', '{"customer": 1300}')}), qr/23514/, 'a constraint refuses a submit');
$node->safe_psql($db, q{ALTER TABLE taskq_internal.task DROP CONSTRAINT dba; ALTER TABLE taskq_internal.lease ALTER COLUMN lease_ms TYPE numeric});
like(sql_error($node, $db, q{SELECT taskq.task_submit('outside'); SELECT * FROM taskq.task_claim('w')}),
	qr/55000: column 6 of table "taskq_internal.lease" is not of type bigint any more.*HINT:/s, 'a column of ours that has another type: an error with a hint');
$node->safe_psql($db, q{ALTER TABLE taskq_internal.unique_key DROP COLUMN keep_ms});
like(sql_error($node, $db, q{SELECT taskq.task_submit('nothing', unique_key => 'dba')}),
	qr/55000: column 4 of table "taskq_internal.unique_key" is not of type bigint any more/, '... or is gone');
unlike(PostgreSQL::Test::Utils::slurp_file($node->logfile), qr/terminated by signal|PANIC|TRAP|XX0\d\d/, 'the server was never harmed');

$node->stop;
done_testing();
