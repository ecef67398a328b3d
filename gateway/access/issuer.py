"""The hospital's identity provider: its discovery document, its keys, and the tokens that it has signed.

Nothing is asked of it before somebody logs in, so that a gateway starts and works on without it, and each question has
five seconds. Only asymmetric signatures count (RFC 8725 section 3.1): with "none" anybody signs, and with HS256 whoever
knows the public key.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from joserfc import jws, jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from worklist.errors import PermanentError, TransientError

ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "Ed25519", "EdDSA"),
)
LEEWAY_S: Final = 60  # between its clock and ours
_PATIENCE_S: Final = 5.0
_MOST_BYTES: Final = 1_000_000
_FRESH_S: Final = 3600.0  # so long a discovery document or a set of keys is believed
_STALE_S: Final = 24 * 3600.0  # so long its last keys do where it does not answer
_AGAIN_S: Final = 30.0  # so often, and no more, it is asked for keys that it did not have
_PAUSE_S: Final = 5.0  # after it did not answer, nobody else waits for it
_LONGEST_TOKEN: Final = 16_000
_SECURE: Final = "https"
_NEAR: Final = {"127.0.0.1", "::1", "localhost"}

Claims = Mapping[str, Any]


class TokenRefused(PermanentError):
    """A token that is not good."""


class IssuerUnavailable(TransientError):
    """The identity provider does not answer, or answers nonsense."""


class Issuer:
    """Asks an OpenID Provider for its documents, and checks its tokens.

    Args:
        url: the issuer's identifier, as it stands in its tokens.
        tls: whom to trust; None for what this machine trusts.
    """

    def __init__(self, url: str, tls: ssl.SSLContext | None = None) -> None:
        self.url = url
        self._tls = tls or ssl.create_default_context()
        self._lock = asyncio.Lock()
        self._metadata: tuple[float, Mapping[str, Any]] | None = None
        self._keys: tuple[float, KeySet] | None = None
        self._failed_at: float | None = None

    async def metadata(self) -> Mapping[str, Any]:
        """The discovery document (OpenID Connect Discovery 1.0, section 3).

        Raises:
            IssuerUnavailable: it cannot be had, or is not this issuer's.
        """
        async with self._lock:
            return await self._found_metadata()

    async def claims(self, token: str, audience: str, now: float | None = None) -> Claims:
        """What a token says, once its signature, issuer, audience and times have been checked (RFC 7519, RFC 8725).

        Args:
            token: a signed JWT.
            audience: for whom it must be.
            now: seconds since 1970; the present where left out.

        Raises:
            TokenRefused: it is not good, with why.
            IssuerUnavailable: its keys cannot be had.
        """
        header = _header(token)
        if header.get("alg") not in ALGORITHMS:
            raise refused(f"it is signed by {str(header.get('alg'))[:16]!r}, and no asymmetric algorithm")
        try:
            decoded = await self._decoded(token)
            registry = jwt.JWTClaimsRegistry(
                now=int(time.time() if now is None else now),
                leeway=LEEWAY_S,
                iss={"essential": True, "value": self.url},
                aud={"essential": True, "value": audience},
                exp={"essential": True},
                iat={"essential": True},
            )
            registry.validate(decoded.claims)
        except (JoseError, ValueError, TypeError) as error:
            raise refused(_why(error)) from error
        return decoded.claims

    async def post(self, endpoint: str, form: Mapping[str, str], auth: tuple[str, str] | None) -> Mapping[str, Any]:
        """The answer of one of its endpoints to a form; an error of OAuth 2.0 is an answer too.

        Raises:
            IssuerUnavailable: there is none.
        """
        return await self._asked("POST", endpoint, data=dict(form), auth=auth)

    # ---- Its documents ----

    async def _decoded(self, token: str) -> jwt.Token:
        try:
            return jwt.decode(token, await self._key_set(), algorithms=ALGORITHMS)
        except (InvalidKeyIdError, ValueError):  # another key than those known: has it changed them?
            return jwt.decode(token, await self._key_set(is_known_not_to_do=True), algorithms=ALGORITHMS)

    async def _key_set(self, *, is_known_not_to_do: bool = False) -> KeySet:
        """Its keys; the last known ones where it does not answer, or somebody else is waiting for it."""
        longest = _AGAIN_S if is_known_not_to_do else _FRESH_S
        if self._keys and (self._lock.locked() or _age_s(self._keys) < longest) and _age_s(self._keys) < _STALE_S:
            return self._keys[1]
        async with self._lock:
            if self._keys and _age_s(self._keys) < longest:
                return self._keys[1]
            try:
                keys = await self._fetched_keys()
            except IssuerUnavailable:
                if self._keys and _age_s(self._keys) < _STALE_S:
                    return self._keys[1]
                raise
            self._keys = (time.monotonic(), keys)
            return keys

    async def _fetched_keys(self) -> KeySet:
        told = await self._asked("GET", endpoint(await self._found_metadata(), "jwks_uri"))
        try:
            usable = [key for key in told["keys"] if key.get("kty") != "oct" and key.get("use", "sig") == "sig"]
            return KeySet.import_key_set({"keys": usable})
        except (JoseError, KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._unavailable(f"its keys cannot be used ({type(error).__name__})") from error

    async def _found_metadata(self) -> Mapping[str, Any]:
        if self._metadata and _age_s(self._metadata) < _FRESH_S:
            return self._metadata[1]
        told = await self._asked("GET", f"{self.url.rstrip('/')}/.well-known/openid-configuration")
        if told.get("issuer") != self.url:
            raise self._unavailable(
                f"it calls itself {str(told.get('issuer'))[:200]}: set FIRSTREAD_OIDC_ISSUER to that"
            )
        self._metadata = (time.monotonic(), told)
        return told

    async def _asked(self, method: str, address: str, **request: Any) -> Mapping[str, Any]:  # noqa: ANN401 - httpx's
        if self._failed_at is not None and time.monotonic() - self._failed_at < _PAUSE_S:
            raise self._unavailable("it did not answer a moment ago")
        try:
            async with (
                asyncio.timeout(_PATIENCE_S),
                httpx.AsyncClient(verify=self._tls, timeout=_PATIENCE_S, trust_env=False) as client,
                client.stream(method, address, headers={"Accept": "application/json"}, **request) as answer,
            ):
                body = b""
                async for piece in answer.aiter_bytes():
                    body += piece
                    if len(body) > _MOST_BYTES:
                        break
            told = json.loads(body)  # cut off, it is no JSON
        except (httpx.HTTPError, TimeoutError) as error:
            self._failed_at = time.monotonic()
            raise self._unavailable(f"no answer within {_PATIENCE_S:.0f} s ({type(error).__name__})") from error
        except (ValueError, RecursionError) as error:
            raise self._unavailable(f"its answer to {method} {urlsplit(address).path} is no JSON") from error
        self._failed_at = None
        is_error_of_oauth = method == "POST" and isinstance(told, dict) and "error" in told
        if not isinstance(told, dict) or (answer.is_error and not is_error_of_oauth):
            raise self._unavailable(f"it answers {answer.status_code} to {method} {urlsplit(address).path}")
        return told

    def _unavailable(self, why: str) -> IssuerUnavailable:
        return IssuerUnavailable("issuer_unavailable", f"the identity provider {self.url} cannot be used: {why}")


def _age_s(known: tuple[float, object]) -> float:
    return time.monotonic() - known[0]


def endpoint(metadata: Mapping[str, Any], name: str) -> str:
    """An address of the discovery document, by https or on this machine.

    Raises:
        IssuerUnavailable: there is none.
    """
    address = metadata.get(name)
    parts = urlsplit(address if isinstance(address, str) else "")
    if parts.scheme != _SECURE and parts.hostname not in _NEAR:
        raise IssuerUnavailable("issuer_unavailable", f"the identity provider names no {name} by https")
    return str(address)


def _header(token: str) -> Mapping[str, Any]:
    if len(token) > _LONGEST_TOKEN or token.count(".") != 2:  # noqa: PLR2004 - the parts of a JWS, RFC 7515 section 3.1
        raise refused("it is no signed JWT")
    try:
        return jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError) as error:
        raise refused("its header cannot be read") from error


def _why(error: Exception) -> str:
    """Why the library refuses a token, without the token's own values."""
    claim = getattr(error, "claim", "")
    return f"{type(error).__name__.removesuffix('Error')}{f' {claim}' if claim else ''}"


def refused(why: str) -> TokenRefused:
    """A token that is not good, with why in a few words."""
    return TokenRefused("token_refused", f"the token is refused: {why}")
