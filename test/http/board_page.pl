# The board without a browser: what the page is, how it comes, and the same as a file.  What it
# does is in board.pl.

use strict;
use warnings;

use Digest::SHA qw(sha256_base64);
use Encode ();
use Http;
use PostgreSQL::Test::Utils;
use Test::More;

my $site = http_site('board_page');

sub hash_of { return "'sha256-" . sha256_base64($_[0]) . "='"; }

# Script and style of a page, and that its policy names them and nothing else.
sub named_ok
{
	my ($page, $policy, $name) = @_;
	my ($js) = $page =~ m{<script>(.*?)</script>}s or die 'no script';
	my ($css) = $page =~ m{<style>(.*?)</style>}s or die 'no style';
	my %said = map { /^(\S+) (.*)$/ ? ($1 => $2) : () } split(/; */, $policy);
	is_deeply([ @said{qw(default-src script-src style-src base-uri form-action)} ], [ "'none'", hash_of($js), hash_of($css), "'none'", "'none'" ], "$name: the policy names script and style, and nothing else");
	unlike($page, qr{<(?:script|link|img|iframe)[^>]*(?:src|href)=["']?(?!data:)[^"'#>]}i, '... it loads nothing');
	unlike($page, qr{\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval|new Function)\b}, '... and makes no markup or script of texts');
	unlike($page, qr{document\.cookie|localStorage}, '... and keeps nothing beyond its tab');
	return;
}

# Each file of parts for the browser is named by one of board*.pl.
my $named = join(' ', map { slurp_file($_) =~ /^board_test\((.*)\);/m ? $1 : () } glob("$ENV{TESTDIR}/http/board*.pl"));
is_deeply([ grep { $_ ne 'shots' && $named !~ /\b$_\b/ } map { m{(\w+)\.js$} } glob("$ENV{TESTDIR}/board/parts/*.js") ], [], 'all parts are run in a browser');

my $file = `"$ENV{TESTDIR}/../board/build.pl" html`;
my ($meta) = $file =~ m{<meta http-equiv="Content-Security-Policy" content="([^"]*)">\n};
named_ok($file, $meta, 'the file');
my $page = $file =~ s{<meta http-equiv="Content-Security-Policy"[^>]*>\n}{}r;
cmp_ok(length($page), '<', 150_000, 'the page is below 150 kB');

unlike($page, qr{^[ \t]|^/\*}m, '... without the tabs and comments of its sources');

# What that would change is refused.
foreach my $case ([ "const a = `x\n\t`;\n", qr{a text may go on in the next line: const a = `x} ], [ "const a = 'x\\\n\t';\n", qr{a text may go on in the next line: const a = 'x} ],
	[ "f(); /* on and\n\t/* on */\n", qr{a comment goes on in the next line: f\(\); /\* on and} ])
{
	my ($more, $refused) = @$case;
	my $copy = PostgreSQL::Test::Utils::tempdir();
	system("cp -r '$ENV{TESTDIR}/../board/.' '$copy'") == 0 or die 'no copy';
	append_to_file("$copy/js/00_dom.js", $more);
	command_fails_like([ "$copy/build.pl", 'html' ], $refused, 'refused: ' . $more =~ s/\n.*//sr);
}

$site->each_gateway(sub {
	my ($served, %header);
	foreach my $url ('/rpc/board', '/board', '/board?x=1')
	{
		my ($code, $out) = $site->client(undef, '', 'curl', '-sS', '-i', '-H', 'Accept: text/html,*/*;q=0.8', $site->{url} . $url);
		(my $head, $served) = split(/\r?\n\r?\n/, $out, 2);
		like($head, qr{^HTTP/1\.1 200\b}, "$url: without a token");
		%header = map { /^([\w-]+): (.*?)\r?$/ ? (lc $1 => $2) : () } split(/\n/, $head);
		like($header{'content-type'}, qr{^text/html}, '... as HTML');
		is($served, $page, '... the page');
	}
	named_ok($served, $header{'content-security-policy'}, 'served');
	like($header{'content-security-policy'}, qr{connect-src 'self';.*frame-ancestors 'none'}, '... it calls where it comes from, and is in no frame');
	is_deeply([ @header{qw(x-content-type-options referrer-policy cache-control)} ], [ 'nosniff', 'no-referrer', 'no-cache' ], '... further headers');
});

done_testing();
