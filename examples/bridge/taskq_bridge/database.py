"""A few connections to the database, opened when they are needed and again when they broke."""

import asyncio
import contextlib
import json
import logging
import random
import time

import psycopg
from psycopg.conninfo import make_conninfo

log = logging.getLogger("bridge.database")

# What PostgREST sets in each transaction, so that taskq and functions of one's own see no difference.
REQUEST = """
SELECT set_config('search_path', 'taskq, pg_catalog', true), set_config('role', %s, true),
	set_config('request.jwt.claims', %s, true), set_config('request.method', 'GET', true), set_config('request.path', %s, true),
	set_config('request.headers', '{}', true), set_config('request.cookies', '{}', true)
"""


class Away(Exception):
    """The server can't be reached, or broke off."""


class NotThatRole(Exception):
    """The token names a role that the gateway may not become, or that there is not."""


def backoff(most=5.0):
    """How long to wait before the next try: 0.2 s, then twice as long each time, half of it random."""
    pause = 0.2
    while True:
        yield pause * random.uniform(0.5, 1)
        pause = min(pause * 2, most)


class Database:
    """At most size connections; a caller beyond these waits for his turn."""

    def __init__(self, name, conninfo, size, read_only=False):
        self.name = name
        self.conninfo = make_conninfo(conninfo, application_name="taskq bridge", connect_timeout=10, keepalives_idle=60)
        self.read_only = read_only
        self.room = asyncio.Semaphore(size)
        self.idle = []
        self.busy = set()
        self.closed = False
        self.away = False
        self.again = 0.0

    async def _connect(self):
        if time.monotonic() < self.again:
            raise Away("no database")
        try:
            # nothing prepared, so that a pooler of transactions may be in between
            connection = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True, prepare_threshold=None)
        except psycopg.Error as error:
            if not self.away:
                log.warning("%s: no database: %s", self.name, str(error).strip())
            self.away = True
            self.again = time.monotonic() + 0.5  # hundreds of clients may ask
            raise
        if self.away:
            log.warning("%s: the database is back", self.name)
        self.away = False
        if self.read_only:
            await connection.set_read_only(True)
        return connection

    @contextlib.asynccontextmanager
    async def _connection(self, fresh):
        if self.closed:
            raise Away("closing")
        connection = None
        try:
            if fresh or not self.idle:
                connection = await self._connect()
            else:
                connection = self.idle.pop()
            self.busy.add(connection)
            yield connection
        except psycopg.Error as error:
            if self.closed:
                raise Away("closing") from error
            if connection is None or connection.closed:
                raise Away(str(error).strip()) from error
            raise
        except OSError as error:
            raise Away(str(error)) from error
        finally:
            self.busy.discard(connection)
            if connection is None or connection.closed:
                pass
            elif connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
                connection.pgconn.finish()  # who waited was cancelled in the midst of a query
            elif self.closed:
                await connection.close()
            else:
                self.idle.append(connection)

    async def call(self, work):
        """await work(connection), which has to be something that can be done twice: a connection
        that was idle may have broken long ago, and then all that are idle have."""
        async with self.room:
            reused = bool(self.idle)
            try:
                async with self._connection(fresh=False) as connection:
                    return await work(connection)
            except Away:
                if not reused:
                    raise
            self.drop_idle()
            async with self._connection(fresh=True) as connection:
                return await work(connection)

    async def rows(self, query, arguments=()):
        """One statement, in a transaction of its own."""

        async def work(connection):
            cursor = await connection.execute(query, arguments)
            return await cursor.fetchall() if cursor.description else []

        return await self.call(work)

    async def rows_as(self, identity, path, *statements):
        """As a user, in PostgREST's shape: statements of (query, arguments), and the rows of each."""

        async def work(connection):
            answers = []
            async with connection.transaction():
                try:
                    await connection.execute(REQUEST, (identity.role, json.dumps(identity.claims), path))
                except (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidParameterValue) as error:
                    raise NotThatRole(error.diag.message_primary) from None
                for query, arguments in statements:
                    cursor = await connection.execute(query, arguments)
                    answers.append(await cursor.fetchall())
            return answers

        return await self.call(work)

    def drop_idle(self):
        for connection in self.idle:
            connection.pgconn.finish()
        self.idle.clear()

    async def close(self):
        """Ends what waits in the server, too."""
        self.closed = True
        for connection in list(self.busy):
            with contextlib.suppress(psycopg.Error):
                await asyncio.get_running_loop().run_in_executor(None, connection.cancel)
        for _ in range(20):
            if self.busy:
                await asyncio.sleep(0.05)
        self.drop_idle()


async def for_ever(name, work):
    """await work() again and again; after an error of the database a little later each time."""
    pauses = backoff()
    while True:
        try:
            await work()
            pauses = backoff()
        except Away as error:
            if error.args == ("closing",):
                return
            await asyncio.sleep(next(pauses))
        except psycopg.Error as error:
            pause = next(pauses)
            log.error("%s: %s %s; again in %.1f s", name, error.sqlstate, str(error).splitlines()[0] if str(error) else "", pause)
            await asyncio.sleep(pause)
