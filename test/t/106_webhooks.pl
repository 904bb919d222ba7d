# examples/bridge: what has ended is told as a stream of events, and POSTed to webhooks, signed, at
# least once, whatever dies meanwhile; each webhook is told of what may be seen by who registered it.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use BridgeTest;
use Digest::SHA qw(hmac_sha256_base64);
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use PostgreSQL::Test::Utils;
use Test::More;

# who has no tenant is refused: that must not be the bridge
my $node = bridge_node('webhooks', 'taskq.require_tenant' => 'on');
my $db = 'postgres';
my %token = map { $_ => token($_) } qw(alice bob operator);
my $json = JSON::PP->new->utf8;

# --- a stream of what has ended

start_bridge(WEBHOOKS => 'off');
is((get('/events'))[0], 401, 'no token');
is((get('/events', "Authorization: Bearer $token{alice}", 'Last-Event-ID: nonsense'))[0], 400, 'a cursor that is none');
is((get('/events?cursor=%00', "Authorization: Bearer $token{alice}"))[0], 400, '... or no text of PostgreSQL');
is((get('/events', "Authorization: Bearer $token{alice}", 'Last-Event-ID: 00000000.1'))[0], 410, '... and one that is of no use any more');
my $sse = client('sse', url('/events'), "Authorization: Bearer $token{alice}");
my $failed = client('sse', url("/events?state=failed&access_token=$token{operator}"));
is($_->next->{status}, 200, 'the stream is open') foreach $sse, $failed;
my $bobs = submit_as('bob', '{"steps": 1}');
wait_task($node, $db, $bobs);
my $first = submit_as('alice', '{"steps": 1}');
my $event = $sse->until(sub { exists $_->{data} });
is("$event->{event} $event->{data}{task_id} $event->{data}{state}", "task $first completed", 'a task that has ended is told of, and none of another tenant');
my $fails = submit_as('bob', '{"steps": 1, "fail": "why"}');
is($failed->until(sub { exists $_->{data} })->{data}{task_id}, $fails, 'only some states, of all tenants');
expect_fatal($node, 'connection to client lost', [ 0, undef ]);
kill_bridge();
my @missed = map { submit_as('alice', '{"steps": 1}') } 1 .. 3;
wait_task($node, $db, $_) foreach @missed;
start_bridge(WEBHOOKS => 'off');
$sse = client('sse', url('/events'), "Authorization: Bearer $token{alice}", "Last-Event-ID: $event->{id}");
is(join(' ', sort map { $sse->until(sub { exists $_->{data} })->{data}{task_id} } 1 .. 3), join(' ', sort @missed), 'what ended meanwhile is told to who comes back');
is(stop_bridge(), 0, 'the bridge stops');
is($sse->until(sub { $_->{event} eq 'end' })->{data}{reason}, 'stopping', '... and says so');

# --- who may register what

my $port = free_port();
my $receiver = client('receiver', $port);
$receiver->next;

sub define
{
	my ($who, $path, $more) = @_;
	return $json->decode(sql_as($who, "SELECT bridge.webhook_define('http://127.0.0.1:$port$path'" . (defined $more ? ", $more" : '') . ')'));
}
# What arrives at a path; what arrives at others meanwhile waits.
my @arrived;
sub arrives
{
	my ($path) = @_;
	my ($came) = grep { $_->{path} eq $path } @arrived;
	@arrived = grep { !$came || $_ != $came } @arrived;
	$came //= $receiver->until(sub { $_->{path} eq $path || (push @arrived, $_) && 0 });
	return ($json->decode($came->{text}), $came->{headers}, $came->{text});
}
sub error_of
{
	my ($who, $query) = @_;
	return eval { sql_as($who, $query); 1 } ? '' : $@;
}

sub shown
{
	my ($who, $query) = @_;
	return sql_as($who, $query) =~ tr/\n/ /r;
}

like(error_of('alice', "SELECT bridge.webhook_define('https://a.example/')"), qr/permission denied/, 'who is no operator registers none');
like(error_of('boss', "SELECT bridge.webhook_define('ftp://a.example/')"), qr/violates check constraint/, 'a URL that is none');
sql($node, $db, 'CREATE ROLE sly LOGIN IN ROLE web_tenant_operator');
like(sql_error($node, $db, q{SELECT set_config('request.jwt.claims', '{"role": "web_tenant_operator", "tenant": "acme"}', false);
	SELECT bridge.webhook_define('https://a.example/')}, 'sly'), qr/42501.*over HTTP/s, 'claims that anybody has set are not believed');
like(sql_error($node, $db, q{SELECT bridge.webhook_define('https://a.example/')}), qr/22023.*cannot be read as role "postgres"/s, 'who the gateway cannot become registers none');
like(sql_error($node, $db, 'SELECT secret FROM bridge.webhook', 'sly'), qr/permission denied/, 'secrets are not shown');
my $boss = define('boss', '/acme', q{states => '{completed,failed}'});
my $operator = define('operator', '/all', q{kinds => '{gated}', states => '{cancelled,failed}', description => 'what went wrong'});
is(shown('boss', 'SELECT url FROM bridge.webhooks'), "http://127.0.0.1:$port/acme", 'an operator of a tenant sees its webhooks');
is(shown('operator', 'SELECT count(*) FROM bridge.webhooks'), '2', '... one of all sees all');
like(error_of('boss', "SELECT bridge.webhook_drop('$operator->{id}')"), qr/does not exist/, '... and steers its own only');

# --- delivery

# without waiting: times are not what is tested here
sql($node, $db, q{SET ROLE bridge_owner; SELECT taskq.kind_define('bridge.deliver', NULL, queue => 'bridge', max_attempts => 3, backoff => '10 ms',
	backoff_max => '10 ms', max_running_per_key => 4)});
$node->safe_psql($db, q{CREATE FUNCTION short(id uuid) RETURNS jsonb LANGUAGE sql STABLE AS
	$$ SELECT jsonb_build_object('task', t.id, 'is', t.state) FROM taskq.task_status(id) t $$});
my %usual = (WORDS => 'short=public.short', WEBHOOK_NETWORKS => '127.0.0.0/8', WEBHOOK_PLAIN_HTTP => 'on', WEBHOOK_TIMEOUT => 1, MAX_CLIENTS_PER_USER => 100);
sub delivered
{
	return sql($node, $db, q{SELECT count(*) FROM taskq.task WHERE kind = 'bridge.deliver' AND state = 'completed' AND result ? 'status'});
}
# The bridge's own processes of what has come are over.
sub settled
{
	$node->poll_query_until($db, q{SELECT NOT EXISTS (SELECT FROM taskq.task WHERE kind = 'bridge.deliver' AND NOT ready)}) or die 'deliveries are not over';
	return;
}
start_bridge(%usual);
# the feed is read from when the bridge has begun on
$node->poll_query_until($db, 'SELECT cursor IS NOT NULL FROM bridge.feed') or die;
submit_as('bob', '{"steps": 1}');
my $id = submit_as('alice', '{"steps": 1}');
my ($body, $headers, $text) = arrives('/acme');
is_deeply($body, $json->decode(sql_as('boss', "SELECT to_jsonb(t) FROM taskq.task_status('$id') t")), 'the status of a task that has ended arrives');
is($headers->{'Webhook-Id'}, $id, '... with its id');
is($headers->{'Content-Type'}, 'application/json', '... as JSON');
my $signature = hmac_sha256_base64("$headers->{'Webhook-Id'}.$headers->{'Webhook-Timestamp'}.$text", decode_base64($boss->{secret} =~ s/^whsec_//r));
is($headers->{'Webhook-Signature'} =~ s/=+$//r, "v1,$signature", '... signed');
cmp_ok(abs($headers->{'Webhook-Timestamp'} - time), '<', 60, '... at this time');
$fails = submit_as('bob', '{"steps": 1, "fail": "no"}');
is((arrives('/all'))[0]{id}, $fails, 'an operator\'s webhook is told of all tenants, of the states that it names');
settled();
is(delivered(), 2, 'nothing else is delivered');

# --- what does not arrive

define('boss', '/flaky/2', q{states => '{cancelled}'});
my $gives_up = define('boss', '/flaky/3', q{states => '{cancelled}'});
define('boss', '/moved', q{states => '{cancelled}'});
define('boss', '/hang', q{states => '{cancelled}'});
my $gone = define('boss', '/410', q{states => '{cancelled}'});
define('operator', '/500', q{states => '{cancelled}'});
$id = submit_as('alice', '{"steps": 1}', "delay => '1 d'");
sql_as('alice', "SELECT taskq.task_cancel('$id')");
is((arrives('/flaky/2'))[0]{state}, 'cancelled', "attempt $_") foreach 1 .. 3;
settled();
is(shown('operator', "SELECT substring(url from '[^/]*\$') || ': ' || error FROM bridge.dead_letter ORDER BY 1"),
	'3: answered 503 410: answered 410: the webhook is disabled 500: answered 500 hang: no answer in time moved: answered 307', 'what was given up, and why; redirects are not followed');
is(shown('boss', 'SELECT count(*), min(attempts), max(attempts) FROM bridge.dead_letter'), '4|1|3', '... of its own an operator of a tenant sees');
is(shown('boss', 'SELECT why_disabled FROM bridge.webhooks WHERE NOT enabled'), 'it answered 410', 'who answers 410 is not asked again');
is(shown('boss', "SELECT bridge.replay(webhook => '$gives_up->{id}')"), '1', 'what was given up can be made again');
is((arrives('/flaky/3'))[0]{id}, $id, "... attempt $_") foreach 1 .. 4;
settled();
is(shown('boss', 'SELECT count(*) FROM bridge.dead_letter'), '3', '... and arrives');
like(error_of('boss', "SELECT bridge.replay(delivery) FROM (SELECT id AS delivery FROM taskq.task_status('$id')) t"), qr/none that was given up/, '... only that');
sql_as('operator', 'SELECT bridge.webhook_drop(id) FROM bridge.webhooks');

# --- the bridge dies, in the midst of a delivery and between two

define('boss', '/hang/first', q{states => '{completed}'});
$id = submit_as('alice', '{"steps": 1}');
arrives('/hang/first');
kill_bridge();
my $meanwhile = submit_as('alice', '{"steps": 1}');
wait_task($node, $db, $meanwhile);
sql_as('operator', "SELECT bridge.webhook_drop(id) FROM bridge.webhooks");
my $again = sql($node, $db, q{SELECT id FROM taskq.task WHERE kind = 'bridge.deliver' AND NOT ready});
define('boss', '/alive', q{states => '{completed}'});
# the interrupted one goes to where somebody answers
sql($node, $db, qq{UPDATE bridge.webhook SET id = (SELECT (payload ->> 'webhook')::uuid FROM taskq.task_status('$again'))});
start_bridge(%usual);
is(join(' ', sort map { (arrives('/alive'))[0]{id} } 1, 2), join(' ', sort $id, $meanwhile), 'what was interrupted is delivered, and what ended meanwhile');
settled();

# --- other words

define('boss', '/short', q{states => '{completed}', words => 'short'});
my $unknown = define('boss', '/long', q{states => '{completed}', words => 'long'});
$id = submit_as('alice', '{"steps": 1}');
is_deeply((arrives('/short'))[0], { task => $id, is => 'completed' }, 'what arrives can be in the words of a function');
settled();
is(shown('boss', "SELECT error FROM bridge.dead_letter WHERE webhook = '$unknown->{id}'"), '"long" is not in BRIDGE_WORDS', '... that the bridge has to know');
sql_as('boss', "SELECT bridge.webhook_drop('$unknown->{id}')");

# --- events that were forgotten

sql($node, $db, "UPDATE bridge.feed SET cursor = '00000000.1'");
submit_as('alice', '{"steps": 1}');
$node->poll_query_until($db, 'SELECT missed_at IS NOT NULL FROM bridge.feed') or die;
$id = submit_as('alice', '{"steps": 1}');
1 while (arrives('/alive'))[0]{id} ne $id;
pass('where events are missing it goes on from now, and says when that was');

# --- addresses

is(stop_bridge(), 0, 'the bridge stops');
start_bridge(%usual, WEBHOOK_NETWORKS => '10.0.0.0/8');
$id = submit_as('alice', '{"steps": 1}');
$node->poll_query_until($db, 'SELECT count(*) > 0 FROM bridge.failed_deliveries() WHERE error ~ \'private\'') or die;
is(sql($node, $db, "SELECT task || ' ' || attempts || ' ' || error FROM bridge.dead_letter WHERE error ~ 'private' LIMIT 1"),
	"$id 1 the URL leads to a private address", 'nothing is sent to a private address that is not named');
is(stop_bridge(), 0, 'the bridge stops');
my ($out, $err);
IPC::Run::run([ '/usr/bin/python3', '-B', '-c', <<'PYTHON' ], '<', \undef, '>', \$out, '2>', \$err) or die $err;
import asyncio, ipaddress, sys
sys.path.insert(0, "../examples/bridge")
from taskq_bridge.webhooks import Guard, NotAllowed, check_url
async def main():
    guard = Guard((ipaddress.ip_network("10.1.0.0/16"),))
    for url in ("https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/", "https://10.0.0.1/", "https://0.0.0.0/",
        "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://[fe80::1]/", "https://[fd00::1]/", "https://224.0.0.1/", "https://100.64.0.1/",
        # what one library takes for an address, and another one does not
        "https://127.0.0.01/", "https://127.0.0.001/", "https://012.0.0.1/", "https://0177.0.0.1/", "https://009.0.0.1/", "https://127.0.0.1./", "https://127.1/",
        "https://0/", "https://2130706433/", "https://0x7f.1/", "https://0x7f000001/", "https://127\u30020\u30020\u30021/", "https://\u246027.0.0.1/", "https://\uff11\uff10.0.0.1/",
        "https://[::127.0.0.1]/", "https://[::ffff:0:127.0.0.1]/", "https://[fec0::1]/", "https://[64:ff9b:1::7f00:1]/", "https://[::ffff:7f00:1]/", "https://[::1%25lo]/",
        "http://93.184.216.34/", "https://user:word@93.184.216.34/", "https:///", "https://93.184.216.34/", "https://10.1.2.3/", "https://[2606:2800:220:1:248:1893:25c8:1946]/"):
        try:
            check_url(url, guard, False)
            print("yes", url)
        except NotAllowed:
            pass
    for name in ("localhost", "0x7f.1", "2130706433", "127.1", "0"):
        try:
            await guard.resolve(name)
            print("yes", name)
        except (NotAllowed, OSError):
            pass
asyncio.run(main())
PYTHON
is($out, "yes https://93.184.216.34/\nyes https://10.1.2.3/\nyes https://[2606:2800:220:1:248:1893:25c8:1946]/\n", 'private addresses in all their forms');
unlike(bridge_log(), qr/Traceback|whsec_|\Q$token{alice}\E/, 'neither secrets nor tracebacks are logged');

done_testing();
