# Every example of docs/orchestration.md and docs/insight.md runs as it stands, as the document says.
use strict;
use warnings;
use FindBin;
use lib $FindBin::RealBin;
use TaskqTest;
use PostgreSQL::Test::Utils;
use Test::More;

# Headings and the blocks of SQL below them; a block that is not closed is a mistake.
sub blocks
{
	my ($document) = @_;
	my ($heading, $block, @blocks) = ('');
	for my $line (split /^/, slurp_file("$FindBin::RealBin/../../docs/$document.md"))
	{
		if (defined $block)
		{
			die "example of \"$heading\" has no end\n" if $line =~ /^##/;
			if ($line =~ /^```/) { push @blocks, [ $heading, $block ]; undef $block; }
			else { $block .= $line; }
		}
		elsif ($line =~ /^## (.*)/) { $heading = $1; }
		elsif ($line =~ /^```sql$/) { $block = ''; }
	}
	die "example of \"$heading\" has no end\n" if defined $block;
	cmp_ok(scalar @blocks, '>=', 10, "$document has examples");
	return @blocks;
}

my $node = taskq_node('docs', 'taskq.max_workers' => 3);
$node->safe_psql('postgres', 'CREATE ROLE reader LOGIN IN ROLE taskq_user, taskq_developer, taskq_operator, taskq_monitor');

sub run_document
{
	my ($document) = @_;
	$node->safe_psql('postgres', "CREATE DATABASE $document OWNER reader");
	$node->safe_psql($document, 'CREATE EXTENSION taskq');
	for (blocks($document))
	{
		my ($of, $sql) = @$_;
		my ($out, $err);
		my $status = $node->psql($document, $sql, stdout => \$out, stderr => \$err,
			extra_params => [ '-U', 'reader' ], on_error_stop => 1, timeout => 60);
		is($status, 0, "$document: $of") or diag($err);
	}
	return;
}

run_document($_) for qw(orchestration insight);
is(sql($node, 'orchestration', q{SELECT string_agg(s->>'state', ' ' ORDER BY t.workflow)
	FROM (SELECT DISTINCT workflow FROM taskq.task WHERE step = 'analyse') t, taskq.workflow_status(t.workflow) s}),
	'completed', 'the workflow that failed at first is through');

done_testing();
