"""python3 -m taskq_bridge; settings come from the environment (README.md)."""

import asyncio
import contextlib
import logging
import os
import signal
import sys

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from . import settings as settings_of
from .database import Database, for_ever
from .feed import Feed
from .reads import Reads
from .streams import Streams
from .watch import Watch
from .webhooks import Webhooks

log = logging.getLogger("bridge")


class AccessLog(AbstractAccessLogger):
    """The path without what follows "?": a token may be there."""

    def log(self, request, response, time):
        self.logger.info("%s %s %s %d %.3f s", request.remote or "-", request.method, request.path, response.status, time)


def set_up_logging(level):
    form = "%(name)s: %(message)s" if "JOURNAL_STREAM" in os.environ else "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(stream=sys.stderr, level=level.upper(), format=form)
    # these would show requests' headers and URLs
    for name in ("aiohttp.websocket", "aiohttp.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").setLevel(logging.WARNING)


async def listen(app, where):
    runner = web.AppRunner(app, access_log_class=AccessLog, access_log=logging.getLogger("bridge.access"), handle_signals=False)
    await runner.setup()
    if where.startswith("unix:"):
        await web.UnixSite(runner, where[5:]).start()
    else:
        host, _, port = where.rpartition(":")
        await web.TCPSite(runner, host.strip("[]") or None, int(port)).start()
    return runner


async def within(seconds, work):
    """Streams end by themselves; who does not read is not waited for."""
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(work, seconds)


async def serve(settings):
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)

    # role bridge: each watch, the look at the others, the feed, the claim, and two for what is short
    own = Database("BRIDGE_DATABASE", settings.database, settings.watches + 5)
    gateway = Database("BRIDGE_GATEWAY", settings.gateway, settings.readers, read_only=True)
    watch = Watch(own, settings.watches)
    feed = Feed(own, watch)
    reads = Reads(gateway, settings.words)
    streams = Streams(settings, watch, feed, reads)
    webhooks = Webhooks(settings, own, feed, reads)

    loops = [*watch.loops(), for_ever("feed", feed.look)]
    if settings.webhooks:
        loops += webhooks.loops()
    loops = [asyncio.ensure_future(loop) for loop in loops]
    runner = await listen(streams.application(), settings.listen)
    log.info("serving on %s", settings.listen)

    asked = asyncio.ensure_future(stop.wait())
    ended, _ = await asyncio.wait([asked, *loops], return_when=asyncio.FIRST_COMPLETED)
    log.info("stopping")
    streams.stopping.set()
    await asyncio.gather(webhooks.stop(), *(within(8, site.stop()) for site in list(runner.sites)))
    await own.close()
    for loop in loops:
        loop.cancel()
    await asyncio.gather(*loops, return_exceptions=True)
    await within(2, runner.cleanup())
    await gateway.close()
    for loop in ended - {asked}:
        loop.result()  # an error that nobody expected: let systemd start another one


def main():
    try:
        settings = settings_of.read()
    except (settings_of.Wrong, OSError) as error:
        sys.exit(f"taskq_bridge: {error}")
    set_up_logging(settings.log)
    try:
        asyncio.run(serve(settings))
    except Exception:
        log.exception("ended by an error")
        sys.exit(1)


if __name__ == "__main__":
    main()
