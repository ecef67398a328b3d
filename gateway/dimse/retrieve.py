"""C-MOVE and C-GET of both Query/Retrieve models (PS3.4 sections C.4.2 and C.4.3), carried out by Orthanc.

A C-MOVE is a job of Orthanc's, which knows the destinations. For a C-GET Orthanc hands out the files, which are sent as
they are stored: over the association of the C-GET, in their own transfer syntax.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from gateway.dimse.operations import Counts, Operation
from gateway.dimse.question import read_identifier, read_unique_keys
from gateway.dimse.statuses import (
    CANCELLED,
    NONE_STORED,
    NOT_COUNTED,
    PENDING,
    SOME_FAILED,
    SUCCESS,
    UNKNOWN_DESTINATION,
    Refusal,
)
from gateway.dimse.text import encoded
from gateway.search.retrieval import Originator, Retrieval, Sent
from worklist.attributes import Level
from worklist.errors import PacsUnavailable

_MOST_INSTANCES: Final = 65_535  # counts are of VR US
_FAILED_LIST_TAG: Final = 0x00080058
_LARGEST_MESSAGE_ID: Final = 65_535


@dataclass(frozen=True, kw_only=True, slots=True)
class Retriever:
    """Answers C-MOVE and C-GET."""

    retrieval: Retrieval

    def move(self, operation: Operation, levels: Sequence[Level]) -> None:
        """Have Orthanc send what is asked for to one of its modalities.

        Args:
            operation: the request.
            levels: that its information model has.

        Raises:
            Refusal: the identifier cannot be meant, the destination is unknown, or there is too much.
        """
        instances = self._instances(operation, levels)
        title = str(operation.request.MoveDestination or "").strip()
        modality = self.retrieval.modality(title)
        if modality is None:
            raise Refusal(UNKNOWN_DESTINATION, f"{title} is none of Orthanc's modalities")
        originator = Originator(ae_title=operation.calling_title, message_id=operation.request.MessageID)

        def is_unwanted() -> bool:
            return operation.is_cancelled or operation.is_abandoned

        _answer(operation, len(instances), self.retrieval.send(instances, modality, originator, is_unwanted))

    def get(self, operation: Operation, levels: Sequence[Level]) -> None:
        """Send what is asked for over the association itself.

        Args:
            operation: the request.
            levels: that its information model has.

        Raises:
            Refusal: the identifier cannot be meant, or there is too much.
        """
        instances = self._instances(operation, levels)
        _answer(operation, len(instances), self._sent(operation, instances))

    def _instances(self, operation: Operation, levels: Sequence[Level]) -> Mapping[str, str]:
        identifier = read_identifier(operation.identifier, levels, is_implicit=operation.is_implicit)
        keys = read_unique_keys(identifier)
        try:
            instances = self.retrieval.instances(keys, identifier.level)
        except PacsUnavailable as error:
            raise Refusal(NOT_COUNTED, error.message) from error
        if len(instances) > _MOST_INSTANCES:
            raise Refusal(NOT_COUNTED, f"{len(instances)} instances, more than {_MOST_INSTANCES}")
        return instances

    def _sent(self, operation: Operation, instances: Mapping[str, str]) -> Iterator[Sent]:
        for number, (orthanc_id, sop_instance_uid) in enumerate(instances.items(), start=1):
            message_id = (operation.request.MessageID + number - 1) % _LARGEST_MESSAGE_ID + 1
            status = self._store(operation, orthanc_id, message_id)
            category = "Failure" if status is None else STORAGE_SERVICE_CLASS_STATUS.get(status, ("Failure", ""))[0]
            is_stored = category in {"Success", "Warning"}
            yield Sent(sop_instance_uid=sop_instance_uid, is_stored=is_stored, is_warned=category == "Warning")

    def _store(self, operation: Operation, orthanc_id: str, message_id: int) -> int | None:
        """The status of the peer's answer to one C-STORE; None where there was none, or nothing could be sent."""
        try:
            dataset = dcmread(BytesIO(self.retrieval.file(orthanc_id)), force=True)
            answer = operation.association.send_c_store(dataset, msg_id=message_id)
        except (PacsUnavailable, InvalidDicomError, ValueError, AttributeError, RuntimeError, OSError):
            return None  # gone, or of a class or transfer syntax that the peer did not ask for
        return answer.get("Status")  # type: ignore[no-any-return]


def _answer(operation: Operation, count: int, outcomes: Iterable[Sent | None]) -> None:
    """Tell the counts after each sub-operation, and how all ended."""
    counts, failed = Counts(remaining=count), list[str]()
    for outcome in outcomes:
        if operation.is_abandoned:
            return
        if outcome:
            _count(counts, outcome, failed)
        if operation.is_cancelled:
            break
        if outcome:
            operation.answer(PENDING, counts=counts)
    listed = _failed_list(operation, failed)
    if operation.is_cancelled and counts.remaining:
        operation.answer(CANCELLED, listed, counts)
    elif counts.failed and counts.failed == count:
        operation.answer(NONE_STORED, listed, counts)
    elif counts.failed or counts.warning:
        operation.answer(SOME_FAILED, listed, counts)
    else:
        operation.answer(SUCCESS, counts=counts)


def _count(counts: Counts, outcome: Sent, failed: list[str]) -> None:
    counts.remaining -= 1
    if not outcome.is_stored:
        counts.failed += 1
        failed.append(outcome.sop_instance_uid)
    elif outcome.is_warned:
        counts.warning += 1
    else:
        counts.completed += 1


def _failed_list(operation: Operation, failed: Sequence[str]) -> bytes:
    """The identifier of a final answer (PS3.4 section C.4.2.1.4.2)."""
    return encoded({_FAILED_LIST_TAG: ("UI", "\\".join(failed))}, (), is_implicit=operation.is_implicit)
