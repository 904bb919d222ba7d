# Log-in, tokens and roles, over HTTP: who gets a token, which tokens are believed, and what each role may.
use strict;
use warnings;

use Digest::SHA qw(hmac_sha256 hmac_sha256_base64);
use FindBin;
use Http;
use JSON::PP ();
use MIME::Base64 qw(decode_base64 encode_base64);
use Test::More;

my $site = http_site('roles');
$site->sql(q{
	SELECT auth.account_set('ann@example.com', 'a good password', tenant => 'acme'), auth.account_set('Solo@example.com', 'another password');
	SELECT taskq.queue_define('roles_held'), taskq.queue_pause('roles_held');
	SELECT taskq.kind_define('roles', queue => 'roles_held', run_as => 'app_runner'), taskq.kind_grant('roles', 'web_user'), taskq.kind_grant('roles', 'web_worker', 'work all');
});

sub login
{
	my ($email, $password) = @_;
	return $site->request(POST => '/rpc/login', undef, { email => $email, password => $password }, { 'Content-Profile' => 'api' });
}

# A token of these parts; the signature is made with the secret if none is given.
sub forged
{
	my ($head, $claims, $signature) = @_;
	my $encode = sub { my $text = encode_base64($_[0], ''); $text =~ tr{+/=}{-_}d; return $text };
	my $text = $encode->($head) . '.' . $encode->(JSON::PP->new->canonical->encode($claims));
	return { token => $text . '.' . ($signature // $encode->(hmac_sha256($text, $Http::SECRET))) };
}

sub status_of
{
	my ($status, undef, $json) = $site->request(@_);
	return ref $json eq 'HASH' && $json->{code} ? "$status $json->{code}" : $status;
}

$site->each_gateway(sub {
	my ($status, $headers, $json) = login('Ann@example.com', 'a good password');
	is($status, 200, 'who has the password');
	shape_is($json, { access_token => 'string', token_type => 'string', expires_in => 'integer' }, '... gets a token');
	my $ann = { token => $json->{access_token} };
	($status, undef, my $id) = $site->rpc('task_submit', $ann, { kind => 'roles', payload => { x => 1 } });
	is($status, 200, '... which is good for a submit');
	($status, undef, $json) = $site->request(GET => "/rpc/task_status?id=$id&select=state,tenant,submitted_by,run_as", $ann);
	is(join(' ', map { $json->[0]{$_} // '' } qw(state tenant submitted_by run_as)), 'pending acme web_user app_runner', '... of its tenant') if ref $json eq 'ARRAY';
	is(join(' ', map { $json->{$_} // '' } qw(state tenant submitted_by run_as)), 'pending acme web_user app_runner', '... of its tenant') if ref $json eq 'HASH';
	my $solo = { token => (login('solo@example.com', 'another password'))[2]{access_token} };
	is(status_of(GET => "/rpc/task_status?id=$id", $solo), '404 PT404', 'another account is another tenant');
	is((login('ann@example.com', 'a bad password'))[0], 401, 'a wrong password');
	is((login('none@example.com', 'a good password'))[0], 401, '... a wrong address');
	is(status_of(POST => '/rpc/login', undef, { email => 'ann@example.com' }, { 'Content-Profile' => 'api' }), '404 PGRST202', '... no password');
	is(status_of(GET => '/rpc/login?email=ann@example.com&password=a%20good%20password', undef, undef, { 'Accept-Profile' => 'api' }), '405 PT405', 'no password goes into an address');

	# tokens
	my $claims = { role => 'web_user', sub => 'ann@example.com', tenant => 'acme', exp => time + 600 };
	my $head = '{"alg":"HS256","typ":"JWT"}';
	my $path = "/rpc/task_status?id=$id";
	is(status_of(GET => $path, forged($head, $claims)), 200, 'a token that is signed with the secret');
	is((status_of(GET => $path, forged($head, { %$claims, exp => time - 600 })) =~ /^(\d+)/)[0], 401, '... that is over');
	is((status_of(GET => $path, forged($head, $claims, 'AAAA')) =~ /^(\d+)/)[0], 401, '... with a wrong signature');
	is((status_of(GET => $path, forged('{"alg":"none"}', $claims, '')) =~ /^(\d+)/)[0], 401, '... with none');
	is((status_of(GET => $path, { token => 'x.y' }) =~ /^(\d+)/)[0], 401, '... that is none');
	is(status_of(GET => $path), '401 42501', 'no token');
	is(status_of(GET => $path, { role => 'app_runner', sub => 'ann@example.com', tenant => 'acme' }), '403 42501', 'a role that authenticator may not become');
	is(status_of(GET => $path, { role => 'web_user', sub => 'ann@example.com' }), '404 PT404', 'a token without tenant sees what is nobody\'s');

	# roles
	is(status_of(GET => $path, 'bob'), '404 PT404', 'another tenant');
	is(status_of(GET => $path, 'operator'), 200, 'an operator');
	is(status_of(GET => $path, 'boss'), 200, 'the operator of the tenant');
	is(status_of(GET => $path, { role => 'web_tenant_operator', sub => 'x', tenant => 'other' }), '404 PT404', '... of another one');
	is(status_of(GET => $path, { role => 'web_tenant_operator', sub => 'x' }), '403 PT403', '... of none');
	is(status_of(POST => '/rpc/task_set_priority', 'boss', { id => $id, priority => 3 }), 200, 'the tenant\'s operator steers');
	is(status_of(POST => '/rpc/queue_pause', 'boss', { name => 'default' }), '403 42501', '... but not the whole');
	is(status_of(POST => '/rpc/queue_pause', 'alice', { name => 'default' }), '403 42501', 'nor does a user');
	is(status_of(POST => '/rpc/queue_define', 'operator', { name => 'roles_other' }), 204, 'an operator does');
	is(status_of(POST => '/rpc/progress', 'alice', { current => 5 }) =~ /^40[34]/, 1, 'functions of handlers are not for the web');
	is(status_of(POST => '/rpc/task_submit', 'worker', { kind => 'roles' }), '403 42501', 'a worker does not submit');
	is(status_of(GET => '/account', 'operator', undef, { 'Accept-Profile' => 'auth' }), '406 PGRST106', 'accounts are not there');
	is(status_of(POST => '/rpc/token', 'operator', { role => 'web_operator', sub => 'x' }, { 'Content-Profile' => 'auth' }), '406 PGRST106', '... nor is who signs');

	# what is listed is what may be called
	my %listed = map {
		my $who = $_;
		($who => (join ' ', sort keys %{ ($site->request(GET => '/', $who))[2]{paths} // {} }))
	} qw(alice boss operator worker);
	unlike($listed{alice}, qr{/rpc/(queue_pause|kind_define|task_submit_sql|progress|task_claim)\b}, 'the document of a user') if $listed{alice};
	unlike($listed{boss}, qr{/rpc/(queue_pause|kind_define|task_submit_sql|tenant_delete)\b}, '... of a tenant\'s operator') if $listed{boss};
	like($listed{boss}, qr{/rpc/schedule_define\b}, '... who has schedules') if $listed{boss};
});

done_testing();
