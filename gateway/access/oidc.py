"""Logging in at the hospital's identity provider: OpenID Connect, authorization code with PKCE (RFC 7636, RFC 9700).

Between leaving for the provider and coming back the browser keeps one random secret in a cookie. State, nonce and
verifier are digests of it: nothing is kept here that many log-ins could fill, and what comes back fits the browser
that left, once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from gateway.access.actors import clean_name
from gateway.access.issuer import Claims, Issuer, TokenRefused, endpoint, refused
from worklist.errors import InvalidInput

CALLBACK_PATH: Final = "/login/callback"
_LOCAL: Final = re.compile(r"/(?![/\\])[\x21-\x7e]{0,2000}", re.ASCII)


@dataclass(frozen=True, kw_only=True, slots=True)
class Client:
    """What this gateway is at the identity provider.

    Attributes:
        issuer: the provider.
        client_id: as it is registered there.
        client_secret: empty for a public client.
        public_url: where people call this gateway, to which they come back.
        scopes: that are asked for.
        roles_claim: the claim that tells groups or roles; dots lead into objects.
        name_claim: the claim that tells the name; "sub" where there is none.
        audience: for whom access tokens of machines must be; empty where none are taken.
    """

    issuer: Issuer
    client_id: str
    client_secret: str
    public_url: str
    scopes: str
    roles_claim: str
    name_claim: str
    audience: str = ""

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to."""
        return f"{self.public_url}{CALLBACK_PATH}"

    async def departure(self, secret: str) -> str:
        """The address at the provider to which a browser with this secret goes.

        Raises:
            IssuerUnavailable: the provider cannot be asked.
        """
        asked = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "scope": self.scopes,
            "state": _derived("state", secret),
            "nonce": _derived("nonce", secret),
            "code_challenge": _encoded(hashlib.sha256(_derived("verifier", secret).encode()).digest()),
            "code_challenge_method": "S256",
        }
        address = endpoint(await self.issuer.metadata(), "authorization_endpoint")
        return f"{address}{'&' if '?' in address else '?'}{urlencode(asked)}"

    async def arrival(self, secret: str, query: Mapping[str, str]) -> Claims:
        """What the provider says of whoever comes back.

        Args:
            secret: of the browser.
            query: what it brings.

        Raises:
            TokenRefused: it does not fit, or the provider refuses.
            IssuerUnavailable: the provider cannot be asked.
        """
        if not secret or not hmac.compare_digest(query.get("state", "").encode(), _derived("state", secret).encode()):
            raise _refused("this log-in was not begun in this browser, or is over: begin again")
        if query.get("iss", self.issuer.url) != self.issuer.url:  # RFC 9207
            raise _refused("another identity provider answers")
        if "error" in query:
            raise _refused(f"the identity provider says {query['error'][:80]!r}")
        told = await self._exchanged(query.get("code", ""), secret)
        claims = await self.issuer.claims(str(told.get("id_token", "")), self.client_id)
        nonce = str(claims.get("nonce", ""))
        if not hmac.compare_digest(nonce.encode("utf-8", "replace"), _derived("nonce", secret).encode()):
            raise _refused("it is not the answer to this log-in (nonce)")
        if claims.get("azp", self.client_id) != self.client_id:
            raise _refused("it was issued to another client (azp)")
        return claims

    async def machine(self, token: str) -> Claims:
        """What an access token of a machine says.

        Raises:
            TokenRefused: it is not good, or none are taken here.
            IssuerUnavailable: the provider cannot be asked.
        """
        if not self.audience:
            raise refused("no access token is taken before FIRSTREAD_OIDC_AUDIENCE says for whom they are")
        claims = await self.issuer.claims(token, self.audience)
        if "nonce" in claims or claims.get("typ") == "ID":
            raise refused("it is an ID token, and no access token")
        return claims

    async def farewell(self) -> str:
        """Where a browser goes to log out at the provider too; "" where it has no such place."""
        metadata = await self.issuer.metadata()
        if not metadata.get("end_session_endpoint"):
            return ""
        asked = {"client_id": self.client_id, "post_logout_redirect_uri": f"{self.public_url}/login"}
        return f"{endpoint(metadata, 'end_session_endpoint')}?{urlencode(asked)}"

    def name(self, claims: Claims) -> str:
        """The name by which somebody is known here.

        Raises:
            TokenRefused: there is none that can be one.
        """
        told = claims.get(self.name_claim) or claims.get("sub")
        try:
            name = clean_name(told) if isinstance(told, str) else ""
        except InvalidInput as error:
            raise _refused(f"{self.name_claim}: {error.message}") from error
        if not name:
            raise _refused(f"it has neither {self.name_claim} nor sub")
        return name

    def groups(self, claims: Claims) -> Sequence[str]:
        """The groups or roles that a token tells."""
        told: Any = claims.get(self.roles_claim)
        if told is None:
            told = claims
            for part in self.roles_claim.split("."):
                told = told.get(part) if isinstance(told, Mapping) else None
        if isinstance(told, str):
            return told.split()
        return [one for one in told if isinstance(one, str)] if isinstance(told, list) else []

    async def _exchanged(self, code: str, secret: str) -> Mapping[str, Any]:
        metadata = await self.issuer.metadata()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": _derived("verifier", secret),
        }
        methods = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        is_basic = bool(self.client_secret) and "client_secret_basic" in methods
        if not is_basic:
            form |= {"client_id": self.client_id}
            form |= {"client_secret": self.client_secret} if self.client_secret else {}
        # RFC 6749 section 2.3.1
        auth = (quote(self.client_id, safe=""), quote(self.client_secret, safe="")) if is_basic else None
        told = await self.issuer.post(endpoint(metadata, "token_endpoint"), form, auth)
        if "error" in told:
            raise _refused(f"the identity provider says {str(told['error'])[:80]!r}")
        return told


def new_secret() -> str:
    """For a browser that leaves for the provider."""
    return secrets.token_urlsafe(32)


def local_path(told: str) -> str:
    """A path of this gateway; "/" where it is none, so that no log-in ends at another site."""
    return told if _LOCAL.fullmatch(told) else "/"


def _derived(what: str, secret: str) -> str:
    return _encoded(hmac.digest(secret.encode(), what.encode(), "sha256"))


def _encoded(digest: bytes) -> str:
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _refused(why: str) -> TokenRefused:
    return TokenRefused("login_refused", f"the log-in is refused: {why}")
