"""A study beside the newest earlier chest film of its patient: what was found of it, and how two scores are compared.

Two films of one patient differ in breath, position, exposure and machine, and no score is steady against that. So a
difference is called a change only where it is larger than the shipped model's scores mostly differ between two films
of one patient whose reports name the same (docs/decisions/0018). Everything else is "no clear change", which says
nothing of the patient. A score that fell is never a negative, and every text that tells of one says so.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from worklist.account import Change
from worklist.finding import Analysis, Code, Finding, FindingType, ImageReference
from worklist.words import in_a_sentence, two_places

NOISE_LOG_ODDS: Final = 2.0
"""Nine tenths of the noisiest shown finding's differences without a cause lie below it, in log odds."""
LEAST_DIFFERENCE: Final = 0.1
"""Between two probabilities: less is no change to a reader, however large its odds."""

_MOST = 1 - 1e-9
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_WORDS: Final = {
    Change.NEW: "new by the score",
    Change.WORSENED: "worsened by the score",
    Change.IMPROVED: "improved by the score, not excluded",
    Change.STABLE: "no clear change",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparedFinding:
    """A finding's probabilities on two films by one model, and what the difference is called.

    STABLE is "no clear change": the scores differ by no more than they do without a cause, or both lie below the
    operating point.
    """

    type: FindingType
    then: float
    now: float
    change: Change

    def words(self, study_date: str) -> str:
        """For a reader: "Pleural effusion: 0.12 on 3 March 2026, 0.71 now, new by the score".

        Args:
            study_date: of the earlier film, YYYYMMDD.
        """
        then, now = two_places(self.then), two_places(self.now)
        return f"{self.type.label}: {then} on {day_in_words(study_date)}, {now} now, {_WORDS[self.change]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorReport:
    """An earlier report in the PACS: its UIDs, what kind of document it is, and what of it was not read."""

    study_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str
    sop_instance_uid: str
    kind: str
    limits: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorComparison:
    """What the PACS has of the patient's newest earlier frontal chest film, beside the study.

    Attributes:
        study_instance_uid: of the earlier study; "" where none is used.
        study_date: of it, YYYYMMDD.
        film: the earlier film.
        report: the report on it that was read.
        compared: each finding that one model scored on both, most probable now first.
        not_compared: why scores were not compared, or something was not found out, in one line.
        clash: why an earlier study under the same Patient ID is not used, in one line: then nothing else is told of it.
    """

    study_instance_uid: str = ""
    study_date: str = ""
    film: ImageReference | None = None
    report: PriorReport | None = None
    compared: tuple[ComparedFinding, ...] = ()
    not_compared: str = ""
    clash: str = ""

    def __post_init__(self) -> None:
        """Refuse to tell anything of a study that may be somebody else's."""
        if self.clash and (self.study_instance_uid or self.film or self.report or self.compared):
            raise ValueError("nothing of a study that clashes is used")

    @property
    def sources(self) -> tuple[str, ...]:
        """SOP Instance UIDs of what was looked at, the film first."""
        return tuple(one.sop_instance_uid for one in (self.film, self.report) if one)

    def lines(self, shown: Collection[str]) -> tuple[str, ...]:
        """A sentence for each finding that was compared and may be told, what has changed first.

        Args:
            shown: keys of the findings that may be shown.
        """
        told = sorted(self._told(shown), key=lambda one: one.change is Change.STABLE)
        return tuple(f"{one.words(self.study_date)}." for one in told)

    def sentences(self, shown: Collection[str]) -> tuple[str, ...]:
        """All of it for a reader: a clash, what was not found out, and the lines.

        Args:
            shown: keys of the findings that may be shown.
        """
        return tuple(filter(None, (_sentence(self.clash), _sentence(self.not_compared), *self.lines(shown))))

    def summary(self, shown: Collection[str]) -> str:
        """One or two sentences: what changed, and else that nothing clearly did; "" where nothing was compared.

        Args:
            shown: keys of the findings that may be shown.
        """
        told = self._told(shown)
        if not told:
            return ""
        day = day_in_words(self.study_date)
        changed = [one for one in told if one.change is not Change.STABLE]
        if not changed:
            return f"Compared with the film of {day}, no score shown has clearly changed."
        said = [
            f"{in_a_sentence(one.type.label)} {two_places(one.then)} then, {two_places(one.now)} now, "
            f"{_WORDS[one.change]}"
            for one in changed
        ]
        return f"Compared with the film of {day}: {'; '.join(said)}."

    def _told(self, shown: Collection[str]) -> list[ComparedFinding]:
        return [one for one in self.compared if one.type.key in shown]


def compare(now: Analysis, then: Analysis) -> tuple[ComparedFinding, ...]:
    """The findings of a study beside those of an earlier one, by one model.

    Args:
        now: what the model says of the study.
        then: what it says of the earlier one.

    Raises:
        ValueError: two models: their numbers mean different things.
    """
    if now.scorer.sha256 != then.scorer.sha256:
        raise ValueError("scores of two models are not compared")
    earlier = {finding.type.key: finding for finding in then.findings}
    return tuple(
        ComparedFinding(
            type=finding.type,
            then=earlier[finding.type.key].probability,
            now=finding.probability,
            change=change_of(earlier[finding.type.key].probability, finding),
        )
        for finding in now.findings
        if finding.type.key in earlier
    )


def change_of(then: float, now: Finding) -> Change:
    """What the difference between two probabilities is called.

    Args:
        then: on the earlier film.
        now: on the present one, with its operating point.
    """
    is_small = abs(now.probability - then) < LEAST_DIFFERENCE
    is_noise = abs(_log_odds(now.probability) - _log_odds(then)) < NOISE_LOG_ODDS
    if is_small or is_noise or max(now.probability, then) < now.threshold:
        return Change.STABLE
    if now.probability < then:
        return Change.IMPROVED
    return Change.WORSENED if then >= now.threshold else Change.NEW


def day_in_words(study_date: str) -> str:
    """A date of DICOM (DA, PS3.5 section 6.2) as 3 March 2026."""
    return f"{int(study_date[6:8])} {_MONTHS[int(study_date[4:6]) - 1]} {study_date[:4]}"


def comparison_to_json(comparison: PriorComparison) -> dict[str, Any]:
    """A comparison as JSON values; every number survives exactly."""
    return asdict(comparison)


def comparison_digest(comparison: PriorComparison) -> str:
    """SHA-256 of a comparison as JSON."""
    return hashlib.sha256(json.dumps(comparison_to_json(comparison), sort_keys=True).encode()).hexdigest()


def comparison_of_json(values: Mapping[str, Any]) -> PriorComparison:
    """The comparison of comparison_to_json; fields that a later version adds are passed over.

    Raises:
        ValueError, KeyError, TypeError: it is none.
    """
    report = values["report"]
    return PriorComparison(
        study_instance_uid=values["study_instance_uid"],
        study_date=values["study_date"],
        film=_of(ImageReference, values["film"]) if values["film"] else None,
        report=_of(PriorReport, report) if report else None,
        compared=tuple(_compared(entry) for entry in values["compared"]),
        not_compared=values["not_compared"],
        clash=values["clash"],
    )


def _compared(values: Mapping[str, Any]) -> ComparedFinding:
    kind = values["type"]
    return ComparedFinding(
        type=FindingType(key=kind["key"], code=_of(Code, kind["code"]), label=kind["label"]),
        then=values["then"],
        now=values["now"],
        change=Change(values["change"]),
    )


def _of(kind: type[Any], values: Mapping[str, Any]) -> Any:  # noqa: ANN401 - one of the frozen dataclasses above
    return kind(**{name: values[name] for name in kind.__dataclass_fields__ if name in values})


def _log_odds(probability: float) -> float:
    bounded = min(max(probability, 1 - _MOST), _MOST)
    return math.log(bounded / (1 - bounded))


def _sentence(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}." if line else ""
