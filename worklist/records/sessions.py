"""Who is logged in with a browser, until they log out, are away for too long, or have been there for long enough.

A browser's cookie holds 256 random bits, and a session is found by their digest: who reads the database or a backup of
it can log in with nothing of it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import delete, or_, update

from worklist.records.database import Database
from worklist.records.tables import SessionRow
from worklist.roles import Role

_NOTED_EVERY: Final = timedelta(minutes=1)  # that somebody was seen
_RANDOM_BYTES: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class LoginSession:
    """Who is logged in, with the roles as of their login, and the sites that they see (sight.py)."""

    name: str
    roles: frozenset[Role]
    sites: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionRecords:
    """Begins, finds and ends sessions.

    Attributes:
        database: where they are kept.
        idle: after so long without a request one ends.
        longest: after so long one ends in any case.
    """

    database: Database
    idle: timedelta
    longest: timedelta

    def begin(self, name: str, roles: Iterable[Role], sites: Iterable[str] = ()) -> str:
        """A new session; returns what its cookie holds."""
        secret = secrets.token_urlsafe(_RANDOM_BYTES)
        with self.database.write() as session:
            now = self.database.now(session)
            session.add(
                SessionRow(
                    session_sha256=_digest(secret),
                    name=name,
                    roles=" ".join(sorted(roles)),
                    sites=" ".join(sorted(sites)),
                    created_at=now,
                    seen_at=now,
                )
            )
        return secret

    def find(self, secret: str, *, is_seen: bool = True) -> LoginSession | None:
        """Whose session it is; None where it has ended or never was.

        Args:
            secret: what the cookie holds.
            is_seen: whether its holder is thereby seen, and has as long again.
        """
        with self.database.read() as session:
            row = session.get(SessionRow, _digest(secret))
            now = self.database.now(session)
            if row is None or row.seen_at + self.idle <= now or row.created_at + self.longest <= now:
                return None
            is_to_be_noted = row.seen_at + min(_NOTED_EVERY, self.idle / 4) <= now
            found = LoginSession(
                name=row.name,
                roles=frozenset(Role(role) for role in row.roles.split() if role in set(Role)),
                sites=frozenset((row.sites or "").split()),
            )
        if is_seen and is_to_be_noted:
            with self.database.write() as session:
                seen = update(SessionRow).where(SessionRow.session_sha256 == _digest(secret)).values(seen_at=now)
                session.execute(seen)
        return found

    def end(self, secret: str) -> None:
        """Log out."""
        with self.database.write() as session:
            session.execute(delete(SessionRow).where(SessionRow.session_sha256 == _digest(secret)))

    def sweep(self) -> None:
        """Delete the sessions that have ended."""
        with self.database.write() as session:
            now = self.database.now(session)
            ended = or_(SessionRow.seen_at <= now - self.idle, SessionRow.created_at <= now - self.longest)
            session.execute(delete(SessionRow).where(ended))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
