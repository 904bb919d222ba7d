# The board stands still: nothing moves by itself under who reads or presses; large workflows, and a
# retry with all its options.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(still steps));
