"""What the environment says.  README.md explains each variable."""

import ipaddress
import os
import re
from dataclasses import dataclass, field

STATUS = "taskq.task_status"


class Wrong(Exception):
    """A setting that can't be used."""


@dataclass(frozen=True)
class Settings:
    database: str = ""
    gateway: str = ""
    jwt_secret: str = field(default="", repr=False)
    jwt_audience: str = ""
    anonymous_role: str = ""
    listen: str = "127.0.0.1:3010"
    words: dict = field(default_factory=dict)
    cors_origins: tuple = ()
    max_clients: int = 1000
    max_clients_per_user: int = 20
    watches: int = 4
    readers: int = 4
    ping: float = 15
    recheck: float = 60
    max_age: float = 3600
    min_interval: float = 0.2
    send_timeout: float = 30
    webhooks: bool = True
    webhook_networks: tuple = ()
    webhook_plain_http: bool = False
    webhook_parallel: int = 16
    webhook_timeout: float = 10
    log: str = "info"


def secret(env):
    """The secret itself, or a file that has it: systemd's credentials are files."""
    path = env.get("BRIDGE_JWT_SECRET_FILE")
    if path:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    return env.get("BRIDGE_JWT_SECRET", "")


def pairs(text):
    """"video=video.task_status, …": a name in the URL, and the function that gives the JSON."""
    words = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        if not re.fullmatch(r"[A-Za-z0-9_-]+=[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*", pair):
            raise Wrong(f'BRIDGE_WORDS: "{pair}" is not name=schema.function')
        name, function = pair.split("=")
        words[name] = function
    return words


def networks(text):
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise Wrong(f"BRIDGE_WEBHOOK_NETWORKS: {error}") from None


def read(env=os.environ):
    """The settings, or Wrong.  A variable that is not known is a misspelt one."""

    def number(name, default, least):
        try:
            value = type(default)(env.get(name, default))
        except ValueError:
            raise Wrong(f"{name}: not a number") from None
        if value < least:
            raise Wrong(f"{name}: less than {least}")
        return value

    def switch(name, default):
        value = env.get(name, "on" if default else "off")
        if value not in ("on", "off"):
            raise Wrong(f'{name}: neither "on" nor "off"')
        return value == "on"

    default = Settings()
    settings = Settings(
        database=env.get("BRIDGE_DATABASE", default.database),
        gateway=env.get("BRIDGE_GATEWAY", default.gateway),
        jwt_secret=secret(env),
        jwt_audience=env.get("BRIDGE_JWT_AUDIENCE", ""),
        anonymous_role=env.get("BRIDGE_ANONYMOUS_ROLE", ""),
        listen=env.get("BRIDGE_LISTEN", default.listen),
        words=pairs(env.get("BRIDGE_WORDS", "")),
        cors_origins=tuple(filter(None, (origin.strip() for origin in env.get("BRIDGE_CORS_ORIGINS", "").split(",")))),
        max_clients=number("BRIDGE_MAX_CLIENTS", default.max_clients, 1),
        max_clients_per_user=number("BRIDGE_MAX_CLIENTS_PER_USER", default.max_clients_per_user, 1),
        watches=number("BRIDGE_WATCHES", default.watches, 1),
        readers=number("BRIDGE_READERS", default.readers, 1),
        ping=number("BRIDGE_PING", float(default.ping), 0.1),
        recheck=number("BRIDGE_RECHECK", float(default.recheck), 0.1),
        max_age=number("BRIDGE_MAX_AGE", float(default.max_age), 1),
        min_interval=number("BRIDGE_MIN_INTERVAL", default.min_interval, 0),
        send_timeout=number("BRIDGE_SEND_TIMEOUT", float(default.send_timeout), 0.1),
        webhooks=switch("BRIDGE_WEBHOOKS", default.webhooks),
        webhook_networks=networks(env.get("BRIDGE_WEBHOOK_NETWORKS", "")),
        webhook_plain_http=switch("BRIDGE_WEBHOOK_PLAIN_HTTP", default.webhook_plain_http),
        webhook_parallel=number("BRIDGE_WEBHOOK_PARALLEL", default.webhook_parallel, 1),
        webhook_timeout=number("BRIDGE_WEBHOOK_TIMEOUT", float(default.webhook_timeout), 0.1),
        log=env.get("BRIDGE_LOG", default.log).lower(),
    )
    known = {f"BRIDGE_{name.upper()}" for name in vars(settings)} | {"BRIDGE_JWT_SECRET_FILE"}
    unknown = sorted(name for name in env if name.startswith("BRIDGE_") and name not in known)
    if unknown:
        raise Wrong(f"unknown: {', '.join(unknown)}")
    if len(settings.jwt_secret.encode()) < 32:
        raise Wrong("BRIDGE_JWT_SECRET (or the file that BRIDGE_JWT_SECRET_FILE names) has less than 32 bytes")
    if settings.log not in ("debug", "info", "warning", "error"):
        raise Wrong("BRIDGE_LOG: none of debug, info, warning, error")
    return settings
