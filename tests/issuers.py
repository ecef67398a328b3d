"""An identity provider for tests: OpenID Connect over HTTP, real keys and signatures, and what a bad one does.

It logs in whoever is sent to it, as whom the test says. Codes are good once and bound to their PKCE challenge
(RFC 7636), as a provider's must be.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from joserfc import jwt
from joserfc.jwk import RSAKey

from tests.gateways import served

CLIENT_ID, CLIENT_SECRET, AUDIENCE = "firstread", "a secret: of +the client%", "firstread-api"
ADA = {"sub": "4711", "preferred_username": "ada", "realm_access": {"roles": ["radiologist", "offline_access"]}}


@dataclass
class Provider:
    """What the provider is, and how it errs.

    Attributes:
        url: its identifier.
        person: claims of whoever logs in.
        key: that signs.
        published: the keys that it tells.
        mistakes: claims of ID tokens that are otherwise; None leaves one out.
        hangs: whether it answers nothing.
        asked: the paths that it was asked for.
    """

    url: str = ""
    person: dict[str, Any] = field(default_factory=lambda: dict(ADA))
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "first"}))
    published: list[RSAKey] = field(default_factory=list)
    mistakes: dict[str, Any] = field(default_factory=dict)
    hangs: bool = False
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def rotate(self, kid: str) -> None:
        """Sign with another key from now on, and tell of no other."""
        self.key = RSAKey.generate_key(2048, {"kid": kid})
        self.published = [self.key]

    def claims(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - claims are JSON
        """Of a token that is good now; None leaves one out."""
        now = int(time.time())
        claims = {"iss": self.url, "iat": now, "exp": now + 300, **self.person, **more}
        return {name: value for name, value in claims.items() if value is not None}

    def signed(self, claims: dict[str, Any], key: Any = None, **header: str) -> str:  # noqa: ANN401 - any key
        """A token."""
        key = key or self.key
        return jwt.encode({"alg": "RS256", "kid": "first", **header}, claims, key, algorithms=["RS256", "HS256"])

    def access_token(self, **more: Any) -> str:  # noqa: ANN401 - claims are JSON
        """Of a machine."""
        return self.signed(self.claims(aud=AUDIENCE, **more), kid=str(self.key.kid))


@contextmanager
def running_provider() -> Iterator[Provider]:
    """A provider on a free loopback port."""
    provider = Provider()
    provider.published = [provider.key]
    with served(_app(provider)) as url:
        provider.url = url
        yield provider


def _app(provider: Provider) -> FastAPI:
    app = FastAPI()

    @app.middleware("http")
    async def note(request: Request, proceed: Any) -> Response:  # noqa: ANN401 - Starlette's own
        provider.asked.append(request.url.path)
        if provider.hangs:
            await asyncio.sleep(3600)  # the server cancels it as it stops
        answer: Response = await proceed(request)
        return answer

    @app.get("/.well-known/openid-configuration")
    def discovery() -> dict[str, Any]:
        return {
            "issuer": provider.url,
            "authorization_endpoint": f"{provider.url}/authorize",
            "token_endpoint": f"{provider.url}/token",
            "jwks_uri": f"{provider.url}/keys",
            "end_session_endpoint": f"{provider.url}/logout",
        }

    @app.get("/keys")
    def keys() -> dict[str, Any]:
        return {"keys": [{**key.as_dict(private=False), "use": "sig"} for key in provider.published]}

    @app.get("/authorize")
    def authorize(request: Request) -> Response:
        asked = dict(request.query_params)
        code = secrets.token_urlsafe()
        provider.codes[code] = asked
        back = urlencode({"code": code, "state": asked["state"], "iss": provider.url})
        return RedirectResponse(f"{asked['redirect_uri']}?{back}", 303)

    @app.post("/token")
    async def token(request: Request) -> Response:
        form = await request.form()
        asked = provider.codes.pop(str(form["code"]), None)
        login = base64.b64encode(b"firstread:a%20secret%3A%20of%20%2Bthe%20client%25").decode()
        if request.headers.get("authorization") != f"Basic {login}":
            return _refused("invalid_client")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(str(form["code_verifier"]).encode()).digest()).decode()
        if asked is None or asked["code_challenge"] != challenge.rstrip("="):
            return _refused("invalid_grant")
        claims = provider.claims(**{"aud": CLIENT_ID, "nonce": asked["nonce"], **provider.mistakes})
        return JSONResponse({"token_type": "Bearer", "id_token": provider.signed(claims, kid=str(provider.key.kid))})

    return app


def _refused(error: Literal["invalid_client", "invalid_grant"]) -> Response:
    return JSONResponse({"error": error}, 400)
