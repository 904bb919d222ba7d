"""Server-sent events and WebSocket."""

import asyncio
import collections
import contextlib
import json
import logging
import time
import zlib

from aiohttp import WSCloseCode, web

from .database import Away
from .reads import task_id
from .tokens import Refused, identify

log = logging.getLogger("bridge.streams")

UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 4401, 4403, 4404  # how a WebSocket is closed: 4000 + HTTP's
PAGE = 200


class Gone(Exception):
    """The client, or who reads so slowly that he is taken for gone."""


class Sse:
    """One stream of server-sent events.  Nothing is queued: a slow client gets what is newest when it is ready."""

    def __init__(self, request, response, timeout):
        self.request = request
        self.response = response
        self.timeout = timeout

    async def write(self, text):
        if self.request.transport is None or self.request.transport.is_closing():
            raise Gone
        try:
            await asyncio.wait_for(self.response.write(text.encode()), self.timeout)
        except asyncio.TimeoutError:
            self.request.transport.abort()
            raise Gone from None
        except ConnectionError:
            raise Gone from None

    async def event(self, name, data, id=None):
        await self.write(f"event: {name}\n" + (f"id: {id}\n" if id else "") + f"data: {data}\n\n")

    async def status(self, text):
        await self.event("status", text, tag(text))

    async def ping(self):
        await self.write(": \n\n")

    async def refuse(self, refused):
        await self.event("refused", json.dumps(refused.body))  # "error" is the browser's own

    async def finish(self, why):
        await self.event("end", json.dumps({"reason": why}))
        with contextlib.suppress(ConnectionError):
            await self.response.write_eof()


class WebSocket:
    """The same, as messages of a WebSocket; the library pings."""

    CODES = {"final": 1000, "expired": UNAUTHORIZED, "stopping": WSCloseCode.GOING_AWAY, "max_age": WSCloseCode.SERVICE_RESTART}

    def __init__(self, response, timeout):
        self.response = response
        self.timeout = timeout
        self.finishing = False

    async def status(self, text):
        if self.response.closed:
            raise Gone
        try:
            await asyncio.wait_for(self.response.send_str(text), self.timeout)
        except (asyncio.TimeoutError, ConnectionError):
            raise Gone from None

    async def ping(self):
        if self.response.closed:
            raise Gone

    async def refuse(self, refused):
        code = {401: UNAUTHORIZED, 403: FORBIDDEN, 404: NOT_FOUND}.get(refused.status, WSCloseCode.INTERNAL_ERROR)
        await self.close(code, str(refused).encode()[:100])

    async def finish(self, why):
        await self.close(self.CODES[why], why.encode())

    async def close(self, code, message):
        self.finishing = True
        await self.response.close(code=code, message=message)


def tag(text):
    """Tells one status from another; what Last-Event-ID brings back."""
    return f"{zlib.crc32(text.encode()):08x}"


class Streams:
    def __init__(self, settings, watch, feed, reads):
        self.settings = settings
        self.watch = watch
        self.feed = feed
        self.reads = reads
        self.stopping = asyncio.Event()
        self.clients = 0
        self.of_user = collections.Counter()

    # ---- who, and how many

    @contextlib.contextmanager
    def counted(self, identity):
        if self.stopping.is_set():
            raise Refused(503, "the bridge is being stopped", headers={"Retry-After": "5"})
        if self.clients >= self.settings.max_clients:
            raise Refused(503, "too many clients", headers={"Retry-After": "30"})
        if self.of_user[identity.user] >= self.settings.max_clients_per_user:
            raise Refused(429, "too many streams of one user", headers={"Retry-After": "30"})
        self.clients += 1
        self.of_user[identity.user] += 1
        try:
            yield
        finally:
            self.clients -= 1
            self.of_user[identity.user] -= 1
            if not self.of_user[identity.user]:
                del self.of_user[identity.user]

    def deadline(self, identity):
        """When a stream ends at the latest, and why."""
        left = identity.seconds_left()
        if left is not None and left < self.settings.max_age:
            return time.monotonic() + left, "expired"
        return time.monotonic() + self.settings.max_age, "max_age"

    async def pause(self, news, seconds):
        """Until there is news, the bridge is stopped, or the time is over."""
        waits = [asyncio.ensure_future(event.wait()) for event in (news, self.stopping)]
        try:
            await asyncio.wait(waits, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    # ---- one task

    async def follow(self, topic, identity, function, path, sink, sent):
        """Sends the status whenever it is another one.  Returns why it is over."""
        until, why = self.deadline(identity)
        version, ping, recheck = None, time.monotonic() + self.settings.ping, 0.0
        while True:
            now = time.monotonic()
            if self.stopping.is_set():
                return "stopping"
            if now >= until:
                return why
            news = topic.news
            if topic.version != version or now >= recheck:
                if topic.version == version:
                    topic.reads.clear()  # nothing new, but the right to see it may be gone
                version, recheck = topic.version, now + self.settings.recheck
                try:
                    text, over = await self.reads.shared(topic, identity, function, path)
                except Away:
                    version, recheck = None, now + 1  # a stream outlives the database's restarts
                    await self.pause(self.stopping, 1)
                else:
                    if text != sent:
                        await sink.status(text)
                        sent = text
                        await self.pause(self.stopping, self.settings.min_interval)
                    if over:
                        return "final"
                    continue
            if now >= ping:
                await sink.ping()
                ping = now + self.settings.ping
            await self.pause(news, min(until, ping, recheck) - now)

    async def stream(self, sink, work):
        """await work says why it is over; tell the client."""
        with contextlib.suppress(Gone):
            try:
                await sink.finish(await work)
            except Refused as refused:
                await sink.refuse(refused)

    async def task_events(self, request):
        """GET /tasks/{id}/events"""
        identity = identify(request, self.settings)
        function = self.reads.function(request.match_info.get("words"))
        id = task_id(request.match_info["id"])
        with self.counted(identity):
            topic = self.watch.join(id)
            try:
                text, over = await self.reads.shared(topic, identity, function, request.path)
                last = request.headers.get("Last-Event-ID")
                if over and last == tag(text):
                    return web.Response(status=204)  # a browser's EventSource does not come again
                sink = await self.open(request)
                if last != tag(text):
                    await sink.status(text)
                await self.stream(sink, self.follow(topic, identity, function, request.path, sink, text))
                return sink.response
            finally:
                self.watch.leave(topic)

    async def task_socket(self, request):
        """GET /ws/tasks/{id}, as WebSocket"""
        identity = identify(request, self.settings)
        function = self.reads.function(request.match_info.get("words"))
        id = task_id(request.match_info["id"])
        response = web.WebSocketResponse(protocols=("taskq",), heartbeat=self.settings.ping, max_msg_size=4096, compress=False)
        if not response.can_prepare(request).ok:
            raise Refused(426, "WebSocket only", headers={"Upgrade": "websocket"})
        with self.counted(identity):
            topic = self.watch.join(id)
            try:
                await self.reads.shared(topic, identity, function, request.path)  # 403 and 404 before the upgrade
                await response.prepare(request)
                sink = WebSocket(response, self.settings.send_timeout)
                sender = asyncio.ensure_future(self.stream(sink, self.follow(topic, identity, function, request.path, sink, None)))
                try:
                    # Nothing is expected of the client; reading answers its pings and sees it go.
                    async for _ in response:
                        pass
                    if sink.finishing:
                        await asyncio.wait([sender], timeout=5)
                finally:
                    sender.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await sender
                return response
            finally:
                self.watch.leave(topic)

    # ---- what has ended

    async def follow_feed(self, identity, cursor, page, wanted, path, sink):
        until, why = self.deadline(identity)
        ping = time.monotonic() + self.settings.ping
        while True:
            now = time.monotonic()
            if self.stopping.is_set():
                return "stopping"
            if now >= until:
                return why
            news = self.feed.news
            try:
                if page is None:
                    page = await self.reads.events(identity, cursor, PAGE, path)
            except Away:
                await self.pause(self.stopping, 1)
                page = None
            else:
                await self.send_page(sink, page, cursor, wanted)
                cursor, more, page = page["cursor"], page["more"], None
                if more:
                    continue
                # events come in batches, and each one would be a read for each client
                await self.pause(self.stopping, self.settings.min_interval)
            if now >= ping:
                await sink.ping()
                ping = now + self.settings.ping
            await self.pause(news, min(until, ping) - time.monotonic())

    async def send_page(self, sink, page, cursor, wanted):
        """The cursor is that of the page, so it goes with its last event: whoever is broken off within
        a page gets all of it again."""
        events = [event for event in page["events"] if all(event.get(name) in values for name, values in wanted.items())]
        for event in events[:-1]:
            await sink.event("task", json.dumps(event))
        if events:
            await sink.event("task", json.dumps(events[-1]), page["cursor"])
        elif page["cursor"] != cursor:
            await sink.write(f"id: {page['cursor']}\n\n")

    async def all_events(self, request):
        """GET /events?state=failed&kind=a&kind=b&queue=c"""
        identity = identify(request, self.settings)
        wanted = {name: set(request.query.getall(name)) for name in ("state", "kind", "queue") if name in request.query}
        cursor = request.headers.get("Last-Event-ID") or request.query.get("cursor") or None
        with self.counted(identity):
            page = await self.reads.events(identity, cursor, PAGE, request.path)
            sink = await self.open(request)
            await self.stream(sink, self.follow_feed(identity, cursor, page, wanted, request.path, sink))
            return sink.response

    # ---- HTTP

    def cors(self, request):
        """Whom a browser lets read the answer: by default only pages of the same origin."""
        origin = request.headers.get("Origin")
        if origin and (origin in self.settings.cors_origins or "*" in self.settings.cors_origins):
            return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        return {}

    async def open(self, request):
        response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream",
                "Cache-Control": "no-store",
                "X-Accel-Buffering": "no",  # nginx passes each event on at once
                **self.cors(request),
            }
        )
        await response.prepare(request)
        sink = Sse(request, response, self.settings.send_timeout)
        await sink.write("retry: 2000\n\n")
        return sink

    async def preflight(self, request):
        headers = self.cors(request)
        if not headers:
            raise Refused(403, "this origin is not in BRIDGE_CORS_ORIGINS")
        headers |= {
            "Access-Control-Allow-Methods": "GET",
            "Access-Control-Allow-Headers": "Authorization, Last-Event-ID",
            "Access-Control-Max-Age": "600",
        }
        return web.Response(status=204, headers=headers)

    async def health(self, request):
        """For load balancers: 503 while there is no database."""
        try:
            await asyncio.wait_for(self.watch.database.rows("SELECT 1"), 5)
        except (Away, asyncio.TimeoutError):
            raise Refused(503, "no database") from None
        return web.json_response({"clients": self.clients, "tasks": len(self.watch.topics)})

    @web.middleware
    async def refusals(self, request, handler):
        """Errors look as PostgREST's."""
        try:
            return await handler(request)
        except Gone:
            request.transport and request.transport.abort()
            return web.Response(status=499)
        except Refused as refused:
            return web.json_response(refused.body, status=refused.status, headers={**refused.headers, **self.cors(request)})
        except Away:
            body = Refused(503, "no database").body
            return web.json_response(body, status=503, headers={"Retry-After": "5", **self.cors(request)})

    def application(self):
        app = web.Application(middlewares=[self.refusals])
        app.router.add_get("/health", self.health)
        for prefix in ("", "/{words:[A-Za-z0-9_-]+}"):
            app.router.add_get(prefix + "/ws/tasks/{id}", self.task_socket, allow_head=False)
            app.router.add_get(prefix + "/tasks/{id}/events", self.task_events, allow_head=False)
        app.router.add_get("/events", self.all_events, allow_head=False)
        app.router.add_route("OPTIONS", "/{path:.*}", self.preflight)
        return app
