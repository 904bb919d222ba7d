# The board when something goes wrong: the connection, answers that are late, broken or missing,
# tokens that end, what is done to many and broken off.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(faults broken tokens));
