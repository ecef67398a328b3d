"""The modalities: they send film after film by C-STORE, and a film that was not taken again until it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from pydicom import Dataset

from gateway.dimse.send import send
from tests.faults.films import films
from worklist.errors import FirstreadError

_AGAIN_AFTER_S = 0.5
_PATIENCE_S = 300.0


class Stream:
    """What has been sent to one Orthanc.

    Args:
        port: where it takes C-STORE.
        seed: decides which films come in which order.

    Attributes:
        studies: the films that Orthanc has taken, by Study Instance UID.
    """

    def __init__(self, port: int, seed: int) -> None:
        self._port = port
        self._films = films(seed)
        self._studies: dict[str, list[Dataset]] = {}
        self._lock = threading.Lock()

    @property
    def studies(self) -> dict[str, list[Dataset]]:
        """The films that Orthanc has taken, by Study Instance UID."""
        with self._lock:
            return {uid: list(taken) for uid, taken in self._studies.items()}

    def send(self, count: int, every_s: float = 0.0) -> None:
        """Send so many films, one after the other, or one every so many seconds."""
        for _ in range(count):
            started = time.monotonic()
            self.send_these(self.take(1))
            time.sleep(max(0.0, every_s - (time.monotonic() - started)))

    def send_at_once(self, count: int) -> None:
        """Send so many films in one association."""
        self.send_these(self.take(count))

    def take(self, count: int) -> list[Dataset]:
        """The next films, which nobody has sent yet."""
        with self._lock:
            return list(islice(self._films, count))

    def send_these(self, images: Sequence[Dataset]) -> None:
        """Send images until each is taken."""
        left = list(images)
        deadline = time.monotonic() + _PATIENCE_S
        while left:
            assert time.monotonic() < deadline, "Orthanc takes no images"
            try:
                outcomes = send(left, host="127.0.0.1", port=self._port, called_aet="ORTHANC").outcomes
            except FirstreadError:  # nobody answers
                outcomes = ()
            taken = {outcome.name for outcome in outcomes if outcome.is_stored}
            self.has_taken(image for image in left if image.SOPInstanceUID in taken)
            left = [image for image in left if image.SOPInstanceUID not in taken]
            if left:
                time.sleep(_AGAIN_AFTER_S)

    def has_taken(self, images: Iterable[Dataset]) -> None:
        """Orthanc has taken images, whoever sent them."""
        with self._lock:
            for image in images:
                self._studies.setdefault(str(image.StudyInstanceUID), []).append(image)

    def has_lost(self, study_instance_uid: str, sop_instance_uid: str | None = None) -> None:
        """Orthanc was made to forget an image, or a study."""
        with self._lock:
            taken = self._studies.pop(study_instance_uid)
            if sop_instance_uid:
                self._studies[study_instance_uid] = [one for one in taken if one.SOPInstanceUID != sop_instance_uid]

    @contextmanager
    def flowing(self, count: int, every_s: float) -> Iterator[None]:
        """So many films are sent while a block runs; at its end it is waited for the rest."""
        errors: list[BaseException] = []

        def flow() -> None:
            try:
                self.send(count, every_s)
            except BaseException as error:  # noqa: BLE001 - raised where the block ends
                errors.append(error)

        thread = threading.Thread(target=flow, name="modality", daemon=True)
        thread.start()
        try:
            yield
        finally:
            thread.join()
        if errors:
            raise errors[0]
