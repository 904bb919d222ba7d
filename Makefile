# taskq: build with PGXS, everything else by scripts/.
#
#   make demo   see it work          make test   run all tests
#   make        build                make bench  measure
#   make torture   one long test: SECONDS_EACH=600
#   make http-demo   see it work over HTTP
#   make board-demo  see it in a browser; make board-pictures takes pictures
#
# On a bare machine start with any of these but plain "make": they install
# what is missing first.  PG_CONFIG=/path/to/pg_config picks a server.

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
# Debian has PGXS in its packages of clients, without headers.
POSTGRES_H := $(shell $(PG_CONFIG) --includedir-server 2>/dev/null)/postgres.h
COMPILER := $(shell command -v $(firstword $(CC)) || command -v gcc)

MODULE_big = taskq
EXTENSION = taskq
# The install script is its parts in the order of their names; the last one gives
# and takes rights on all that the others made.
SCRIPT = sql/taskq--$(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" taskq.control).sql
# The page of the board is made of what is in board/.
BOARD = sql/45_board.sql
BOARD_PARTS = $(wildcard board/*.* board/js/*.js)
SCRIPT_PARTS = $(sort $(BOARD) $(filter-out sql/taskq--%,$(wildcard sql/*.sql)))
ifneq ($(lastword $(SCRIPT_PARTS)),sql/99_rights.sql)
$(error sql/99_rights.sql is not the last part of the install script: $(SCRIPT_PARTS))
endif
DATA = $(sort $(wildcard sql/taskq--*--*.sql))
DATA_built = $(SCRIPT)
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
EXTRA_CLEAN = src/base/errnames.h $(BOARD) build/board.html

# WERROR= on the command line builds with a compiler that warns about more.
WERROR ?= -Werror
PG_CPPFLAGS = -Isrc
PG_CFLAGS = -Wall -Wextra $(WERROR) -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

# SANITIZE=undefined builds with that sanitizer; "address" would need a server
# that is started with the sanitizer's library in front.
ifdef SANITIZE
PG_CFLAGS += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer
SHLIB_LINK += -fsanitize=$(SANITIZE)
endif

REGRESS = $(sort $(patsubst test/sql/%.sql,%,$(wildcard test/sql/*.sql)))
ISOLATION = $(sort $(patsubst test/specs/%.spec,%,$(wildcard test/specs/*.spec)))
REGRESS_OPTS = --inputdir=test --outputdir=.
ISOLATION_OPTS = --inputdir=test --outputdir=.

.DEFAULT_GOAL := all
.PHONY: setup demo http-demo board-demo board-pictures test torture bench bench-board format check-style

setup:
	@scripts/setup.sh
demo:
	@scripts/demo.sh
http-demo:
	@scripts/http-demo.sh
board-demo:
	@scripts/board-demo.sh
board-pictures:
	@scripts/board-demo.sh pictures
test:
	@scripts/test.sh
torture:
	@T=t/020_torture.pl TASKQ_TORTURE_SECONDS=$${SECONDS_EACH:-600} TEST_TIMEOUT=$$(($${SECONDS_EACH:-600} + 300)) scripts/test.sh
bench:
	@bench/run.sh
bench-board:
	@bench/board.sh
format:
	@scripts/format.sh
check-style:
	@scripts/format.sh --check && scripts/floors.pl

ifneq ($(and $(wildcard $(PGXS)),$(wildcard $(POSTGRES_H)),$(COMPILER)),)

# No bitcode: building must not depend on the clang of the server's packager.
override with_llvm = no
include $(PGXS)

# Condition names for errors.  The first line names the server version, so that
# building for another one builds everything anew.
ERRNAMES_HEAD = /* from errcodes.txt of PostgreSQL $(VERSION); made by the Makefile */
ifneq ($(shell sed -n 1p src/base/errnames.h 2>/dev/null),$(ERRNAMES_HEAD))
src/base/errnames.h: FORCE
endif
ERRCODES ?= $(datadir)/errcodes.txt
src/base/errnames.h: $(ERRCODES) Makefile
	@echo '$(ERRNAMES_HEAD)' >$@.tmp
	@awk '$$1 ~ /^[0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z]$$/ && NF >= 4 { \
		split($$1, c, ""); \
		printf "{ MAKE_SQLSTATE(\x27%s\x27,\x27%s\x27,\x27%s\x27,\x27%s\x27,\x27%s\x27), \"%s\" },\n", \
			c[1], c[2], c[3], c[4], c[5], $$4 }' $< >>$@.tmp
	@mv $@.tmp $@

# By content, not by age: a part may have gone.
$(SCRIPT): $(SCRIPT_PARTS) $(shell cat $(SCRIPT_PARTS) 2>/dev/null | cmp -s - $(SCRIPT) || echo FORCE)
	@cat $(SCRIPT_PARTS) >$@.tmp
	@mv $@.tmp $@
$(BOARD): $(BOARD_PARTS)
	@board/build.pl sql >$@.tmp
	@mv $@.tmp $@
# The same as a file: build/board.html?api=http://...
build/board.html: $(BOARD_PARTS)
	@mkdir -p build
	@board/build.pl html >$@.tmp
	@mv $@.tmp $@
board.html: build/board.html
.PHONY: FORCE board.html
FORCE:

# Distributions build PostgreSQL without dependency tracking.
$(OBJS): src/base/errnames.h $(wildcard src/*/*.h)

else

all install uninstall installcheck:
	@echo 'A C compiler, or PostgreSQL for developers (pg_config, PGXS, headers), is missing. Install all that taskq needs with:' >&2
	@echo '    make setup' >&2
	@exit 1
clean:
	rm -f src/*.o src/*.bc src/*/*.o src/*/*.bc src/base/errnames.h $(SCRIPT) $(BOARD) taskq.so

endif
