"""Clients of examples/bridge for the tests.  Each prints one line of JSON for what it gets.

    bridge_client.py sse URL [HEADER: VALUE ...]         events of a stream, until it ends
    bridge_client.py ws URL [SUBPROTOCOL ...]            messages, and {"closed": code}
    bridge_client.py many URL...                         a stream of each; {"ended": n} when all have ended
    bridge_client.py deaf URL                            reads nothing
    bridge_client.py receiver PORT                       a receiver of webhooks: what comes, and answers as its path says
"""

import asyncio
import json
import sys

import aiohttp
from aiohttp import web


def say(**what):
    print(json.dumps(what), flush=True)


async def events(response):
    event = {}
    async for line in response.content:
        line = line.decode().rstrip("\n")
        if line == "":
            if "event" in event or "id" in event:
                yield event
            event = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(": ")
            event[name] = json.loads(value) if name == "data" else value


def session():
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None), connector=aiohttp.TCPConnector(limit=0), read_bufsize=2**24)


async def sse(url, *headers):
    async with session() as http, http.get(url, headers=dict(header.split(": ", 1) for header in headers)) as response:
        say(status=response.status, type=response.content_type)
        try:
            async for event in events(response):
                say(**event)
        except aiohttp.ClientError:
            pass
        say(event="eof")


async def ws(url, *protocols):
    async with session() as http:
        try:
            async with http.ws_connect(url, protocols=protocols) as socket:
                say(protocol=socket.protocol)
                async for message in socket:
                    say(message=json.loads(message.data))
                say(closed=socket.close_code)
        except aiohttp.WSServerHandshakeError as error:
            say(refused=error.status)


async def many(*urls):
    opened = 0

    async def one(http, url):
        nonlocal opened
        async with http.get(url) as response:
            opened += response.status == 200
            if opened == len(urls):
                say(opened=opened)
            last = None
            async for event in events(response):
                if event["event"] == "end":
                    return last
                last = event["data"]["state"]

    async with session() as http:
        states = await asyncio.gather(*(one(http, url) for url in urls))
    say(ended=len(states), completed=states.count("completed"))


async def deaf(url):
    async with session() as http, http.get(url) as response:
        response.connection.transport.pause_reading()
        say(status=response.status)
        await asyncio.sleep(600)


async def receiver(port):
    times = {}

    async def receive(request):
        body = await request.text()
        path = request.path
        times[path] = times.get(path, 0) + 1
        names = ("Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "Content-Type", "Authorization", "Cookie")
        say(path=path, headers={name: request.headers.get(name) for name in names}, text=body)
        if path.startswith("/hang"):
            await asyncio.sleep(600)
        if path.startswith("/moved"):
            raise web.HTTPTemporaryRedirect("/there")
        if path.startswith("/flaky/") and times[path] <= int(path.split("/")[2]):
            return web.Response(status=503)
        answer = path.split("/")[1]
        return web.Response(status=int(answer) if answer.isdigit() else 204, text=None)

    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    say(ready=True)
    await asyncio.Event().wait()


asyncio.run(globals()[sys.argv[1]](*sys.argv[2:]))
