# The board while PostgreSQL, the gateway or nginx is away, and when it is there again.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(restarts));
