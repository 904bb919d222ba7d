# docs/http.md, "A first task": its commands run as they stand, but for the port; and docs/from
# names tests that there are.

use strict;
use warnings;

use Http;
use PostgreSQL::Test::Utils;
use Test::More;

my $site = http_site('docs', sql => ['http.sql']);
$site->sql(q{SELECT auth.account_set('me@example.com', 'a good password')});

my ($section) = slurp_file("$ENV{TESTDIR}/../docs/http.md") =~ /^## A first task\n(.*?)^## /ms or die 'no section';
my @blocks = $section =~ /^```sh\n(.*?)^```/msg;
my $script = "set -euo pipefail\n" . join("echo ----\n", map { s/localhost:8080/127.0.0.1:$site->{port}/gr } @blocks);

$site->each_gateway(sub {
	my ($code, $out) = $site->client(undef, '', 'bash', '-c', $script);
	is($code, 0, 'the commands run') or diag($out);
	my (undef, $watched, $looked, $cancelled, $listed) = split(/^----\n/m, $out);
	like($watched, qr/^\["running",\d+,"at \d+"\]\n.*^\["completed",100,"at 10"\]\n\z/ms, 'a task is watched to its end');
	like($looked, qr/"result": \{\s*"counted": 10\s*\}/, '... and has its result');
	like($cancelled, qr/"cancelled": true.*"state": "cancelled",\s*"cancel_reason": "changed my mind"/s, 'one is cancelled');
	like($listed, qr/"summary": "Cancelled: changed my mind".*"summary": "Task completed successfully"/s, 'both are listed');
});

# Pages about documents name tests that there are.
foreach my $page (glob("$ENV{TESTDIR}/../docs/from/*.md"))
{
	my @tests = slurp_file($page) =~ m{`(?:test/)?((?:http|t|pgtap|specs)/[\w.]+)`}g;
	my @none = grep { !-e "$ENV{TESTDIR}/$_" } @tests;
	ok(@tests && !@none, ($page =~ s{.*/}{}r) . ' names its tests') or diag("no such test: @none");
}

done_testing();
