# The board with hostile texts, foreign pages, other clocks and languages; and what it asks while
# nobody looks.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(hostile manners));
