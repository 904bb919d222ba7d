# Contract video: submit, poll, cancel, list; limits, retention, repeated submits; as its own
# clients use it.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('video', contracts => ['video']);
my $NO_ID = '550e8400-e29b-41d4-a716-446655440000';

# names and types of the document's examples; error also says whether to try again
my %STATUS = (task_id => 'uuid', status => qr/^(pending|processing|completed|failed|cancelled)$/, progress => 'integer',
	created_at => 'time', updated_at => 'time', completed_at => 'null', result => 'null', error => 'null');
my %LINE = (map({ $_ => $STATUS{$_} } qw(task_id status progress created_at updated_at)), message => qr/./);

sub submit
{
	my ($who, $body, $headers) = @_;
	my ($status, $answer, $json) = $site->request(POST => '/video/api/v1/videos', $who, { prompt => 'a cat', duration => 0, %{ $body // {} } }, $headers);
	is($status, 202, 'submitted') || diag(explain($json));
	return ("/video/api/v1/tasks/$json->{task_id}", $json->{task_id}, $answer, $json);
}

sub ended
{
	my ($url) = @_;
	return ($site->request_until(sub { $_->{status} =~ /completed|failed|cancelled/ }, GET => "$url?wait=5", 'alice'))[2];
}

my $CLIENT = <<'PYTHON';
import json, os, time, urllib.error, urllib.request

class TaskClient:
    def __init__(self, base, token):
        self.base, self.token = base, token

    def call(self, method, path, body=None):
        request = urllib.request.Request(self.base + path, method=method, data=None if body is None else json.dumps(body).encode(),
                                         headers={'Authorization': 'Bearer ' + self.token, 'Content-Type': 'application/json'})
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def wait_for_task(self, task_id, timeout=30):
        start = time.time()
        interval = 0.02
        while time.time() - start < timeout:
            status = self.call('GET', '/api/v1/tasks/' + task_id)
            if status['status'] == 'completed':
                return status['result']
            elif status['status'] == 'failed':
                raise Exception('Task failed: %s' % status['error'])
            elif status['status'] == 'cancelled':
                raise Exception('Task was cancelled')
            time.sleep(interval)
            interval = min(interval * 1.5, 0.5)
        raise TimeoutError

    def submit_with_retry(self, endpoint, payload, max_retries=3):
        for attempt in range(max_retries):
            try:
                return self.wait_for_task(self.call('POST', endpoint, payload)['task_id'])
            except urllib.error.HTTPError as e:
                if e.code < 500 or attempt == max_retries - 1:
                    raise
                time.sleep(2 ** attempt)

client = TaskClient(os.environ['BASE_URL'], os.environ['TOKEN'])
print(client.submit_with_retry('/api/v1/videos', {'prompt': 'a dog', 'duration': 0.2})['result']['video_url'])
try:
    client.submit_with_retry('/api/v1/videos', {'prompt': 'forbidden', 'duration': 0})
except Exception as e:
    print(e)
try:
    client.call('GET', '/api/v1/tasks/vid_abc123')
except urllib.error.HTTPError as e:
    print(e.code)
PYTHON

$site->each_gateway(sub {
	my ($gateway) = @_;
	my ($status, $headers, $json);

	# ---- submit, poll, retrieve
	my ($url, $id, $answer, $line) = submit('alice', { duration => 1 });
	shape_is($line, \%LINE, 'the answer to a submit');
	like($answer->{location}, qr{\Q$url\E$}, '... says where the task is');
	(undef, undef, $json) = $site->request_until(sub { $_->{status} eq 'processing' && $_->{progress} > 0 }, GET => $url, 'alice');
	shape_is($json, \%STATUS, 'processing');
	(undef, undef, $json) = $site->request(GET => '/video/api/v1/tasks', 'alice');
	shape_is($json, [ \%LINE ], 'the list while it runs');
	$json = ended($url);
	shape_is($json, { %STATUS, status => \'completed', progress => \100, completed_at => 'time',
		result => { service => 'string', result => { video_url => 'string' }, duration => 'number' } }, 'completed');
	($url, $id) = submit('alice', { prompt => 'something forbidden' });
	$json = ended($url);
	shape_is($json, { %STATUS, status => \'failed', progress => \35, error => { type => \'VideoGenerationError', message => \'Content policy violation', retryable => 'boolean' } }, 'failed');
	is_false($json->{error}{retryable}, '... and there is no use in trying again');
	($status, undef, $json) = $site->request(POST => '/video/api/v1/images', 'alice', { prompt => 'a cat', duration => 0 });
	is($status, 202, 'a picture');
	like(ended("/video/api/v1/tasks/$json->{task_id}")->{result}{result}{image_url}, qr/^https:/, '... is made, too');
	foreach my $bad ({}, { prompt => '' }, { prompt => 5 }, { prompt => 'x', duration => 'long' }, { prompt => 'x', duration => 1e6 })
	{
		($status, undef, $json) = $site->request(POST => '/video/api/v1/videos', 'alice', $bad);
		is($status, 422, 'a submit that is not right: 422');
		shape_is($json, { detail => 'string' }, '... and says what');
	}

	# ---- not found, not allowed
	foreach my $bad ($NO_ID, 'vid_abc123', 'eq.5', '%27')
	{
		($status, undef, $json) = $site->request(GET => "/video/api/v1/tasks/$bad", 'alice');
		is($status, 404, "task $bad: 404");
		shape_is($json, { detail => 'string' }, '... and says so');
	}
	foreach my $request ([ GET => $url ], [ GET => "$url/why" ], [ DELETE => $url ])
	{
		($status) = $site->request(@$request, 'bob');
		is($status, 404, "another's task is not there to $request->[0]");
	}
	($status) = $site->request(GET => $url);
	is($status, 401, 'without a token: 401');
	($status, undef, $json) = $site->request(PUT => $url, 'alice', {});
	is_deeply([ $status, $json ], [ 405, { detail => 'Method Not Allowed' } ], 'what is not there is not allowed');
	($status) = $site->request(GET => '/video/=cancel', 'alice');
	is($status, 404, 'nginx\'s own ways are nobody\'s');

	# ---- cancel
	($url, $id) = submit('alice', { duration => 300 });
	$site->request_until(sub { $_->{status} eq 'processing' }, GET => $url, 'alice');
	($status, undef, $json) = $site->request(DELETE => $url, 'alice');
	is($status, 200, 'a task that runs is cancelled');
	shape_is($json, { success => 'boolean', message => \"Task $id has been cancelled", task_id => \$id }, '... and that is said');
	is_true($json->{success}, '... with success');
	shape_is(ended($url), { %STATUS, status => \'cancelled' }, '... it is');
	($status, undef, $json) = $site->request(DELETE => $url, 'alice');
	is($status, 200, 'again: the answer may have been lost');
	($url, $id) = submit('alice');
	ended($url);
	($status, undef, $json) = $site->request(DELETE => $url, 'alice');
	is($status, 409, 'what is completed cannot be cancelled');
	shape_is($json, { success => 'boolean', message => qr/completed/, task_id => \$id }, '... and that is said');
	is_false($json->{success}, '... without success');

	# ---- limits: two videos at a time, others wait
	my @three = map { [ submit('alice', { duration => 300 }) ] } 1 .. 3;
	$site->request_until(sub { @$_ == 2 }, GET => '/video/api/v1/tasks?status=processing', 'alice');
	(undef, undef, $json) = $site->request(GET => '/video/api/v1/tasks?status=pending', 'alice');
	is_deeply([ map { [ @$_{qw(task_id message)} ] } @$json ], [ [ $three[2][1], 'Task queued' ] ], 'the third one waits');
	(undef, undef, $json) = $site->request(GET => "$three[2][0]/why", 'alice');
	shape_is($json, { task_id => 'uuid', status => \'pending', answer => 'string', stalled => 'boolean', reasons => 'array' }, '... and is asked why');
	is($json->{reasons}[0]{code}, 'kind_limit', '... because of the limit');
	$site->request(DELETE => $_->[0], 'alice') foreach @three;
	is_deeply([ map { ended($_->[0])->{status} } @three ], [ ('cancelled') x 3 ], '... all are cancelled');

	# ---- list
	(undef, undef, $json) = $site->request(GET => '/video/api/v1/tasks', 'alice');
	shape_is($json, [ \%LINE ], 'the list');
	my %message = map { $_->{status} => $_->{message} } @$json;
	is_deeply(\%message, { completed => 'Task completed successfully', failed => 'Content policy violation', cancelled => 'Task was cancelled' }, '... always with a message');
	is_deeply([ map { $_->{task_id} } @$json ], [ reverse sort map { $_->{task_id} } @$json ], '... the newest first');
	(undef, undef, my $page) = $site->request(GET => '/video/api/v1/tasks?limit=2&offset=1', 'alice');
	is_deeply([ map { $_->{task_id} } @$page ], [ map { $_->{task_id} } @$json[ 1, 2 ] ], '... in pages');
	($url, $id) = submit('amy');
	(undef, undef, $page) = $site->request(GET => '/video/api/v1/tasks?user=me', 'amy');
	is($page->[0]{task_id}, $id, '... of a user alone');
	(undef, undef, $page) = $site->request(GET => '/video/api/v1/tasks?user=me', 'alice');
	is_deeply([ grep { $_->{task_id} eq $id } @$page ], [], '... others are not in it');
	(undef, undef, $page) = $site->request(GET => '/video/api/v1/tasks', 'bob');
	is_deeply($page, [], '... another tenant has none');
	foreach my $bad ('limit=0', 'limit=x', 'offset=-1', 'status=done', 'limit=5000')
	{
		($status) = $site->request(GET => "/video/api/v1/tasks?$bad", 'alice');
		is($status, 422, "$bad: 422");
	}

	# ---- a submit that is sent again
	my $key = { 'Idempotency-Key' => "once-$gateway" };
	($url, $id) = submit('alice', {}, $key);
	is((submit('alice', {}, $key))[1], $id, 'a submit with the same Idempotency-Key is the same task');
	($status) = $site->request(POST => '/video/api/v1/videos', 'alice', { prompt => 'something else' }, $key);
	is($status, 422, '... and with something else in it refused');

	# ---- the document's clients
	my ($code, $output) = $site->client('alice', '/video', 'python3', '-c', $CLIENT);
	is($code, 0, 'a client that polls') || diag($output);
	like($output, qr{^https://cdn\.example\.com/\S+\nTask failed: .*Content policy violation.*\n404$}m, '... gets result, error and 404');

	# ---- on a host of its own
	($status) = $site->request(GET => $url =~ s/^\/video//r, 'alice', undef, { Host => 'video.example.com' });
	is($status, 200, 'on a host of its own the URLs are the document\'s');
});

is($site->sql("SELECT string_agg(name || ' ' || max_running || ' ' || retention, ', ' ORDER BY name) FROM taskq.kind WHERE category = 'video'"),
	'video.image 3 24:00:00, video.video 2 24:00:00', 'limits and retention are those of the document');
is($site->sql("SELECT max_running FROM taskq.queue WHERE name = 'video'"), 10, '... ten in all');

$site->sql_file('rest/video/video.sql');
pass('its script can be run again');

done_testing();
