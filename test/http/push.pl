# examples/bridge behind nginx: streams and WebSockets under /push/, the video contract's WebSocket
# under its own URL, and webhooks that are registered over HTTP.

use strict;
use warnings;

use BridgeTest;
use Http;
use Test::More;

my $port = free_port();
my $site = http_site('push', contracts => ['video'], schemas => ['bridge'], sql => ['bridge/bridge.sql'], push => $port);
use_node($site->{node});
start_bridge(PORT => $port, WORDS => 'video=video.task', WEBHOOK_NETWORKS => '127.0.0.0/8', WEBHOOK_PLAIN_HTTP => 'on');
my $token = $site->token('alice');

$site->each_gateway(
	sub {
		my ($gateway) = @_;
		my ($status, $headers, $json) = $site->request(POST => '/video/api/v1/videos', 'alice', { prompt => 'a dog', duration => 0.5 });
		my $id = $json->{task_id};
		ok($id, 'a video is ordered');

		my $ws = client('ws', "$site->{url}/video/ws/tasks/$id?access_token=$token");
		my $push = client('ws', "$site->{url}/push/ws/tasks/$id", 'taskq', "bearer.$token");
		my $sse = client('sse', "$site->{url}/push/tasks/$id/events", "Authorization: Bearer $token");
		is($ws->next->{protocol}, undef, 'the document\'s WebSocket opens');
		is($push->next->{protocol}, 'taskq', '... and the bridge\'s own, with a token as subprotocol');
		is($sse->next->{status}, 200, '... and a stream');
		my @messages = grep { exists $_->{message} } $ws->all;
		($status, $headers, $json) = $site->request(GET => "/video/api/v1/tasks/$id", 'alice');
		is_deeply($messages[-1]{message}, $json, 'the last message is what the status URL answers');
		is($messages[-1]{message}{status}, 'completed', '... the end');
		is_deeply([ grep { !/^(pending|processing|completed)$/ } map { $_->{message}{status} } @messages ], [], '... in the words of the document');
		is(($push->all)[-2]{message}{state}, 'completed', '... or in taskq\'s');
		is(($sse->all)[-1]{event}, 'eof', '... also as stream');

		is(client('ws', "$site->{url}/video/ws/tasks/$id?access_token=" . $site->token('bob'))->next->{refused}, 404, 'another tenant\'s task');
		is(client('ws', "$site->{url}/video/ws/tasks/vid_abc123?access_token=$token")->next->{refused}, 404, 'what is no id');
		is(client('ws', "$site->{url}/video/ws/tasks/$id")->next->{refused}, 401, 'no token');

		my $profile = { 'Content-Profile' => 'bridge', 'Accept-Profile' => 'bridge' };
		($status) = $site->request(POST => '/rpc/webhook_define', 'alice', { url => 'https://a.example/' }, $profile);
		is($status, 403, 'a user registers no webhook');
		($status, $headers, my $webhook) = $site->request(POST => '/rpc/webhook_define', 'boss', { url => 'https://a.example/', states => ['failed'] }, $profile);
		is($status, 200, 'an operator of a tenant does');
		like($webhook->{secret}, qr/^whsec_/, '... and is given its secret');
		($status, $headers, $json) = $site->request(GET => '/webhooks', 'boss', undef, $profile);
		is_deeply($json, [ { %{ $json->[0] }, id => $webhook->{id}, tenant => 'acme', role => 'web_tenant_operator', states => ['failed'], enabled => JSON::PP::true } ],
			'... which is not listed');
		unlike(JSON::PP->new->encode($json), qr/whsec_/, '... anywhere');
		($status, $headers, $json) = $site->request(GET => '/dead_letter', 'boss', undef, $profile);
		is_deeply($json, [], 'nothing was given up');
		($status) = $site->request(POST => '/rpc/webhook_drop', 'boss', { id => $webhook->{id} }, $profile);
		is($status, 204, 'it is dropped');
		($status) = $site->request(POST => '/rpc/webhook_drop', 'boss', { id => $webhook->{id} }, $profile);
		is($status, 404, '... once');
		($status) = $site->request(POST => '/rpc/collect', 'operator', {}, $profile);
		cmp_ok($status, '>=', 400, 'what is the bridge\'s is not for others');
		($status) = $site->request(GET => '/webhook', 'operator', undef, $profile);
		is($status, 403, '... nor the table with the secrets');
	});

unlike($site->log('nginx') . PostgreSQL::Test::Utils::slurp_file("$site->{dir}/access.log") . bridge_log(), qr/access_token|\Q$token\E/, 'no token is logged');
is(stop_bridge(), 0, 'the bridge stops');
done_testing();
