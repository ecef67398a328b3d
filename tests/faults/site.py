"""A running site as a checker sees it: what was sent to it, what is listed, what lies in the PACS, what is to do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any

import httpx
from sqlalchemy import or_, select

from tests.faults.films import is_scored
from tests.faults.stream import Stream
from tests.faults.watch import TLS, Watch
from worklist.records import Database
from worklist.records.tables import INCOMPLETE, OPEN, JobRow, StudyRow

FINAL = frozenset({"reported", "out_of_scope", "failed"})
_ASK_EVERY_S = 0.25


class Site(ABC):
    """Gateways, an Orthanc and a database, however they are run.

    Attributes:
        stream: what the modalities send.
        watch: what each gateway says of itself.
    """

    stream: Stream
    watch: Watch

    @property
    @abstractmethod
    def gateways(self) -> list[str]:
        """The roots of the gateways."""

    @property
    @abstractmethod
    def orthanc_url(self) -> str:
        """The root of Orthanc's REST interface, with user and password where it asks for them."""

    @property
    @abstractmethod
    def database(self) -> Database:
        """The database; to be closed."""

    def items(self) -> dict[str, dict[str, Any]] | None:
        """The items of the list by Study Instance UID, read ones too, of the last gateway that answers, if any does."""
        for root in reversed(self.gateways):
            with suppress(httpx.HTTPError):
                return dict(_items(root))
        return None

    def unfinished(self, wanted: set[str] | None = None) -> set[str]:
        """Which studies are not done, of those that are wanted and that Orthanc holds.

        A study is done where it is on the list in a final state, with all its films that Orthanc holds. Without a wish
        it is asked for all, those that should not be listed any more among them, and for "work" where there is some.
        """
        # Work goes from Orthanc's log by way of the records to the list: asked in that order, none slips past.
        is_idle = wanted is not None or self._is_idle()
        items = self.items()
        if items is None:
            return {"no answer"}
        held = self.held()
        due = {uid for uid in (held if wanted is None else held & wanted) if _state(items, uid) not in FINAL}
        if wanted is None:
            due |= items.keys() - held
        if not is_idle:
            due.add("work")
        return due or self._incomplete(items, held if wanted is None else held & wanted)

    def _is_idle(self) -> bool:
        """Whether all changes are read, no job is open, and no study's report has still to be begun.

        That of a lateral film is, after its state is final.
        """
        told = self.watch.ask(self.gateways[-1])
        if not told or told["changes_behind"] != 0:
            return False
        has_work = or_(select(StudyRow).where(INCOMPLETE).exists(), select(JobRow).where(OPEN).exists())
        with closing(self.database) as database, database.read() as session:  # of both at one moment
            return not session.scalar(select(has_work))

    def _incomplete(self, items: Mapping[str, Mapping[str, Any]], wanted: set[str]) -> set[str]:
        images = self.held_images()
        return {
            uid
            for uid, taken in self.stream.studies.items()
            if uid in wanted
            and items[uid]["images"]
            and len(items[uid]["images"]) != sum(is_scored(one) for one in taken if one.SOPInstanceUID in images)
        }

    def held(self) -> set[str]:
        """The Study Instance UIDs of the studies that Orthanc holds."""
        return {study["MainDicomTags"]["StudyInstanceUID"] for study in self._held("studies")}

    def held_images(self) -> set[str]:
        """The SOP Instance UIDs of all that Orthanc holds."""
        return {one["MainDicomTags"]["SOPInstanceUID"] for one in self._held("instances")}

    def wait_for(self, wanted: set[str] | None, patience_s: float) -> set[str]:
        """Wait until studies (all) are final; returns those that are not in the end."""
        deadline = time.monotonic() + patience_s
        while left := self.unfinished(wanted):
            if time.monotonic() > deadline:
                return left
            time.sleep(_ASK_EVERY_S)
        return set()

    def _held(self, level: str) -> list[dict[str, Any]]:
        answer = httpx.get(f"{self.orthanc_url}/{level}?expand", verify=TLS, trust_env=False, timeout=60)
        return list(answer.raise_for_status().json())


def _items(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    offset = 0
    while True:
        asked: dict[str, str | int] = {"limit": 1000, "offset": offset, "reading": "all"}
        answer = httpx.get(f"{root}/worklist", params=asked, verify=TLS, trust_env=False, timeout=60)
        told = answer.raise_for_status().json()
        yield from ((item["study_instance_uid"], item) for item in told["items"])
        offset += len(told["items"])
        if offset >= told["total"] or not told["items"]:
            return


def _state(items: Mapping[str, Mapping[str, Any]], uid: str) -> str | None:
    return str(items[uid]["state"]) if uid in items else None
