# The board with long logs, large payloads, a hundred thousand tasks and a thousand queues.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(big));
