"""What a client is sent: read as that client's role, with its claims, at the moment it is sent."""

import asyncio
import re

import psycopg

from .database import NotThatRole
from .settings import STATUS
from .tokens import Refused

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def task_id(text):
    """The id as taskq writes it; what is none is not found, either."""
    id = text.lower()
    if not UUID.fullmatch(id):
        raise Refused(404, "task not found")
    return id


def refusal(error):
    """An error of the database as PostgREST would answer it."""
    if isinstance(error, NotThatRole):
        return Refused(403, str(error), code="42501")
    state = error.sqlstate or ""
    if re.fullmatch(r"PT[45]\d\d", state):
        status = int(state[2:])
    elif state == "42501":
        status = 403
    elif state[:2] == "22" or (not state and isinstance(error, psycopg.DataError)):  # a NUL in a text
        status = 400
    else:
        status = 500
    said = error.diag
    return Refused(status, said.message_primary or "error", code=state, details=said.message_detail, hint=said.message_hint)


class Reads:
    def __init__(self, gateway, words):
        self.gateway = gateway
        self.words = words

    def function(self, name):
        """The function that gives the JSON; name None is taskq's own."""
        if name is None:
            return STATUS
        if name not in self.words:
            raise Refused(404, "not found")
        return self.words[name]

    async def status(self, identity, id, function, path):
        """(JSON as text, whether it is the last one), or Refused."""
        # The state first: what is read after it is at least as new.
        state = "SELECT taskq.task_progress(%s) ->> 'state' IN ('completed', 'failed', 'cancelled')"
        status = f"SELECT to_jsonb(status)::text FROM {function}(%s) status"
        # A function that is made for PostgREST may answer with an error's JSON and status.
        said = "SELECT coalesce(nullif(current_setting('response.status', true), '')::int, 200)"
        try:
            [[(over,)], rows, [(code,)]] = await self.gateway.rows_as(identity, path, (state, (id,)), (status, (id,)), (said, ()))
        except (psycopg.Error, NotThatRole) as error:
            raise refusal(error) from None
        if not rows or rows[0][0] is None or code >= 400:
            raise Refused(code if code >= 400 else 404, "task not found")
        return rows[0][0], over

    async def shared(self, topic, identity, function, path):
        """The same for all clients of one identity, until there is news."""
        key = (identity.key, function)
        read = topic.reads.get(key)
        if read is None:
            read = topic.reads[key] = asyncio.ensure_future(self.status(identity, topic.id, function, path))

            def forget_failure(read):
                if (read.cancelled() or read.exception()) and topic.reads.get(key) is read:
                    del topic.reads[key]

            read.add_done_callback(forget_failure)
        return await asyncio.shield(read)

    async def events(self, identity, cursor, n, path):
        """One page of what has ended: the object that events_since gives."""
        try:
            [[(page,)]] = await self.gateway.rows_as(identity, path, ("SELECT taskq.events_since(%s, '0', %s)", (cursor, n)))
        except (psycopg.Error, NotThatRole) as error:
            raise refusal(error) from None
        return page
