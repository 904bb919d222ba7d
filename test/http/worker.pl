# Programs outside of the server, over HTTP: each call by itself, and examples/http-worker.sh.
use strict;
use warnings;

use FindBin;
use Http;
use POSIX ();
use TaskqTest qw(expect_fatal);
use Test::More;

my $site = http_site('worker');
my $example = "$FindBin::RealBin/../../examples/http-worker.sh";
$example = $ENV{HTTP_WORKER} if $ENV{HTTP_WORKER};
$site->sql(q{
	SELECT taskq.kind_define('outside', queue => 'outside', backoff => '10 ms', backoff_max => '10 ms', max_attempts => 2),
		taskq.kind_grant('outside', 'web_worker', 'work all'),
		taskq.kind_define('shell', queue => 'shell', backoff => '10 ms', backoff_max => '10 ms', max_attempts => 2),
		taskq.kind_grant('shell', 'web_worker', 'work all'),
		taskq.kind_define('of_tenants', queue => 'of_tenants'),
		taskq.kind_grant('of_tenants', 'web_worker', 'work');
	SELECT taskq.kind_grant(k, 'web_user') FROM unnest('{outside,shell,of_tenants}'::text[]) k
});

sub submit
{
	my ($who, $kind, $payload) = @_;
	my ($status, undef, $id) = $site->rpc('task_submit', $who, { kind => $kind, payload => $payload // {} });
	is($status, 200, "$who submits a task of kind $kind");
	return $id;
}

sub task
{
	my ($who, $id) = @_;
	return ($site->request(GET => "/rpc/task_status?id=$id", $who))[2];
}

sub claim
{
	my ($who, %arguments) = @_;
	return $site->rpc('task_claim', $who, { worker => 'tester', %arguments });
}

sub calls
{
	my $id = submit('alice', 'outside', { n => 1 });
	my ($status, undef, $claimed) = claim('worker', kinds => ['outside']);
	is($status, 200, 'claims');
	is_deeply([ map { [ @$_{qw(id kind payload attempt tenant)} ] } @$claimed ], [ [ $id, 'outside', { n => 1 }, 1, 'acme' ] ], '... that of a tenant, as it works for all');
	my %proof = (id => $id, token => $claimed->[0]{token});

	(undef, undef, my $beat) = $site->rpc('task_heartbeat', 'worker', { %proof, current => 3, total => 4, message => 'at it' });
	is_false($beat->{cancel_requested}, 'a heartbeat');
	is_deeply([ @{ task('alice', $id) }{qw(state progress message worker)} ], [ 'running', 75, 'at it', 'tester' ], '... whose progress the submitter sees');
	is(($site->rpc('task_cancel', 'alice', { id => $id, reason => 'enough' }))[0], 200, 'who submitted it asks to cancel it');
	(undef, undef, $beat) = $site->rpc('task_heartbeat', 'worker', \%proof);
	is_true($beat->{cancel_requested}, '... the next heartbeat tells');
	foreach my $time ('first', 'second')
	{
		($status) = $site->rpc('task_complete', 'worker', { %proof, result => { done => 3 } });
		is($status, 204, "its end is told a $time time");
	}
	is_deeply([ @{ task('alice', $id) }{qw(state result)} ], [ 'cancelled', { done => 3 } ], '... it is cancelled, with a partial result');
	($status, undef, my $error) = $site->rpc('task_fail', 'worker', \%proof);
	is("$status $error->{code}", '409 PT409', 'another end is refused');
	is(($site->rpc('task_complete', 'worker', { %proof, token => '00000000-0000-4000-8000-000000000000' }))[0], 409, '... and another token');

	my @ids = map { submit('bob', 'outside', { n => $_ }) } 1 .. 3;
	(undef, undef, $claimed) = claim('worker', kinds => ['outside'], n => 10);
	is(scalar @$claimed, 3, 'many are claimed at once');
	my %token = map { $_->{id} => $_->{token} } @$claimed;
	my @results = ((map { { id => $_, token => $token{$_}, result => 7 } } @ids[ 0, 1 ]), { id => $ids[2], token => $token{ $ids[2] }, error => 'no', retry => JSON::PP::false });
	foreach my $time ('first', 'second')
	{
		($status, undef, my $rows) = $site->rpc('task_complete_many', 'worker', { results => \@results });
		is($status, 200, "many ends, a $time time");
		is_deeply([ map { $_->{success} ? 'ok' : $_->{error} } @$rows ], [ ('ok') x 3 ], '... all of them');
	}
	is(join(' ', map { task('bob', $_)->{state} } @ids), 'completed completed failed', '... as they were told');

	submit('bob', 'of_tenants');
	my %acme = (role => 'web_worker', sub => 'w', tenant => 'acme');
	(undef, undef, $claimed) = claim(\%acme, kinds => ['of_tenants']);
	is_deeply($claimed, [], 'a worker of one tenant gets nothing of another');
	$id = submit('alice', 'of_tenants');
	(undef, undef, $claimed) = claim(\%acme, kinds => ['of_tenants']);
	is_deeply([ map { $_->{id} } @$claimed ], [$id], '... and its own');
	(undef, undef, my $none) = claim({ %acme, tenant => 'other' }, kinds => ['of_tenants']);
	($status) = $site->rpc('task_complete', { %acme, tenant => 'other' }, { id => $id, token => $claimed->[0]{token}, result => 'stolen' });
	is($status, 404, '... whose claim is of no use to others, token or not');
	$site->rpc('task_complete', \%acme, { id => $id, token => $claimed->[0]{token} });
	is(task('alice', $id)->{state}, 'completed', '... but to the one whose it is');
	$site->rpc('task_complete', { %acme, tenant => 'other' }, { id => $_->{id}, token => $_->{token} }) foreach @$none;

	is((claim('worker', kinds => ['nothing such']))[0], 404, 'no such kind');
	is((claim('alice', kinds => ['outside']))[0], 403, 'a user is no worker');
	is((claim(undef, kinds => ['outside']))[0], 401, '... and nobody less');
	return;
}

my $process;

sub start
{
	my ($command) = @_;
	open(my $out, '>', "$site->{dir}/token") or die;
	print $out $site->token('worker');
	close($out);
	$process = fork() // die "fork: $!";
	return if $process;
	$ENV{TASKQ_URL} = $site->{url};
	$ENV{TASKQ_TOKEN_FILE} = "$site->{dir}/token";
	open(STDIN, '<', '/dev/null');
	open(STDOUT, '>>', "$site->{dir}/worker.log");
	open(STDERR, '>&', \*STDOUT);
	exec($example, '-k', 'shell', '-l', 3, '-n', 'http1', '--', 'sh', '-c', $command) or POSIX::_exit(127);
}

sub ends
{
	my ($signal) = @_;
	kill($signal, $process);
	waitpid($process, 0);
	undef $process;
	return $?;
}

sub until_state
{
	my ($id, $state) = @_;
	my (undef, undef, $task) = $site->request_until(sub { $_->{state} eq $state || $_->{ready} }, GET => "/rpc/task_status?id=$id", 'alice');
	return $task;
}

sub example
{
	my ($gateway) = @_;
	start('n=$(cat); case $n in *fail*) echo broken >&2; exit 3;; *never*) exit 100;; *slow*) exec sleep 60;; *text*) echo two; echo lines;; *) printf "{\"got\": %s, \"attempt\": %s}" "$n" "$TASK_ATTEMPT";; esac');
	my $task = until_state(submit('alice', 'shell', { quote => q{it's a " and \\ and ä} }), 'completed');
	is_deeply([ @$task{qw(state worker result)} ], [ 'completed', 'http1', { got => { quote => q{it's a " and \\ and ä} }, attempt => 1 } ], 'the example runs a task')
	  or diag($site->log('worker'));
	$task = until_state(submit('alice', 'shell', { text => 1 }), 'completed');
	is($task->{result}, "two\nlines\n", '... what is no JSON is a string');
	$task = until_state(submit('alice', 'shell', { fail => 1 }), 'failed');
	is_deeply([ $task->{state}, $task->{attempt}, $task->{error}{message}, $task->{error}{details} ], [ 'failed', 2, "broken", { exit_code => 3 } ], 'one that fails is tried again');
	$task = until_state(submit('alice', 'shell', { never => 1 }), 'failed');
	is_deeply([ @$task{qw(state attempt)} ], [ 'failed', 1 ], 'exit code 100 is not');
	my $id = submit('alice', 'shell', { slow => 1 });
	until_state($id, 'running');
	$site->rpc('task_cancel', 'alice', { id => $id });
	is(until_state($id, 'cancelled')->{state}, 'cancelled', 'a cancel ends the command');
	$id = submit('alice', 'shell', { slow => 2 });
	until_state($id, 'running');

	# the gateway goes away and comes back: the worker waits it out
	expect_fatal($site->{node}, "connection to client lost", [ 0, undef ]);
	$site->stop('postgrest', 'postgrest-wait');
	$site->start_gateway($gateway);
	is(task('alice', $id)->{state}, 'running', 'the gateway was away; the worker still has the task');
	is(ends('TERM'), 0, 'SIGTERM ends it');
	is(until_state($id, 'pending')->{state}, 'pending', '... its task is given back');
	is(task('alice', $id)->{attempt}, 0, '... as if it had never been claimed');
	start('echo 7');
	is_deeply([ @{ until_state($id, 'completed') }{qw(state attempt result)} ], [ 'completed', 1, 7 ], '... and done by the next one');
	is(ends('TERM'), 0, 'it ends when idle');
	return;
}

END { my $status = $?; kill('KILL', $process) if $process; $? = $status; }

$site->each_gateway(sub { calls(); example(@_); });
done_testing();
