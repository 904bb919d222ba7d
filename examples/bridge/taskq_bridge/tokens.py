"""Who is it?  The same tokens as PostgREST's."""

import hashlib
import json
import time

import jwt

BEARER = "bearer."


class Refused(Exception):
    """An answer that is no stream."""

    def __init__(self, status, message, code=None, details=None, hint=None, headers=None):
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"code": code or f"PT{status}", "message": message, "details": details, "hint": hint}


class Identity:
    """A role and the claims it comes with.  Equal ones see the same."""

    def __init__(self, role, claims):
        self.role = role
        self.claims = claims
        what = {name: value for name, value in claims.items() if name not in ("exp", "iat", "nbf", "jti")}
        self.key = hashlib.sha256(json.dumps([role, what], sort_keys=True).encode()).digest()
        self.user = (role, str(claims.get("sub")), json.dumps(claims.get("tenant")))
        self.expires = claims.get("exp")

    def seconds_left(self):
        return None if self.expires is None else self.expires - time.time()


def token_of(request):
    """Where a token may stand.  EventSource can't set headers, a browser's WebSocket only its
    subprotocols: new WebSocket(url, ["taskq", "bearer." + token])."""
    header = request.headers.get("Authorization", "")
    if header[:7].lower() == "bearer ":
        return header[7:].strip()
    offered = [item.strip() for item in request.headers.get("Sec-WebSocket-Protocol", "").split(",")]
    for item in offered:
        if item.startswith(BEARER):
            # else the library would log that no protocol fits, and the token with it
            if "taskq" not in offered:
                raise Refused(400, 'subprotocol "taskq" is not offered beside the token')
            return item[len(BEARER) :]
    return request.query.get("access_token")


def identify(request, settings):
    """The Identity of whoever asks, or Refused."""
    token = token_of(request)
    if not token:
        if settings.anonymous_role:
            return Identity(settings.anonymous_role, {"role": settings.anonymous_role})
        raise Refused(401, "no token", headers={"WWW-Authenticate": "Bearer"})
    try:
        claims = jwt.decode(
            token,
            settings.jwt_secret,
            algorithms=["HS256"],
            audience=settings.jwt_audience or None,
            leeway=30,
            options={"verify_aud": bool(settings.jwt_audience), "verify_iat": False},
        )
    except jwt.ExpiredSignatureError:
        raise Refused(401, "token has expired", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}) from None
    except (jwt.InvalidTokenError, OverflowError):  # exp 1e999
        raise Refused(401, "token is not valid", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}) from None
    role = claims.get("role", settings.anonymous_role)
    if not isinstance(role, str) or role in ("", "none"):
        raise Refused(401, "token names no role", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    if not isinstance(claims.get("exp", 0), (int, float)):
        raise Refused(401, "token is not valid", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    return Identity(role, claims)
