# Databases in other encodings than UTF-8: the extension installs, its texts can be
# read, and tasks with other letters than ASCII's run.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# --- ASCII only, where a database or a client may have to convert it

my $top = "$FindBin::RealBin/../..";
ok(-d "$top/sql" && -d "$top/src", 'the sources are here');
my @bad;
foreach my $file (glob("$top/sql/*.sql"))
{
	my $n = 0;
	foreach my $line (split /\n/, slurp_file($file))
	{
		$n++;
		push @bad, "$file:$n: $line" if $line =~ /[^\x00-\x7f]/;
	}
}
is(join("\n", @bad), '', 'scripts are in ASCII');
@bad = ();
foreach my $file (glob("$top/src/*.c $top/src/*/*.c $top/src/*/*.h"))
{
	my $text = slurp_file($file);
	$text =~ s{/\*.*?\*/}{}gs;
	push @bad, "$file: $1" while $text =~ /("(?:[^"\\\n]|\\.)*[^\x00-\x7f](?:[^"\\\n]|\\.)*")/g;
}
is(join("\n", @bad), '', 'messages are in ASCII');

# --- databases

my $node = taskq_node('encodings', 'taskq.worker_idle_timeout' => '0');
# letters: of the payload, in the database's encoding; too many of them for one message
my %letters = (EUC_JP => "\xc6\xfc\xcb\xdc\xb8\xec", LATIN1 => "\xe4\xf6\xfc\xdf", SQL_ASCII => "\xe4\xff", UTF8 => "\xe6\x97\xa5\xc3\xa4");
foreach my $encoding (sort keys %letters)
{
	my $db = lc "in_$encoding";
	my $letters = $letters{$encoding};
	my $hex = unpack('H*', $letters);
	$node->safe_psql('postgres', "CREATE DATABASE $db ENCODING '$encoding' LOCALE 'C' TEMPLATE template0");
	$ENV{PGCLIENTENCODING} = $encoding;
	$node->safe_psql($db, 'CREATE EXTENSION taskq');
	pass("$encoding: the extension is made");
	is( $node->safe_psql($db, q{SELECT count(*) FROM (SELECT description AS d FROM pg_description UNION ALL SELECT prosrc FROM pg_proc) t,
			(SELECT chr(127) AS last) l WHERE d ~ '[^\x01-\x7f]' AND d ~ 'taskq'}), 0, '... comments are in ASCII');
	$node->safe_psql($db, qq{
		CREATE TABLE letters AS SELECT convert_from('\\x$hex', '$encoding') AS l;
		GRANT SELECT ON letters TO PUBLIC;
		CREATE FUNCTION raises(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
		BEGIN
			RAISE EXCEPTION '%', repeat((SELECT l FROM letters), 500) USING DETAIL = (SELECT l FROM letters), HINT = p->>'l';
		END \$\$;
		CREATE FUNCTION reports(p jsonb) RETURNS text LANGUAGE plpgsql AS \$\$
		BEGIN
			PERFORM taskq.progress(1, 2, repeat((SELECT l FROM letters), 500), info => p);
			RETURN p->>'l';
		END \$\$;
		DO \$\$ BEGIN PERFORM taskq.kind_define((SELECT l FROM letters), 'reports(jsonb)', description => (SELECT l FROM letters)); END \$\$;
		SELECT taskq.kind_define('raises', 'raises(jsonb)', max_attempts => 1), taskq.kind_define('outside');
		SELECT taskq.queue_define(l) FROM letters;});
	is( $node->safe_psql($db, q{
			SELECT taskq.task_submit(l, jsonb_build_object('l', l), queue => l, tags => ARRAY[l], metadata => to_jsonb(l)) AS id FROM letters \gset
			SELECT result = to_jsonb(l) FROM letters, taskq.task_wait(:'id')}), 't', '... a task takes and returns letters');
	is( $node->safe_psql($db, q{SELECT t.state, t.kind = l AND t.queue = l AND t.tags = ARRAY[l] AND t.metadata = to_jsonb(l) AND t.info = jsonb_build_object('l', l)
			AND length(t.message) > 10 AND starts_with(repeat(l, 500), t.message) FROM taskq.task t, letters}),
		'completed|t', '... the view has them, long ones cut between letters');
	is( $node->safe_psql($db, q{SELECT taskq.task_submit('raises', jsonb_build_object('l', l)) AS id FROM letters \gset
			SELECT state, (error->>'detail') = l, (error->>'hint') = l, starts_with(repeat(l, 500), rtrim(error->>'message', '.'))
			FROM letters, taskq.task_wait(:'id')}),
		'failed|t|t|t', '... so does an error');
	is( $node->safe_psql($db, q{
			SELECT FROM letters, taskq.task_submit('outside', to_jsonb(l)) \gset
			SELECT FROM letters, taskq.task_claim(l) c, taskq.task_heartbeat(c.id, c.token, message => l), taskq.task_complete(c.id, c.token, to_jsonb(l)) \gset
			SELECT t.state, t.result = to_jsonb(l), t.worker = l FROM taskq.task t, letters WHERE kind = 'outside'}),
		'completed|t|t', '... an external worker too');
	is( $node->safe_psql($db, q{SELECT taskq.task_submit_sql(format('UPDATE letters SET l = %L', l)) AS id FROM letters \gset
			SELECT state FROM taskq.task_wait(:'id')}), 'completed', '... and SQL');
	my $error = sql_error($node, $db, q{SELECT taskq.task_submit(repeat(l, 500)) FROM letters});
	like($error, qr/22023: kind of task "(\Q$letters\E)+.{0,3}\.\.\." does not exist/s, '... a name is cut between letters');
	like(sql_error($node, $db, q{SELECT taskq.kind_define('x', 'pg_catalog.pg_notify(text, text)')}), qr/22023.*HINT/s, '... hints can be read');
	delete $ENV{PGCLIENTENCODING};
}

# seen from a client in UTF-8
$ENV{PGCLIENTENCODING} = 'UTF8';
is($node->safe_psql('in_euc_jp', q{SELECT DISTINCT result FROM taskq.task WHERE state = 'completed' AND kind = 'outside'}),
	qq("\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e"), 'a client in UTF-8 reads EUC_JP');
delete $ENV{PGCLIENTENCODING};

$node->stop;
done_testing();
