# What nginx makes of URLs: which instance of PostgREST, which profile, method, path, query and
# body; what never gets through; prefixes, hosts and limits.  An echo is behind it.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('nginx');

sub asked
{
	my ($status, $headers, $json) = $site->request(@_);
	return ref $json eq 'HASH' && exists $json->{gateway} ? $json : { status => $status, json => $json };
}

$site->with_echo(sub {
	# PostgREST as it is
	my $said = asked(GET => '/task?state=eq.running&order=id.desc', 'alice', undef, { 'Accept-Profile' => 'api', Prefer => 'count=exact' });
	is_deeply([ @$said{qw(gateway method path query)}, @{ $said->{headers} }{qw(accept-profile prefer)} ],
		[ 'postgrest', 'GET', '/task', 'state=eq.running&order=id.desc', 'api', 'count=exact' ], 'a plain call goes through as it is');
	like($said->{headers}{authorization}, qr/^Bearer /, '... with the token');
	foreach my $function (qw(task_wait task_wait_any task_wait_all task_watch task_claim events_since task))
	{
		is(asked(POST => "/rpc/$function", 'alice', { a => 1 })->{gateway}, 'postgrest-wait', "$function goes to the instance for what waits");
	}
	is(asked(POST => '/rpc/task_submit', 'alice', { a => 1 })->{gateway}, 'postgrest', 'task_submit does not');

	$said = asked(GET => '/board?x=1', undef, undef, { Accept => '*/*', 'Accept-Profile' => 'api' });
	is_deeply([ @$said{qw(gateway path query)}, @{ $said->{headers} }{qw(accept accept-profile)} ], [ 'postgrest', '/rpc/board', '', 'text/html', 'taskq' ], '/board is the page, whatever is asked for');

	foreach my $url ('/push/health', '/push//health', '/push/./health', '/push/health?x=1', '/push/%68ealth')
	{
		is(asked(GET => $url)->{status}, 404, "$url: how the bridge is, is not for clients");
	}

	# a contract: by prefix, by host
	$said = asked(GET => '/celery/api/v1/tasks/abc-123-def-456', 'alice');
	is_deeply([ @$said{qw(gateway method path query)}, $said->{headers}{'accept-profile'} ],
		[ 'postgrest', 'GET', '/rpc/status', 'id=abc-123-def-456', 'celery' ], 'a contract\'s URL becomes a call');
	$said = asked(GET => '/api/v1/tasks/abc', 'alice', undef, { Host => 'celery.example.com' });
	is_deeply([ @$said{qw(path query)} ], [ '/rpc/status', 'id=abc' ], '... also by a host of its own');
	like($said->{headers}{authorization}, qr/^Bearer /, '... with the token');
	$said = asked(GET => '/celery/api/v1/tasks?limit=7&x=1', 'alice');
	is_deeply([ @$said{qw(path query)} ], [ '/rpc/list', 'n=7' ], 'query arguments are named anew');
	$said = asked(POST => '/celery/api/v1/deployments?select=x', 'alice', \'{"a" : 1}', { 'Content-Type' => '' });
	is_deeply([ @$said{qw(method path query body)}, @{ $said->{headers} }{qw(content-profile content-type)} ],
		[ 'POST', '/rpc/deploy', '', '{"a" : 1}', 'celery', 'application/json' ], 'a body goes through as it is, as JSON');
	$said = asked(DELETE => '/celery/api/v1/tasks/abc?terminate=true', 'alice');
	is_deeply([ @$said{qw(method path query body)} ], [ 'POST', '/rpc/cancel', '', '{"id":"abc","terminate":true}' ], 'DELETE becomes a call');
	$said = asked(DELETE => '/celery/api/v1/tasks/abc', 'alice');
	is($said->{body}, '{"id":"abc","terminate":false}', '... with what it is without arguments');
	is((asked(GET => '/celery/api/v1/assets/456'))->{path}, '/rpc/asset', 'assets');
	is((asked(GET => '/celery/api/v1/patches/123'))->{path}, '/rpc/patch', 'patches');
	is(($site->request(GET => '/celery/api/v1/tasks/abc'))[1]{location}, '/celery/from/here', 'a Location has the prefix of the request');

	# what a client makes up
	foreach my $url ('/celery/api/v1/tasks/a%22,%22terminate%22:true', '/celery/api/v1/tasks/a%26select=x', '/celery/api/v1/tasks/eq.5',
		'/celery/api/v1/tasks/a%0d%0aX-Evil:%201', '/celery/api/v1/tasks/../../rpc/login', '/celery/api/v1/tasks/%00', '/celery/rpc/status?id=1',
		'/celery/=cancel', '/celery/api/v1/tasks/', '/celery/api/v2/tasks')
	{
		foreach my $method ('GET', 'DELETE')
		{
			my $got = asked($method => $url, 'alice');
			ok(!exists $got->{gateway} && $got->{status} =~ /^40[04]$/, "$method $url is nobody's");
		}
	}
	$said = asked(DELETE => '/celery/api/v1/tasks/abc?terminate=%22,%22id%22:%22other', 'alice');
	is($said->{body}, '{"id":"abc","terminate":false}', 'an argument that is none does not get into the body');
	is(asked(GET => '/celery/api/v1/tasks?limit=eq.5', 'alice')->{status}, 422, 'a limit that is no number: 422');
	is(asked(PUT => '/celery/api/v1/tasks/abc', 'alice', {})->{status}, 405, 'another method: 405');
	$said = asked(GET => '/celery/api/v1/tasks/abc', 'alice', undef, { 'Accept-Profile' => 'api', 'X-Real-IP' => '9.9.9.9' });
	is($said->{headers}{'accept-profile'}, 'celery', 'a client does not choose the schema');
	is($said->{headers}{'x-real-ip'}, '127.0.0.1', '... nor where it comes from');
	is_deeply([ $site->request(GET => '/celery/none')]->[2], { detail => 'Not Found' }, 'what is nothing: 404 in the contract\'s JSON');
	is(($site->request(GET => '/celery/api/v1/assets/1', undef, undef, { Host => 'other.example.com' }))[0], 200, 'the prefix is there for any host');
});

# limits: of one client, through a prefix or without
my $limited = http_site('limited', limit => 5);
$limited->with_echo(sub {
	my @status = map { ($limited->request(GET => $_ % 2 ? '/task' : '/celery/api/v1/tasks', 'alice'))[0] } 1 .. 12;
	is($status[0], 200, 'requests are let through');
	my ($status, $headers, $json) = $limited->request_until(sub { $_[1] == 429 }, GET => '/task', 'alice');
	ok($headers->{'retry-after'}, 'too many: 429, with Retry-After');
	is($json->{code}, 'PT429', '... in JSON');
	ok((grep { $_ == 200 } @status) >= 6, '... not before the burst is over, and what a prefix maps counts once');

	# of a WebSocket the token is in the query, also where nginx answers itself
	my $refused = 0;
	foreach my $path ('/push/events', '/video/ws/none', '/ws/tasks/abc', '/rpc/login')
	{
		$limited->request_until(sub { $_[1] == 404 || $_[1] == 200 || $_[1] == 502 }, GET => "$path?access_token=hidden");
		$limited->request_until(sub { $refused += $_[1] == 429; $_[1] == 429 }, GET => "$path?access_token=hidden");
	}
	is($refused, 4, 'what is refused');
	my $logged = PostgreSQL::Test::Utils::slurp_file("$limited->{dir}/access.log");
	like($logged, qr{"GET /video/ws/none HTTP/1.1" 404 }, '... is logged');
	unlike($logged, qr/hidden/, '... without what is in its query');
});

done_testing();
