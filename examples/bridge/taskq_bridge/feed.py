"""Tails taskq.events_since, once for everybody."""

import asyncio
import logging

import psycopg

log = logging.getLogger("bridge.feed")

WAIT = "30 s"
PAGE = 1000


class Feed:
    def __init__(self, database, watch):
        self.database = database
        self.watch = watch
        self.cursor = None
        self.alive = asyncio.Event()  # the first answer has come
        self.news = asyncio.Event()

    def tell(self):
        news, self.news = self.news, asyncio.Event()
        news.set()

    async def look(self):
        """Wait for the next page."""
        wait = WAIT if self.cursor is not None else "0"
        try:
            [(page,)] = await self.database.rows("SELECT taskq.events_since(%s, %s, %s)", (self.cursor, wait, PAGE))
        except psycopg.Error as error:
            if (error.sqlstate or "").startswith("PT4"):
                log.warning("events were missed: %s", error.diag.message_primary)
                self.cursor = None
                self.tell()
            raise
        self.cursor = page["cursor"]
        self.alive.set()
        if page["events"]:
            self.watch.ended([event["task_id"] for event in page["events"]])
            self.tell()
