# BridgeTest: a server with examples/roles.sql and examples/bridge, the bridge itself, and its clients.
package BridgeTest;

use strict;
use warnings;

use Cwd qw(abs_path);
use Exporter 'import';
use File::Basename qw(dirname);
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use TaskqTest;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(bridge_node use_node submit_as sql_as token start_bridge stop_bridge kill_bridge bridge_log url get client free_port);

my $ROOT = abs_path(dirname(__FILE__) . '/../..');
my $SECRET = 'the secret of tests, 32 characters and more';
my %CLAIMS = (
	alice => [ 'web_user', 'acme' ],
	amy => [ 'web_user', 'acme' ],
	bob => [ 'web_user', 'other' ],
	boss => [ 'web_tenant_operator', 'acme' ],
	operator => [ 'web_operator', undef ],
);
my ($node, $port, $pid, $log, @clients);

sub free_port
{
	return PostgreSQL::Test::Cluster::get_free_port();
}

# A server that has been set up elsewhere.
sub use_node
{
	($node) = @_;
	$log = "$PostgreSQL::Test::Utils::log_path/" . $node->name . '-bridge.log';
	return;
}

# The server.  Kind gated does payload's number of steps, each when its gate (name and number) opens.
sub bridge_node
{
	my ($name, %conf) = @_;
	use_node(taskq_node($name, 'taskq.max_workers' => 4, %conf));
	foreach my $file ('roles.sql', 'bridge/bridge.sql', 'bridge/bridge.sql')
	{
		my $err;
		IPC::Run::run([ 'psql', '-XAtq', '-v', "jwt_secret=$SECRET", '-d', $node->connstr('postgres'), '-f', "$ROOT/examples/$file" ],
			'<', \undef, '>', \my $out, '2>', \$err)
		  or die "$file: $err";
	}
	$node->safe_psql(
		'postgres', q{
		CREATE FUNCTION gated(p jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
		BEGIN
			FOR i IN 1..(p ->> 'steps')::int LOOP
				WHILE p ? 'gate' AND NOT EXISTS (SELECT FROM gate WHERE name = p ->> 'gate' || i) LOOP
					PERFORM pg_sleep(0.01);
				END LOOP;
				PERFORM taskq.progress(i, (p ->> 'steps')::int, 'step ' || i);
			END LOOP;
			IF p ? 'fail' THEN
				PERFORM taskq.fail(p ->> 'fail');
			END IF;
			RETURN jsonb_build_object('through', p -> 'gate');
		END $$;
		GRANT app_runner TO postgres;
		SELECT taskq.kind_define('gated', 'gated(jsonb)', run_as => 'app_runner');
		SELECT taskq.kind_define('other', 'gated(jsonb)', run_as => 'app_runner');
		SELECT taskq.kind_grant('gated', 'web_user'), taskq.kind_grant('other', 'web_user');});
	return $node;
}

sub _claims
{
	my ($who) = @_;
	my ($role, $tenant) = @{ $CLAIMS{$who} };
	return JSON::PP->new->encode({ role => $role, sub => $who, defined $tenant ? (tenant => $tenant) : () });
}

# What somebody's request would do, as PostgREST sends it.
sub sql_as
{
	my ($who, $query) = @_;
	my $claims = _claims($who);
	my @lines = split /\n/, $node->safe_psql('postgres', "BEGIN; SELECT set_config('role', '$CLAIMS{$who}[0]', true), set_config('request.jwt.claims', '$claims', true);
		$query; COMMIT", extra_params => [ '-U', 'authenticator', '-q' ]);
	shift @lines;
	return join("\n", @lines);
}

sub submit_as
{
	my ($who, $payload, $more) = @_;
	return sql_as($who, "SELECT taskq.task_submit('gated', '$payload'" . (defined $more ? ", $more" : '') . ')');
}

# A token of one of the people, for so many seconds.
sub token
{
	my ($who, $seconds) = @_;
	my ($role, $tenant) = @{ $CLAIMS{$who} };
	my $of = defined $tenant ? "'$tenant'" : 'null';
	return $node->safe_psql('postgres', "SELECT auth.token('$role', '$who', $of, make_interval(secs => " . ($seconds // 3600) . '))');
}

# ---- the bridge

sub start_bridge
{
	my (%env) = @_;
	$port = delete $env{PORT} // $port // free_port();
	my %settings = (
		DATABASE => $node->connstr('postgres') . ' user=bridge',
		GATEWAY => $node->connstr('postgres') . ' user=authenticator',
		JWT_SECRET => $SECRET,
		LISTEN => "127.0.0.1:$port",
		MIN_INTERVAL => 0,
		%env);
	$pid = fork() // die "fork: $!";
	if (!$pid)
	{
		delete $ENV{$_} foreach grep { /^BRIDGE_/ } keys %ENV;
		$ENV{"BRIDGE_$_"} = $settings{$_} foreach keys %settings;
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', $log);
		open(STDERR, '>&', \*STDOUT);
		chdir("$ROOT/examples/bridge");
		exec('/usr/bin/python3', '-B', '-m', 'taskq_bridge') or POSIX::_exit(127);
	}
	foreach (1 .. 6000)
	{
		return if IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port);
		die "the bridge did not start: " . bridge_log() if waitpid($pid, POSIX::WNOHANG()) == $pid;
		sleep(0.01);
	}
	die 'the bridge does not listen';
}

sub _end
{
	my ($signal) = @_;
	return if !$pid;
	kill($signal, $pid);
	waitpid($pid, 0);
	undef $pid;
	return $?;
}

# Returns the exit status.
sub stop_bridge { return _end('TERM') }
sub kill_bridge { return _end('KILL') }
sub bridge_log { return -e $log ? slurp_file($log) : '' }
sub url { return "http://127.0.0.1:$port$_[0]" }

# A plain request: status, headers and body.
sub get
{
	my ($path, @headers) = @_;
	my $out = '';
	IPC::Run::run([ 'curl', '-sSi', '--max-time', 60, (map { ('-H', $_) } @headers), $path =~ /^http/ ? $path : url($path) ], '<', \undef, '>', \$out)
	  or die "curl: $path: $?";
	my ($head, $body) = split(/\r\n\r\n/, $out, 2);
	my ($status) = $head =~ /^HTTP\S+ (\d+)/;
	return ($status, { map { /^([^:]+): (.*)$/ ? (lc $1 => $2) : () } split(/\r\n/, $head) }, $body);
}

# ---- clients: bridge_client.py

sub client
{
	my (@arguments) = @_;
	my $pid = open(my $out, '-|', '/usr/bin/python3', '-B', dirname(__FILE__) . '/bridge_client.py', @arguments) or die "client: $!";
	my $self = bless { pid => $pid, out => $out, rest => '' }, __PACKAGE__;
	push @clients, $self;
	return $self;
}

# The next line, decoded; undef when it has ended.
sub next
{
	my ($self) = @_;
	my $deadline = time + 60;
	while (1)
	{
		my $end = index($self->{rest}, "\n");
		return JSON::PP->new->utf8->decode(substr($self->{rest}, 0, $end + 1, '')) if $end >= 0;

		my $left = $deadline - time;
		die 'a client was told nothing for a minute; the bridge: ' . bridge_log() if $left < 0;
		# a signal, of a client that has ended, ends the wait as well
		next if !IO::Select->new($self->{out})->can_read($left);
		sysread($self->{out}, $self->{rest}, 65536, length $self->{rest}) or return;
	}
}

# Reads on until the condition, of $_, holds; returns that line.
sub until
{
	my ($self, $condition) = @_;
	while (defined(my $line = $self->next))
	{
		local $_ = $line;
		return $line if $condition->($line);
	}
	die 'a client ended; the bridge: ' . bridge_log();
}

# What is left, up to the end.
sub all
{
	my ($self) = @_;
	my @lines;
	while (defined(my $line = $self->next))
	{
		push @lines, $line;
	}
	return @lines;
}

sub quit
{
	my ($self) = @_;
	kill('KILL', $self->{pid});
	close($self->{out});
	return;
}

END
{
	my $status = $?;
	kill('KILL', $_->{pid}) foreach @clients;
	_end('KILL');
	$? = $status;
}

1;
