# The board: axe-core on each page in light and dark, three widths.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(looks));
