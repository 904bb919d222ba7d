# What schema taskq is over HTTP: POST, PATCH and DELETE of view task, relationships, keys of
# requests, who is told to come again, media types, HEAD and counts, what is there for whom.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('surface', conf => { 'taskq.max_workers' => 2, 'taskq.max_pending_per_role' => 10 });
$site->sql(q{
	CREATE FUNCTION public.hello(p jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT p $$;
	CREATE FUNCTION public.waits(p jsonb) RETURNS void LANGUAGE sql AS $$ SELECT pg_sleep(600) $$;
	GRANT EXECUTE ON FUNCTION public.hello, public.waits TO app_runner;
	GRANT app_runner TO postgres;
	SELECT taskq.kind_define('hello', 'public.hello(jsonb)', run_as => 'app_runner'), taskq.kind_define('waits', 'public.waits(jsonb)', run_as => 'app_runner');
	SELECT taskq.kind_grant(k, r::regrole) FROM unnest('{hello,waits}'::text[]) k, unnest('{web_user,web_operator}'::text[]) r;
	SELECT taskq.queue_define('full'), taskq.queue_pause('full');
});

$site->each_gateway(sub {
	my ($gateway) = @_;

	# POST
	my ($status, $headers, $body) = $site->request(POST => '/task', 'alice', { kind => 'hello', payload => { a => 1 }, tags => [ 'x' ] });
	is($status, 202, 'POST /task submits');
	like($headers->{location}, qr{/task\?id=eq\.[0-9a-f-]{36}$}, '... and says where the task is');
	my ($id) = $headers->{location} =~ /eq\.(.*)/;
	is(($site->request(GET => "/rpc/task_wait?id=$id&select=state,result,tags,tenant", 'alice'))[2]{state}, 'completed', '... which runs');
	is(($site->request(GET => "/task?id=eq.$id&select=state,result", 'alice'))[2][0]{result}{a}, 1, '... with its payload');
	is_deeply(($site->request(GET => "/task?id=eq.$id", 'bob'))[2], [], '... and is its tenant\'s');
	($status, $headers, $body) = $site->request(POST => '/task', 'alice', { kind => 'hello', run_at => 'infinity' }, { Prefer => 'return=representation' });
	is("$status $body->[0]{state} $body->[0]{kind}", '202 scheduled hello', 'the task itself, where the client prefers that');
	my $held = $body->[0]{id};
	($status, $headers) = $site->request(POST => '/task', 'alice', [ { kind => 'hello' }, { kind => 'hello' } ]);
	is($status, 202, 'several tasks');
	ok(!exists $headers->{location}, '... have no place of their own');
	is(($site->request(POST => '/task', 'alice', { kind => 'hello', state => 'completed' }))[0], 400, 'a column that only taskq knows');
	is(($site->request(POST => '/task', undef, { kind => 'hello' }))[0], 401, 'nobody submits nothing');

	# PATCH
	is(($site->request(PATCH => "/task?id=eq.$held", 'alice', { priority => 7 }))[0], 204, 'PATCH sets the priority');
	is(($site->request(GET => "/rpc/task_status?id=$held", 'alice'))[2]{priority}, 7, '... so it is');
	is(($site->request(PATCH => "/task?id=eq.$held", 'alice', { state => 'completed' }))[0], 405, '... and nothing else');
	is(($site->request(PATCH => "/task?id=eq.$held", 'bob', { priority => 7 }))[0], 404, '... of another tenant\'s task');
	is(($site->request(PATCH => "/task?id=eq.$id", 'alice', { priority => 7 }))[0], 409, '... of what is over');

	# DELETE
	is(($site->request(DELETE => "/task?id=eq.$held", 'bob'))[0], 404, 'DELETE of another tenant\'s task');
	is(($site->request(DELETE => "/task?id=eq.$held", 'alice'))[0], 204, 'DELETE cancels');
	is(($site->request(GET => "/rpc/task_status?id=$held", 'alice'))[2]{state}, 'cancelled', '... so it is');
	is(($site->request(DELETE => "/task?id=eq.$id", 'alice'))[0], 409, '... but not what has completed');
	my @two = map { (($site->request(POST => '/task', 'alice', { kind => 'hello', run_at => 'infinity' }))[1]{location} =~ /eq\.(.*)/)[0] } 1, 2;
	is(($site->request(DELETE => '/task?state=eq.scheduled', 'alice'))[0], 400, '... nor two at once');
	is_deeply([ map { $_->{state} } @{ ($site->request(GET => '/task?select=state&id=in.(' . join(',', @two) . ')', 'alice'))[2] } ], [ 'scheduled', 'scheduled' ], '... none of them');
	is(($site->request(DELETE => "/task?id=eq.$_", 'alice'))[0], 204, '... one by one') foreach @two;
	my $running = ($site->rpc('task_submit', 'alice', { kind => 'waits' }))[2];
	$site->request_until(sub { $_->{state} eq 'running' }, GET => "/rpc/task_status?id=$running", 'alice');
	is(($site->request(DELETE => "/task?id=eq.$running", 'alice'))[0], 202, 'what runs is told to stop');
	is(($site->request(GET => "/rpc/task_wait?id=$running", 'alice'))[2]{state}, 'cancelled', '... and does');
	is(($site->request(DELETE => '/queue?name=eq.full', 'alice'))[0], 403, 'other views are to look at');

	# lists, relationships, HEAD, counts
	$body = ($site->request(GET => "/task?id=eq.$id&select=id,task_attempt(attempt,state),logs(message),links(object),children(id),dependencies(id),parent_task(id),task_kind(name)", 'alice'))[2];
	is_deeply($body, [ { id => $id, task_attempt => [ { attempt => 1, state => 'completed' } ], logs => [], links => [], children => [], dependencies => [],
				parent_task => undef, task_kind => { name => 'hello' } } ], 'a task with what belongs to it');
	($status, $headers, $body) = $site->request(HEAD => '/task?state=eq.completed&limit=1', 'alice', undef, { Prefer => 'count=exact' });
	like($headers->{'content-range'}, qr{^0-0/\d+$}, 'HEAD with a count');
	is($body, '', '... and no body');

	# the same request twice
	my %key = ('Idempotency-Key' => "one of $gateway");
	my @again = map { ($site->rpc('task_submit', 'alice', { kind => 'hello', payload => { n => 1 } }, \%key))[2] } 1, 2;
	is($again[0], $again[1], 'a request that is repeated submits once');
	($status, undef, $body) = $site->rpc('task_submit', 'alice', { kind => 'hello', payload => { n => 2 } }, \%key);
	is("$status $body->{code}", '422 PT422', '... another one with its key is refused');
	isnt(($site->rpc('task_submit', 'bob', { kind => 'hello', payload => { n => 2 } }, \%key))[2], $again[0], '... but not another tenant\'s');

	# too many
	$site->request_until(sub { $_[1] == 429 }, POST => '/rpc/task_submit', 'alice', { kind => 'hello', queue => 'full' });
	($status, $headers, $body) = $site->rpc('task_submit', 'alice', { kind => 'hello', queue => 'full' });
	is("$status $body->{code} $headers->{'retry-after'}", '429 PT429 10', 'who is refused is told when to come again');
	like($body->{details}, qr/max_pending_per_role/, '... and why');
	$site->sql("SELECT taskq.queue_clear('full')");

	# media types
	foreach my $accept ('*/*', 'text/plain', 'application/json', 'application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1')
	{
		($status, $headers, $body) = $site->request(GET => '/rpc/metrics', 'operator', undef, { Accept => $accept });
		is("$status $headers->{'content-type'}", '200 text/plain; version=0.0.4; charset=utf-8', "metrics for who accepts $accept");
		like($body, qr/^# HELP taskq_tasks_ended_total .*\n# TYPE/, '... as Prometheus reads them');
	}

	# what is there for whom
	is(($site->rpc('progress', $_, { current => 1 }))[0], 403, "what handlers call is not there: $_") foreach qw(alice operator worker);
	($status, undef, $body) = $site->rpc('task_submit_sql', 'operator', { command => 'SELECT 1' });
	is("$status $body->{code}", '403 PT403', 'SQL text is not taken');
	is(($site->rpc('queue_pause', 'alice', { name => 'full' }))[0], 403, 'a user does not operate');
	is(($site->request(GET => '/rpc/task_submit?kind=hello', 'alice'))[0], 405, 'GET does not submit');
	is(($site->request(GET => "/rpc/$_", 'alice'))[0], 200, "GET $_") foreach qw(sitrep statistics statistics_by statistics_history task_counts task_summary
	  task_recent task_metrics task_active cluster_summary queue_estimates task_list), map { "$_?id=$id" } qw(task_logs task_explain task_estimate task_attempts task_result);

	if ($gateway eq 'PostgREST')
	{
		$body = ($site->request(GET => '/rpc/task_list?n=2&select=id,task_attempt(state)', 'alice'))[2];
		is(scalar @$body, 2, 'a list with what belongs to each');
		is(ref $body->[0]{task_attempt}, 'ARRAY', '... of them');
		is(($site->request(PUT => "/task?id=eq.$id", 'alice', { id => $id, kind => 'hello' }))[0], 405, 'PUT is nothing');
		my %described;
		foreach my $who (qw(alice operator worker))
		{
			$body = ($site->request(GET => '/', $who))[2];
			$described{$who} = $body;
			is_deeply([ grep { !defined $body->{paths}{$_}{(sort grep { $_ ne 'parameters' } keys %{ $body->{paths}{$_} })[0]}{summary} } keys %{ $body->{paths} } ], [], "OpenAPI for $who: each path has a summary");
			my @bare;
			foreach my $view (keys %{ $body->{definitions} })
			{
				my $columns = $body->{definitions}{$view}{properties};
				push @bare, map { "$view.$_" } grep { !length($columns->{$_}{description} // '') } keys %$columns;
			}
			is_deeply(\@bare, [], '... each column a description');
			is_deeply([ grep { /^\/rpc\/(progress|log|fail|retry|current_task|step_failed|cancel_requested|logs|children)$/ } keys %{ $body->{paths} } ], [], '... nothing that is for handlers, nor of rows');
		}
		ok(!exists $described{alice}{paths}{'/rpc/queue_pause'} && exists $described{operator}{paths}{'/rpc/queue_pause'}, '... what the role may do');
		ok(exists $described{alice}{paths}{'/rpc/sitrep'}{get}, '... by GET what reads');
		is("$described{alice}{schemes}[0]://$described{alice}{host}", $site->{url}, '... and where clients come in');
		is_deeply([ sort keys %{ ($site->request(GET => '/'))[2]{paths} } ], [ '/', '/rpc/board' ], '... for nobody the page of the board alone');
	}
});
done_testing();
