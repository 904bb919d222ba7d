# ServerLog: what a server's log says that no test announced.
#
# Found are: leaks that PostgreSQL warns of, broken transaction states, PANIC, failed
# assertions and other last words, SQLSTATEs of class XX, FATAL, processes that ended by a
# signal (a crash restart counts once, whatever number of processes it took), errors that a
# process of taskq did not catch (those of handlers are the task's, and are not logged), and
# recovery of a server that nobody stopped or killed.
#
# What goes with every stop, fast or immediate, and with every restart is nothing to announce.
#
# The log is to be written with PREFIX: %b and %e are what is judged.  Lines with other
# prefixes count as far as they can be understood.
package ServerLog;

use strict;
use warnings;

our $PREFIX = '%m [%p] %b|%e %q%u@%d %a ';

my $SEVERITY = qr/DEBUG\d?|LOG|INFO|NOTICE|WARNING|ERROR|FATAL|PANIC|DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE/;
my $LAST_WORDS = qr/TRAP: |stack smashing|double free|corrupted (?:size|double|top)|malloc\(\): |free\(\): |AddressSanitizer|runtime error: /;

# A log without announcements.
sub new
{
	my ($class) = @_;
	return bless { announced => [], killed => [] }, $class;
}

# Entries from byte $from on that match may be there, as often as $times says: a number, or
# [ at least, at most ] where undef is no limit.  Nothing: exactly once.  They are matched as
# "backend type|SQLSTATE SEVERITY:  message".
sub announce
{
	my ($self, $from, $what, $times) = @_;
	$times //= 1;
	my ($least, $most) = ref $times ? @$times : ($times, $times);
	push @{ $self->{announced} }, { from => $from, what => $what, least => $least // 0, most => $most, seen => 0 };
	return;
}

# From byte $to on, what was announced before is not to come any more.
sub announce_end
{
	my ($self, $to) = @_;
	$_->{to} //= $to foreach @{ $self->{announced} };
	return;
}

# The postmaster is killed, and cannot say so.
sub announce_kill
{
	my ($self, $at) = @_;
	push @{ $self->{killed} }, $at;
	return;
}

# The file's own announcements: comments "log: PATTERN" and "log (3): PATTERN", "log (0-): PATTERN".
sub announce_of_file
{
	my ($self, $file) = @_;
	open(my $in, '<', $file) or die "$file: $!";
	while (my $line = <$in>)
	{
		next if $line !~ /^(?:--|#) log(?: \((\d+)(?:(-)(\d*))?\))?: (.*\S)/;
		my $times = !defined $1 ? 1 : !defined $2 ? $1 : [ $1, length $3 ? $3 : undef ];
		$self->announce(0, $4 eq 'crash' ? 'crash' : qr/$4/, $times);
	}
	close($in);
	return;
}

# The entries of a text: where, by which process, of what sort, what; of several lines the first.
sub entries
{
	my ($text, $offset) = @_;
	my @entries;
	while ($text =~ /([^\n]*)(?:\n|\z)/g)
	{
		my ($line, $at) = ($1, $offset + $-[0]);
		next if $line eq '' || $line =~ /^\t/;
		if ($line =~ /^\d{4}-\d\d-\d\d \S+ \S+ \[(\d+)\] (?:([^|:]*)\|(\w{5}) )?.*?\b($SEVERITY):  (.*)/)
		{
			next if $4 =~ /^(?:DETAIL|HINT|QUERY|CONTEXT|STATEMENT|LOCATION|BACKTRACE)$/;
			push @entries, { at => $at, pid => $1, backend => $2 // '', sqlstate => $3 // '', severity => $4, message => $5, line => $line };
		}
		elsif ($line =~ $LAST_WORDS)
		{
			push @entries, { at => $at, pid => 0, backend => '', sqlstate => '', severity => 'PANIC', message => $line, line => $line };
		}
	}
	return @entries;
}

# How an announcement sees it.
sub _as_text
{
	my ($entry) = @_;
	return "$entry->{backend}|$entry->{sqlstate} $entry->{severity}:  $entry->{message}";
}

# The last announcement that an entry is in and that still has room for it.
sub _announced
{
	my ($self, $entry, $crash) = @_;
	foreach my $a (reverse @{ $self->{announced} })
	{
		next if $entry->{at} < $a->{from} || (defined $a->{to} && $entry->{at} >= $a->{to});
		next if defined $a->{most} && $a->{seen} >= $a->{most};
		next if $crash ? $a->{what} ne 'crash' : $a->{what} eq 'crash' || _as_text($entry) !~ $a->{what};
		$a->{seen}++;
		return 1;
	}
	return 0;
}

# Why an entry by itself should not be there; undef if it may.
sub _fault
{
	my ($entry, $state) = @_;
	my ($severity, $message, $sqlstate) = @$entry{qw(severity message sqlstate)};

	return 'PANIC' if $severity eq 'PANIC';
	return 'internal error' if $sqlstate =~ /^XX/;
	return 'leak' if $severity eq 'WARNING' && $message =~ /\bleak(?:ed)?\b/;
	return 'transaction state' if $severity =~ /WARNING|FATAL/ && $message =~ /^\w*Transaction while in|you don't own a lock of type|locallock table corrupted/;
	if ($severity eq 'FATAL')
	{
		# a server that starts, stops or recovers says no
		return undef if $sqlstate eq '57P03' || $message =~ /^the database system is /;
		# (one that still authenticates says it of any SIGTERM)
		return undef if $state->{stopping} && ($sqlstate =~ /^57P0/ || $message =~ /due to administrator command|because of|^canceling authentication due to timeout/);
		return 'FATAL';
	}
	return 'uncaught error' if $severity eq 'ERROR' && $entry->{backend} =~ /^taskq /;
	return 'recovery of a server that nobody stopped'
	  if $message =~ /^database system was not properly shut down/ && !$state->{went_down};
	return undef;
}

# Goes through a text that begins at $offset of the log; faults are lines for people.  Called
# several times, with one part after the other, it goes on where it was.
sub faults
{
	my ($self, $text, $offset) = @_;
	my $state = $self->{state} //= { stopping => 0, crashing => 0, went_down => 0 };
	my @faults;

	foreach my $entry (entries($text, $offset // 0))
	{
		my $message = $entry->{message};
		if (@{ $self->{killed} } && $entry->{at} >= $self->{killed}[0])
		{
			shift @{ $self->{killed} };
			$state->{stopping} = $state->{went_down} = 1;
		}
		if ($entry->{severity} eq 'LOG' && $message =~ /^(?:received (?:smart|fast|immediate) shutdown request|shutting down because restart_after_crash is off)/)
		{
			$state->{stopping} = $state->{went_down} = 1;
		}
		elsif ($entry->{severity} eq 'LOG' && $message =~ /^database system is ready to accept (?:read-only )?connections/)
		{
			@$state{qw(stopping crashing went_down)} = (0, 0, 0);
		}
		elsif ($entry->{severity} eq 'LOG'
			&& $message =~ /\(PID \d+\) (?:was terminated by (?:signal|exception)|exited with exit code (?![01]\b))|^terminating any other active server processes/)
		{
			push @faults, "crash: $entry->{line}"
			  if !$state->{crashing} && !($state->{stopping} && $message =~ /exit code 2\b/) && !$self->_announced($entry, 1);
			$state->{crashing} = $state->{stopping} = $state->{went_down} = 1;
		}
		elsif (defined(my $fault = _fault($entry, $state)))
		{
			push @faults, "$fault: $entry->{line}" if !$self->_announced($entry);
		}
	}
	return @faults;
}

# What was announced and did not come; asked when all of the log was seen.
sub missing
{
	my ($self) = @_;
	return map { "announced, but seen $_->{seen} times, not $_->{least}: $_->{what}" }
	  grep { $_->{seen} < $_->{least} } @{ $self->{announced} };
}

sub slurp
{
	my ($file, $offset) = @_;
	open(my $in, '<:raw', $file) or die "$file: $!";
	seek($in, $offset // 0, 0);
	local $/;
	my $text = <$in> // '';
	close($in);
	return $text;
}

# For shell scripts: prints the faults that are new in a log, and returns whether there are any.
# The file "log.read" keeps how far it was read.  PATTERN: what may be there, any number of
# times; files: tests with announcements.  Several are told apart by the names that pg_regress
# gives to its sessions, which log_connections shows.
sub main
{
	my ($log, @files) = @_;
	my @allowed;
	@allowed = (@allowed, (splice @files, 0, 2)[1]) while @files && $files[0] eq '--allow';
	my $from = -e "$log.read" ? slurp("$log.read") : 0;
	my $text = slurp($log, $from) =~ s/[^\n]*\z//r;
	open(my $out, '>', "$log.read") or die "$log.read: $!";
	print $out $from + length $text;
	close($out);

	my %file = map { m{([^/]+)\.\w+$} ? ($1 => $_) : () } @files;
	my $now = @files == 1 ? $files[0] : undef;
	my @parts = ([ $now, '' ]);
	foreach my $line (split /^/, $text)
	{
		if (@files > 1 && $line =~ m{connection authorized: .*application_name=(?:pg_regress|isolation)/(\w+)} && $file{$1} && $file{$1} ne ($now // ''))
		{
			$now = $file{$1};
			push @parts, [ $now, '' ];
		}
		$parts[-1][1] .= $line;
	}
	my $bad = 0;
	foreach my $part (@parts)
	{
		my ($file, $its) = @$part;
		my $checked = ServerLog->new;
		$checked->announce(0, qr/$_/, [ 0, undef ]) foreach @allowed;
		$checked->announce_of_file($file) if defined $file;
		foreach my $fault ($checked->faults($its, 0), $checked->missing)
		{
			print 'server log', defined $file ? ' of ' . ($file =~ m{([^/]+/[^/]+)$} ? $1 : $file) : '', ": $fault\n";
			$bad++;
		}
	}
	return $bad > 0;
}

1;
