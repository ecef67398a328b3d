"""What a C-MOVE or C-GET asks for, and Orthanc's part in it: to send instances to a modality, or to hand them out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx

from gateway.intake.orthanc import OrthancClient, reading_answer
from gateway.search.pacs import PacsStudies
from gateway.search.seen import SeenStudies
from worklist.attributes import Level
from worklist.matching import Key
from worklist.records import StudySearches

_OF_ONE_JOB: Final = 100  # instances: Orthanc tells its progress in whole percents, of which each then is one at least
_LOOK_S: Final = 0.02
_LONGEST_LOOK_S: Final = 0.25
_UNREACHABLE: Final = "DicomAssociation - connecting to AET"  # how Orthanc begins its message
_PATHS: Final = {Level.PATIENT: "patients", Level.STUDY: "studies", Level.SERIES: "series"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Sent:
    """What became of one instance.

    Attributes:
        sop_instance_uid: of which.
        is_stored: whether the peer has it.
        is_warned: whether the peer took it with a warning.
    """

    sop_instance_uid: str
    is_stored: bool
    is_warned: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Originator:
    """Whose C-MOVE it is that instances are sent for (PS3.7 section 9.1.1.1)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """How far a job is: how many instances it has sent, whether it has ended, and at what it failed."""

    position: int = 0
    is_ended: bool = False
    failure: str = ""


class Retrieval:
    """Finds instances in Orthanc, and has them sent.

    Args:
        orthanc: the connection. Every method raises PacsUnavailable where it does not answer.
        records: of the list.
    """

    def __init__(self, orthanc: OrthancClient, records: StudySearches) -> None:
        self._orthanc = orthanc
        self._pacs = PacsStudies(orthanc)
        self._seen = SeenStudies(records=records, pacs=self._pacs)

    @reading_answer()
    def instances(self, keys: Sequence[Key], level: Level) -> dict[str, str]:
        """The instances of what has some unique keys and is seen: SOP Instance UID by Orthanc's identifier."""
        found: dict[str, str] = {}
        for one in self._exact(keys, level):
            seen = self._seen.of(one)
            if seen is not None and level is Level.PATIENT:
                for study in seen:
                    found |= self._members(study, Level.STUDY)
            elif seen is None or seen:
                found |= self._members(one, level)
        return found

    @reading_answer()
    def modality(self, ae_title: str) -> str | None:
        """Orthanc's name of the modality with an AE title; None where it knows none."""
        modalities: Mapping[str, Any] = self._json("/modalities?expand")
        return next((name for name, one in sorted(modalities.items()) if one.get("AET") == ae_title), None)

    def send(
        self, instances: Mapping[str, str], modality: str, originator: Originator, is_unwanted: Callable[[], bool]
    ) -> Iterator[Sent | None]:
        """Have Orthanc send instances; yields what became of each, and None while nothing happens.

        Args:
            instances: SOP Instance UIDs by Orthanc's identifiers, in the order in which they are sent.
            modality: Orthanc's name of the destination.
            originator: who asks.
            is_unwanted: whether to stop; asked between any two looks at Orthanc's job.
        """
        left = list(instances)
        while left:
            part, done, look = left[:_OF_ONE_JOB], 0, _Look()
            for look in self._job(part, modality, originator, is_unwanted):
                yield None
                for one in part[done : look.position]:
                    yield Sent(sop_instance_uid=instances[one], is_stored=True)
                done = look.position
            if is_unwanted():
                return
            left = left[done:]
            if look.failure:  # the job ended at the first of those that are left
                failed = left if look.failure.startswith(_UNREACHABLE) else left[:1]
                for one in failed:
                    yield Sent(sop_instance_uid=instances[one], is_stored=False)
                left = left[len(failed) :]

    def file(self, orthanc_id: str) -> bytes:
        """An instance as it is stored."""
        return self._orthanc.ask(self._orthanc.rest.get, f"/instances/{orthanc_id}/file").content

    def _job(
        self, part: Sequence[str], modality: str, originator: Originator, is_unwanted: Callable[[], bool]
    ) -> Iterator[_Look]:
        """Looks at a job of Orthanc's that sends a part, until it has ended or nobody wants it any more."""
        asked = {
            "Resources": list(part),
            "Synchronous": False,
            "Permissive": False,
            "MoveOriginatorAet": originator.ae_title,
            "MoveOriginatorID": originator.message_id,
        }
        answer = self._orthanc.ask(self._orthanc.rest.post, f"/modalities/{modality}/store", json=asked)
        job, wait_s, look = answer.json()["ID"], _LOOK_S, _Look()
        try:
            while not is_unwanted():
                look = self._look(job, len(part), look)
                yield look
                if look.is_ended:
                    return
                time.sleep(wait_s)
                wait_s = min(2 * wait_s, _LONGEST_LOOK_S)
        finally:
            if not look.is_ended:
                self._orthanc.ask(self._orthanc.rest.post, f"/jobs/{job}/cancel", json={}, absent_ok=True)

    @reading_answer()
    def _look(self, job: str, count: int, before: _Look) -> _Look:
        answer = self._orthanc.ask(self._orthanc.rest.get, f"/jobs/{job}", absent_ok=True)
        if answer.status_code == httpx.codes.NOT_FOUND:  # Orthanc keeps the last ten that ended
            return _Look(position=before.position, is_ended=True, failure="forgotten by Orthanc")
        seen = answer.json()
        if seen["State"] == "Success":
            return _Look(position=count, is_ended=True)
        failure = str(seen.get("ErrorDetails") or "failed") if seen["State"] == "Failure" else ""
        position = min(round(seen["Progress"] * count / 100), count - 1 if failure else count)
        return _Look(position=max(position, before.position), is_ended=bool(failure), failure=failure)

    def _members(self, resource: str, level: Level) -> dict[str, str]:
        if level is Level.IMAGE:
            told = self._json(f"/instances/{resource}")["MainDicomTags"]
            return {resource: str(told.get("SOPInstanceUID", ""))}
        members = self._json(f"/{_PATHS[level]}/{resource}/instances")
        return {str(each["ID"]): str(each["MainDicomTags"].get("SOPInstanceUID", "")) for each in members}

    def _exact(self, keys: Sequence[Key], level: Level) -> list[str]:
        found = self._pacs.matched(keys, level)
        if level is not Level.PATIENT:
            return found
        asked = {key.value for key in keys}  # Orthanc does not mind capital letters, which may be another patient's
        return [one for one in found if self._json(f"/patients/{one}")["MainDicomTags"].get("PatientID") in asked]

    def _json(self, path: str) -> Any:  # noqa: ANN401 - JSON
        return self._orthanc.ask(self._orthanc.rest.get, path).json()
