"""The status JSON of tasks that have ended, POSTed to URLs that somebody has registered.

A delivery is a task of taskq, of kind bridge.deliver, and this is its external worker: due times,
retries with backoff, leases, how many at a time go to one webhook, and what failed for good
(view bridge.dead_letter) are taskq's.  bridge.collect() reads the feed, submits the deliveries and
moves the cursor on in one transaction, so whenever this program or the server dies, each event is
delivered at least once; Webhook-Id, the task's id, tells a receiver what it has had.

A request is signed as standardwebhooks.com describes it.
"""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import logging
import os
import socket
import time

import aiohttp
import psycopg
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import DefaultResolver
from psycopg.types.json import Jsonb
from yarl import URL

from .database import Away, for_ever
from .tokens import Identity, Refused

log = logging.getLogger("bridge.webhooks")

CLAIM_WAIT = "10 s"


class NotAllowed(Exception):
    """An address that nothing is sent to."""


PUBLIC_IPV6 = ipaddress.ip_network("2000::/3")  # what has been given out, with what stands for IPv4
EMBEDDED_IPV4 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address):
    return address.is_global and not address.is_multicast and (address.version == 4 or address in PUBLIC_IPV6 or address in EMBEDDED_IPV4)


def addresses_in(address):
    """The address, and the IPv4 address that it stands for, if it does."""
    address = ipaddress.ip_address(address.split("%")[0])
    yield address
    if address.version == 6:
        if address.ipv4_mapped:
            yield address.ipv4_mapped
        if address.sixtofour:
            yield address.sixtofour
        if address.teredo:
            yield from address.teredo
        if address in EMBEDDED_IPV4:
            yield ipaddress.ip_address(int(address) & 0xFFFFFFFF)


class Guard(AbstractResolver):
    """Lets through only addresses of the public Internet, and of networks that the settings name.
    What is looked up here is what is connected to: a name can't change in between."""

    def __init__(self, networks):
        self.networks = networks
        self.resolver = DefaultResolver()

    def check(self, address):
        for one in addresses_in(address):
            if not is_public(one) and not any(one in network for network in self.networks):
                raise NotAllowed("the URL leads to a private address")

    async def resolve(self, host, port=0, family=socket.AF_INET):
        found = await self.resolver.resolve(host, port, family)
        for one in found:
            self.check(one["host"])
        return found

    async def close(self):
        await self.resolver.close()


def check_url(text, guard, plain_http):
    """The URL as the library reads it, or NotAllowed."""
    try:
        url = URL(text)
        host = url.raw_host
    except ValueError:
        raise NotAllowed("the URL is none") from None
    if url.scheme != "https" and not (plain_http and url.scheme == "http"):
        raise NotAllowed("the URL is not https")
    if not host or url.user or url.password:
        raise NotAllowed("the URL has no host, or a password")
    # What looks like an address is not looked up, so the resolver does not see it; and the library
    # takes 127.0.0.01, in which ipaddress sees none, for one.
    last = host.rstrip(".").rpartition(".")[2]
    if ":" in host or last.isdigit() or last.lower().startswith("0x"):
        try:
            guard.check(host)
        except ValueError:
            raise NotAllowed("the URL's address is in no usual form") from None
    return url


def sign(secret, id, timestamp, body):
    """secret is whsec_ and base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, f"{id}.{timestamp}.".encode() + body, hashlib.sha256).digest()).decode()


class Webhooks:
    def __init__(self, settings, database, feed, reads):
        self.settings = settings
        self.database = database
        self.feed = feed
        self.reads = reads
        self.guard = Guard(settings.webhook_networks)
        self.name = f"bridge-{socket.gethostname()}-{os.getpid()}"
        self.stopping = False
        self.under_way = set()
        self.session = None

    # ---- events become deliveries

    async def collect(self):
        news = self.feed.news
        [(more,)] = await self.database.rows("SELECT bridge.collect()")
        if not more:
            try:
                await asyncio.wait_for(news.wait(), 30)
            except asyncio.TimeoutError:
                pass

    # ---- deliveries

    async def claim(self):
        while len(self.under_way) >= self.settings.webhook_parallel:
            await asyncio.wait(self.under_way, return_when=asyncio.FIRST_COMPLETED)
        claimed = await self.database.rows(
            "SELECT id::text, token::text, payload, attempt, max_attempts FROM taskq.task_claim(%s, ARRAY['bridge'], ARRAY['bridge.deliver'],"
            " n => %s, lease => make_interval(secs => %s), wait => %s)",
            (self.name, self.settings.webhook_parallel - len(self.under_way), 3 * self.settings.webhook_timeout, CLAIM_WAIT),
        )
        for task in claimed:
            delivery = asyncio.ensure_future(self.deliver(*task))
            self.under_way.add(delivery)
            delivery.add_done_callback(self.under_way.discard)

    async def deliver(self, id, token, payload, attempt, max_attempts):
        """One attempt.  What can't be handed in is claimed again when the lease is over."""
        try:
            if self.stopping:
                end = ("SELECT taskq.task_release(%s, %s)", (id, token))
            else:
                end = await self.attempt(id, token, payload, attempt, max_attempts)
            if end:
                await self.database.rows(*end)
        except Away as error:
            log.warning("delivery %s: no database: %s", id, error)
        except psycopg.Error as error:
            log.warning("delivery %s: %s %s", id, error.sqlstate, error.diag.message_primary)
        except Exception:
            log.exception("delivery %s", id)

    async def attempt(self, id, token, payload, attempt, max_attempts):
        """Returns the statement that ends the attempt."""
        task = payload["task"]

        def complete(**result):
            return ("SELECT taskq.task_complete(%s, %s, %s)", (id, token, Jsonb(result)))

        def fail(why, retry=True):
            last = not retry or attempt >= max_attempts
            log.log(logging.ERROR if last else logging.WARNING, "delivery %s of task %s to webhook %s: %s%s", id, task, payload["webhook"], why, "; given up" if last else "")
            return ("SELECT taskq.task_fail(%s, %s, %s, retry => %s)", (id, token, why, retry))

        hooks = await self.database.rows("SELECT url, secret, role::text, claims, words FROM bridge.webhook WHERE id = %s AND enabled", (payload["webhook"],))
        if not hooks:
            return complete(dropped="the webhook is gone or disabled")
        [(url, secret, role, claims, words)] = hooks
        try:
            function = self.reads.function(words)
        except Refused:
            return fail(f'"{words}" is not in BRIDGE_WORDS')
        try:
            body, _ = await self.reads.status(Identity(role, claims), task, function, "/webhook")
        except Refused as refused:
            if refused.status == 404:  # deleted meanwhile, or none of those that this webhook sees
                return complete(dropped=str(refused))
            return fail(f"the task cannot be read as role {role}: {refused}")
        try:
            status = await self.post(url, secret, task, body.encode())
        except NotAllowed as error:
            return fail(str(error), retry=False)
        except asyncio.TimeoutError:
            return fail("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # the guard's refusal arrives as the cause of a connection that failed
            return fail(f"no connection: {type(error).__name__}")
        if 200 <= status < 300:
            log.info("delivery %s of task %s to webhook %s: %d", id, task, payload["webhook"], status)
            return complete(status=status)
        if status == 410:
            await self.database.rows("SELECT bridge.webhook_gone(%s)", (payload["webhook"],))
            return fail("answered 410: the webhook is disabled", retry=False)
        return fail(f"answered {status}")

    async def post(self, url, secret, task, body):
        """The answer's status; the rest of it is not read, for it may be somebody's who is not to be asked."""
        url = check_url(url, self.guard, self.settings.webhook_plain_http)
        now = int(time.time())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "taskq-bridge",
            "Webhook-Id": task,
            "Webhook-Timestamp": str(now),
            "Webhook-Signature": sign(secret, task, now, body),
        }
        async with self.http().post(url, data=body, headers=headers, allow_redirects=False) as response:
            return response.status

    def http(self):
        if self.session is None:
            connector = aiohttp.TCPConnector(resolver=self.guard, use_dns_cache=False, limit=self.settings.webhook_parallel)
            self.session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self.settings.webhook_timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self.session

    def loops(self):
        yield for_ever("webhooks: collect", self.collect)
        yield for_ever("webhooks: claim", self.claim)

    async def stop(self):
        """What is under way may end; what was claimed since is given back."""
        self.stopping = True
        if self.under_way:
            await asyncio.wait(self.under_way, timeout=self.settings.webhook_timeout + 1)
        if self.session is not None:
            await self.session.close()
