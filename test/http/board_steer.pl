# The board: lists of tasks and what is done to many, schedules, queues, kinds, tenants; two tabs
# of one person.
use strict;
use warnings;

use Board;

board_test(best_gateway => qw(tasks lists tabs));
