# How much the board asks for.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(load));
