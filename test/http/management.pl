# Contract "management": every URL of the document, its JSON by names and types, its workflows as
# its own client goes through them, its errors; and that tenants have their own.

use strict;
use warnings;

use Http;
use TaskqTest qw(expect_terminated);
use Test::More;

my $BINARY = 'a1b2c3d4-e5f6-7890-abcd-ef1234567890';
my $OTHER = 'c3d4e5f6-0718-9012-cdef-3456789012bc';

my $site = http_site('management', contracts => ['management']);
# a kind that refuses to be cancelled
$site->sql(q{
	SET ROLE app_owner;
	SELECT taskq.kind_define('stubborn', 'management_app.analyze(jsonb)', run_as => 'app_runner', cancellable => false, max_attempts => 1),
		taskq.kind_grant('stubborn', 'web_user', 'submit');
});
my $who;                        # of a tenant that is new for each gateway

# ---- names and types

my $time = 'time|null';
my %task = (
	id => 'uuid', task_type => 'string', status => qr/^(queued|running|completed|failed|cancelled)$/, progress => 'number',
	binary_id => 'string|null', binary_name => 'string|null', created_at => 'time', started_at => $time, priority => 'integer',
	assigned_worker => 'string|null', current_step => 'string|null', total_steps => 'integer|null', completed_steps => 'integer|null',
	failed_steps => 'integer', retry_of => 'uuid|null');
my $error = { success => 'boolean', data => 'null', message => 'string', timestamp => 'time',
	error => { status => 'integer', code => 'string', details => 'string|null', hint => 'string|null' } };
my $clock = qr/^\d\d+:\d\d:\d\d$/;
my $words = qr/^-?\d+(\.\d+)? (ms|seconds?|minutes?|hours?|days?)( \d+ minutes?)?$/;
my $size = qr/^\d+(\.\d)?(KB|MB|GB)$/;
my %shape = (
	list => {
		tasks => [ { %task, updated_at => 'time', estimated_completion => $time, queue_position => 'integer|null', metadata => 'object' } ],
		pagination => { page => 'integer', per_page => 'integer', total => 'integer', pages => 'integer', has_next => 'boolean', has_prev => 'boolean',
			total_exact => 'boolean', next_after => 'uuid|null' },
		summary => {
			total_tasks => 'integer',
			by_status => { map { ($_ => 'integer') } qw(queued running completed failed cancelled) },
			by_type => { (map { ($_ => 'integer') } qw(analyze decompile ai_explain security_scan fuzzing)), '*' => 'integer' },
			active_workers => 'integer', queue_length => 'integer', average_completion_time => 'string|null' } },
	status => {
		task => { %task, updated_at => 'time', estimated_completion => $time, actual_completion => $time, duration => 'string|null',
			estimated_remaining => 'string|null', queue_position => 'integer|null', error => 'string|null', cancellation_reason => 'string|null' },
		progress_details => { phase => 'string|null', phase_progress => 'number', current_operation => 'string|null', operations_completed => 'integer|null',
			operations_total => 'integer|null', operations_failed => 'integer',
			failure_details => [ { step => 'string', error => 'string', function_name => 'string', timestamp => 'time' } ] },
		performance_metrics => { cpu_usage => 'number|null', memory_usage => 'string|null', average_processing_time => 'number|null',
			throughput => 'string|null', efficiency_score => 'number|null' },
		resource_usage => { worker_node => 'string|null', cpu_cores => 'integer|null', memory_allocated => 'string|null', disk_usage => 'string|null',
			network_usage => 'null' } },
	details => {
		task => { %task, completed_at => $time, duration => 'string|null', success_rate => 'number|null', error => 'string|null', cancellation_reason => 'string|null' },
		results => 'object',
		logs => [ { timestamp => 'time', level => qr/^(DEBUG|INFO|WARNING|ERROR)$/, message => 'string', details => 'object' } ],
		configuration => { max_retries => 'integer', '*' => 'any' } },
	cancel => {
		task => { id => 'uuid', status => \'cancelled', cancelled_at => 'time', cancellation_reason => 'string|null' },
		cleanup_actions => ['string'],
		partial_results => { functions_completed => 'integer', functions_remaining => 'integer', progress_saved => 'boolean' } },
	retry => {
		original_task => { id => 'uuid', status => qr/^(failed|cancelled)$/, failed_at => 'time' },
		new_task => { id => 'uuid', status => \'queued', created_at => 'time', priority => 'integer', retry_of => 'uuid' },
		retry_configuration => { retry_failed_steps_only => 'boolean', timeout_increased => 'string|null', priority_changed => 'string|null',
			use_different_worker => 'boolean', steps_to_retry => 'integer|null' } },
	priority => {
		task => { id => 'uuid', old_priority => 'integer', new_priority => 'integer', old_queue_position => 'integer|null', new_queue_position => 'integer|null',
			updated_at => 'time' },
		impact => { queue_position_change => 'integer|null', estimated_delay_reduction => 'string|null' } },
	workers => {
		workers => [ {
			id => 'string', status => qr/^(active|idle|offline)$/, last_heartbeat => $time, current_task => 'object|null', capabilities => ['string'],
			performance => { cpu_usage => 'number|null', memory_usage => 'string|null', tasks_completed => 'integer|null', average_task_time => 'string|null',
				success_rate => 'number|null' },
			configuration => { max_concurrent_tasks => 'integer', supported_types => ['string'], memory_limit => 'string|null', timeout_default => 'number|null' } } ],
		cluster_summary => { (map { ($_ => 'integer') } qw(total_workers active_workers idle_workers offline_workers total_capacity current_utilization)),
			utilization_percentage => 'number|null' } },
	queue => {
		queue => [ { id => 'uuid', task_type => 'string', priority => 'integer', queue_position => 'integer', binary_name => 'string|null', created_at => 'time',
			estimated_start => $time, estimated_completion => $time, estimated_duration => 'string|null', required_worker_type => 'string' } ],
		queue_summary => { total_queued => 'integer', by_priority => { '*' => 'integer' }, by_type => { '*' => 'integer' },
			estimated_queue_duration => 'string|null', next_available_slot => $time } },
	clear => { cleared_tasks => 'integer', affected_task_types => ['string'], running_tasks_preserved => 'integer', cleared_task_ids => ['uuid'] },
	bulk => { action => 'string', total_tasks => 'integer', successful_actions => 'integer', failed_actions => 'integer',
		results => [ { task_id => 'string', status => 'string|null', success => 'boolean', 'error?' => 'string', 'new_task_id?' => 'uuid' } ] },
	templates => { templates => [ { id => 'string', name => 'string', description => 'string', estimated_duration => 'string|null',
		task_sequence => [ { type => 'string', name => 'string', priority => 'integer', config => 'object', 'depends_on?' => ['string'] } ] } ] });

sub statistics_shape
{
	my ($by) = @_;
	return { timeframe => 'string', group_by => 'string',
		summary => { (map { ($_ => 'integer') } qw(total_tasks completed_tasks failed_tasks cancelled_tasks active_tasks)), success_rate => 'number',
			average_completion_time => 'string|null', total_processing_time => 'string|null' },
		"by_$by" => { '*' => { (map { ($_ => 'integer') } qw(total completed failed cancelled active)), success_rate => 'number|null', average_time => 'string|null' } },
		performance_trends => { (map { ($_ => 'string|null') } qw(completion_time_trend success_rate_trend queue_length_trend)), worker_utilization => 'number|null' },
		resource_usage => { average_cpu_usage => 'number|null', average_memory_usage => 'string|null', peak_memory_usage => 'string|null', total_disk_usage => 'string|null' } };
}

# ---- requests

sub api
{
	my ($method, $path, $body, $caller, $headers) = @_;
	return $site->request($method, "/management/api$path", $caller // $who, $body, $headers);
}

# What is in the envelope of a request that is done.
sub data
{
	my ($what, $method, $path, $body, $caller) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, undef, $json) = api($method, $path, $body, $caller);
	my @wrong = $status == 200 ? shape_faults($json, { success => 'boolean', data => ref $what ? $what : $shape{$what}, message => 'string', timestamp => 'time' }) : ("status $status");
	push @wrong, 'success is false' if !@wrong && !$json->{success};
	ok(!@wrong, "$method $path") || diag(join("\n", @wrong), "\n", explain $json);
	return $json->{data};
}

sub refused
{
	my ($expected, $method, $path, $body, $caller) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($status, undef, $json) = api($method, $path, $body, $caller);
	my @wrong = ($status == $expected ? () : "status $status, not $expected", shape_faults($json, $error));
	push @wrong, 'success is true' if !@wrong && $json->{success};
	ok(!@wrong, "$method $path is refused: " . (ref $json ? $json->{message} : 'no JSON')) || diag(join("\n", @wrong), "\n", explain $json);
	return $json;
}

sub start
{
	my ($verb, $body, $binary) = @_;
	my $task = data({ task => \%task }, POST => '/binaries/' . ($binary // $BINARY) . "/$verb", $body)->{task};
	return $task->{id};
}

sub fuzz
{
	my ($priority, $caller) = @_;
	my (undef, undef, $id) = $site->rpc('task_submit', $caller // $who, { kind => 'fuzzing', payload => { binary_id => $OTHER }, defined $priority ? (priority => $priority) : () });
	return $id;
}

sub until_status
{
	my ($id, $status) = @_;
	my (undef, undef, $json) = $site->request_until(sub { $_->{data}{task}{status} eq $status }, GET => "/management/api/tasks/$id/status", $who);
	return $json->{data};
}

# ---- what the document describes

sub workflow
{
	my $client = 'test/http/management_client.py';
	local $ENV{POLL} = '0.05';
	my ($code, $out) = $site->client($who, '/management/api', '/usr/bin/python3', -e $client ? $client : (grep { -e } map { "$_/management_client.py" } @INC)[0]);
	is($code, 0, 'the client\'s program succeeds') || diag($out);
	like($out, qr/^queued: 0, duration: 0 minutes\ntotal tasks: 0, completed: 0, failed: 0\nsuccess rate: 0.0%, average time: None$/m, '... shows that nothing is there');
	is(scalar(() = $out =~ /: completed - 100.0%/g), 4, '... goes four steps');
	like($out, qr/^total tasks: 4, completed: 4, failed: 0\nsuccess rate: 100.0%, average time: \S+ \w+$/m, '... shows what was done');
	like($out, qr/^raised TypeError$/m, '... stumbles, as the document\'s does, over a time without zone');
	like($out, qr/^cleaned up 4: 200\ncleaned$/m, '... and cleans up');
	is(data(list => GET => '/tasks')->{pagination}{total}, 0, '... so that nothing is left');
	is($site->sql("SELECT count(*) FROM management_app.function WHERE binary_id = '$BINARY' AND explanation IS NOT NULL"), 41, 'its functions are decompiled and explained');
	ok($site->sql("SELECT count(*) FROM management_app.finding WHERE binary_id = '$BINARY'") > 0, '... and scanned');
	return;
}

sub one_task
{
	my $id = start('decompile-all');
	my $data = until_status($id, 'completed');
	shape_is($data, $shape{status}, 'the status of a task that is through');
	is_deeply([ @{ $data->{task} }{qw(task_type progress total_steps completed_steps failed_steps binary_name)} ], [ 'bulk_decompile', 100, 42, 41, 1, 'example.exe' ], '... says how far it came');
	is($data->{progress_details}{failure_details}[0]{step}, 'decompile_corrupted_function', '... and what failed');
	like($data->{task}{duration}, $clock, '... how long it took');
	$data = data(details => GET => "/tasks/$id");
	is($data->{task}{success_rate}, 97.6, 'success_rate is that of the steps');
	is($data->{results}{functions_decompiled}, 41, 'results are the task\'s');
	is($data->{results}{decompilation_quality}{high} + $data->{results}{decompilation_quality}{medium} + $data->{results}{decompilation_quality}{low}, 41, '... as deep as they are');
	is($data->{logs}[0]{message}, 'Starting bulk decompilation for binary example.exe', 'logs are in order');
	is((grep { $_->{level} eq 'WARNING' } @{ $data->{logs} })[0]{details}{timeout}, 60, '... with levels and details');
	is_deeply([ @{ $data->{configuration} }{qw(decompiler_timeout parallel_processing quality_threshold required_worker)} ], [ 60, JSON::PP::false(), 'medium', 'internal' ],
		'configuration is the task\'s and its kind\'s');
	refused(409, POST => "/tasks/$id/retry");
	refused(409, POST => "/tasks/$id/cancel", { reason => 'late' });
	refused(409, PUT => "/tasks/$id/priority", { priority => 5 });

	refused(404, GET => "/tasks/$id$_", undef, 'bob') foreach '', '/status';
	refused(404, POST => "/tasks/$id/$_", undef, 'bob') foreach 'cancel', 'retry';
	refused(404, PUT => "/tasks/$id/priority", { priority => 5 }, 'bob');
	refused(404, GET => "/tasks/$_") foreach 'task_decompile_456', 'b2c3d4e5-f6g7-8901-bcde-f234567890ab', '00000000-0000-7000-8000-000000000000', '00000000-0000-7000-8000-000000000000/status';
	refused(404, POST => '/tasks/task_decompile_456/cancel');
	refused(404, POST => "/binaries/$_/analyze") foreach 'nothing', '00000000-0000-7000-8000-000000000000';

	my @again = map { (api(POST => "/binaries/$OTHER/analyze", { depth => $_ }, $who, { 'Idempotency-Key' => "of $who->{tenant}" }))[2] } 1, 1, 2;
	is($again[1]{data}{task}{id}, $again[0]{data}{task}{id}, 'a submit that is repeated is the same task');
	shape_is($again[2], $error, '... unless it is another one');
	is($again[2]{error}{status}, 422, '... which is refused');
	return $id;
}

sub cancelled
{
	my $id = start('analyze', { pause => 10 });
	my $data = until_status($id, 'running');
	$data = until_status($id, 'running') while !defined $data->{task}{current_step};
	shape_is($data, $shape{status}, 'the status of a task that runs');
	is($data->{task}{current_step}, 'Analyzing function main', 'it says what it does');
	is($data->{progress_details}{phase}, 'analysis', '... in which phase');
	my ($listed) = grep { $_->{id} eq $id } @{ data(list => GET => '/tasks?status=running&task_type=analyze')->{tasks} };
	is($listed->{metadata}{functions_total}, 42, 'its metadata is in the list');
	my $worker = data(workers => GET => '/workers/status')->{workers}[0];
	is($worker->{current_task}{id}, $id, 'who runs it is shown to its submitter');
	my ($busy) = grep { $_->{id} eq $worker->{id} } @{ data(workers => GET => '/workers/status', undef, 'operator')->{workers} };
	is($busy->{current_task}{type}, 'analyze', '... and to the operator');
	my $summary = data(workers => GET => '/workers/status')->{cluster_summary};
	is_deeply([ @$summary{qw(total_workers active_workers current_utilization)} ], [ 1, 1, 1 ], '... and counted');
	like($busy->{performance}{memory_usage}, $size, '... with what it uses');
	ok((grep { $_ eq 'security_scan' } @{ $busy->{capabilities} }), '... and can do');

	my $bulk = data(bulk => POST => '/tasks/bulk-action', { action => 'cancel', task_ids => [$id], reason => 'maintenance' });
	is($bulk->{results}[0]{error}, 'Cannot cancel running task without force flag', 'many are cancelled without those that run');
	is($bulk->{results}[0]{status}, 'running', '... which go on');
	$data = data(cancel => POST => "/tasks/$id/cancel", { reason => 'User requested cancellation', force => JSON::PP::false(), cleanup => JSON::PP::true() });
	is_deeply($data->{cleanup_actions}, [ "Told worker $worker->{id} to stop", 'Rolled back what the task has written', 'Queued binary_cleanup' ], 'one that runs is told to stop');
	is_deeply($data->{partial_results}, { functions_completed => 0, functions_remaining => 42, progress_saved => JSON::PP::false() }, '... and how far it came is told');
	is(until_status($id, 'cancelled')->{task}{cancellation_reason}, 'User requested cancellation', 'it stops');
	$site->{node}->poll_query_until('postgres', "SELECT count(*) = 1 FROM management_app.cleanup WHERE task_id = '$id'");
	pass('... and is cleaned up after');

	$id = start('analyze', { pause => 10 });
	until_status($id, 'running');
	$bulk = data(bulk => POST => '/tasks/bulk-action', { action => 'cancel', task_ids => [$id], force => JSON::PP::true() });
	is($bulk->{results}[0]{status}, 'cancelled', 'with force, one that runs is among many');
	until_status($id, 'cancelled');

	my ($stubborn, $other) = map { ($site->rpc('task_submit', $who, { kind => 'stubborn', payload => { binary_id => $BINARY, config => { pause => 10 } } }))[2] } 1, 2;
	until_status($_, 'running') foreach $stubborn, $other;
	refused(409, POST => "/tasks/$stubborn/cancel");
	expect_terminated($site->{node}, 'worker', 2);
	$data = data(cancel => POST => "/tasks/$stubborn/cancel", { force => JSON::PP::true() });
	like($data->{cleanup_actions}[0], qr/^Ended worker process worker-\d+$/, 'one that refuses that is ended by force');
	$bulk = data(bulk => POST => '/tasks/bulk-action', { action => 'cancel', task_ids => [$other], force => JSON::PP::true() });
	is($bulk->{results}[0]{status}, 'cancelled', '... also among many');
	until_status($_, 'cancelled') foreach $stubborn, $other;

	$id = fuzz();
	$data = data(cancel => POST => "/tasks/$id/cancel", { cleanup => JSON::PP::false() });
	is_deeply($data->{cleanup_actions}, ['Removed from queue outside'], 'one that waits is cancelled; who wants no cleanup is heard');
	my ($hook) = $site->{node}->safe_psql('postgres', "SELECT id FROM taskq.task_list('{\"kind\": \"binary_cleanup\", \"metadata\": {\"hook_of\": \"$id\"}}')");
	is($site->sql("SELECT result FROM taskq.task_wait('$hook', '50 s')"), '{"cleaned": false}', '... by the task that cleans up');
	data(cancel => POST => '/tasks/' . fuzz() . '/cancel');
	refused(400, POST => '/tasks/' . fuzz() . '/cancel', { $_->[0] => $_->[1] }) foreach [ force => 'perhaps' ], [ reasons => 'x' ];
	return;
}

# A worker outside, which ends its attempt with failed steps; answers the task as it got it.
sub work
{
	my ($name, $id, $end) = @_;
	my (undef, undef, $claimed) = $site->rpc('task_claim', 'worker', { worker => $name, kinds => ['fuzzing'], n => 100 });
	my ($task) = grep { $_->{id} eq $id } @$claimed;
	$site->rpc('task_release', 'worker', { id => $_->{id}, token => $_->{token} }) foreach grep { $_->{id} ne $id } @$claimed;
	return $task if $end eq 'none';
	$site->rpc('task_heartbeat', 'worker', { id => $id, token => $task->{token}, current => 5, total => 42, failed => 3, message => 'input 5',
		failure_details => [ map { { step => "input_$_", error => 'no answer', details => { function_name => "f$_" } } } 1 .. 3 ] });
	$site->rpc('task_fail', 'worker', { id => $id, token => $task->{token}, error => 'gave up', retry => JSON::PP::false() }) if $end eq 'fail';
	$site->rpc('task_complete', 'worker', { id => $id, token => $task->{token}, result => { crashes => 1 } }) if $end eq 'complete';
	return $task;
}

sub retried
{
	my $id = fuzz();
	work('fuzzer-1', $id, 'fail');
	my $data = until_status($id, 'failed');
	is($data->{task}{error}, 'gave up', 'a task fails');
	is(scalar @{ $data->{progress_details}{failure_details} }, 3, '... at three of its steps');
	$data = data(retry => POST => "/tasks/$id/retry",
		{ retry_failed_steps_only => JSON::PP::true(), increase_timeout => JSON::PP::true(), change_priority => 4, use_different_worker => JSON::PP::true() });
	is_deeply([ @{ $data->{retry_configuration} }{qw(timeout_increased priority_changed steps_to_retry)} ], [ '3600s -> 7200s', '3 -> 4', 3 ], 'its retry has more time, another priority, three steps');
	is($data->{new_task}{retry_of}, $id, '... and is told apart');
	my $new = $data->{new_task}{id};
	is(work('fuzzer-1', $new, 'none'), undef, 'it is not for the same worker');
	my $task = work('fuzzer-2', $new, 'complete');
	is_deeply($task->{payload}{retry_failed_steps}, [ 'input_1', 'input_2', 'input_3' ], 'its worker is told which');
	refused(409, POST => "/tasks/$new/retry");

	$id = start('ai-explain-all', { fail_at => 2 });
	is(until_status($id, 'failed')->{task}{error}, 'cannot read function parse_input', 'a handler fails');
	$data = data(retry => POST => "/tasks/$id/retry", { retry_failed_steps_only => JSON::PP::true() });
	is_deeply([ @{ $data->{retry_configuration} }{qw(timeout_increased priority_changed)} ], [ undef, undef ], 'its retry is as it was');
	is_deeply($data->{retry_configuration}{retry_failed_steps_only}, JSON::PP::false(), '... and makes all steps, for none was told to have failed');
	until_status($data->{new_task}{id}, 'failed');
	return ($id, $new);
}

sub steered
{
	my @ids = map { fuzz($_) } 1, 2, 3;
	my $data = data(queue => GET => '/queue?task_type=fuzzing');
	my @order = map { $_->{id} } grep { my $it = $_->{id}; grep { $_ eq $it } @ids } @{ $data->{queue} };
	is_deeply(\@order, [ reverse @ids ], 'the queue has the most urgent one first');
	is($data->{queue_summary}{by_priority}{1}, 1, '... and counts by priority');
	is($data->{queue_summary}{by_type}{fuzzing}, $data->{queue_summary}{total_queued}, '... and type');
	is($data->{queue}[0]{queue_position}, 1, '... from 1 on');
	is($data->{queue}[0]{required_worker_type}, 'fuzzing', '... for which sort of worker');
	$data = data(queue => GET => '/queue?priority_order=asc&limit=1');
	is($data->{queue}[0]{id}, $ids[0], 'or the least urgent one');
	is($data->{queue}[0]{queue_position}, $data->{queue_summary}{total_queued}, '... which is the last');
	my (undef, undef, $json) = api(GET => '/queue?estimated_time=false');
	ok(!exists $json->{data}{queue}[0]{estimated_start}, 'or is without estimates');
	refused(400, GET => "/queue?$_") foreach 'limit=0', 'limit=many', 'priority_order=up', 'estimated_time=later';

	$data = data(priority => PUT => "/tasks/$ids[0]/priority", { priority => 5, reason => 'Critical security analysis required' });
	is_deeply([ @{ $data->{task} }{qw(old_priority new_priority)} ], [ 1, 5 ], 'a task gets another priority');
	is(data(queue => GET => '/queue?limit=1')->{queue}[0]{id}, $ids[0], '... and is the first');
	$data = data(priority => PUT => "/tasks/$ids[1]/priority", { priority => 6 }, 'operator');
	cmp_ok($data->{task}{old_queue_position}, '>', $data->{task}{new_queue_position}, 'who sees all tasks is told its place');
	is($data->{impact}{queue_position_change}, $data->{task}{old_queue_position} - $data->{task}{new_queue_position}, '... and what it gained');
	refused(400, PUT => "/tasks/$ids[0]/priority", $_) foreach {}, { priority => 'high' }, { priority => 1000 }, { priority => 5, because => 'x' };

	my $page = data(list => GET => '/tasks?status=queued&sort_by=priority&sort_order=asc&per_page=2');
	is($page->{tasks}[0]{priority}, 3, 'a list by priority, the lowest first');
	$page = data(list => GET => '/tasks?status=queued&sort_by=priority&per_page=2');
	is_deeply([ map { $_->{id} } @{ $page->{tasks} } ], [ $ids[1], $ids[0] ], '... or the highest');

	refused(400, POST => '/queue/clear', $_) foreach { task_types => [] }, { task_types => 'fuzzing' }, { older_then => '2024-01-15T09:00:00Z' }, { priority_threshold => 'low' }, { older_than => 'yesterday or so' };
	my $others = fuzz(3, 'bob');
	is(data(clear => POST => '/queue/clear', { older_than => '2024-01-15T09:00:00Z' })->{cleared_tasks}, 0, 'nothing is so old');
	is(data(clear => POST => '/queue/clear', { task_types => ['nothing'] })->{cleared_tasks}, 0, '... or of that type');
	$data = data(clear => POST => '/queue/clear', { task_types => [ 'fuzzing', 'decompile' ], priority_threshold => 5, reason => 'System maintenance' });
	is_deeply($data->{affected_task_types}, ['fuzzing'], 'cleared are tasks of these types');
	ok((grep { $_ eq $ids[0] } @{ $data->{cleared_task_ids} }), '... up to that priority');
	is(until_status($ids[1], 'queued')->{task}{priority}, 6, '... not above');
	is(data(clear => POST => '/queue/clear')->{cleared_tasks}, 1, 'or all');

	# of what takes so long as tasks like it did, more than there are workers
	my @long = map { start('analyze', { pause => 10 }) } 1 .. 6;
	$site->request_until(sub { $_->{data}{queue_summary}{total_queued} == 2 }, GET => '/management/api/queue?task_type=analyze', $who);
	$data = data(queue => GET => '/queue?task_type=analyze', undef, 'operator');
	shape_is($data->{queue}[1], { %{ $shape{queue}{queue}[0] }, estimated_start => 'time', estimated_completion => 'time', estimated_duration => $words },
		'who sees all tasks is told when they start and are through');
	like($data->{queue_summary}{estimated_queue_duration}, $words, '... and when all of them are');
	is(data(bulk => POST => '/tasks/bulk-action', { action => 'cancel', task_ids => \@long, force => JSON::PP::true() })->{successful_actions}, 6, '... and they are cancelled');
	until_status($_, 'cancelled') foreach @long;
	is((api(GET => "/tasks/$others", undef, 'bob'))[2]{data}{task}{status}, 'queued', '... but another tenant\'s');
	data(cancel => POST => "/tasks/$others/cancel", undef, 'bob');
	return;
}

sub in_bulk
{
	my ($failed) = @_;
	my @ids = map { fuzz(1) } 1 .. 3;
	my $data = data(bulk => POST => '/tasks/bulk-action', { action => 'priority', task_ids => [ @ids, 'task_decompile_202' ], priority => 9 });
	is_deeply([ @$data{qw(total_tasks successful_actions failed_actions)} ], [ 4, 3, 1 ], 'many get another priority');
	is_deeply($data->{results}[3], { task_id => 'task_decompile_202', status => undef, success => JSON::PP::false(), error => 'Task not found' }, '... but what is not there');
	is(data(details => GET => "/tasks/$ids[0]")->{task}{priority}, 9, '... it is so');
	is(data(bulk => POST => '/tasks/bulk-action', { action => 'delete', task_ids => \@ids })->{successful_actions}, 0, 'what waits is not deleted');
	is(data(bulk => POST => '/tasks/bulk-action', { action => 'cancel', task_ids => \@ids }, 'bob')->{failed_actions}, 3, 'nor cancelled by another tenant');
	$data = data(bulk => POST => '/tasks/bulk-action', { action => 'cancel', task_ids => \@ids, reason => 'System maintenance scheduled', force => JSON::PP::false() });
	is_deeply([ map { $_->{status} } @{ $data->{results} } ], [ ('cancelled') x 3 ], 'it is cancelled');
	$data = data(bulk => POST => '/tasks/bulk-action', { action => 'retry', task_ids => [ $ids[0], @$failed ] });
	is_deeply([ map { $_->{success} ? 'ok' : $_->{error} } @{ $data->{results} } ], [ 'ok', 'ok', 'Cannot retry a task that is completed' ], 'what failed or was cancelled is retried');
	is(data(details => GET => "/tasks/$data->{results}[0]{new_task_id}")->{task}{retry_of}, $ids[0], '... as another task');
	is(data(bulk => POST => '/tasks/bulk-action', { action => 'delete', task_ids => \@ids })->{successful_actions}, 3, 'what is over is deleted');
	refused(404, GET => "/tasks/$ids[0]");
	refused(400, POST => '/tasks/bulk-action', $_)
	  foreach {}, { action => 'explode', task_ids => \@ids }, { action => 'cancel' }, { action => 'cancel', task_ids => [] }, { action => 'priority', task_ids => \@ids },
	  { action => 'cancel', task_ids => [ { id => 1 } ] }, { action => 'cancel', task_ids => [ ('x') x 1001 ] };
	return;
}

sub listed
{
	my ($done) = @_;
	my $all = data(list => GET => '/tasks?per_page=100');
	my $n = @{ $all->{tasks} };
	is($all->{pagination}{total}, $n, 'the list counts its tasks');
	is($all->{summary}{total_tasks}, $n, '... as does the summary');
	my @pages = map { data(list => GET => "/tasks?page=$_&per_page=4") } 1, 2;
	is_deeply([ map { $_->{id} } map { @{ $_->{tasks} } } @pages ], [ map { $_->{id} } @{ $all->{tasks} }[ 0 .. 7 ] ], 'pages are parts of it');
	is_true($pages[0]{pagination}{has_next}, '... which know of a next one');
	is_false($pages[0]{pagination}{has_prev}, '... and of none before');
	is_true($pages[1]{pagination}{has_prev}, '... or of one');
	is_deeply(data(list => GET => "/tasks?per_page=4&after=$pages[0]{pagination}{next_after}")->{tasks}, $pages[1]{tasks}, 'the last id of a page leads to the next one');
	is(data(list => GET => '/tasks?page=400')->{pagination}{total}, $n, 'behind the last page is nothing');
	is_deeply([ map { $_->{id} } @{ data(list => GET => '/tasks?sort_order=asc&per_page=100')->{tasks} } ], [ reverse map { $_->{id} } @{ $all->{tasks} } ], 'oldest first');
	my $updated = data(list => GET => '/tasks?sort_by=updated_at&per_page=100');
	is_deeply([ map { $_->{updated_at} } @{ $updated->{tasks} } ], [ sort { $b cmp $a } map { $_->{updated_at} } @{ $updated->{tasks} } ], 'or what was changed last');

	my $some = data(list => GET => '/tasks?status=completed,failed&per_page=100');
	is_deeply([ sort { $a cmp $b } keys %{ { map { ($_->{status} => 1) } @{ $some->{tasks} } } } ], [ 'completed', 'failed' ], 'of two statuses');
	is($some->{pagination}{total}, @{ $some->{tasks} } + 0, '... which are counted');
	is($some->{summary}{total_tasks}, $n, 'the summary is of all');
	is_deeply([ keys %{ { map { ($_->{task_type} => 1) } @{ data(list => GET => '/tasks?task_type=decompile')->{tasks} } } } ], ['bulk_decompile'], 'a type is a family of kinds');
	is_deeply([ keys %{ { map { ($_->{task_type} => 1) } @{ data(list => GET => '/tasks?task_type=bulk_decompile')->{tasks} } } } ], ['bulk_decompile'], '... or a kind');
	my $of = data(list => GET => "/tasks?binary_id=$BINARY&per_page=100");
	is_deeply([ keys %{ { map { ($_->{binary_id} => 1) } @{ $of->{tasks} } } } ], [$BINARY], 'tasks of a binary');
	is($of->{pagination}{total}, @{ $of->{tasks} } + 0, '... counted');
	is(data(list => GET => '/tasks?binary_id=none')->{pagination}{total}, 0, '... or none');
	is(data(list => GET => '/tasks?status=failed&task_type=security_scan')->{pagination}{total}, 0, 'nothing is nothing');
	refused(400, GET => "/tasks?$_") foreach 'page=0', 'page=x', 'per_page=101', 'per_page=-1', 'status=done', 'status=completed,', 'sort_by=name', 'status=eq.completed', 'page=not.is.null', 'sort_order=up', 'after=x', 'page=200&per_page=100';
	is(scalar(grep { $_->{id} eq $done } @{ data(list => GET => '/tasks?per_page=100', undef, 'bob')->{tasks} }), 0, 'another tenant sees none of them');

	foreach my $by (qw(type status worker binary))
	{
		my $data = data(statistics_shape($by), GET => "/tasks/statistics?timeframe=1h&group_by=$by");
		is($data->{by_binary}{$BINARY}{completed} > 0, 1, '... of a binary') if $by eq 'binary';
		ok($data->{by_type}{decompile}{completed} > 0, '... of a family') if $by eq 'type';
		is($data->{summary}{failed_tasks} > 0, 1, '... with what failed') if $by eq 'status';
	}
	is(data(statistics_shape('type'), GET => "/tasks/statistics?timeframe=$_")->{timeframe}, $_, "statistics of $_") foreach '24h', '7d', '30d';
	is(data(statistics_shape('type'), GET => '/tasks/statistics?include_failed=false')->{summary}{failed_tasks}, 0, '... without what failed');
	ok(keys %{ data(statistics_shape('worker'), GET => '/tasks/statistics?group_by=worker', undef, 'operator')->{by_worker} } > 0, 'workers are the operator\'s');
	refused(400, GET => "/tasks/statistics?$_") foreach 'timeframe=1y', 'group_by=colour', 'include_failed=maybe';
	return;
}

sub others
{
	my ($done) = @_;
	my $data = data(templates => GET => '/tasks/templates');
	my ($quick) = grep { $_->{id} eq 'quick_security_scan' } @{ $data->{templates} };
	is($quick->{name}, 'Quick Security Assessment', 'a template has a name');
	is($quick->{description}, 'Fast security scanning for immediate threat assessment', '... and a description');
	is_deeply($quick->{task_sequence}[1], { type => 'security_scan', name => 'security_scan', priority => 5, config => { pattern_only => JSON::PP::true() }, depends_on => ['analyze'] },
		'... and steps, which wait for others');
	like($quick->{estimated_duration}, qr/^\d+(-\d+)? (seconds|minutes)$/, '... and a range of how long it takes');

	my $workers = data(workers => GET => '/workers/status', undef, 'operator');
	my ($fuzzer) = grep { $_->{id} eq 'fuzzer-1' } @{ $workers->{workers} };
	is_deeply($fuzzer->{capabilities}, ['fuzzing'], 'a worker outside is shown with what it does');
	is($fuzzer->{configuration}{max_concurrent_tasks}, 100, '... and its limits');
	is($workers->{cluster_summary}{total_workers}, @{ $workers->{workers} } + 0, 'and all are counted');

	# who has no tenant
	my $lonely = { role => 'web_user', sub => 'lonely@example.com' };
	data({ task => \%task }, POST => "/binaries/$OTHER/analyze", undef, $lonely);
	my $list = data(list => GET => '/tasks?per_page=100', undef, $lonely);
	is_deeply([ $list->{pagination}{total}, $list->{summary}{total_tasks} ], [ (scalar @{ $list->{tasks} }) x 2 ], 'who acts for no tenant has its tasks counted, too');
	is(scalar(grep { $_->{id} eq $list->{tasks}[0]{id} } @{ data(list => GET => '/tasks?per_page=100')->{tasks} }), 0, '... which tenants do not see');
	($list) = map { data(list => GET => "/tasks?per_page=100&status=completed", undef, $_) } 'operator';
	ok((grep { $_->{id} eq $done } @{ $list->{tasks} }), 'an operator sees those of all');

	refused(404, GET => $_) foreach '', '/', '/task', '/tasks/', '/tasks/a/b', '/workers', '/tasks/a%27b', '/tasks/a%2Fb%3Fc/status', '/tasks/eq.5', "/binaries/$BINARY";
	refused(405, $_->[0] => $_->[1]) foreach [ POST => '/tasks' ], [ DELETE => '/queue' ], [ GET => '/queue/clear' ], [ POST => "/tasks/x/priority" ], [ DELETE => '/tasks/x' ], [ GET => "/binaries/$BINARY/analyze" ];
	refused(413, POST => '/tasks/bulk-action', \('{"action": "' . 'x' x 1_100_000 . '"}'));
	is((api(POST => "/binaries/$BINARY/analyze", ['pause']))[0], 400, 'a body is an object');
	is((api(GET => '/tasks', undef, { token => 'no.such.token' }))[0], 401, 'a wrong token is refused');
	is(($site->request(GET => '/management/api/tasks'))[0], 401, 'as is none');
	is(($site->request(GET => '/api/tasks', $who, undef, { Host => 'management.example.com' }))[0], 200, 'the contract has a host of its own');
	is((api(POST => '/tasks/x/cancel', \'{', $who))[0], 400, 'what is no JSON is refused');
	return;
}

$site->each_gateway(sub {
	my ($gateway) = @_;
	$who = { role => 'web_user', sub => 'ann@example.com', tenant => "tenant of $gateway" };
	workflow();
	my $done = one_task();
	cancelled();
	my @failed = retried();
	steered();
	in_bulk(\@failed);
	listed($done);
	others($done);
});
done_testing();
