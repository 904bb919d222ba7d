# Calls that wait have connections of their own: as many as there may be of them, and more, do not
# hold up other calls, and all of them are answered.

use strict;
use warnings;

use Http;
use Test::More;

my $site = http_site('waits', sql => ['http.sql'], waiters => 2, conf => { 'taskq.max_wait' => '60s' });

# Connections of PostgREST that are waiting in a call now.
my $waiting = q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'authenticator' AND state = 'active' AND wait_event_type = 'Extension'};

$site->each_gateway(sub {
	my ($status, undef, $id) = $site->rpc('task_submit', 'alice', { kind => 'count', run_at => 'infinity' });
	is($status, 200, 'a task that is held');
	my @begun = map { $site->request_begin("/rpc/task_wait?id=$id&timeout=30s", 'alice') } 1 .. 4;
	ok($site->{node}->poll_query_until('postgres', $waiting, 2), 'of four that wait two have a connection');
	($status, undef, my $task) = $site->request(GET => "/rpc/task_status?id=$id", 'alice');
	is_deeply([ $status, $task->{state} ], [ 200, 'scheduled' ], 'meanwhile a call is answered');
	($status) = $site->rpc('task_cancel', 'alice', { id => $id });
	is($status, 200, '... also one that changes something');
	foreach my $begun (@begun)
	{
		($status, $task) = $site->request_end($begun);
		is_deeply([ $status, $task->{state} ], [ 200, 'cancelled' ], 'who waited hears of it');
	}

	# A wait that is over says what there is; nobody is kept for longer than taskq.max_wait.
	$id = ($site->rpc('task_submit', 'alice', { kind => 'count', run_at => 'infinity' }))[2];
	($status, undef, $task) = $site->request(GET => "/rpc/task_wait?id=$id&timeout=0.1s", 'alice');
	is_deeply([ $status, $task->{state} ], [ 200, 'scheduled' ], 'a wait that is over is no error');
	my $seen = ($site->request(GET => "/rpc/task_progress?id=$id", 'alice'))[2];
	($status, undef, $task) = $site->rpc('task_watch', 'alice', { id => $id, seen => $seen, timeout => '0.1s' });
	is_deeply([ $status, $task ], [ 200, $seen ], '... also of who watches');
	$site->rpc('task_cancel', 'alice', { id => $id });
});

# What one client may take of them, by its address and by its token.
my $shared = http_site('shared', sql => ['http.sql'], contracts => [ 'typed', 'video' ], waits => 2, conf => { 'taskq.max_wait' => '60s' });
$shared->each_gateway(sub {
	my $id = ($shared->rpc('task_submit', 'alice', { kind => 'count', run_at => 'infinity' }))[2];
	my $alice = { token => $shared->token('alice') };
	my $wait = "/rpc/task_wait?id=$id&timeout=20s";
	my @begun = map { $shared->request_begin($wait, $alice) } 1 .. 2;
	ok($shared->{node}->poll_query_until('postgres', $waiting, 2), 'a client waits twice');
	foreach my $url ($wait, '/typed/api/v1/tasks/a/?wait=5', '/video/api/v1/tasks/a?wait=5')
	{
		my ($status, $headers, $json) = $shared->request(GET => $url, 'alice');
		is_deeply([ $status, $headers->{'retry-after'}, @$json{qw(code message)} ], [ 429, 5, 'PT429', 'too many calls of yours wait' ], "... not three times, $url");
	}
	is(($shared->request(GET => $wait, 'amy'))[0], 429, '... nor with another token');
	is(($shared->request_end($shared->request_begin($wait, $alice, '--interface', '127.0.0.2')))[0], 429, '... nor from another address');
	# the last letter of a signature of 32 bytes says four bits: others say the same
	my $alike = $alice->{token} =~ s/(.)\z/$1 =~ tr{AEIMQUYcgkosw048}{BFJNRVZdhlptx159}r/er;
	isnt($alike, $alice->{token}, 'the same token, written in another way');
	is(($shared->request(GET => "/rpc/task_status?id=$id", { token => $alike }))[0], 200, '... is one');
	foreach my $header ("Bearer $alike", "bearer\t$alice->{token}", "Bearer\x{0b}$alike", "BEARER   $alice->{token}")
	{
		is(($shared->request_end($shared->request_begin($wait, { header => $header }, '--interface', '127.0.0.2')))[0], 429, '... by which nobody waits more often');
	}
	is(($shared->request(GET => "/rpc/task_status?id=$id", 'alice'))[0], 200, 'it may call what does not wait');
	is(($shared->request(GET => '/typed/api/v1/tasks/a/', 'alice'))[0], 404, '... also where one may');
	push @begun, $shared->request_begin($wait, 'amy', '--interface', '127.0.0.2');
	ok($shared->{node}->poll_query_until('postgres', $waiting, 3), 'another client waits, too');

	# who goes away has the connection for as long as the call lasts
	my $gone = $shared->request_begin($wait, 'amy', '--interface', '127.0.0.2');
	ok($shared->{node}->poll_query_until('postgres', $waiting, 4), '... twice');
	kill('KILL', $gone->{pid});
	waitpid($gone->{pid}, 0);
	is(($shared->request_end($shared->request_begin($wait, 'amy', '--interface', '127.0.0.2')))[0], 429, 'a call counts also when its client has gone');
	$shared->rpc('task_cancel', 'alice', { id => $id });
	is(($shared->request_end($_))[0], 200, 'those who wait are answered') foreach @begun;
	is(($shared->request_until(sub { $_[1] == 200 }, GET => $wait, 'amy'))[0], 200, '... and may wait again');
});

done_testing();
