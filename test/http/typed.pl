# Contract typed: tasks of organisations with their types and data, retries that keep their URL,
# objects that tasks made, schedules over sets of objects, the page; as its own clients use it.

use strict;
use warnings;

use Cwd qw(abs_path);
use File::Basename qw(dirname);
use Http;
use JSON::PP ();
use Test::More;

my $site = http_site('typed', contracts => ['typed']);
my $NO_ID = '550e8400-e29b-41d4-a716-446655440000';

my $RUN = abs_path(dirname(__FILE__) . '/../../examples/rest/typed/run_task.sh');

# names and types of the document's examples
my %TASK = (id => 'uuid', type => 'string', status => qr/^(PENDING|RUNNING|COMPLETED|FAILED)$/, created_at => 'time',
	ended_at => 'time|null', data => { plugin_id => 'string', input_data => 'string' });
my $failed = { %TASK, data => { %{ $TASK{data} }, error => 'string', traceback => 'string' } };

sub plugin
{
	my ($plugin, $input, %more) = @_;
	return { type => 'plugin', data => { plugin_id => $plugin, input_data => $input }, %more };
}

sub ended
{
	my ($url, $who) = @_;
	my (undef, undef, $task) = $site->request_until(sub { $_->{status} =~ /COMPLETED|FAILED/ }, GET => "$url?wait=5", $who // 'alice');
	return $task;
}

$site->each_gateway(sub {
	my ($gateway) = @_;
	my $name = lc $gateway;
	my $other = "other-$name";
	my %bob = (role => 'web_user', sub => 'bob@example.com', tenant => $other);
	my ($status, $headers, $json);

	# ---- organisations
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/organizations/', 'operator', { code => $other, name => 'Other' });
	is_deeply([ $status, $json ], [ 201, { code => $other, name => 'Other' } ], 'an operator adds an organisation');
	($status) = $site->request(POST => '/typed/api/v1/organizations/', 'operator', { code => $other });
	is($status, 409, '... once');
	($status) = $site->request(POST => '/typed/api/v1/organizations/', 'alice', { code => 'mine' });
	is($status, 403, '... and nobody else does');
	($status, undef, $json) = $site->request(GET => '/typed/api/v1/organizations/', \%bob);
	is_deeply($json, [ { code => $other, name => 'Other' } ], 'a user sees his own');

	# ---- create, look
	($status, $headers, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(dns_records => "internet|$name.example.com"));
	is($status, 201, 'a task is created');
	shape_is($json, \%TASK, '... and is as in the document');
	my $url = "/typed/api/v1/tasks/$json->{id}/";
	like($headers->{location}, qr{\Q$url\E$}, '... says where it is');
	my $id = $json->{id};
	$json = ended($url);
	is($json->{status}, 'COMPLETED', '... and completes');
	shape_is($json, { %TASK, ended_at => 'time' }, '... with the time of its end');
	is_deeply($json->{data}, { plugin_id => 'dns_records', input_data => "internet|$name.example.com" }, '... and the data it was given');
	($status) = $site->request(GET => $url =~ s/\/$//r, 'alice');
	is($status, 200, 'also without the slash at the end');
	foreach my $bad ($NO_ID, 'no-id-at-all', '550e8400', 'eq.5')
	{
		($status, undef, $json) = $site->request(GET => "/typed/api/v1/tasks/$bad/", 'alice');
		is_deeply([ $status, $json ], [ 404, { detail => 'Not found.' } ], "task $bad is not found");
	}
	($status) = $site->request(GET => $url, \%bob);
	is($status, 404, 'nor is another organisation\'s');
	($status) = $site->request(GET => $url);
	is($status, 401, 'without a token: 401');
	($status, undef, $json) = $site->request(DELETE => $url, 'alice');
	is_deeply([ $status, $json ], [ 405, { detail => 'Method not allowed.' } ], 'what is not there is not allowed');

	foreach my $case ([ { type => 'x' }, 'type' ], [ { data => [1] }, 'data' ], [ { queue => 'now' }, 'queue' ])
	{
		($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', $case->[0]);
		is($status, 400, "wrong $case->[1]: 400");
		shape_is($json, { $case->[1] => ['string'] }, '... and says so');
	}
	($status) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', { organization => $other });
	is($status, 403, 'for another organisation: 403');
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', { role => 'web_user', sub => 'x', tenant => 'nobody' }, {});
	is_deeply([ $status, $json ], [ 403, { detail => 'There is no organization "nobody", which is the tenant of your token.' } ], 'for one that is not there: 403');
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'operator', {});
	is_deeply([ $status, $json ], [ 403, { detail => 'Your token has no tenant: a task is of an organization.' } ], 'for none: 403');
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/objects/hostname/', { role => 'web_user', sub => 'x', tenant => 'nobody' }, { network => 'internet', name => 'x' });
	is_deeply([ $status, $json->{detail} ], [ 403, 'There is no organization "nobody", which is the tenant of your token.' ], '... so for objects');

	# ---- the other types
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', { type => 'business_rule', data => { rule_id => 'check_ssl_expiry' } });
	shape_is(ended("/typed/api/v1/tasks/$json->{id}/"), { %TASK, type => \'business_rule', status => \'COMPLETED', data => { rule_id => 'string' } }, 'a business rule');
	($status, undef, my $set) = $site->request(POST => '/typed/api/v1/object-sets/', 'alice', { name => 'hosts', object_type => 'hostname', pattern => "internet|%.$name.example.com" });
	is($status, 201, 'a set of objects');
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', { type => 'report', data => { report_type => 'findings_summary', object_set_id => $set->{id} } });
	my $report = "/typed/api/v1/tasks/$json->{id}/";
	shape_is(ended($report), { %TASK, type => \'report', status => \'COMPLETED', data => { report_type => 'string', object_set_id => 'integer' } }, 'a report');
	(undef, undef, $json) = $site->request(GET => "${report}output/", 'alice');
	is_deeply($json->{output}, { report_type => 'findings_summary', objects => 2, scanned => 2 }, '... and what it has found');

	# ---- objects
	(undef, undef, $json) = $site->request(GET => "/typed/api/v1/object-tasks/?task_id=$id", 'alice');
	shape_is($json, [ { task_id => \$id, plugin_id => \'dns_records', input_object => \"internet|$name.example.com", output_object => 'string',
		object_type => \'hostname', created_at => 'time' } ], 'which objects a task made');
	is(scalar @$json, 2, '... two');
	my $objects = "/typed/api/v1/objects/hostname/";
	my $sub = { network => 'internet', name => "subdomain-$name.example.com" };
	($status, undef, $json) = $site->request(POST => "$objects?task_id=$id", 'alice', $sub);
	is_deeply([ $status, $json ], [ 201, { %$sub, pk => "internet|subdomain-$name.example.com" } ], 'an object of a task is created');
	($status) = $site->request(POST => "$objects?task_id=$id", 'alice', $sub);
	is($status, 200, '... once');
	(undef, undef, $json) = $site->request(GET => "/typed/api/v1/object-tasks/?output_object=internet%7Csubdomain-$name.example.com", 'alice');
	is_deeply([ map { $_->{task_id} } @$json ], [$id], '... and that task is its maker');
	($status, undef, $json) = $site->request(POST => "$objects?task_id=$NO_ID", 'alice', { network => 'internet', name => "lost-$name" });
	is($status, 400, 'an object of a task that is not there: 400');
	($status) = $site->request(POST => $objects, 'alice', [ { network => 'internet', name => "lost-$name" }, { network => 'internet' } ]);
	is($status, 400, 'one of several that is no object: 400');
	is($site->sql("SELECT count(*) FROM typed_app.object WHERE pk LIKE '%lost%'"), 0, '... and none of them is there');
	($status, undef, $json) = $site->request(POST => $objects, 'alice', [ map { { network => 'internet', name => "$_.$name.org" } } 1 .. 3 ]);
	is_deeply([ $status, scalar @$json ], [ 201, 3 ], 'several at once, of no task');
	($status) = $site->request(POST => '/typed/api/v1/objects/spaceship/', 'alice', {});
	is($status, 404, 'no such type: 404');
	(undef, undef, $json) = $site->request(GET => $objects, \%bob);
	is_deeply($json, [], 'another organisation sees none of them');
	(undef, undef, $json) = $site->request(GET => "/typed/api/v1/object-tasks/?task_id=$id", \%bob);
	is_deeply($json, [], '... nor who made them');

	# ---- failed, and retried under the same URL
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(broken => "internet|$name"));
	$id = $json->{id};
	$url = "/typed/api/v1/tasks/$id/";
	my $before = ended($url);
	shape_is($before, { %$failed, status => \'FAILED', ended_at => 'time' }, 'a failed one has error and traceback in data');
	is($before->{data}{error}, "plugin exploded on internet|$name", '... the error');
	like($before->{data}{traceback}, qr/execute_plugin/, '... where it was');
	($status, undef, $json) = $site->request(PATCH => $url, 'alice', { status => 'PENDING' });
	is($status, 200, 'its status is set back to PENDING');
	is($json->{id}, $id, '... it keeps its id');
	isnt($json->{status}, 'FAILED', '... and waits, or runs');
	(undef, undef, $json) = $site->request_until(sub { $_->{status} eq 'FAILED' }, GET => $url, 'alice');
	is($json->{created_at}, $before->{created_at}, '... was created when it was');
	($status) = $site->request(POST => "${url}retry/", 'alice');
	is($status, 200, 'and once more');
	ended($url);
	is($site->sql("SELECT count(*) FROM taskq.task WHERE payload->>'input_data' = 'internet|$name'"), 3, '... which was tried three times');
	(undef, undef, $json) = $site->request(GET => "/typed/api/v1/tasks/?plugin_id=broken&input_data=internet%7C$name&status=FAILED", 'alice');
	shape_is($json, { next => 'null', results => [$failed] }, 'a list');
	is_deeply([ map { $_->{id} } @{ $json->{results} } ], [$id], '... has it once');
	(undef, undef, $json) = $site->request(GET => "${url}logs/", 'alice');
	shape_is($json, [ { seq => 'integer', logged_at => 'time', level => 'string', message => 'string' } ], 'what it has logged');
	is($json->[0]{message}, "plugin broken, input internet|$name", '... is there');
	($status) = $site->request(POST => "${report}retry/", 'alice');
	is($status, 409, 'what has completed is not retried');
	($status) = $site->request(PATCH => $url, 'alice', { status => 'COMPLETED' });
	is($status, 400, 'nor is a status made up');

	(undef, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(slow_scan => '600', queue => JSON::PP::false));
	$id = $json->{id};
	$site->rpc('task_cancel', 'alice', { id => $id, reason => 'not now' });
	(undef, undef, $json) = $site->request(GET => "/typed/api/v1/tasks/$id/", 'alice');
	is_deeply([ $json->{status}, $json->{data}{error} ], [ 'FAILED', 'Task was cancelled: not now' ], 'one that was cancelled');
	$site->client('alice', "/typed/api/v1/tasks/$id/retry/", 'sh', '-c', q{for i in 1 2 3 4; do curl -sS -X POST -H "Authorization: Bearer $TOKEN" "$BASE_URL" >/dev/null & done; wait});
	my $again = $site->sql("SELECT string_agg(id::text, ' ') FROM taskq.task WHERE retry_of = '$id'");
	like($again, qr/^\S+$/, '... is retried once by four at a time');
	$site->rpc('task_cancel', 'alice', { id => $again });

	# ---- created, and run later
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(slow_scan => '0', queue => JSON::PP::false));
	$url = "/typed/api/v1/tasks/$json->{id}/";
	is($site->sql("SELECT state, run_at FROM taskq.task WHERE id = '$json->{id}'"), 'scheduled|infinity', 'a task is there without being queued');
	($status) = $site->request(POST => "${url}run/", \%bob);
	is($status, 404, 'another organisation does not run it');
	($status, undef, $json) = $site->request(POST => "${url}run/", 'alice');
	is($status, 200, 'it is run');
	is(ended($url)->{status}, 'COMPLETED', '... and completes');
	($status) = $site->request(POST => "${url}run/", 'alice');
	is($status, 409, '... once');

	(undef, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', { type => 'business_rule', data => { rule_id => 'check_ssl_expiry' }, queue => JSON::PP::false });
	my ($code, $output) = $site->client('alice', '/typed', $RUN, $json->{id});
	is($code, 0, 'run_task runs a task in the foreground') || diag($output);
	like($output, qr/"rule_id": "check_ssl_expiry"/, '... and says what it returned');
	(undef, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(broken => 'x', queue => JSON::PP::false));
	($code, $output) = $site->client('alice', '/typed', $RUN, $json->{id});
	is($code, 1, '... or that it failed');
	like($output, qr/^plugin exploded on x/, '... and why');
	($code) = $site->client('alice', '/typed', $RUN, $NO_ID);
	is($code, 2, '... or that it is not there');

	# ---- schedules
	my $schedules = '/typed/api/v1/schedules/';
	my %schedule = (plugin => 'slow_scan', object_set => $set->{id}, interval => '24:00:00', enabled => JSON::PP::true);
	($status, undef, my $mine) = $site->request(POST => '/typed/api/v1/object-sets/', 'alice', { name => $name, object_type => 'hostname', pattern => "%.$name.org" });
	($status, undef, $json) = $site->request(POST => $schedules, 'alice', { %schedule, plugin => 'broken', object_set => $mine->{id} });
	is($status, 201, 'a schedule');
	shape_is($json, { id => 'integer', organization => \'acme', plugin => \'broken', object_set => 'integer', interval => \'1 00:00:00', enabled => 'boolean', error => 'null' }, '... is as it was defined');
	my $schedule = "$schedules$json->{id}/";
	my $tasks = "/typed/api/v1/tasks/?plugin_id=broken&input_data=internet%7C";
	$site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(broken => "internet|1.$name.org"));
	my $look = sub {
		my $id = $site->sql(q{SELECT taskq.schedule_run('create-scheduled-tasks')});
		return $site->sql("SELECT state FROM taskq.task_wait('$id')");
	};
	is($look->(), 'completed', 'objects are looked for');
	is_deeply([ map { scalar @{ ($site->request(GET => "$tasks$_.$name.org", 'alice'))[2]{results} } } 1 .. 3 ], [ 1, 1, 1 ],
		'... and each has a task, also the one that had one');
	$look->();
	is(scalar @{ ($site->request(GET => "${tasks}2.$name.org", 'alice'))[2]{results} }, 1, '... within the interval no more');
	(undef, undef, $json) = $site->request(PATCH => $schedule, 'alice', { enabled => JSON::PP::false });
	is_false($json->{enabled}, 'it is switched off');
	$site->request(POST => $objects, 'alice', { network => 'internet', name => "4.$name.org" });
	$look->();
	is(scalar @{ ($site->request(GET => "${tasks}4.$name.org", 'alice'))[2]{results} }, 0, '... and makes nothing');
	foreach my $case ([ interval => 'soon' ], [ interval => '1 s' ], [ plugin => 'x' ], [ object_set => 0 ])
	{
		($status, undef, $json) = $site->request(POST => $schedules, 'alice', { %schedule, @$case });
		is_deeply([ $status, keys %$json ], [ 400, $case->[0] ], "$case->[0] $case->[1]: 400");
	}
	($status) = $site->request(POST => $schedules, \%bob, \%schedule);
	is($status, 400, 'another organisation\'s set is not there');
	(undef, undef, $json) = $site->request(GET => $schedules, \%bob);
	is_deeply($json, [], '... nor its schedules');
	($status) = $site->request(PATCH => $schedule, \%bob, { enabled => JSON::PP::true });
	is($status, 404, '... to change');
	($status) = $site->request(DELETE => $schedule, \%bob);
	is($status, 404, '... or to delete');
	(undef, undef, my $bad) = $site->request(POST => '/typed/api/v1/object-sets/', 'alice', { name => 'bad', object_type => 'hostname', pattern => "internet|1\\" });
	(undef, undef, $bad) = $site->request(POST => $schedules, 'alice', { %schedule, object_set => $bad->{id} });
	(undef, undef, my $good) = $site->request(POST => $schedules, 'alice', { %schedule, object_set => $mine->{id} });
	is($look->(), 'completed', 'a set that cannot be read');
	(undef, undef, $json) = $site->request(GET => "$schedules$bad->{id}/", 'alice');
	like($json->{error}, qr/LIKE pattern/, '... is told at its schedule');
	is(scalar @{ ($site->request(GET => "/typed/api/v1/tasks/?plugin_id=slow_scan&input_data=internet%7C4.$name.org", 'alice'))[2]{results} }, 1, '... and others have their tasks');
	$site->request(DELETE => "$schedules$_->{id}/", 'alice') foreach $bad, $good;
	($status) = $site->request(DELETE => $schedule, 'alice');
	is($status, 204, 'it is deleted');
	($status) = $site->request(GET => $schedule, 'alice');
	is($status, 404, '... and gone');

	# ---- the page
	my $evil = '<script>alert("1")</script>';
	$site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(broken => $evil));
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', 'alice', plugin(slow_scan => $evil, queue => JSON::PP::false));
	my $held = $json->{id};
	($status, $headers, my $page) = $site->request(GET => '/typed/tasks/', 'alice');
	is($status, 200, 'the page of tasks');
	like($headers->{'content-type'}, qr{^text/html}, '... is HTML');
	like($headers->{'content-security-policy'}, qr/default-src 'none'/, '... in which nothing runs');
	unlike($page, qr/<script/, '... and what tasks say is text');
	like($page, qr/&lt;script&gt;alert\(&quot;1/, '... that is there');
	like($page, qr/Tasks of Acme.*hostname internet\|www\.$name\.example\.com/s, '... with the objects');
	like($page, qr{action="$held/run/"}, '... and a button to run what waits');
	unlike($page, qr/Other/, '... nothing of others');
	($status, $headers) = $site->request(GET => '/typed/tasks/', undef, undef, { Cookie => 'token=' . $site->token('alice') });
	is($status, 200, 'a browser has its token in a cookie');
	($status, $headers) = $site->request(POST => "/typed/tasks/$held/run/", undef, \'', { Cookie => 'token=' . $site->token('alice'), 'Sec-Fetch-Site' => 'cross-site' });
	is($status, 403, 'another site\'s page runs nothing');
	($status, $headers) = $site->request(POST => "/typed/tasks/$held/run/", undef, \'', { Cookie => 'token=' . $site->token('alice'), 'Sec-Fetch-Site' => 'same-origin' });
	is($status, 303, 'the button runs it');
	like($headers->{location}, qr{/typed/tasks/$}, '... and leads back to the page');
	is(ended("/typed/api/v1/tasks/$held/")->{status}, 'FAILED', '... it has run');

	# ---- on a host of its own
	($status, undef, $json) = $site->request(GET => $url =~ s/^\/typed//r, 'alice', undef, { Host => 'typed.example.com' });
	is_deeply([ $status, $json->{status} ], [ 200, 'COMPLETED' ], 'on a host of its own the URLs are the document\'s');

	# ---- the end of an organisation
	$site->request(POST => '/typed/api/v1/tasks/', \%bob, plugin(dns_records => 'internet|other.example'));
	($status, undef, $json) = $site->request(POST => '/typed/api/v1/tasks/', \%bob, plugin(slow_scan => '600'));
	$id = $json->{id};
	$site->request_until(sub { $_->{status} eq 'RUNNING' }, GET => "/typed/api/v1/tasks/$id/", \%bob);
	($status) = $site->request(DELETE => "/typed/api/v1/organizations/$other/", 'alice');
	is($status, 403, 'no user deletes an organisation');
	($status, undef, $json) = $site->request(DELETE => "/typed/api/v1/organizations/$other/", 'operator');
	is($status, 202, 'an operator does; what runs is told to stop');
	$site->request_until(sub { $_[1] == 204 || $_[1] == 404 }, DELETE => "/typed/api/v1/organizations/$other/", 'operator');
	is($site->sql("SELECT count(*) FROM taskq.task WHERE tenant = '$other'") . $site->sql("SELECT count(*) FROM typed_app.object WHERE organization = '$other'"),
		'00', '... and its tasks and objects are gone');
	isnt($site->sql("SELECT count(*) FROM taskq.task WHERE tenant = 'acme'"), 0, '... and nobody else\'s');
});

$site->sql_file('rest/typed/typed.sql');
pass('its script can be run again');

done_testing();
