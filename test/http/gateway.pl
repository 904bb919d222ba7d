# The gateway itself: functions by POST and GET, profiles, tokens, errors, statuses and headers
# that functions set, views, and that transactions are PostgREST's.  What is said here of
# PostgREST the stand-in has to do as well.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('gateway', schemas => ['tried']);
$site->sql(q{
	CREATE FUNCTION public.hello(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('hello', p -> 'name') $$;
	GRANT EXECUTE ON FUNCTION public.hello TO app_runner;
	GRANT app_runner TO postgres;
	SELECT taskq.kind_define('hello', 'public.hello(jsonb)', run_as => 'app_runner');
	SELECT taskq.kind_grant('hello', 'web_user');

	CREATE SCHEMA tried;
	GRANT USAGE ON SCHEMA tried TO web_user, web_anon;
	CREATE TABLE tried.effect (note text);
	GRANT ALL ON tried.effect TO web_user;
	CREATE VIEW tried.thing AS
		SELECT n AS id, 'thing ' || n AS name, jsonb_build_object('half', n / 2) AS details FROM generate_series(1, 20) n;
	GRANT SELECT ON tried.thing TO web_user;
	CREATE FUNCTION tried.parts(tried.thing) RETURNS SETOF tried.effect LANGUAGE sql STABLE AS
		$$ SELECT 'part ' || p FROM generate_series(1, $1.id) p $$;
	CREATE FUNCTION tried.situation() RETURNS jsonb LANGUAGE sql STABLE AS $$
		SELECT jsonb_build_object('role', current_user, 'session', session_user, 'claims', current_setting('request.jwt.claims')::jsonb,
			'method', current_setting('request.method'), 'path', current_setting('request.path'),
			'header', current_setting('request.headers')::jsonb -> 'x-taskq-id', 'cookies', current_setting('request.cookies')::jsonb,
			'read_only', current_setting('transaction_read_only'), 'search_path', current_setting('search_path'), 'zone', current_setting('TimeZone')) $$;
	CREATE FUNCTION tried.writes(note text, again int DEFAULT 1) RETURNS int LANGUAGE sql AS
		$$ INSERT INTO tried.effect SELECT note FROM generate_series(1, again); SELECT again $$;
	CREATE FUNCTION tried.whole(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('whole', $1) $$;
	CREATE FUNCTION tried.answers(status int) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM set_config('response.status', status::text, true),
			set_config('response.headers', '[{"Location": "/tried/1"}, {"X-Two": "2"}]', true);
		RETURN '{"said": true}';
	END $$;
	CREATE FUNCTION tried.raises(code text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO tried.effect VALUES ('raised');
		RAISE EXCEPTION 'it is so' USING ERRCODE = code, DETAIL = 'the detail', HINT = 'the hint';
	END $$;
	CREATE FUNCTION tried.raises_json() RETURNS void LANGUAGE plpgsql AS $$
	BEGIN
		RAISE SQLSTATE 'PGRST' USING MESSAGE = '{"code": "X1", "message": "slow down", "details": null, "hint": null}',
			DETAIL = '{"status": 429, "headers": {"Retry-After": "7"}}';
	END $$;
	CREATE FUNCTION tried.nothing() RETURNS void LANGUAGE sql AS '';
	CREATE FUNCTION tried.several(n int) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT generate_series(1, n)';
	CREATE FUNCTION tried.pairs(n int) RETURNS TABLE (a int, b text) LANGUAGE sql STABLE AS $$ SELECT i, 'b' || i FROM generate_series(1, n) i $$;
	CREATE DOMAIN tried."text/plain" AS text;
	CREATE DOMAIN tried."*/*" AS text;
	CREATE FUNCTION tried.anything() RETURNS tried."*/*" LANGUAGE sql STABLE AS $$ SELECT 'as it "is"'::text $$;
	CREATE FUNCTION tried.plain() RETURNS tried."text/plain" LANGUAGE sql STABLE AS $$ SELECT 'two'::text || chr(10) || 'lines' $$;
	NOTIFY pgrst;
});

sub tried
{
	my ($method, $path, $who, $body, $headers) = @_;
	return $site->request($method, $path, $who, $body, { ($method eq 'GET' ? 'Accept-Profile' : 'Content-Profile') => 'tried', %{ $headers // {} } });
}

$site->each_gateway(sub {
	# a task from submit to result
	my ($status, undef, $id) = $site->rpc('task_submit', 'alice', { kind => 'hello', payload => { name => 'you' } });
	is($status, 200, 'a task is submitted');
	like($id, qr/^[0-9a-f-]{36}$/, '... its id is the answer');
	($status, undef, my $task) = $site->request(GET => "/rpc/task_wait?id=$id&timeout=30%20s", 'alice');
	is($status, 200, '... waited for');
	is_deeply([ @$task{qw(state tenant)}, $task->{result} ], [ 'completed', 'acme', { hello => 'you' } ], '... run, for its tenant');
	($status, undef, my $error) = $site->request(GET => "/rpc/task_status?id=$id", 'bob');
	is($status, 404, 'another tenant does not find it');
	is($error->{code}, 'PT404', '... says PostgREST\'s error');
	shape_is($error, { code => 'string', message => 'string', details => 'string|null', hint => 'string|null' }, '... whose shape it is');

	# the transaction
	($status, undef, my $said) = tried(GET => '/rpc/situation', 'alice', undef, { 'X-Taskq-Id' => 'five', Cookie => 'a=b' });
	is_deeply([ @$said{qw(role session method path header read_only)}, $said->{cookies}{a} ],
		[ 'web_user', 'authenticator', 'GET', '/rpc/situation', 'five', 'on', 'b' ], 'the transaction is that of the request');
	is($said->{claims}{tenant}, 'acme', '... with the claims');
	like($said->{search_path}, qr/^"?tried"?/, '... and the schema of the profile');
	($status, undef, $said) = tried(POST => '/rpc/situation', 'alice', {});
	is_deeply([ @$said{qw(method read_only)} ], [ 'POST', 'on' ], 'POST to what is STABLE is read-only');
	($status) = tried(GET => '/rpc/writes?note=x', 'alice');
	is($status, 405, 'GET of what writes: 405');
	($status, undef, $said) = tried(POST => '/rpc/writes', 'alice', { note => 'written', again => 2 });
	is_deeply([ $status, $said ], [ 200, 2 ], 'POST writes');

	# arguments
	($status, undef, $said) = tried(POST => '/rpc/whole', 'alice', { a => [ 1, 'x' ] });
	is_deeply($said, { whole => { a => [ 1, 'x' ] } }, 'one unnamed argument is the whole body');
	($status) = tried(POST => '/rpc/writes', 'alice', { notes => 'x' });
	is($status, 404, 'arguments that no function has: 404');
	($status) = tried(POST => '/rpc/writes', 'alice', \'{"note":');
	is($status, 400, 'broken JSON: 400');
	($status, undef, $said) = tried(POST => '/rpc/writes', 'alice', { note => 'n', again => undef });
	is_deeply([ $status, $said ], [ 200, undef ], 'null is null, not the default');

	# results
	($status, undef, $said) = tried(GET => '/rpc/several?n=3', 'alice');
	is_deeply($said, [ 1, 2, 3 ], 'a set is an array');
	($status, undef, $said) = tried(GET => '/rpc/pairs?n=3&a=gt.1&select=b&order=a.desc', 'alice');
	is_deeply($said, [ { b => 'b3' }, { b => 'b2' } ], 'a table is filtered, ordered and cut');
	($status, undef, $said) = tried(POST => '/rpc/nothing', 'alice', {});
	is_deeply([ $status, $said ], [ 204, '' ], 'void: 204');
	($status, my $headers, $said) = tried(GET => '/rpc/plain', 'alice', undef, { Accept => 'text/plain' });
	is_deeply([ $status, $said ], [ 200, "two\nlines" ], 'text/plain as it is');
	like($headers->{'content-type'}, qr{^text/plain}, '... and is called so');

	($status, $headers, $said) = tried(GET => '/rpc/plain', 'alice', undef, { Accept => 'application/openmetrics-text;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2' });
	is($said, "two\nlines", '... also to who would take other things, too');
	($status, $headers, $said) = tried(GET => '/rpc/plain', 'alice');
	is_deeply([ $headers->{'content-type'}, $said ], [ 'application/json; charset=utf-8', "two\nlines" ], '... but as JSON to who takes anything');
	($status, $headers, $said) = tried(GET => '/rpc/anything', 'alice');
	is_deeply([ $headers->{'content-type'}, $said ], [ 'application/octet-stream', 'as it "is"' ], 'domain */* is for who takes anything');
	is((tried(GET => '/rpc/several?n=3', 'alice', undef, { Accept => 'text/html' }))[0], 406, 'a media type that there is none of: 406');
	is((tried(GET => '/rpc/several?n=3', 'alice', undef, { Accept => 'text/html,application/xhtml+xml,*/*;q=0.8' }))[0], 200, '... with any other beside: JSON');
	($status, undef, $error) = tried(POST => '/rpc/whole', 'alice', [ 1, 2 ]);
	is_deeply([ $status, $error->{code} ], [ 400, 'PGRST102' ], 'a body that is a list of what are no objects is refused');
	($status, undef, $said) = tried(POST => '/rpc/whole', 'alice', [ { a => 1 }, { a => 2 } ]);
	is_deeply($said, { whole => [ { a => 1 }, { a => 2 } ] }, '... one of objects that are alike is not');
	($status, $headers, $said) = tried(GET => '/rpc/pairs?n=3&limit=1', 'alice', undef, { Prefer => 'count=exact' });
	is_deeply([ $status, $headers->{'content-range'} ], [ 206, '0-0/3' ], 'what a function returns is counted');

	# the client's zone, for one request
	is_deeply([ map { (tried(GET => '/rpc/situation', 'alice', undef, { Prefer => $_ }))[2]{zone} } 'timezone=America/St_Johns', 'count=exact, timezone=Asia/Tokyo', 'timezone=Nowhere/At_All', 'count=exact' ],
		[ 'America/St_Johns', 'Asia/Tokyo', ($site->sql('SHOW TimeZone')) x 2 ], 'times are in the zone that the client prefers, if there is such a one');

	# what functions say of the answer
	($status, $headers, $said) = tried(GET => '/rpc/answers?status=202', 'alice');
	is_deeply([ $status, @$headers{qw(location x-two)} ], [ 202, '/tried/1', '2' ], 'a function sets status and headers');
	is_deeply($said, { said => JSON::PP::true }, '... and the body is there');
	foreach my $case ([ PT404 => 404 ], [ PT409 => 409 ], [ PT422 => 422 ], [ '22023' => 400 ], [ P0001 => 400 ], [ '0A000' => 400 ],
		[ '23505' => 409 ], [ '42501' => 403 ], [ '53300' => 503 ], [ '55000' => 500 ], [ P0002 => 500 ], [ '57014' => 500 ])
	{
		($status, undef, $error) = tried(POST => '/rpc/raises', 'alice', { code => $case->[0] });
		is_deeply([ $status, @$error{qw(code message details hint)} ], [ $case->[1], $case->[0], 'it is so', 'the detail', 'the hint' ],
			"SQLSTATE $case->[0]: $case->[1]");
	}
	is($site->sql("SELECT count(*) FROM tried.effect WHERE note = 'raised'"), 0, 'what was refused has no effect');
	($status, $headers, $error) = tried(POST => '/rpc/raises_json', 'alice', {});
	is_deeply([ $status, $headers->{'retry-after'}, $error->{message} ], [ 429, 7, 'slow down' ], 'SQLSTATE PGRST sets all of it');

	# tokens
	($status, $headers) = $site->request(GET => '/task', undef);
	is($status, 401, 'without a token: 401');
	($status) = $site->request(GET => '/task', { token => 'no.such.token' });
	is($status, 401, 'a broken token: 401');
	($status) = $site->request(GET => '/task', { token => $site->token('alice') =~ s/\.[^.]+$/.AAAA/r });
	is($status, 401, 'a forged one: 401');
	($status) = $site->request(GET => '/task', { role => 'web_user', tenant => 'acme', exp => time - 100 });
	is($status, 401, 'an expired one: 401');
	($status) = $site->request(GET => '/task', { role => 'postgres' });
	isnt($status, 200, 'a role that authenticator is not given is nobody\'s');
	foreach my $claims ({ role => ['web_user'] }, { role => 'web_user', exp => 'x' }, { role => 'no such role' }, { token => '' }, { token => 'a.b.c' }, { sub => 'x' })
	{
		($status) = $site->request(GET => '/task', $claims);
		is($status, 401, 'nor are ' . JSON::PP->new->canonical->encode($claims));
	}

	# profiles
	($status, undef, $error) = $site->request(GET => '/rpc/x', 'alice', undef, { 'Accept-Profile' => 'taskq_internal' });
	is_deeply([ $status, $error->{code} ], [ 406, 'PGRST106' ], 'a schema that is not exposed: 406');
	($status, undef, $error) = $site->request(GET => '/no_such_view', 'alice');
	is($status, 404, 'a view that is not there: 404');
	foreach my $path ('/rpc/task_list/', '/rpc//task_list', '/task/', '/RPC/task_list', '/rpc/a/b')
	{
		is(($site->request(GET => $path, 'alice'))[0], 404, "$path is nothing");
	}

	# views
	($status, undef, $said) = tried(GET => '/thing?id=in.(2,4)&select=id,label:name,details->half&order=id.desc', 'alice');
	is_deeply($said, [ { id => 4, label => 'thing 4', half => 2 }, { id => 2, label => 'thing 2', half => 1 } ], 'a view, with filter, columns and order');
	($status, $headers, $said) = tried(GET => '/thing?limit=3&offset=2&id=lt.10&or=(id.eq.3,name.like.thing*)', 'alice', undef, { Prefer => 'count=exact' });
	is_deeply([ $status, $headers->{'content-range'}, scalar @$said ], [ 206, '2-4/9', 3 ], '... counted and paged');
	($status, undef, $said) = tried(GET => '/thing?id=eq.2&select=id,parts(note)', 'alice', undef, { Accept => 'application/vnd.pgrst.object+json' });
	is_deeply($said, { id => 2, parts => [ { note => 'part 1' }, { note => 'part 2' } ] }, '... with a computed relationship, as one object');
	($status, undef, $said) = tried(POST => '/effect', 'alice', [ { note => 'one' }, { note => 'two' } ], { Prefer => 'return=representation' });
	is_deeply([ $status, $said ], [ 201, [ { note => 'one' }, { note => 'two' } ] ], 'rows are inserted');
	($status, undef, $said) = tried(PATCH => '/effect?note=eq.one', 'alice', { note => 'three' });
	is($status, 204, '... changed');
	($status, undef, $said) = tried(DELETE => '/effect?note=in.(two,three)', 'alice', undef, { Prefer => 'return=representation' });
	is_deeply([ $status, scalar @$said ], [ 200, 2 ], '... and deleted');
	is((tried(POST => '/effect', 'alice', \''))[0], 400, 'a row of nothing: 400');
	is((tried(PATCH => '/effect?note=eq.one', 'alice', {}))[0], 204, 'nothing to change: 204');
	is((tried(PUT => '/effect?note=eq.one', 'alice', {}))[0], 405, 'PUT: 405');
	($status) = tried(GET => '/thing', undef);
	is($status, 401, 'not without a token');
});

done_testing();
