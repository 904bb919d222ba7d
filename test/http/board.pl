# The board in a real browser: getting in, its pages, by keyboard.  board_page.pl has the page itself,
# board_steer.pl what is done there to many, board_faults.pl and board_hostile.pl what goes wrong, board_looks.pl how it looks.
use strict;
use warnings;

use Board;

board_test(each_gateway => qw(enter overview task keyboard));
