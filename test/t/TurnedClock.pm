# TurnedClock: a server whose clock a test can set.
package TurnedClock;

use strict;
use warnings;
use Exporter 'import';
use Fcntl;
use FindBin;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(set_clock start_turned);

# A library in front of the C library turns the time of the server's processes, as a file says.
my $dir = PostgreSQL::Test::Utils::tempdir();
my $lib = "$dir/turn_clock.so";
my $turn = "$dir/turn";
plan skip_all => 'no C compiler'
  if system('cc', '-shared', '-fPIC', '-O', '-o', $lib, "$FindBin::RealBin/turn_clock.c") != 0;

# So many seconds from the real time, from now on.
sub set_clock
{
	my ($seconds) = @_;
	# in place: the processes have the file mapped
	sysopen(my $file, $turn, Fcntl::O_RDWR | Fcntl::O_CREAT) or die "$turn: $!";
	syswrite($file, pack('q', $seconds)) == 8 or die "$turn: $!";
	close $file;
	return;
}

# Calls what starts a server.
sub start_turned
{
	my ($start) = @_;
	local $ENV{LD_PRELOAD} = $lib;
	local $ENV{TURN_CLOCK} = $turn;
	set_clock(0) if !-e $turn;
	return $start->();
}

1;
