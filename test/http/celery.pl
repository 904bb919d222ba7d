# The contract of examples/rest/celery: names and types of its JSON, then the guide's own
# clients, unchanged but for host, token and how long they sleep.

use strict;
use warnings;

use Http;
use TaskqTest;
use Test::More;

my $site = http_site('celery', contracts => ['celery']);
$site->sql(q{SELECT auth.account_set('operator@example.com', 'YourPassword', 'web_user', 'acme')});
$site->sql_file('rest/celery/celery.sql');    # again
# a task takes as long as its parameters say: what has to run until it is cancelled does
$site->sql(q{CREATE OR REPLACE FUNCTION celery_app.work(p jsonb, seconds float8 DEFAULT 0.2) RETURNS void
	LANGUAGE sql AS $$ SELECT pg_sleep(coalesce((p #>> '{parameters,seconds_per_step}')::float8, seconds)) $$});

my $api = '/celery/api/v1';
my %PENDING = (task_id => 'uuid', state => 'string', ready => 'boolean', successful => 'null', info => 'null');
my %STARTED = (
	%PENDING,
	info => { current => 'integer', total => 'integer', status => 'string' },
	progress => { percent => 'integer', message => 'string' });
my %SUCCESS = (
	task_id => 'uuid', state => \'SUCCESS', ready => 'boolean', successful => 'boolean', completed_at => 'time',
	result => { deployment_id => 'integer', status => 'string', deployed_assets => ['integer'], deployment_time => 'time' });
my %FAILURE = (
	task_id => 'uuid', state => \'FAILURE', ready => 'boolean', successful => 'boolean', error => 'string', traceback => 'string',
	failed_at => 'time');

sub deploy
{
	my ($who, %body) = @_;
	my ($status, $headers, $json) =
	  $site->request(POST => "$api/deployments", $who, { patch_id => 123, asset_ids => [456], strategy => 'canary', %body });
	return $json->{task_id} // die "no task: $status";
}

sub state_of
{
	my ($id, $state) = @_;
	return ($site->request_until(sub { $_->{state} =~ /^(?:$state)$/ }, GET => "$api/tasks/$id", 'alice'))[2];
}

# The guide's shell scripts need bash, curl and jq; they run as they stand there.
my $workflow = q{
RESPONSE=$(curl -s -X POST "$BASE_URL/api/v1/deployments" \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "patch_id": 123,
    "asset_ids": [456, 457, 458],
    "strategy": "canary",
    "parameters": {
      "canary_percentage": 10,
      "monitoring_duration_seconds": 300
    }
  }')
TASK_ID=$(echo $RESPONSE | jq -r '.task_id')
while true; do
  STATUS=$(curl -s "$BASE_URL/api/v1/tasks/$TASK_ID" \
    -H "Authorization: Bearer $TOKEN")
  STATE=$(echo $STATUS | jq -r '.state')
  READY=$(echo $STATUS | jq -r '.ready')
  echo "   Status: $STATE"
  if [ "$READY" = "true" ]; then
    SUCCESSFUL=$(echo $STATUS | jq -r '.successful')
    if [ "$SUCCESSFUL" = "true" ]; then
      echo "Deployment completed successfully!"
      echo $STATUS | jq '.result'
      exit 0
    else
      echo "Deployment failed!"
      echo $STATUS | jq '.error'
      exit 1
    fi
  fi
  PROGRESS=$(echo $STATUS | jq -r '.progress.message // empty')
  if [ -n "$PROGRESS" ]; then
    echo "   Progress: $PROGRESS"
  fi
  sleep 0.05
done
};
my $scan = q{
RESPONSE=$(curl -s -X POST "$BASE_URL/api/v1/vulnerabilities/scan" \
  -H "Authorization: Bearer $TOKEN" \
  -H "Content-Type: application/json" \
  -d '{
    "asset_ids": [456],
    "scanner": "wazuh",
    "scan_type": "full"
  }')
TASK_ID=$(echo $RESPONSE | jq -r '.task_id')
TIMEOUT=3600
ELAPSED=0
while [ $ELAPSED -lt $TIMEOUT ]; do
  STATUS=$(curl -s "$BASE_URL/api/v1/tasks/$TASK_ID" \
    -H "Authorization: Bearer $TOKEN")
  READY=$(echo $STATUS | jq -r '.ready')
  if [ "$READY" = "true" ]; then
    SUCCESSFUL=$(echo $STATUS | jq -r '.successful')
    if [ "$SUCCESSFUL" = "true" ]; then
      VULNS=$(curl -s "$BASE_URL/api/v1/vulnerabilities?asset_id=456&limit=100" \
        -H "Authorization: Bearer $TOKEN")
      CRITICAL=$(echo $VULNS | jq '[.[] | select(.severity=="CRITICAL")] | length')
      HIGH=$(echo $VULNS | jq '[.[] | select(.severity=="HIGH")] | length')
      MEDIUM=$(echo $VULNS | jq '[.[] | select(.severity=="MEDIUM")] | length')
      echo "$CRITICAL $HIGH $MEDIUM"
      exit 0
    else
      echo $STATUS | jq '.error'
      exit 1
    fi
  fi
  sleep 0.05
  ELAPSED=$((ELAPSED + 1))
done
exit 2
};
my $cancel = q{
STATUS=$(curl -s "$BASE_URL/api/v1/tasks/$TASK_ID" -H "Authorization: Bearer $TOKEN")
READY=$(echo $STATUS | jq -r '.ready')
if [ "$READY" = "true" ]; then
  echo "Task is already complete, no need to cancel"
  exit 0
fi
CANCEL_RESPONSE=$(curl -s -X DELETE "$BASE_URL/api/v1/tasks/$TASK_ID" \
  -H "Authorization: Bearer $TOKEN")
CANCELLED=$(echo $CANCEL_RESPONSE | jq -r '.cancelled')
if [ "$CANCELLED" = "true" ]; then
  echo "Task cancelled successfully"
else
  echo "Graceful cancellation failed"
  curl -s -X DELETE "$BASE_URL/api/v1/tasks/$TASK_ID?terminate=true" \
    -H "Authorization: Bearer $TOKEN" | jq
  echo "Task forcefully terminated - check for side effects"
fi
};
my $dashboard = q{
  TASKS=$(curl -s "$BASE_URL/api/v1/tasks?limit=50" \
    -H "Authorization: Bearer $TOKEN")
  ACTIVE=$(echo $TASKS | jq '[.tasks[] | select(.state=="ACTIVE")] | length')
  SCHEDULED=$(echo $TASKS | jq '[.tasks[] | select(.state=="SCHEDULED")] | length')
  echo "$ACTIVE $SCHEDULED"
  if [ "$ACTIVE" -gt 0 ]; then
    echo $TASKS | jq -r '.tasks[] | select(.state=="ACTIVE") | "\(.task_id | .[0:12])... - \(.name | split(".") | .[-1]) - \(.worker)"'
  fi
};
my $python = q{
import json, os, sys, time, urllib.request

def call(method, path, body=None):
    request = urllib.request.Request(os.environ['BASE_URL'] + path, method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={'Authorization': 'Bearer ' + os.environ['TOKEN'], 'Content-Type': 'application/json'})
    return json.load(urllib.request.urlopen(request))

def get_task_status(task_id):
    return call('GET', '/api/v1/tasks/' + task_id)

def trigger_deployment(patch_id, asset_ids):
    return call('POST', '/api/v1/deployments', {'patch_id': patch_id, 'asset_ids': asset_ids, 'strategy': 'rolling'})

def wait_for_task(task_id, interval=10, timeout=3600):
    start_time = time.time()
    backoff = interval
    while time.time() - start_time < timeout:
        status = get_task_status(task_id)
        if status['ready']:
            return status
        time.sleep(backoff)
        backoff = min(backoff * 1.5, 60)
    raise TimeoutError(f"Task {task_id} did not complete in {timeout}s")

def deploy_with_error_handling(patch_id, asset_ids):
    response = trigger_deployment(patch_id, asset_ids)
    task_id = response['task_id']
    result = wait_for_task(task_id, interval=0.05, timeout=60)
    if result['successful']:
        return 'successful: ' + result['result']['status']
    return 'failed: ' + result.get('error', 'Unknown error')

print(deploy_with_error_handling(123, [456]))
print(deploy_with_error_handling(123, [456, 500]))
};

$site->each_gateway(sub {
	# the quick start
	my ($status, $headers, $json) = $site->request(POST => "$api/auth/login", undef, { email => 'operator@example.com', password => 'YourPassword' });
	is($status, 200, 'log in');
	shape_is($json, { access_token => 'string', token_type => \'bearer', expires_in => 'integer' }, '... gives a token');
	my $token = { token => $json->{access_token} };
	($status, $headers, $json) = $site->request(POST => "$api/deployments", $token, { patch_id => 123, asset_ids => [456], strategy => 'canary' });
	my $id = $json->{task_id};
	is($status, 202, 'a deployment is a task');
	is($headers->{location}, "/celery/api/v1/tasks/$id", '... that has a URL');
	($status) = $site->request(GET => "$api/tasks/$id", $token);
	is($status, 200, '... where it is found with the token');
	($status, undef, $json) = $site->request(POST => "$api/auth/login", undef, { email => 'operator@example.com', password => 'wrong' });
	is_deeply([ $status, $json ], [ 401, { detail => 'Incorrect email or password' } ], 'a wrong password: 401');

	# a task in each of its states
	shape_is(state_of($id, 'SUCCESS'), \%SUCCESS, 'SUCCESS, with all of its members');
	$id = deploy('alice', asset_ids => [ 456 .. 465 ], parameters => { seconds_per_step => 600 });
	my $started = ($site->request_until(sub { $_->{progress} }, GET => "$api/tasks/$id", 'alice'))[2];
	shape_is($started, \%STARTED, 'STARTED, with progress');
	like($started->{info}{status}, qr/^Deploying to asset-prod-web-\d\d$/, '... says what it does');
	like($started->{progress}{message}, qr/^Deploying to \d of 10 assets$/, '... and how far it is');
	is($started->{info}{total}, 10, '... of how much');

	# the list
	$site->sql(q{SELECT taskq.kind_define('services.vulnerability_scanner.tasks.later', 'celery_app.scan_asset(jsonb)', run_as => 'app_runner');
		SELECT taskq.kind_grant('services.vulnerability_scanner.tasks.later', 'web_user')});
	my $due = ($site->rpc('task_submit', 'alice', { kind => 'services.vulnerability_scanner.tasks.later', payload => { asset_ids => [456] }, delay => '1 hour' }))[2];
	($status, undef, my $list) = $site->request(GET => "$api/tasks?limit=20", 'alice');
	shape_is($list, { tasks => ['object'], count => 'integer', limit => 'integer' }, 'the list');
	my ($active) = grep { $_->{task_id} eq $id } @{ $list->{tasks} };
	shape_is($active, { task_id => 'uuid', name => 'string', state => \'ACTIVE', worker => 'string', started_at => 'time' }, '... has what runs');
	is($active->{name}, 'services.deployment_orchestrator.tasks.deploy_patch', '... by its name');
	my ($later) = grep { $_->{task_id} eq $due } @{ $list->{tasks} };
	shape_is($later, { task_id => 'uuid', name => 'string', state => \'SCHEDULED', worker => 'null', eta => 'time' }, '... and what is due later, which no worker has');
	is($list->{count}, scalar @{ $list->{tasks} }, '... counted');
	is(($site->request(GET => "$api/tasks?limit=1", 'alice'))[2]{count}, 1, '... and limited');
	is_deeply(($site->request(GET => "$api/tasks", 'bob'))[2]{tasks}, [], '... by whose it is');
	my ($code, $out) = $site->client('alice', '/celery', 'bash', '-c', $dashboard);
	like($out, qr/^1 1\n\S{12}\.\.\. - deploy_patch - \S+\n$/, 'the dashboard');

	# cancel
	($status, undef, $json) = $site->request(DELETE => "$api/tasks/$id", 'alice');
	shape_is($json, { task_id => \$id, cancelled => 'boolean', terminated => 'boolean', message => \'Task cancellation requested' }, 'cancel');
	is_true($json->{cancelled}, '... is true');
	is_false($json->{terminated}, '... gracefully');
	$json = state_of($id, 'REVOKED');
	is_true($json->{ready}, 'REVOKED is final');
	is_false($json->{successful}, '... and no success');
	$site->request(DELETE => "$api/tasks/$due", 'alice');
	$id = deploy('alice');
	state_of($id, 'SUCCESS');
	($status, undef, $json) = $site->request(DELETE => "$api/tasks/$id", 'alice');
	shape_is($json, { task_id => \$id, cancelled => 'boolean', message => \'Task already completed with state: SUCCESS' }, 'cancel, too late');
	is_false($json->{cancelled}, '... is false');
	($status, undef, $json) = $site->request(POST => "$api/deployments/rollback", 'alice', { deployment_id => 789, parameters => { seconds_per_step => 600 } });
	my $rollback = $json->{task_id};
	state_of($rollback, 'STARTED');
	($status, undef, $json) = $site->request(DELETE => "$api/tasks/$rollback", 'alice');
	is_deeply([ $status, !!$json->{cancelled} ], [ 409, !!0 ], 'a rollback is not cancelled');
	{
		local $ENV{TASK_ID} = $rollback;
		expect_terminated($site->{node}, 'worker');
		($code, $out) = $site->client('alice', '/celery', 'bash', '-c', $cancel);
		like($out, qr/Graceful cancellation failed.*"cancelled": true.*"terminated": true.*forcefully terminated/s, '... but by force, as the guide\'s script does');
		state_of($rollback, 'REVOKED');
		($code, $out) = $site->client('alice', '/celery', 'bash', '-c', $cancel);
		like($out, qr/already complete/, '... and then it is complete');
	}

	# failures
	my $failed = state_of(deploy('alice', asset_ids => [500]), 'FAILURE');
	shape_is($failed, \%FAILURE, 'FAILURE, with all of its members');
	is($failed->{error}, 'Failed to connect to asset: Connection timeout', '... the error');
	like($failed->{traceback}, qr/celery_app\.deploy_patch/, '... and where it was');
	is_false($failed->{successful}, '... is no success');
	is(state_of(deploy('alice', patch_id => 99), 'FAILURE')->{error}, 'Patch not found', 'a patch that is none fails at once');
	$id = deploy('alice', parameters => { fail_first => 1 });
	shape_is(state_of($id, 'RETRY'), \%PENDING, 'RETRY, while it is to be tried again');
	state_of($id, 'SUCCESS');
	pass('... and then it succeeds');
	configure($site->{node}, 'taskq.max_workers' => 0);
	$id = deploy('alice');
	shape_is(state_of($id, 'PENDING'), \%PENDING, 'PENDING');
	($json) = grep { $_->{task_id} eq $id } @{ ($site->request(GET => "$api/tasks", 'alice'))[2]{tasks} };
	shape_is($json, { task_id => \$id, name => 'string', state => \'RESERVED', worker => 'null' }, 'what waits is listed as reserved');
	configure($site->{node}, 'taskq.max_workers' => 4);
	state_of($id, 'SUCCESS');

	# what is not there, or wrong
	foreach my $none ('abc-123-def-456', '01a1fe00-0000-7000-8000-000000000000', 'x')
	{
		foreach my $method ('GET', 'DELETE')
		{
			($status, undef, $json) = $site->request($method => "$api/tasks/$none", 'alice');
			is_deeply([ $status, $json ], [ 404, { detail => 'Task not found' } ], "$method of $none: 404");
		}
	}
	is(($site->request(GET => "$api/tasks/$id", 'bob'))[0], 404, 'another tenant\'s task: 404');
	is(($site->request(DELETE => "$api/tasks/$id", 'bob'))[0], 404, '... also to cancel');
	is(($site->request(GET => "$api/tasks/$id"))[0], 401, 'without a token: 401');
	is(($site->request(POST => "$api/deployments", undef, {}))[0], 401, '... also to submit');
	foreach my $body ({}, { patch_id => 'x', asset_ids => [1] }, { patch_id => 1, asset_ids => [] }, { patch_id => 1, asset_ids => ['a'] }, [ 1 ])
	{
		($status, undef, $json) = $site->request(POST => "$api/deployments", 'alice', $body);
		is_deeply([ $status, [ keys %$json ] ], [ 422, ['detail'] ], 'a deployment of nothing: 422') if ref $body eq 'HASH';
		like($status, qr/^4/, 'a body that is no object is refused') if ref $body ne 'HASH';
	}

	# the application's own
	($code, $out) = $site->client('alice', '/celery', 'bash', '-c', $scan);
	is_deeply([ $code, $out ], [ 0, "1 2 1\n" ], 'workflow: scan, wait, and count what was found');
	shape_is(($site->request(GET => "$api/vulnerabilities?asset_id=456&severity=high", 'alice'))[2],
		[ { id => 'integer', asset_id => \456, cve => 'string', title => 'string', severity => \'HIGH', found_at => 'time' } ], 'vulnerabilities');
	shape_is(($site->request(GET => "$api/patches/123", 'alice'))[2], { id => \123, name => 'string', vulnerability_id => 'integer' }, 'a patch');
	shape_is(($site->request(GET => "$api/assets/456", 'alice'))[2], { id => \456, name => 'string', reachable => 'boolean' }, 'an asset');
	is(($site->request(GET => "$api/assets/1", 'alice'))[0], 404, '... that there is none');
	($status, undef, $json) = $site->request(POST => "$api/patches/generate", 'alice', { vulnerability_id => 1, parameters => { seconds_per_step => 0 } });
	$json = state_of($json->{task_id}, 'SUCCESS');
	shape_is($json->{result}, { patch_id => 'integer', status => 'string' }, 'a patch is generated');

	# the guide's other clients
	($code, $out) = $site->client('alice', '/celery', 'bash', '-c', $workflow);
	is($code, 0, 'workflow: deploy and monitor');
	like($out, qr/Status: STARTED\n   Progress: Deploying to \d of 3 assets.*Deployment completed successfully!.*"deployed_assets": \[\s*456,\s*457,\s*458/s, '... sees it all');
	($code, $out) = $site->client('alice', '/celery', 'python3', '-c', $python);
	is($out, "successful: deployed\nfailed: Failed to connect to asset: Connection timeout\n", 'the guide\'s Python waits and sees failures');
	($status, undef, $json) = $site->request(GET => '/celery/docs', 'alice');
	ok(exists $json->{paths}{'/rpc/status'} && !exists $json->{paths}{'/rpc/deploy_patch'}, 'documentation of what there is');
});

done_testing();
