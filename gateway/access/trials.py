"""Failed logins, counted by address, so that nobody tries for long or fills the log."""

from __future__ import annotations

from typing import Final

import structlog

from gateway.access.rates import Rate
from gateway.problems import Problem

_A_MINUTE: Final = 30

log = structlog.get_logger()


class Trials:
    """Counts failed logins of this process."""

    def __init__(self) -> None:
        self._rate = Rate(_A_MINUTE)

    def require(self, address: str) -> None:
        """Make sure that an address may try.

        Raises:
            Problem: 429.
        """
        if not self._rate.has_turn(address):
            detail = f"too many failed logins from {address}: wait a minute"
            raise Problem(429, "too many failed logins", detail, code="too_many")

    def failed(self, address: str, detail: str, *, code: str = "login_refused", status: int = 401) -> Problem:
        """Note a failed login; returns the refusal."""
        if self._rate.take(address):
            log.warning("login refused", address=address, reason=code)
        return Problem(status, "login refused", detail, code=code)
