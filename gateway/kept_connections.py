"""Connections to Orthanc that are kept between requests.

Orthanc closes a connection that was idle for a second. A request that meets the closing is not answered, and is sent
once more, on another connection (RFC 9110 section 9.2.2): what we ask of Orthanc may be asked twice. What is streamed
to it cannot be sent again, and its sender is told.
"""

from __future__ import annotations

import ssl
from typing import Final

import httpx

_KEPT: Final = httpx.Limits(keepalive_expiry=0.5)
_CLOSED: Final = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


class KeptConnections(httpx.HTTPTransport):
    """The transport of a client of Orthanc.

    Args:
        tls: whom to trust; None for what this machine trusts.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(verify=tls or True, limits=_KEPT, trust_env=False)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, as far as its head."""
        try:
            return super().handle_request(request)
        except _CLOSED:
            if not isinstance(request.stream, httpx.ByteStream):
                raise
            return super().handle_request(request)


class AsyncKeptConnections(httpx.AsyncHTTPTransport):
    """The same for an asynchronous client.

    Args:
        tls: whom to trust; None for what this machine trusts.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(verify=tls or True, limits=_KEPT, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, as far as its head."""
        try:
            return await super().handle_async_request(request)
        except _CLOSED:
            if not isinstance(request.stream, httpx.ByteStream):
                raise
            return await super().handle_async_request(request)
