# examples/bridge: clients are told of a task's state and progress, as server-sent events and by
# WebSocket, with what their token lets them see; hundreds of them need few connections; what
# breaks (client, bridge, database) is got over.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use BridgeTest;
use Digest::SHA qw(hmac_sha256_base64);
use MIME::Base64 qw(encode_base64);
use JSON::PP ();
use PostgreSQL::Test::Utils;
use Test::More;

my $node = bridge_node('bridge');
my $db = 'postgres';
my %token = map { $_ => token($_) } qw(alice bob operator);

$node->safe_psql($db, q{
	CREATE SCHEMA video;
	GRANT USAGE ON SCHEMA video TO web_user;
	CREATE FUNCTION video.status(id uuid) RETURNS jsonb LANGUAGE sql STABLE AS
		$$ SELECT jsonb_build_object('task_id', t.id, 'status', CASE t.state WHEN 'running' THEN 'processing' ELSE t.state END) FROM taskq.task_status(id) t $$;});

sub opened
{
	my ($client) = @_;
	my $first = $client->next;
	is($first->{status}, 200, 'the stream is open');
	return $client;
}

# --- who may watch what

start_bridge(WORDS => 'video=video.status', RECHECK => 1, PING => 1, MAX_CLIENTS_PER_USER => 1000);
my $id = submit_as('alice', '{"gate": "a", "steps": 2}');
my $path = "/tasks/$id/events";

is((get($path))[0], 401, 'no token');
is((get($path, 'Authorization: Bearer nonsense'))[0], 401, 'a token that is none');
is((get($path, 'Authorization: Bearer ' . token('alice', -60)))[0], 401, 'one that has expired');
my $odd = encode_base64('{"alg":"HS256"}', '') . '.' . encode_base64('{"role":"web_user","exp":1e999}', '') =~ tr{+/=}{-_}dr;
$odd =~ tr/=//d;
is((get($path, "Authorization: Bearer $odd." . (hmac_sha256_base64($odd, 'the secret of tests, 32 characters and more') =~ tr{+/}{-_}r)))[0], 401, 'one that expires at no time');
is((get($path, 'Authorization: Bearer ' . substr($token{alice}, 0, -3) . 'abc'))[0], 401, 'one that somebody else has signed');
is((get($path, 'Authorization: Bearer ' . ($token{alice} =~ s/^[^.]*(.*\.).*$/eyJhbGciOiJub25lIn0$1/r)))[0], 401, 'one that is not signed');
foreach my $role ('postgres', 'none', 'nobody', 'authenticator; RESET ROLE')
{
	my $forbidden = sql($node, $db, "SELECT auth.token('$role', 'x', 'acme')");
	my ($status) = get($path, "Authorization: Bearer $forbidden");
	ok($status == 403 || $status == 401, "role $role of a token is refused") or diag($status);
}
my ($status, $headers, $body) = get($path, "Authorization: Bearer $token{bob}");
is($status, 404, 'a task of another tenant is not found');
my ($other, undef, $unknown) = get('/tasks/01a20136-f82d-77c2-8500-0751c7f15f43/events', "Authorization: Bearer $token{bob}");
is($body =~ s/$id/ID/r, $unknown =~ s/01a20136-f82d-77c2-8500-0751c7f15f43/ID/r, '... as one that does not exist');
is((get('/tasks/12/events', "Authorization: Bearer $token{alice}"))[0], 404, 'neither is what is no id');
is((get("/nothing/tasks/$id/events", "Authorization: Bearer $token{alice}"))[0], 404, 'words that nobody has set');
is(client('ws', url("/ws/tasks/$id"))->next->{refused}, 401, 'WebSocket: no token');
is(client('ws', url("/ws/tasks/$id?access_token=$token{bob}"))->next->{refused}, 404, '... another tenant\'s task');
is((get("/ws/tasks/$id", "Authorization: Bearer $token{alice}"))[0], 426, '... and no WebSocket');

# --- server-sent events and WebSocket

my $sse = opened(client('sse', url($path), "Authorization: Bearer $token{alice}"));
my $operator = opened(client('sse', url("$path?access_token=$token{operator}")));
my $ws = client('ws', url("/ws/tasks/$id"), 'taskq', "bearer.$token{alice}");
is($ws->next->{protocol}, 'taskq', 'a WebSocket by a token beside its subprotocol');
my $video = client('ws', url("/video/ws/tasks/$id?access_token=$token{alice}"));
$video->next;
is($video->until(sub { $_->{message}{status} eq 'processing' })->{message}{task_id}, $id, 'in the words of another function');
$sse->until(sub { $_->{data}{state} eq 'running' });
open_gate($node, $db, 'a1');
is($sse->until(sub { ($_->{data}{current} // 0) == 1 })->{data}{message}, 'step 1', 'a report of progress is told');
is($ws->until(sub { ($_->{message}{current} // 0) == 1 })->{message}{progress}, 50, '... by WebSocket, too');
open_gate($node, $db, 'a2');
my $final = $sse->until(sub { $_->{data}{state} eq 'completed' });
is_deeply($final->{data}, JSON::PP->new->decode(sql_as('alice', "SELECT to_jsonb(t) FROM taskq.task_status('$id') t")), 'the last one is the status with its result');
is_deeply([ map { $_->{event} } $sse->all ], [ 'end', 'eof' ], '... and the stream ends');
$operator->until(sub { $_->{event} eq 'end' });
is($ws->until(sub { $_->{message}{state} eq 'completed' })->{message}{result}{through}, 'a', '... by WebSocket, too');
is($ws->next->{closed}, 1000, '... which is closed');
is($video->until(sub { $_->{message}{status} eq 'completed' })->{message}{task_id}, $id, '... and in other words');
is((get($path, "Authorization: Bearer $token{alice}", "Last-Event-ID: $final->{id}"))[0], 204, 'who has seen the end is told not to come again');
unlike(bridge_log(), qr/\Q$token{alice}\E|\Q$token{bob}\E|access_token/, 'no token is logged');
(undef, $headers) = get($path, "Authorization: Bearer $token{alice}", 'Origin: http://elsewhere.example');
ok(!exists $headers->{'access-control-allow-origin'}, 'pages of other origins may not read it');

# --- what ends a stream

my $open = submit_as('alice', '{"gate": "b", "steps": 1}');
my $brief = token('alice', 3);
$sse = opened(client('sse', url("/tasks/$open/events"), "Authorization: Bearer $brief"));
$ws = client('ws', url("/ws/tasks/$open?access_token=$brief"));
is($sse->until(sub { $_->{event} eq 'end' })->{data}{reason}, 'expired', 'a token that expires');
is($ws->until(sub { exists $_->{closed} })->{closed}, 4401, '... by WebSocket, too');

$sse = opened(client('sse', url("/tasks/$open/events"), "Authorization: Bearer $token{alice}"));
$ws = client('ws', url("/ws/tasks/$open?access_token=$token{alice}"));
$sse->next;
$ws->until(sub { exists $_->{message} });
sql($node, $db, 'REVOKE web_user, web_tenant_operator, web_operator FROM authenticator');
is($sse->until(sub { $_->{event} eq 'refused' })->{data}{code}, '42501', 'a right that is taken away, though there is no news');
is($ws->until(sub { exists $_->{closed} })->{closed}, 4403, '... by WebSocket, too');
sql($node, $db, 'GRANT web_user, web_tenant_operator, web_operator TO authenticator');

# --- the server, and the bridge, go away and come back

$sse = opened(client('sse', url("/tasks/$open/events"), "Authorization: Bearer $token{alice}"));
$sse->until(sub { $_->{data}{state} eq 'running' });
$node->stop('fast');
is((get('/health'))[0], 503, 'no database');
is((get($path, "Authorization: Bearer $token{alice}"))[0], 503, '... is said to who comes');
$node->start;
foreach (1 .. 600)
{
	last if (get('/health'))[0] == 200;
	select(undef, undef, undef, 0.1);
}
is((get('/health'))[0], 200, 'the database is back');
open_gate($node, $db, 'b1');
is($sse->until(sub { $_->{data}{state} eq 'completed' })->{event}, 'status', 'a stream outlives a restart of the database');

$open = submit_as('alice', '{"gate": "c", "steps": 2}');
wait_state($node, $db, $open, 'running');
$sse = opened(client('sse', url("/tasks/$open/events"), "Authorization: Bearer $token{alice}"));
$sse->until(sub { $_->{data}{state} eq 'running' });
expect_fatal($node, 'connection to client lost', [ 0, undef ]);
kill_bridge();
is($sse->until(sub { $_->{event} ne 'status' })->{event}, 'eof', 'the bridge is killed');
start_bridge(MAX_CLIENTS_PER_USER => 1000);
$sse = opened(client('sse', url("/tasks/$open/events"), "Authorization: Bearer $token{alice}"));
open_gate($node, $db, 'c1');
is($sse->until(sub { ($_->{data}{current} // 0) == 1 })->{data}{state}, 'running', '... who comes back to another one is told on');
$ws = client('ws', url("/ws/tasks/$open?access_token=$token{alice}"));
$ws->until(sub { exists $_->{message} });
is(stop_bridge(), 0, 'SIGTERM');
is($sse->until(sub { $_->{event} eq 'end' })->{data}{reason}, 'stopping', '... is told to clients');
is($ws->until(sub { exists $_->{closed} })->{closed}, 1001, '... by WebSocket, too');
open_gate($node, $db, 'c2');

# --- many

start_bridge(MAX_CLIENTS_PER_USER => 1000, WATCHES => 3, READERS => 2);
my @ids = map { submit_as($_ % 2 ? 'alice' : 'bob', '{"gate": "d", "steps": 1}', "delay => '1 d'") } 1 .. 40;
# each is watched by six clients
my $many = client('many', map { my $n = $_; (url("/tasks/$ids[$n]/events?access_token=" . ($n % 2 ? $token{bob} : $token{alice}))) x 6 } 0 .. 39);
is($many->next->{opened}, 240, '240 clients of 40 tasks');
cmp_ok(sql($node, $db, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'taskq bridge'"), '<=', 10, '... on ten connections at most');
open_gate($node, $db, 'd1');
sql($node, $db, "SELECT taskq.task_run_now(id) FROM unnest('{@{[ join(',', @ids) ]}}'::uuid[]) id");
is_deeply($many->next, { ended => 240, completed => 240 }, '... all are told of the end');

# --- who asks for too much, or does not read

stop_bridge();
start_bridge(MAX_CLIENTS_PER_USER => 2, SEND_TIMEOUT => 0.5, CORS_ORIGINS => 'http://app.example');
my $large = submit_as('alice', '{"gate": "e", "steps": 12, "padding": "' . 'x' x 500_000 . '"}');
my @two = map { opened(client('sse', url("/tasks/$large/events"), "Authorization: Bearer $token{alice}")) } 1, 2;
($status, $headers) = get("/tasks/$large/events", "Authorization: Bearer $token{alice}");
is($status, 429, 'more streams than one user may have');
ok($headers->{'retry-after'}, '... may come again later');
(undef, $headers) = get("/tasks/$large/events", 'Authorization: Bearer nonsense', 'Origin: http://app.example');
is($headers->{'access-control-allow-origin'}, 'http://app.example', 'an origin that is allowed');
(undef, $headers) = get("/tasks/$large/events", 'Authorization: Bearer nonsense', 'Origin: http://elsewhere.example');
ok(!exists $headers->{'access-control-allow-origin'}, '... and one that is not');
$_->quit foreach @two;

my $deaf = client('deaf', url("/tasks/$large/events?access_token=$token{operator}"));
$deaf->next;
my $hears = opened(client('sse', url("/tasks/$large/events"), "Authorization: Bearer $token{operator}"));
foreach my $step (1 .. 12)
{
	open_gate($node, $db, "e$step");
	$hears->until(sub { ($_->{data}{current} // 0) == $step });
}
is($hears->until(sub { $_->{event} eq 'end' })->{data}{reason}, 'final', 'one that reads is not held up by one that does not');
my $clients;
foreach (1 .. 600)
{
	($clients) = (get('/health'))[2] =~ /"clients": (\d+)/;
	last if $clients == 0;
	select(undef, undef, undef, 0.1);
}
is($clients, 0, '... who is given up');
$deaf = client('deaf', url("/tasks/$large/events?access_token=$token{operator}"));
$deaf->next;
is(stop_bridge(), 0, 'it stops, also with one that does not read');
unlike(bridge_log(), qr/Traceback|ERROR/, 'the bridge logs no error');

done_testing();
