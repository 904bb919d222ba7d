#!/usr/bin/env perl
# Puts the board together: page.html, board.css and js/*.js in the order of their names become
# one page without anything to load, and without leading tabs and what lines are comments only.
#
#   build.pl sql      the part of the install script that makes taskq.board()
#   build.pl html     the page as a file, for another address: board.html?api=http://...
use strict;
use warnings;

use Digest::SHA qw(sha256_base64);
use FindBin;

sub slurp
{
	my ($name) = @_;
	open(my $in, '<:raw', "$FindBin::RealBin/$name") or die "$name: $!\n";
	local $/;
	return <$in>;
}

# Refused is what goes on in the next line and would be another one: texts, a comment behind a statement.
sub lean
{
	my ($text) = @_;
	die "a text may go on in the next line: $1\n" if $text =~ /^(.*(?:`|\\$).*)$/m;
	$text =~ s{^\s*/\*(?:(?!\*/).)*\*/[ \t]*\n}{}gms;
	die "a comment goes on in the next line: $1\n" if $text =~ m{^(.*/\*(?!.*\*/).*)$}m;
	return $text =~ s/^\s+//gmr;
}

sub hash
{
	my $sum = sha256_base64($_[0]);
	return "'sha256-" . $sum . '=' x (-length($sum) % 4) . "'";
}

my $css = lean(slurp('board.css'));
my $js = join("\n", "'use strict';\n(() => {", (map { lean(slurp($_ =~ s{^\Q$FindBin::RealBin\E/}{}r)) } sort glob("$FindBin::RealBin/js/*.js")), "})();\n");
die "the script ends the element it is in\n" if $js =~ m{</script}i || $css =~ m{</style}i;
my $page = slurp('page.html');
$page =~ s{/\* css \*/}{$css};
$page =~ s{/\* js \*/}{$js};
# a database may have any encoding
die "not ASCII: $1\n" if $page =~ /^(.*[^\x00-\x7f].*)$/m;
my $policy = "default-src 'none'; script-src " . hash($js) . '; style-src ' . hash($css) . "; connect-src %s; img-src data:; base-uri 'none'; form-action 'none'";

my $what = $ARGV[0] // '';
if ($what eq 'html')
{
	# frame-ancestors is for headers only
	my $meta = sprintf($policy, 'http: https:');
	$page =~ s{(<meta charset="utf-8">\n)}{$1<meta http-equiv="Content-Security-Policy" content="$meta">\n};
	print $page;
}
elsif ($what eq 'sql')
{
	my $headers = sprintf($policy, "'self'") . "; frame-ancestors 'none'";
	s/'/''/g foreach $headers;
	die "the page ends its quotes\n" if $page =~ /\$page\$/;
	my $text = slurp('board.sql');
	$text =~ s/:page/\$page\$$page\$page\$/;
	$text =~ s/:policy/$headers/;
	print $text;
}
else
{
	die "usage: build.pl sql|html\n";
}
