# Board: the board in a real browser: Chromium, over nginx and the gateway.
#
#   use Board;
#   board_test('best_gateway', 'enter', 'tasks');		# parts/enter.js and parts/tasks.js of test/board
#
# TASKQ_BOARD_PARTS=login,bulk runs these parts only, whichever file is asked to.
# TASKQ_BOARD_SHOTS=directory has board.pl take pictures of all pages at three widths, light and dark, too.
package Board;

use strict;
use warnings;

use Exporter 'import';
use File::Basename qw(basename dirname);
use Cwd qw(abs_path);
use Http;
use IPC::Run ();
use JSON::PP ();
use TaskqTest qw(expect_fatal expect_no_more);
use Test::More;

our @EXPORT = qw(board_test);

my $ROOT = abs_path(dirname(__FILE__) . '/../..');
my $HERE = "$ROOT/test/board";

sub _slurp
{
	my ($name) = @_;
	open(my $in, '<', $name) or die "$name: $!";
	local $/;
	return <$in>;
}

# What a browser needs, or the end of the test.
sub _programs
{
	my ($chromium) = grep { -x } map { "$_/chromium" } split(/:/, $ENV{PATH}), '/usr/bin';
	my ($modules) = grep { -d "$_/puppeteer-core" } $ENV{TASKQ_NODE_MODULES} // (), "$HERE/node_modules";
	plan(skip_all => 'Chromium is not installed') if !$chromium;
	plan(skip_all => 'Node cannot be run') if !eval { IPC::Run::run([ 'node', '--version' ], '<', \undef, '>', \my $version, '2>', \my $err) };
	plan(skip_all => 'the packages of test/board are not installed (scripts/setup.sh test)') if !$modules;
	return ($chromium, $modules);
}

# What the browser says: TAP, each line of which is a test of ours, or "! restart postgresql".
sub _hear
{
	my ($site, $line, $in) = @_;
	if ($line =~ /^(not )?ok \d+ - (.*)/) { ok(!$1, $2); }
	elsif ($line =~ /^# (\w+(?: took \S+ s)?)$/) { note($1); }
	elsif ($line =~ /^# (.*)/) { diag($1); }
	elsif ($line =~ /^! (\w+) (\w+)$/) { $$in .= (eval { _server($site, $1, $2); 1 } ? 'done' : $@ =~ s/\n/ /gr) . "\n"; }
	return;
}

# Stops or starts nginx, postgresql, or the gateway for calls and the one for waits.
sub _server
{
	my ($site, $act, $name) = @_;
	expect_fatal($site->{node}, 'connection to client lost', [ 0, undef ]) if $act eq 'stop';
	if ($name eq 'postgresql') { $act eq 'stop' ? $site->{node}->stop('fast') : $site->{node}->start; }
	elsif ($act eq 'stop') { $site->stop($name eq 'gateway' ? qw(postgrest postgrest-wait) : $name); }
	elsif ($name eq 'gateway') { $site->start_gateway($site->{gateway}); }
	else { $site->start_nginx; }
	return;
}

sub _browse
{
	my ($site, $chromium, $modules, $which, @names) = @_;
	my $in = JSON::PP->new->encode({ url => $site->{url}, db => $site->{node}->connstr('postgres'), chromium => $chromium, $which => \@names, file => "$site->{dir}/board.html",
			dir => $site->{dir}, shots => $ENV{TASKQ_BOARD_SHOTS}, tokens => { map { $_ => $site->token($_) } qw(operator alice bob boss worker) } }) . "\n";
	my ($out, $err, $all) = ('', '', '');
	local $ENV{NODE_PATH} = $modules;
	local $ENV{HOME} = $site->{dir};
	my $run = eval {
		my $node = IPC::Run::start([ 'node', "$HERE/board.js" ], '<', \$in, '>', \$out, '2>', \$err, IPC::Run::timeout(170));
		while ($node->pumpable)
		{
			$node->pump;
			while ($out =~ s/^(.*)\n//)
			{
				$all .= "$1\n";
				_hear($site, $1, \$in);
			}
		}
		$node->finish;
		1;
	} ? '' : $@;
	ok($all =~ /^1\.\.\d+$/m, 'the browser came to the end') or diag($run, $err, substr($all, -500));
	return;
}

# Calls that the browser left waiting end with the gateway: all that wait are woken, and have nobody to tell.
sub _gateway_end
{
	my ($site) = @_;
	expect_fatal($site->{node}, 'connection to client lost', [ 0, undef ]);
	$site->stop(qw(postgrest postgrest-wait));
	$site->{node}->poll_query_until('postgres', q{SELECT count(taskq.task_submit('board_quick')) = 0 FROM pg_stat_activity WHERE usename = 'authenticator'}) or die 'backends of the gateway outlive it';
	expect_no_more($site->{node});
	return;
}

# Files of parts, over each_gateway or the best_gateway of Http: it is the same board.
sub board_test
{
	my ($over, @files) = @_;
	my @browser = _programs();
	my @only = split /[,\s]+/, $ENV{TASKQ_BOARD_PARTS} // '';
	my $site = http_site(basename($0, '.pl'), conf => { 'taskq.max_workers' => 4 });
	$site->sql(_slurp("$HERE/board.sql"));
	$site->sql(q{SELECT auth.account_set('boss@example.com', 'open sesame', 'web_tenant_operator', 'acme')});
	# the page as a file, as "make board.html" writes it
	system("'$ROOT/board/build.pl' html >'$site->{dir}/board.html'") == 0 or die 'no page';
	$site->$over(sub {
		$site->sql(_slurp("$HERE/tasks.sql"));
		_browse($site, @browser, @only ? ('parts', @only) : ('files', @files));
		_browse($site, @browser, 'parts', 'shots') if $ENV{TASKQ_BOARD_SHOTS} && basename($0) eq 'board.pl';
		_gateway_end($site);
	});
	done_testing();
	return;
}

1;
