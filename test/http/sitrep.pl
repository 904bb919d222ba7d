# Contract sitrep: the situation of a scheduler in one call, and by parts; what an operator and
# a user see; that it is there also when tasks are not run, or something cannot be found out.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('sitrep', contracts => ['sitrep']);
my $API = '/sitrep/api/scheduler';
my $FAMILY = 'app.notifications.tasks';

# names and types of the document's examples
my %METRICS = map { $_ => 'integer' } qw(total_tasks active_tasks completed_tasks failed_tasks pending_tasks);
$METRICS{success_rate} = 'number';
my %TASK = (task_id => 'uuid', name => 'string', status => qr/^(pending|in_progress|completed|failed|cancelled)$/, description => qr/./,
	started_at => 'time|null', completed_at => 'time|null', duration_seconds => 'number|null', error_message => 'string|null');
my %SITREP = (timestamp => 'time', degraded => 'boolean', reasons => ['string'], task_metrics => \%METRICS, recent_tasks => [ \%TASK ],
	workers => { online => 'integer', busy => 'integer', max => 'integer' });

sub submit
{
	my ($payload, %more) = @_;
	my ($status, undef, $id) = $site->rpc('task_submit', 'alice', { kind => "$FAMILY.send_notification", payload => $payload, %more });
	die "submit: $status" if $status != 200;
	return $id;
}

sub known
{
	my ($id, $word) = @_;
	return ($site->request_until(sub { $_->{status} eq $word }, GET => "$API/tasks/$id", 'alice'))[2];
}

# ---- nothing was done yet
$site->each_gateway(sub {
	my ($status, undef, $json) = $site->request(GET => "$API/metrics", 'bob');
	is_deeply($json, { (map { $_ => 0 } grep { $_ ne 'success_rate' } keys %METRICS), success_rate => 1 }, 'of no tasks there are safe numbers');
	($status, undef, $json) = $site->request(GET => "$API/sitrep", 'bob');
	is($status, 200, '... and a report');
	shape_is($json, { %SITREP, recent_tasks => [] }, '... whose shape it is');
	is_deeply($json->{recent_tasks}, [], '... without tasks');
});

$site->each_gateway(sub {
	my ($gateway) = @_;
	my ($status, $headers, $json);
	my (undef, undef, $before) = $site->request(GET => "$API/metrics", 'alice');

	# ---- metrics, recent tasks
	my $good = submit({ to => 'ops' });
	my $bad = submit({ fail => 'Database connection timeout after 30 seconds' });
	my $long = submit({ fail => 'x' x 500 });
	my $running = submit({ seconds => 60, password => 'hidden', to => 'ops' });
	my $later = submit({}, delay => '1 h');
	known($good, 'completed');
	known($bad, 'failed');
	known($long, 'failed');
	known($running, 'in_progress');
	($status, undef, $json) = $site->request(GET => "$API/sitrep", 'alice');
	is($status, 200, 'the report in one call');
	shape_is($json, \%SITREP, '... is as in the document');
	is_false($json->{degraded}, '... and nothing is degraded');
	my $metrics = $json->{task_metrics};
	is_deeply([ map { $metrics->{$_} - $before->{$_} } qw(active_tasks completed_tasks failed_tasks pending_tasks total_tasks) ], [ 1, 1, 2, 1, 5 ], '... each task is counted');
	is($metrics->{success_rate}, 0 + sprintf('%.2f', $metrics->{completed_tasks} / ($metrics->{completed_tasks} + $metrics->{failed_tasks})), '... and the success rate');
	my %task = map { $_->{task_id} => $_ } @{ $json->{recent_tasks} };
	shape_is($task{$good}, { %TASK, name => \'Send Notification', status => \'completed', description => \'Task completed successfully', started_at => 'time',
		completed_at => 'time', duration_seconds => 'number', error_message => 'null' }, 'a completed task');
	shape_is($task{$bad}, { %TASK, status => \'failed', description => \'Task failed: Database connection timeout after 30 seconds', started_at => 'time',
		completed_at => 'time', duration_seconds => 'number', error_message => \'Database connection timeout after 30 seconds' }, 'a failed one');
	is(length $task{$long}{error_message}, 200, 'errors are cut at 200 characters');
	like($task{$running}{description}, qr/^Running on worker-\d+: .*"to": "ops"/, 'an active one has worker and arguments');
	unlike($task{$running}{description}, qr/hidden/, '... without what is secret');
	shape_is($task{$running}, { %TASK, status => \'in_progress', started_at => 'time', completed_at => 'null', duration_seconds => 'null', error_message => 'null' }, '... and has no end');
	ok(!$task{$later}, 'what waits is not recent');
	my @ended = grep { defined } map { $_->{completed_at} } @{ $json->{recent_tasks} };
	is_deeply(\@ended, [ reverse sort @ended ], 'the last to end is the first');
	($status, undef, $json) = $site->request(GET => "$API/tasks/recent?limit=2", 'alice');
	shape_is($json, [ \%TASK ], 'recent tasks by themselves');
	is(scalar @$json, 2, '... so many');
	(undef, undef, $json) = $site->request(GET => "$API/metrics", 'alice');
	shape_is($json, \%METRICS, 'metrics by themselves');

	# ---- who sees what
	($status) = $site->request(GET => "$API/sitrep");
	is($status, 401, 'without a token: 401');
	(undef, undef, $json) = $site->request(GET => "$API/sitrep", 'bob');
	is_deeply([ $json->{task_metrics}{total_tasks}, $json->{recent_tasks} ], [ 0, [] ], 'another tenant has its own');
	(undef, undef, $json) = $site->request(GET => "$API/metrics", 'operator');
	is_deeply([ grep { $json->{$_} < $metrics->{$_} } grep { $_ ne 'success_rate' } keys %METRICS ], [], 'an operator has all');
	($status) = $site->request(POST => "$API/sitrep", 'alice', {});
	is($status, 405, 'nothing is changed here');

	# ---- details, pages, families
	($status, undef, $json) = $site->request(GET => "$API/tasks/$running", 'alice');
	shape_is($json, { %TASK, task => \"$FAMILY.send_notification", queue => 'string', kwargs => { seconds => 'integer', password => \'***', to => 'string' }, worker => 'string',
		attempt => 'integer', max_attempts => 'integer', retry_of => 'null', attempts => [ { attempt => 'integer', status => 'string', worker => 'string|null',
		started_at => 'time', completed_at => 'time|null', error_message => 'string|null' } ] }, 'a task in detail, secrets masked');
	foreach my $none ('550e8400-e29b-41d4-a716-446655440000', 'abc', $running)
	{
		($status) = $site->request(GET => "$API/tasks/$none", $none eq $running ? 'bob' : 'alice');
		is($status, 404, "task $none: 404");
	}
	(undef, undef, $json) = $site->request(GET => "$API/tasks?family=$FAMILY.&status=failed&limit=1", 'alice');
	shape_is($json, { tasks => [ \%TASK ], next => \$json->{tasks}[0]{task_id} }, 'a page of a family');
	is($json->{tasks}[0]{task_id}, $long, '... the newest first');
	(undef, undef, $json) = $site->request(GET => "$API/tasks?family=$FAMILY.&status=failed&limit=1&after=$json->{next}", 'alice');
	is($json->{tasks}[0]{task_id}, $bad, '... and the next');
	(undef, undef, $json) = $site->request(GET => "$API/tasks?family=is.nothing", 'alice');
	is_deeply($json, { tasks => [], next => undef }, 'a family that is none');
	($status) = $site->request(GET => "$API/tasks?status=odd", 'alice');
	is($status, 422, 'no such status: 422');

	# ---- inspect
	(undef, undef, $json) = $site->request(GET => "$API/inspect/active", 'alice');
	is_deeply([ map { $_->{id} } map { @$_ } values %$json ], [$running], 'active, by worker');
	shape_is((values %$json)[0][0], { id => 'uuid', name => 'string', kwargs => { seconds => 'any', password => \'***', to => 'any' }, time_start => 'time', eta => 'null' }, '... with its arguments');
	(undef, undef, $json) = $site->request(GET => "$API/inspect/scheduled", 'alice');
	ok((grep { $_->{id} eq $later && $_->{eta} } map { @$_ } values %$json), 'scheduled, with the time');
	(undef, undef, $json) = $site->request(GET => "$API/inspect/reserved", 'alice');
	is(ref $json, 'HASH', 'reserved');
	(undef, undef, $json) = $site->request(GET => "$API/inspect/stats", 'operator');
	shape_is($json, { '*' => { pid => 'integer|null', state => 'string', total => 'integer', completed => 'integer', failed => 'integer', success_rate => 'number|null',
		average_seconds => 'number|null', uptime => 'integer', last_heartbeat => 'time' } }, 'statistics of workers');
	isnt(scalar keys %$json, 0, '... of those that are there');

	# ---- schedules
	(undef, undef, $json) = $site->request(GET => "$API/schedules", 'operator');
	shape_is($json, [ { name => 'string', task => 'string', every_seconds => 'integer|null', cron => 'string|null', enabled => 'boolean', last_run => 'time|null',
		next_run => 'time', runs => 'integer', error_message => 'null' } ], 'periodic tasks');
	my %next = map { $_->{task} =~ s/.*\.//r => [ $_->{every_seconds}, $_->{next_run} ] } @$json;
	is($next{periodic_health_check}[0], 900, '... each quarter of an hour');
	is($next{run_contingency_analysis}[0], 86400, '... each day');
	like($next{run_contingency_analysis}[1], qr/T02:00:00Z$/, '... at two');
	like($next{generate_utilization_forecast}[1], qr/T06:00:00Z$/, '... at six');
	is($site->sql("SELECT to_char(timestamptz '$next{precompute_fallback_schedules}[1]' AT TIME ZONE 'UTC', 'FMDay HH24')"), 'Sunday 03', '... on Sunday at three');

	# ---- n8n, Slack
	my ($code, $text) = $site->client('alice', $API, 'sh', '-c',
		q{curl -sS -H "Authorization: Bearer $TOKEN" "$BASE_URL/sitrep" | jq -r '"\(.task_metrics.failed_tasks) failed: \([.recent_tasks[] | select(.status == "failed") | .error_message] | map(.[0:8]) | unique | join(", "))"'});
	like($text, qr/^\d+ failed: Database, xxxxxxxx$/, 'a workflow reads it with curl and jq');
	(undef, undef, $json) = $site->request(GET => "$API/sitrep/slack", 'alice');
	shape_is($json, { text => qr/^\*All is well\.\* \d+ tasks: .*\n- Send Notification: x{200}/s }, 'a message for Slack');

	# ---- when tasks are not run
	$site->sql(q{SELECT taskq.pause('maintenance')});
	($status, undef, $json) = $site->request(GET => "$API/sitrep", 'operator');
	shape_is($json, \%SITREP, 'paused: the report is there');
	is_true($json->{degraded}, '... says that it is degraded');
	like($json->{reasons}[0], qr/maintenance/, '... and why');
	$site->sql('SELECT taskq.resume()');
	$site->sql('ALTER FUNCTION taskq.task_metrics(int) RENAME TO task_metrics_gone');
	($status, undef, $json) = $site->request(GET => "$API/sitrep", 'alice');
	is($status, 200, 'something that does not work: the report is there');
	shape_is($json, \%SITREP, '... with what there is');
	is_deeply([ @{ $json->{task_metrics} }{qw(total_tasks success_rate)}, $json->{reasons} ], [ 0, 1, ['Metrics could not be read.'] ], '... and safe defaults, which it says');
	$site->sql('ALTER FUNCTION taskq.task_metrics_gone(int) RENAME TO task_metrics');

	# ---- on a host of its own
	($status) = $site->request(GET => '/api/scheduler/sitrep', 'alice', undef, { Host => 'sitrep.example.com' });
	is($status, 200, 'on a host of its own the URL is the document\'s');
	$site->rpc('task_cancel', 'alice', { id => $_ }) foreach $running, $later;
});

$site->sql_file('rest/sitrep/sitrep.sql');
pass('its script can be run again');

done_testing();
