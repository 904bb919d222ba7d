# Http: what the tests over HTTP share.
#
# A server with taskq, examples/roles.sql and some contracts of examples/rest; PostgREST, or the
# stand-in for it, twice (for calls, and for calls that wait); nginx before them with
# examples/nginx.conf; requests by curl.
#
#   my $site = http_site('celery', contracts => ['celery']);
#   $site->each_gateway(sub {
#       my ($status, $headers, $json) = $site->request(GET => '/celery/api/v1/tasks', 'alice');
#   });
#   done_testing();
#
# What is tested runs with the stand-in and with PostgREST, where that is on the PATH; else as
# many tests are reported as skipped.  TASKQ_GATEWAY=stand-in or =PostgREST runs one only.
# Both find the same database, so a test makes what it needs.  with_echo() is for nginx's maps.
package Http;

use strict;
use warnings;

use Exporter 'import';
use B ();
use Cwd qw(abs_path);
use Digest::SHA qw(hmac_sha256);
use File::Basename qw(dirname);
use File::Copy qw(copy);
use File::Path qw(make_path);
use IO::Socket::INET;
use IO::Socket::UNIX;
use JSON::PP ();
use MIME::Base64 qw(encode_base64);
use POSIX ();
use TaskqTest qw(taskq_node);
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep time);

our @EXPORT = qw(http_site shape_is shape_faults is_true is_false);

our $SECRET = 'the secret of tests, 32 characters and more';
my $ROOT = abs_path(dirname(__FILE__) . '/../..');
my $JSON = JSON::PP->new->utf8->allow_nonref->canonical;
my @SITES;

# Who may be named in a request: the claims of their tokens.
our %PEOPLE = (
	alice => { role => 'web_user', sub => 'alice@example.com', tenant => 'acme' },
	amy => { role => 'web_user', sub => 'amy@example.com', tenant => 'acme' },
	bob => { role => 'web_user', sub => 'bob@example.com', tenant => 'other' },
	boss => { role => 'web_tenant_operator', sub => 'boss@example.com', tenant => 'acme' },
	operator => { role => 'web_operator', sub => 'operator@example.com' },
	worker => { role => 'web_worker', sub => 'worker' },
);

# They end before the server does, and with the test.
{
	no warnings 'redefine';
	my $done_testing = Test::Builder->can('done_testing');
	*Test::Builder::done_testing = sub {
		$_->stop foreach @SITES;
		goto &$done_testing;
	};
}

END
{
	my $status = $?;
	$_->stop foreach @SITES;
	$? = $status;
}

# Options: contracts, names of directories of examples/rest; conf, settings of the server;
# limit, nginx's requests a second for one client (else there is no limit to be met); waits, how
# many of its calls may wait at a time;
# push, the port of examples/bridge; schemas, more than taskq, api and the contracts; sql, files of examples/ to run after these.
sub http_site
{
	my ($name, %options) = @_;
	my $self = bless { name => $name, dir => PostgreSQL::Test::Utils::tempdir_short(), running => {} }, __PACKAGE__;
	plan(skip_all => 'nginx is not on the PATH') if !_program('nginx');

	my $node = $self->{node} = taskq_node($name, 'taskq.max_wait' => '10s', %{ $options{conf} // {} });
	my @contracts = @{ $options{contracts} // [] };
	$self->sql_file('roles.sql', "jwt_secret=$SECRET");
	$self->sql_file("rest/$_/$_.sql") foreach @contracts;
	$self->sql_file($_) foreach @{ $options{sql} // [] };
	$self->{push} = $options{push};
	$self->{waits} = $options{waits};
	$self->_write_confs($options{limit}, $options{waiters}, join(', ', 'taskq', 'api', @contracts, @{ $options{schemas} // [] }));
	push @SITES, $self;
	$self->start_nginx;
	return $self;
}

sub start_nginx
{
	my ($self) = @_;
	$self->_start('nginx', "$self->{dir}/nginx.conf", 'nginx', '-p', $self->{dir}, '-c', "$self->{dir}/nginx.conf",
		'-g', 'daemon off;', '-e', "$self->{dir}/error.log");
	$self->_until(sub { IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{port}) }, 'nginx');
	return;
}

# Runs a file of examples/ as superuser.
sub sql_file
{
	my ($self, $file, @variables) = @_;
	local $ENV{PGOPTIONS} = '-c client_min_messages=warning';
	my ($out, $err);
	IPC::Run::run([ 'psql', '-XAtq', '-v', 'ON_ERROR_STOP=1', (map { ('-v', $_) } @variables), '-d', $self->{node}->connstr('postgres'),
			'-f', "$ROOT/examples/$file" ], '<', \undef, '>', \$out, '2>', \$err)
	  or die "$file: $err";
	return;
}

# Superuser's SQL.
sub sql
{
	my ($self, $query) = @_;
	return $self->{node}->safe_psql('postgres', $query);
}

sub _program
{
	my ($name) = @_;
	return (grep { -x } map { "$_/$name" } split(/:/, $ENV{PATH}), '/usr/sbin', '/usr/local/bin')[0];
}

# The files of examples/, with other addresses.
sub _write_confs
{
	my ($self, $limit, $waiters, $schemas) = @_;
	my $dir = $self->{dir};
	my $port = $self->{port} = PostgreSQL::Test::Cluster::get_free_port();
	my $db = 'host=' . $self->{node}->host . '&port=' . $self->{node}->port;

	$self->{url} = "http://127.0.0.1:$port";
	foreach my $name ('postgrest', 'postgrest-wait')
	{
		_copy("examples/$name.conf", "$dir/$name.conf", sub {
			s/host=\/var\/run\/postgresql/$db/;
			s/^(db-schemas = ).*/$1"$schemas"/m;
			s/^(jwt-secret = ).*/$1"$SECRET"/m;
			s/^db-pool = .*/db-pool = $waiters/m if $waiters && $name eq 'postgrest-wait';
			s/localhost:8080/127.0.0.1:$port/;
			s/^server-host.*\n//m;
			s/^server-port.*/server-unix-socket = "$dir\/$name.sock"/m;
		});
	}
	_copy('examples/nginx.conf', "$dir/nginx.conf", sub {
		s/127\.0\.0\.1:3000/unix:$dir\/postgrest.sock/;
		s/127\.0\.0\.1:3001/unix:$dir\/postgrest-wait.sock/;
		s/127\.0\.0\.1:8080/127.0.0.1:$port/g;
		s/127\.0\.0\.1:3010/127.0.0.1:$self->{push}/ if $self->{push};
		s/\/run\/taskq-http/$dir/g;
		s/rate=\d+r\/s/rate=100000r\/s/g if !$limit;
		s/zone=calls:10m rate=\d+r\/s/zone=calls:10m rate=${limit}r\/s/, s/zone=calls burst=\d+/zone=calls burst=$limit/ if $limit;
		s/worker_processes auto/worker_processes 1/;
	});
	foreach my $file (glob("$ROOT/examples/rest/*.conf $ROOT/examples/rest/*/*.conf"))
	{
		my $copy = $file =~ s/^\Q$ROOT\E\/examples/$dir/r;
		make_path(dirname($copy));
		_copy($file =~ s/^\Q$ROOT\E\///r, $copy, sub {
			s/127\.0\.0\.1:8080/127.0.0.1:$port/g;
			s/^(limit_conn \w+) \d+/$1 $self->{waits}/mg if $self->{waits};
		});
	}
	return;
}

sub _copy
{
	my ($from, $to, $change) = @_;
	local $_ = slurp_file("$ROOT/$from");
	$change->();
	open(my $out, '>', $to) or die "$to: $!";
	print $out $_;
	close($out);
	return;
}

# A program that runs until stop().
sub _start
{
	my ($self, $name, $file, @command) = @_;
	$command[0] = _program($command[0]) // $command[0];
	my $pid = fork() // die "fork: $!";
	if (!$pid)
	{
		open(STDIN, '<', '/dev/null');
		open(STDOUT, '>>', "$self->{dir}/$name.log");
		open(STDERR, '>&', \*STDOUT);
		exec(@command) or POSIX::_exit(127);
	}
	$self->{running}{$name} = $pid;
	return;
}

sub _until
{
	my ($self, $condition, $name) = @_;
	foreach (1 .. 6000)
	{
		return if $condition->();
		my $pid = $self->{running}{$name};
		if (!defined $pid || waitpid($pid, POSIX::WNOHANG()) == $pid)
		{
			delete $self->{running}{$name};
			last;
		}
		sleep(0.01);
	}
	die "$name did not start: " . $self->log($name);
}

# What one of the programs said: nginx, postgrest, postgrest-wait.
sub log
{
	my ($self, $name) = @_;
	return join('', map { -e ? slurp_file($_) : '' } "$self->{dir}/$name.log", $name eq 'nginx' ? "$self->{dir}/error.log" : ());
}

# Ends one of the programs, or all.
sub stop
{
	my ($self, @names) = @_;
	@names = keys %{ $self->{running} } if !@names;
	foreach my $name (@names)
	{
		my $pid = delete $self->{running}{$name} or next;
		kill('TERM', $pid);
		waitpid($pid, 0);
	}
	return;
}

# ---- the gateways

sub each_gateway
{
	my ($self, $code) = @_;
	my $only = $ENV{TASKQ_GATEWAY} // '';

	my $tests = $only ne 'PostgREST' ? $self->_with('stand-in', $code) : 0;
	if (_program('postgrest'))
	{
		$self->_with('PostgREST', $code) if $only ne 'stand-in';
	}
	elsif ($only ne 'stand-in')
	{
		_skipped($tests);
	}
	return;
}

# Once: with PostgREST where it is, or else with the stand-in.
sub best_gateway
{
	my ($self, $code) = @_;
	my $only = $ENV{TASKQ_GATEWAY} // '';

	if (_program('postgrest') && $only ne 'stand-in')
	{
		$self->_with('PostgREST', $code);
	}
	elsif ($only ne 'PostgREST')
	{
		my $tests = $self->_with('stand-in', $code);
		_skipped($tests) if $only ne 'stand-in';
	}
	return;
}

sub _skipped
{
	my ($tests) = @_;
  SKIP:
	{
		skip('PostgREST is not on the PATH', $tests);
	}
	return;
}

# Returns how many tests that were.
sub _with
{
	my ($self, $gateway, $code) = @_;
	my $builder = Test::More->builder;
	my $before = $builder->current_test;
	note("--- $gateway");
	$self->start_gateway($gateway);
	$code->($gateway);
	$self->stop('postgrest', 'postgrest-wait');
	delete $self->{gateway};
	return $builder->current_test - $before;
}

# What nginx makes of requests: a program is behind it that answers with what it was asked,
# { gateway, method, path, query, body, headers }.
sub with_echo
{
	my ($self, $code) = @_;
	return $self->_with('echo', $code);
}

sub start_gateway
{
	my ($self, $gateway) = @_;
	$self->{gateway} = $gateway;
	foreach my $name ('postgrest', 'postgrest-wait')
	{
		unlink("$self->{dir}/$name.sock");
		$self->_start($name, "$self->{dir}/$name.conf",
			$gateway eq 'PostgREST' ? 'postgrest' : ('/usr/bin/python3', "$ROOT/test/http/" . ($gateway eq 'echo' ? 'echo.py' : 'standin.py')),
			"$self->{dir}/$name.conf");
	}
	foreach my $name ('postgrest', 'postgrest-wait')
	{
		$self->_until(sub { $self->_ready("$self->{dir}/$name.sock") }, $name);
	}
	return;
}

# It answers, and knows the schemas.
sub _ready
{
	my ($self, $path) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $path) or return 0;
	print $socket "GET /rpc/no_such_function HTTP/1.0\r\n\r\n";
	my $line = <$socket> // '';
	return $line =~ /^HTTP\S+ 404/;
}

# ---- tokens and requests

sub _base64url
{
	return encode_base64($_[0], '') =~ tr{+/=}{-_}dr;
}

# A token for one of the people, or for claims.
sub token
{
	my ($self, $who) = @_;
	my $claims = ref $who ? $who : $PEOPLE{$who} // die "who is $who?";
	my $text = _base64url('{"alg":"HS256","typ":"JWT"}') . '.' . _base64url($JSON->encode({ exp => int(time) + 3600, %$claims }));
	return $text . '.' . _base64url(hmac_sha256($text, $SECRET));
}

# One request.  $who: undef, one of the people, claims, or { token => '…' }.  $body: undef, data
# to be sent as JSON, or \'text as it is'.  Returns status, headers (names in lower case) and
# what came, decoded if it is JSON.
sub request
{
	my ($self, $method, $path, $who, $body, $headers) = @_;
	my %headers = %{ $headers // {} };
	my $url = $path =~ /^http/ ? $path : $self->{url} . $path;
	my $token = !defined $who ? undef : ref $who && exists $who->{token} ? $who->{token} : $self->token($who);
	my @command = ('curl', '-sSg', '--path-as-is', '--max-time', 60, '-D', "$self->{dir}/headers", '-o', "$self->{dir}/answer",
		$method eq 'HEAD' ? '-I' : ('-X', $method));

	$headers{Authorization} //= "Bearer $token" if defined $token;
	if (defined $body)
	{
		$headers{'Content-Type'} //= 'application/json';
		open(my $out, '>:raw', "$self->{dir}/body") or die "$self->{dir}/body: $!";
		print $out ref $body eq 'SCALAR' ? $$body : $JSON->encode($body);
		close($out);
		push @command, '--data-binary', "\@$self->{dir}/body";
	}
	push @command, map { ('-H', length $headers{$_} ? "$_: $headers{$_}" : "$_;") } sort keys %headers;
	unlink("$self->{dir}/answer", "$self->{dir}/headers");
	system(@command, $url) == 0 or die "curl: $method $url: $?";

	my ($first, @lines) = split(/\r?\n/, slurp_file("$self->{dir}/headers") =~ s/.*\r?\n\r?\n(?=HTTP)//sr);
	my ($status) = $first =~ m{^HTTP/\S+ (\d+)} or die "no status: $first";
	my %answer = map { /^([^:]+):\s*(.*?)\s*$/ ? (lc $1 => $2) : () } @lines;
	my $text = -e "$self->{dir}/answer" && $method ne 'HEAD' ? slurp_file("$self->{dir}/answer") : '';
	my $json = length $text && ($answer{'content-type'} // '') =~ /json/ ? $JSON->decode($text) : $text;
	return ($status, \%answer, $json);
}

# A request by GET in the background, with the token of $who or with a header of his own; returns
# what request_end() then takes.
sub request_begin
{
	my ($self, $path, $who, @options) = @_;
	my $file = "$self->{dir}/begun" . ++$self->{begun};
	my $pid = fork() // die "fork: $!";
	if (!$pid)
	{
		open(STDOUT, '>', $file);
		exec('curl', '-sSg', '--max-time', 60, @options, '-w', '\n%{http_code}', '-H', 'Authorization: ' . (ref $who && $who->{header} || 'Bearer ' . (ref $who && $who->{token} || $self->token($who))), $self->{url} . $path)
		  or POSIX::_exit(127);
	}
	return { pid => $pid, file => $file };
}

# Status and JSON of a request in the background.
sub request_end
{
	my ($self, $begun) = @_;
	waitpid($begun->{pid}, 0);
	my ($text, $status) = slurp_file($begun->{file}) =~ /^(.*)\n(\d+)\z/s or die 'no answer';
	return ($status, length $text ? $JSON->decode($text) : undef);
}

# A function of taskq, or of another schema.  Returns status, headers and what came.
sub rpc
{
	my ($self, $name, $who, $arguments, $headers) = @_;
	my %headers = %{ $headers // {} };
	$headers{'Content-Profile'} = $1 if $name =~ s/^(\w+)\.//;
	return $self->request(POST => "/rpc/$name", $who, $arguments // {}, \%headers);
}

# Asks until the condition holds for what came; returns that.  Dies after a minute.
sub request_until
{
	my ($self, $condition, @request) = @_;
	my $deadline = time + 60;
	while (1)
	{
		my ($status, $headers, $json) = $self->request(@request);
		local $_ = $json;
		return ($status, $headers, $json) if $condition->($json, $status);
		die "still $status " . $JSON->encode($json) if time > $deadline;
		sleep(0.05);
	}
}

# Runs a program of a client; $script gets TOKEN and BASE_URL.  Returns exit code and output.
sub client
{
	my ($self, $who, $base, @command) = @_;
	local $ENV{TOKEN} = defined $who ? $self->token($who) : '';
	local $ENV{BASE_URL} = "$self->{url}$base";
	my $out = '';
	IPC::Run::run(\@command, '<', \undef, '>&', \$out, IPC::Run::timeout(120));
	return ($? >> 8, $out);
}

# ---- names and types of JSON

sub _type
{
	my ($value) = @_;
	return 'null' if !defined $value;
	return 'object' if ref $value eq 'HASH';
	return 'array' if ref $value eq 'ARRAY';
	return 'boolean' if ref $value;
	my $flags = B::svref_2object(\$value)->FLAGS;
	return $flags & (B::SVf_IOK | B::SVf_NOK) && !($flags & B::SVf_POK) ? 'number' : 'string';
}

# What is wrong with names and types of JSON.  A shape is
#   'string', 'number', 'boolean', 'null', 'array', 'object', 'any', or several: 'string|null'
#   'integer'; 'uuid', 'time' (…T…Z): strings of that form; qr/…/: a string that matches
#   { name => shape, 'name?' => shape of one that may be missing, '*' => shape of any other }
#   [ shape of each element ]
#   \'text', \5: exactly that
sub shape_faults
{
	my ($json, $shape, $path) = @_;
	$path //= '$';
	my $type = _type($json);
	if (ref $shape eq 'HASH')
	{
		return "$path is $type, not an object" if $type ne 'object';
		my @faults;
		my %known;
		foreach my $name (grep { $_ ne '*' } sort keys %$shape)
		{
			my $bare = $name =~ s/\?$//r;
			$known{$bare} = 1;
			push @faults, exists $json->{$bare} ? shape_faults($json->{$bare}, $shape->{$name}, "$path.$bare")
			  : $name eq $bare ? "$path.$bare is missing" : ();
		}
		foreach my $name (grep { !$known{$_} } sort keys %$json)
		{
			push @faults, $shape->{'*'} ? shape_faults($json->{$name}, $shape->{'*'}, "$path.$name") : "$path.$name is too much";
		}
		return @faults;
	}
	if (ref $shape eq 'ARRAY')
	{
		return "$path is $type, not an array" if $type ne 'array';
		return map { shape_faults($json->[$_], $shape->[0], $path . "[$_]") } 0 .. $#$json;
	}
	return $type eq 'string' && $json =~ $shape ? () : "$path does not match $shape" if ref $shape eq 'Regexp';
	return defined $json && !ref $json && $json eq $$shape ? () : "$path is " . $JSON->encode($json) . ", not $$shape" if ref $shape;
	foreach my $one (split /\|/, $shape)
	{
		return () if $one eq 'any' || $one eq $type
		  || ($one eq 'integer' && $type eq 'number' && $json =~ /^-?\d+\z/)
		  || ($one eq 'uuid' && $type eq 'string' && $json =~ /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z/)
		  || ($one eq 'time' && $type eq 'string' && $json =~ /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\z/);
	}
	return "$path is $type" . (ref $json ? '' : ' ' . $JSON->encode($json)) . ", not $shape";
}

# Asserts that JSON has exactly these names and types.
sub shape_is
{
	my ($json, $shape, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my @faults = shape_faults($json, $shape);
	return ok(!@faults, $name) || diag(join("\n", @faults, 'in ' . $JSON->encode($json)));
}

# JSON's true and false, nothing like them.
sub is_true
{
	my ($value, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(JSON::PP::is_bool($value) && $value, $name) || diag('is ' . $JSON->encode($value));
}

sub is_false
{
	my ($value, $name) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(JSON::PP::is_bool($value) && !$value, $name) || diag('is ' . $JSON->encode($value));
}

1;
