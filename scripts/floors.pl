#!/usr/bin/perl
# Do the arrows fall?  Folders of src/ are floors: a file may include, and call
# functions of, files of its own folder and of those below.  api and dispatch stand
# side by side and know nothing of each other.  Part of make test.
use strict;
use warnings;

my %floor = (base => 1, store => 2, lanes => 3, run => 4, dispatch => 5, api => 5, '' => 6);
my (%text, %home, @wrong);

for my $file (glob 'src/*.[ch] src/*/*.[ch]')
{
	next if $file =~ /errnames/;
	open my $in, '<', $file or die "$file: $!";
	local $/;
	$text{$file} = <$in>;
	$text{$file} =~ s{/\*.*?\*/}{}gs;
	next unless $file =~ /\.c$/;
	$home{$1} = $file while $text{$file} =~ /^(taskq_\w+)\(/mg;
}

sub room { my ($file) = @_; return $file =~ m{^src/(\w+)/} ? $1 : ''; }

sub falls
{
	my ($from, $to) = @_;
	return $from eq $to || $floor{$from} > $floor{$to};
}

for my $file (sort keys %text)
{
	my $from = room($file);
	die "$file: no such floor" unless exists $floor{$from};
	while ($text{$file} =~ m{^#include "((\w+)/\w+\.h)"}mg)
	{
		push @wrong, "$file includes $1" if exists $floor{$2} && !falls($from, $2);
	}
	while ($text{$file} =~ /\b(taskq_\w+)\s*\(/g)
	{
		next unless $home{$1} && $home{$1} ne $file;
		push @wrong, "$file calls $1 of $home{$1}" unless falls($from, room($home{$1}));
	}
}
my %seen;
print "$_\n" for grep { !$seen{$_}++ } @wrong;
printf "%d files, %d arrows that do not fall\n", scalar keys %text, scalar keys %seen;
exit(@wrong ? 1 : 0);
