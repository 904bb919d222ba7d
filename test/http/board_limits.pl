# The board in Chromium: limits of kinds and queues; the audit, filtered and paged.
use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use Board;

board_test(best_gateway => qw(limits));
