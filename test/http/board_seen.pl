# The board as it is seen, heard and read: names of buttons, exact times, narrow windows and large
# letters, a database where there is nothing, a page that is not for a role.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(seen));
