# examples/roles.sql: it can be run again, who logs in gets a token, and what each role may.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use FindBin;
use JSON::PP;
use lib $FindBin::RealBin;
use MIME::Base64 qw(decode_base64);
use TaskqTest;
use Test::More;

my $secret = 'a secret of the test that is long enough';
my $node = taskq_node('roles', 'taskq.max_workers' => 2);
my $db = 'postgres';

# Runs the script as an administrator does; what it says.
sub run_script
{
	my ($database, @variables) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-Xq', '-d', $node->connstr($database), (map { ('-v', $_) } @variables),
			'-f', "$FindBin::RealBin/../../examples/roles.sql" ], '>', \$out, '2>', \$err);
	return "$?$out$err";
}

# One request as PostgREST makes it: result, or SQLSTATE.
sub request
{
	my ($role, $claims, $command, $method) = @_;
	$method //= 'POST';
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'psql', '-XqAt', '-v', 'VERBOSITY=sqlstate', '-d', $node->connstr($db), '-U', 'authenticator' ], '<',
		\"BEGIN; SELECT set_config('role', '$role', true), set_config('request.jwt.claims', \$\$$claims\$\$, true), set_config('request.method', '$method', true) \\g /dev/null\n$command;\nCOMMIT;",
		'>', \$out, '2>', \$err);
	chomp $out;
	return $err =~ /ERROR:  (\S+)/ ? $1 : $out;
}

$node->safe_psql($db, 'CREATE DATABASE without');
like(run_script('without'), qr/^768.*there is no taskq in database "without"/s, 'a database without taskq is told');
is(run_script($db), '0', 'the script runs without a secret');
like($node->safe_psql($db, 'SELECT jwt_secret FROM auth.setting'), qr/^[0-9a-f]{64}$/, '... and makes one');
is(run_script($db, "jwt_secret=$secret", "authenticator_password=it's"), '0', 'it can be run again');
is(run_script($db), '0', '... and again');
is($node->safe_psql($db, 'SELECT jwt_secret FROM auth.setting'), $secret, '... which keeps what was given');
isnt($node->safe_psql($db, q{SELECT rolpassword FROM pg_authid WHERE rolname = 'authenticator'}), '', '... also the password');
unlike(ServerLog::slurp($node->logfile, 0), qr/\Q$secret\E/, '... which are not in the log');
is($node->safe_psql($db, q{SELECT current_setting('taskq.trusted_gateways') || ' ' || current_setting('taskq.tenant_claim')}),
	'authenticator tenant', 'authenticator is believed, once');

# --- log in
$node->safe_psql($db, q{SELECT auth.account_set('Ann@example.org', 'ann''s password'), auth.account_set('bob@example.org', 'bob''s password', tenant => 'acme'),
	auth.account_set('op@example.org', 'op''s password', 'web_operator')});
sub log_in
{
	my ($email, $password, $method) = @_;
	return request('web_anon', '{"role": "web_anon"}', "SELECT api.login(\$x\$$email\$x\$, $password)", $method);
}

# What is in a token, if it is signed with the secret.
sub claims
{
	my ($answer) = @_;
	my ($head, $body, $sum) = split /\./, decode_json($answer)->{access_token};
	my $right = hmac_sha256_base64("$head.$body", $secret);
	$right =~ tr{+/}{-_};
	return {} if $sum ne $right || "$head$body$sum" =~ /[^A-Za-z0-9_-]/;
	return {} if decode_json(decode_base64($head =~ tr{-_}{+/}r))->{alg} ne 'HS256';
	return decode_json(decode_base64($body =~ tr{-_}{+/}r));
}

my $answer = log_in('ann@EXAMPLE.org', "'ann''s password'");
is(decode_json($answer)->{token_type} . ' ' . decode_json($answer)->{expires_in}, 'bearer 3600', 'who has the password gets a token');
my $claims = claims($answer);
is(join(' ', map { $claims->{$_} // '' } qw(role sub tenant)), 'web_user ann@example.org ann@example.org', '... of its account, whose tenant it is itself');
cmp_ok($claims->{exp}, '>', time + 3000, '... for an hour');
is(claims(log_in('bob@example.org', "'bob''s password'"))->{tenant}, 'acme', '... or of the tenant that was given');
$claims = claims(log_in('op@example.org', "'op''s password'"));
is(join(' ', map { $claims->{$_} // 'none' } qw(role tenant)), 'web_operator none', 'an operator has none');
is(log_in('ann@example.org', "'wrong'"), 'PT401', 'a wrong password');
is(log_in('ann@example.org', 'NULL'), 'PT401', '... no password');
is(log_in('nobody@example.org', "'wrong'"), 'PT401', '... a wrong address');
is(log_in('ann@example.org', "'ann''s password'", 'GET'), 'PT405', 'no password is in an address');
like(sql_error($node, $db, qq{SELECT auth.account_set('x', 'long enough', '$_')}), qr/22023: role "$_" was not granted to authenticator/,
	"no account has role $_")
  foreach qw(pg_monitor taskq_operator authenticator no_such_role);

# --- who may what
my $ann = '{"role": "web_user", "sub": "ann@example.org", "tenant": "ann@example.org"}';
my $bob = '{"role": "web_user", "sub": "bob@example.org", "tenant": "acme"}';
my ($block) = ServerLog::slurp("$FindBin::RealBin/../../docs/http.md", 0) =~ /^\*\*A handler and its kind.*?^```sql\n(.*?)^```/ms;
$node->safe_psql($db, $block);
$node->safe_psql($db, q{
	SET ROLE app_owner;
	SELECT taskq.kind_define('outside', run_as => 'app_runner'), taskq.kind_grant('outside', 'web_user'), taskq.kind_grant('outside', 'web_worker', 'work all')});
my $id = request('web_user', $ann, q{SELECT taskq.task_submit('report', '{"n": 1}')});
is(request('web_user', $ann, "SELECT state, tenant FROM taskq.task_wait('$id')"), 'completed|ann@example.org', 'a user submits, and its task runs');
is(request('web_user', $bob, "SELECT state FROM taskq.task_status('$id')"), 'PT404', '... which another tenant does not see');
is(request('web_operator', '{"role": "web_operator"}', "SELECT state FROM taskq.task_status('$id')"), 'completed', '... and an operator does');
is(request('web_operator', '{"role": "web_operator"}', q{SELECT state FROM taskq.task_status(taskq.task_submit('outside'))}), 'pending', 'what users may submit operators may');
$id = request('web_user', $bob, q{SELECT taskq.task_submit('outside')});
is(request('web_worker', '{"role": "web_worker", "sub": "w1"}', q{SELECT string_agg(coalesce(tenant, 'none'), ' ' ORDER BY tenant) FROM taskq.task_claim('w1', n => 10)}), 'acme none', 'a worker claims what was given to it, of all tenants');
foreach my $try (
	'SELECT taskq.task_submit($$hello$$)', 'SELECT 1 FROM taskq.task', 'SELECT jwt_secret FROM auth.setting', 'SELECT password FROM auth.account',
	'SELECT auth.token($$web_operator$$, $$me$$)', 'SELECT auth.account_set($$me$$, $$password$$)')
{
	is(request('web_anon', '{"role": "web_anon"}', $try), '42501', "not for web_anon: $try");
}
foreach my $try ('SELECT jwt_secret FROM auth.setting', 'SELECT password FROM auth.account', 'SELECT auth.token($$web_operator$$, $$me$$)',
	'SELECT auth.account_set($$me$$, $$password$$)', 'SELECT taskq.queue_pause($$default$$)', 'SELECT taskq.task_claim($$w$$)', 'SELECT taskq.task_submit_sql($$SELECT 1$$)')
{
	is(request('web_user', $ann, $try), '42501', "not for web_user: $try");
}
is(request('none', '{}', 'SELECT 1 FROM taskq.task'), '42501', 'authenticator by itself may nothing');

# --- a thin schema of one's own
$node->safe_psql($db, q{
	CREATE VIEW api.tasks AS SELECT id, state, tenant FROM taskq.task;
	CREATE FUNCTION api.mine() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT string_agg(DISTINCT tenant, $$,$$) FROM taskq.task';
	ALTER FUNCTION api.mine() OWNER TO web_user;
	CREATE FUNCTION api.everything() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT string_agg(DISTINCT tenant, $$,$$ ORDER BY tenant) FROM taskq.task';
	ALTER FUNCTION api.everything() OWNER TO web_operator;
	CREATE ROLE web_guest; GRANT web_guest TO authenticator; GRANT USAGE ON SCHEMA api TO web_guest; GRANT SELECT ON api.tasks TO web_guest, web_user});
is(request('web_user', $bob, 'SELECT string_agg(DISTINCT tenant, $$,$$) FROM api.tasks'), 'acme', 'a view over view task shows the caller its own');
is(request('web_guest', $bob, 'SELECT count(*) FROM api.tasks'), '42501', '... if it has a role of taskq');
is(request('web_guest', $bob, 'SELECT api.mine()'), 'acme', 'a function with its owner\'s rights has the caller\'s tenant');
is(request('web_guest', $bob, 'SELECT api.everything()'), 'acme,ann@example.org', '... unless its owner sees all');

done_testing();
