"""Which tasks have news.

All who watch a task share one Topic.  A few connections sleep in taskq.task_watch, each on one
task, the liveliest first.  When more tasks than these are watched, one more connection looks at
all the others once a second, in one statement.  So the number of connections is a setting and
does not grow with the clients.  That a task has ended is also heard from the feed (feed.py).

What is learned here, as role bridge, is only that there is news.  What a client is sent has been
read by that client's role with its claims (reads.py).
"""

import asyncio
import logging
import time

import psycopg

from .database import for_ever

log = logging.getLogger("bridge.watch")

SLEEP = 2.0  # seconds that a connection sleeps on a task before another one may have its turn
SWEEP = 1.0  # seconds between two looks at the others
FINAL = ("completed", "failed", "cancelled")


class Topic:
    """One task that somebody watches."""

    def __init__(self, id):
        self.id = id
        self.clients = 0
        self.progress = None  # what was seen last, as text
        self.version = 0
        self.over = False  # there will be no more news
        self.changed = time.monotonic()
        self.slept_on = False
        self.news = asyncio.Event()
        self.reads = {}  # what clients of one identity share: reads.py

    def tell(self):
        self.version += 1
        self.changed = time.monotonic()
        self.reads.clear()
        news, self.news = self.news, asyncio.Event()
        news.set()

    def seen(self, state, progress):
        """state None: there is no such task any more."""
        if progress != self.progress or state is None:
            self.progress = progress
            self.over = state is None or state in FINAL
            self.tell()


class Watch:
    def __init__(self, database, watches):
        self.database = database
        self.watches = watches
        self.topics = {}
        self.work = asyncio.Event()  # somebody has come

    def join(self, id):
        topic = self.topics.get(id)
        if topic is None:
            topic = self.topics[id] = Topic(id)
            self.work.set()
        topic.clients += 1
        return topic

    def leave(self, topic):
        topic.clients -= 1
        if topic.clients == 0 and self.topics.get(topic.id) is topic:
            del self.topics[topic.id]

    def ended(self, ids):
        """The feed says so."""
        for id in ids:
            topic = self.topics.get(id)
            if topic is not None and not topic.over:
                topic.over = True
                topic.tell()

    def waiting(self):
        return [topic for topic in self.topics.values() if not topic.over and not topic.slept_on]

    async def some(self):
        """Those that wait for a look; sleeps until there is one."""
        while True:
            self.work.clear()
            topics = self.waiting()
            if topics:
                return topics
            await self.work.wait()

    async def sleep_on_one(self):
        topic = max(await self.some(), key=lambda topic: topic.changed)
        topic.slept_on = True
        try:
            rows = await self.database.rows(
                "SELECT p ->> 'state', p::text FROM taskq.task_watch(%s, %s, make_interval(secs => %s)) p", (topic.id, topic.progress, SLEEP)
            )
            topic.seen(*rows[0])
        except psycopg.Error as error:
            if error.sqlstate != "PT404":
                raise
            topic.seen(None, None)
        finally:
            topic.slept_on = False
            self.work.set()

    async def look_at_others(self):
        """What sleep_on_one has left; a look of its own for each would be a connection, or a statement, each."""
        await self.some()
        await asyncio.sleep(SWEEP)
        topics = {topic.id: topic for topic in self.waiting()}
        if not topics:
            return
        for id, state, progress in await self.database.rows(
            "SELECT id::text, progress ->> 'state', progress::text FROM bridge.look(%s::uuid[])", (list(topics),)
        ):
            if not topics[id].slept_on:
                topics[id].seen(state, progress)

    def loops(self):
        yield for_ever("look at tasks", self.look_at_others)
        for _ in range(self.watches):
            yield for_ever("watch", self.sleep_on_one)
