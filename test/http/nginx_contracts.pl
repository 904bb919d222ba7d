# What nginx makes of the URLs of contracts typed, sitrep and video; what never gets through.
# An echo is behind it.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('nginx_contracts');

# method, URL, body; what PostgREST is asked: method, path, query, body
my @MAPS = (
	[ GET => '/typed/api/v1/tasks/', undef, GET => '/rpc/tasks', 'type=&status=&plugin=:&input=:&n=&after=', undef ],
	[ GET => '/typed/api/v1/tasks/?limit=5&status=FAILED&input_data=a%7Cb', undef, GET => '/rpc/tasks', 'type=&status=FAILED&plugin=:&input=:a%7Cb&n=5&after=', undef ],
	[ POST => '/typed/api/v1/tasks/?select=x', \'{"type" : "plugin"}', POST => '/rpc/create_task', '', '{"type" : "plugin"}' ],
	[ POST => '/typed/api/v1/tasks', \'{}', POST => '/rpc/create_task', '', '{}' ],
	[ GET => '/typed/api/v1/tasks/a-1/', undef, GET => '/rpc/task', 'id=a-1&wait=', undef ],
	[ PATCH => '/typed/api/v1/tasks/a-1/', \'{"status": "PENDING"}', POST => '/rpc/update_task', '', '{"status": "PENDING"}' ],
	[ POST => '/typed/api/v1/tasks/a-1/run/?id=b', \'{"id": "b"}', POST => '/rpc/run', '', '{"id": "a-1"}' ],
	[ POST => '/typed/api/v1/tasks/a-1/retry', undef, POST => '/rpc/retry', '', '{"id": "a-1"}' ],
	[ GET => '/typed/api/v1/tasks/a-1/logs/?after=7', undef, GET => '/rpc/logs', 'id=a-1&after=7', undef ],
	[ POST => '/typed/api/v1/objects/hostname/?task_id=a-1', \'{"name": 1}', POST => '/rpc/create_object', '', '{"name": 1}' ],
	[ DELETE => '/typed/api/v1/schedules/3/', undef, POST => '/rpc/delete_schedule', '', '{"id": "3"}' ],
	[ DELETE => '/typed/api/v1/organizations/a.b/', undef, POST => '/rpc/delete_organization', '', '{"id": "a.b"}' ],
	[ GET => '/typed/tasks/', undef, GET => '/rpc/task_page', 'n=&after=', undef ],
	[ POST => '/typed/tasks/a-1/run/', undef, POST => '/rpc/task_page_run', '', '{"id": "a-1"}' ],
	[ GET => '/sitrep/api/scheduler/sitrep?limit=3', undef, GET => '/rpc/sitrep', 'n=3', undef ],
	[ GET => '/sitrep/api/scheduler/metrics?n=1', undef, GET => '/rpc/metrics', '', undef ],
	[ GET => '/sitrep/api/scheduler/tasks/recent', undef, GET => '/rpc/recent', 'n=', undef ],
	[ GET => '/sitrep/api/scheduler/tasks?family=app.x.', undef, GET => '/rpc/tasks', 'status=&family=:app.x.&n=&after=', undef ],
	[ GET => '/sitrep/api/scheduler/inspect/stats', undef, GET => '/rpc/inspect', 'what=stats', undef ],
	[ POST => '/video/api/v1/videos?x=1', \'{"prompt": "x"}', POST => '/rpc/videos', '', '{"prompt": "x"}' ],
	[ GET => '/video/api/v1/tasks?limit=5&user=eq.5', undef, GET => '/rpc/tasks', 'status=&n=5&skip=&whose=:eq.5', undef ],
	[ GET => '/video/api/v1/tasks/vid_abc123', undef, GET => '/rpc/task', 'id=vid_abc123&wait=', undef ],
	[ DELETE => '/video/api/v1/tasks/vid_abc123?x=1', undef, POST => '/rpc/cancel', '', '{"id": "vid_abc123"}' ],
	[ GET => '/video/api/v1/tasks/a/why', undef, GET => '/rpc/why', 'id=a', undef ],
);

$site->with_echo(sub {
	foreach my $map (@MAPS)
	{
		my ($method, $url, $body, @asked) = @$map;
		my ($contract) = $url =~ m{^/(\w+)};
		my (undef, undef, $said) = $site->request($method, $url, 'alice', $body, { 'Accept-Profile' => 'taskq', 'Content-Profile' => 'taskq', Prefer => 'count=exact', 'X-Taskq-Id' => 'forged' });
		is_deeply([ @$said{qw(gateway method path query)}, $asked[0] eq 'POST' ? $said->{body} : undef ], [ 'postgrest', @asked ], "$method $url");
		my $headers = $said->{headers};
		is($headers->{ $asked[0] eq 'POST' ? 'content-profile' : 'accept-profile' }, $contract, '... of its schema');
		like($headers->{authorization}, qr/^Bearer /, '... with the token');
		is_deeply([ map { $headers->{$_} } grep { $contract eq 'typed' && $_ eq 'x-taskq-id' && ($headers->{$_} // '') eq 'forged' } keys %$headers ], [], '... and nothing forged');
		is($headers->{prefer}, undef, '... nor preferred');
	}
	my (undef, undef, $said) = $site->request(POST => '/typed/api/v1/objects/hostname/?task_id=a-1', 'alice', {});
	is_deeply([ @{ $said->{headers} }{qw(x-taskq-type x-taskq-task)} ], [ 'hostname', 'a-1' ], 'what stands beside a body is in headers');
	(undef, undef, $said) = $site->request(PATCH => '/typed/api/v1/schedules/3/', 'alice', {});
	is_deeply([ $said->{path}, $said->{headers}{'x-taskq-id'} ], [ '/rpc/update_schedule', '3' ], '... the id, too');

	# what waits has an instance of its own
	foreach my $url ('/typed/api/v1/tasks/a/?wait=5', '/video/api/v1/tasks/a?wait=5')
	{
		(undef, undef, $said) = $site->request(GET => $url, 'alice');
		is_deeply([ @$said{qw(gateway query)} ], [ 'postgrest-wait', 'id=a&wait=5' ], "$url is asked where one may wait");
	}
	(undef, undef, $said) = $site->request(GET => '/video/api/v1/tasks/a?wait=eq.5', 'alice');
	is_deeply([ @$said{qw(gateway query)} ], [ 'postgrest', 'id=a&wait=' ], 'what is no number waits for nothing');

	# a browser
	(undef, undef, $said) = $site->request(GET => '/typed/tasks/', undef, undef, { Cookie => 'token=x.y.z' });
	is_deeply([ @{ $said->{headers} }{qw(authorization accept)} ], [ 'Bearer x.y.z', 'text/html' ], 'the page takes the token of a cookie');
	(undef, undef, $said) = $site->request(GET => '/typed/api/v1/tasks/', undef, undef, { Cookie => 'token=x.y.z' });
	is($said->{headers}{authorization}, undef, '... nothing else does');

	# what a client makes up
	foreach my $url (map({ my $contract = $_; map { "/$contract$_" } '/=cancel', '/=id/run', '/=body/create_task', '/rpc/task?id=1', '/api/v1/tasks/eq.5',
			'/api/v1/tasks/a%22,%22b%22:1', '/api/v1/tasks/a%26select=x', '/api/v1/tasks/a%0d%0aX-Evil:%201', '/api/v1/tasks/%00', '/api/v2/tasks' } qw(typed sitrep video)),
		'/sitrep/api/scheduler/tasks/eq.5', '/sitrep/api/scheduler/inspect/all', '/typed/tasks/a/delete/')
	{
		my ($status, undef, $json) = $site->request(GET => $url, 'alice');
		ok(ref $json ne 'HASH' || !exists $json->{gateway}, "$url is nobody's") || diag(explain($json));
		like($status, qr/^40[04]$/, "... $status");
	}
	foreach my $case ([ PUT => '/typed/api/v1/tasks/a/' ], [ POST => '/sitrep/api/scheduler/sitrep' ], [ PUT => '/video/api/v1/tasks/a' ], [ GET => '/video/api/v1/videos' ],
		[ GET => '/typed/api/v1/tasks/a/run/' ], [ GET => '/typed/tasks/a/run/' ])
	{
		my ($status, undef, $json) = $site->request(@$case, 'alice');
		is($status, 405, "@$case: 405");
		shape_is($json, { detail => 'string' }, '... in JSON');
	}
	foreach my $url ('/video/api/v1/tasks?limit=eq.5', '/sitrep/api/scheduler/sitrep?limit=eq.5', '/typed/api/v1/tasks/?after=eq.5', '/typed/api/v1/object-tasks/?task_id=eq.5')
	{
		my ($status, undef, $json) = $site->request(GET => $url, 'alice');
		like($status, qr/^4(00|22)$/, "$url: $status");
	}
});

done_testing();
