"""What each gateway says of itself, asked twice a second for as long as a hospital runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import httpx

_EVERY_S = 0.5
_PATIENCE_S = 5.0
TLS: Final = httpx.create_ssl_context()  # for all requests, each of which would read a hundred certificates: 25 ms


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One answer of GET /ready, or none.

    Attributes:
        at: when it came, by the monotonic clock.
        gateway: whose it is.
        failing: the checks that were not ok, with what they say; "answer" where there was none.
    """

    at: float
    gateway: str
    failing: Mapping[str, str]


class Watch:
    """Asks the gateways for the time of a block.

    Args:
        gateways: their roots.
    """

    def __init__(self, gateways: Sequence[str]) -> None:
        self._gateways = gateways
        self._words: list[Word] = []
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(root,), daemon=True) for root in gateways]

    def __enter__(self) -> Self:
        """Begin to ask."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Ask no more."""
        self._done.set()
        for thread in self._threads:
            thread.join()

    def ask(self, gateway: str) -> dict[str, Any] | None:
        """The whole answer of one gateway; None where there is none, or only that the question failed."""
        try:
            told = dict(httpx.get(f"{gateway}/ready", verify=TLS, trust_env=False, timeout=_PATIENCE_S).json())
        except (httpx.HTTPError, ValueError):
            return None
        return told if "checks" in told else None

    def told_after_s(self, checks: Collection[str], since: float) -> float | None:
        """How long after a moment any gateway said that one of some checks fails; None where none did."""
        said = [word.at - since for word in list(self._words) if word.at >= since and word.failing.keys() & checks]
        return min(said, default=None)

    def unready(self) -> dict[str, Mapping[str, str]]:
        """What each gateway that is not ready said last."""
        last = {word.gateway: word.failing for word in list(self._words)}
        return {gateway: failing for gateway, failing in last.items() if failing}

    def _watch(self, gateway: str) -> None:
        while not self._done.wait(_EVERY_S):
            told = self.ask(gateway)
            checks = told["checks"] if told else {"answer": {"ok": False, "detail": "none"}}
            failing = {name: str(check["detail"]) for name, check in checks.items() if not check["ok"]}
            self._words.append(Word(at=time.monotonic(), gateway=gateway, failing=failing))
