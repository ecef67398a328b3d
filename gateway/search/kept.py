"""What Orthanc told of studies, kept for as long as its change log says nothing of them.

Viewers ask for the same page of the list many times a second, and describing it is most of what that costs Orthanc.
Before anything kept is told, the log is asked what came since: one short request, and a study to which something came
is described anew.

Only deletions leave no change behind (and what an administrator has Orthanc read from its files again): nothing is kept
for longer than a second.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Final

from gateway.intake.orthanc import OrthancClient

_KEPT_S: Final = 1.0
_MOST_STUDIES: Final = 2000  # a few MB
_MOST_CHANGES: Final = 100  # beyond them everything is described anew
_OTHERS_TELL: Final = {
    *("NewSeries", "NewStudy", "NewPatient"),  # each comes with a NewInstance
    *("StableSeries", "StableStudy", "StablePatient"),  # nothing of this is told
}

Texts = Mapping[str, str]


class _Stretch:
    """What is kept since a moment, and the change up to which it is right."""

    def __init__(self, sequence: int, ends_at: float) -> None:
        self.ends_at = ends_at
        self.sequence = sequence
        self.texts: dict[str, Texts] = {}


class KeptStudies:
    """Text values of studies, none of them older than the question.

    Args:
        orthanc: whose change log is followed.
        describe: text values by keyword of some studies, by Orthanc's identifier, as Orthanc has them now.
        studies_of: the studies that some instances, or other resources of Orthanc's, belong to.
    """

    def __init__(
        self,
        orthanc: OrthancClient,
        describe: Callable[[Sequence[str]], Mapping[str, Texts]],
        studies_of: Callable[[Sequence[str]], Collection[str]],
    ) -> None:
        self._orthanc = orthanc
        self._describe = describe
        self._studies_of = studies_of
        self._lock = threading.Lock()  # held for no request
        self._stretch = _Stretch(0, 0.0)

    def told(self, orthanc_ids: Sequence[str]) -> dict[str, Texts]:
        """Text values by keyword of some studies, by Orthanc's identifier; one that is gone is left out."""
        if not orthanc_ids:
            return {}
        stretch, sequence = self._followed()
        with self._lock:
            told = {one: stretch.texts[one] for one in orthanc_ids if one in stretch.texts}
        lacking = [one for one in orthanc_ids if one not in told]
        if lacking:
            described = self._describe(lacking)
            told |= described
            self._keep(stretch, sequence, described)
        return told

    def _followed(self) -> tuple[_Stretch, int]:
        """What is kept and right now, and the change up to which this was looked at."""
        stretch = self._stretch
        if time.monotonic() >= stretch.ends_at:
            return self._begin()
        sequence = stretch.sequence
        changes = self._orthanc.changes(sequence, _MOST_CHANGES)
        if len(changes) == _MOST_CHANGES:
            return self._begin()
        if changes:
            sequence = changes[-1].sequence
            touched = [one.orthanc_id for one in changes if one.change_type not in _OTHERS_TELL]
            self._forget(stretch, sequence, self._studies_of(touched) if touched else ())
        return stretch, sequence

    def _begin(self) -> tuple[_Stretch, int]:
        ends_at = time.monotonic() + _KEPT_S
        stretch = self._stretch = _Stretch(self._orthanc.last_sequence(), ends_at)
        return stretch, stretch.sequence

    def _forget(self, stretch: _Stretch, sequence: int, studies: Iterable[str]) -> None:
        with self._lock:
            for one in studies:
                stretch.texts.pop(one, None)
            stretch.sequence = max(stretch.sequence, sequence)

    def _keep(self, stretch: _Stretch, sequence: int, described: Mapping[str, Texts]) -> None:
        with self._lock:
            # Where the log was followed further meanwhile, some of this may be what it was before.
            if stretch.sequence == sequence and len(stretch.texts) + len(described) <= _MOST_STUDIES:
                stretch.texts |= described
