"""An AI triage report back to the Analysis that it was built from. Needs pydicom alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedSRStorage

from dicom_sr import codes
from dicom_sr.parse_account import parsed_account
from dicom_sr.parse_policy import parsed_card, parsed_policy, parsed_triage
from dicom_sr.parse_prior import parsed_prior
from dicom_sr.revision import InstanceReference
from dicom_sr.source import Acquisition
from dicom_sr.tree import Section, below, key_of, name_of, number_of, sections_of, value_of
from imaging.elements import PYDICOM_ERRORS
from worklist.card import ScorerCard
from worklist.errors import InvalidInput
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Side,
    Snippet,
)
from worklist.scope import is_own_manufacturer
from worklist.step import Step
from worklist.study import Failure
from worklist.triage import Triage, TriagePolicy, Urgency

_MANUFACTURER_TAG: Final = "00080070"
_SCORE_AT_ITS_ORIGIN: Final = 3  # first format with the study's score there; before, below the Impression
# What a damaged report raises: pydicom converts an element on first access, and each VR in its own way.
_DAMAGES: Final = (*PYDICOM_ERRORS, ArithmeticError, LookupError, StopIteration)
_WITHHELD: Final = re.compile(r"(?:(right|left)(?:; )?)?(?:(\d+) (\d+) (\d+) (\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Told:
    """Which side and box a report tells of a finding, by the rule of the day on which it was written."""

    side: Side | None
    box: Region | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageReport:
    """What an AI triage report holds: an analysis with its triage, or a failure.

    Attributes:
        study_instance_uid, series_instance_uid, sop_instance_uid: the report's own.
        source: the leading image of the study (rows and columns are 0 in a failure report).
        format: version of the report's layout; 1 knew neither triage nor policy nor card.
        revision: 1, 2, ...: which run over the study.
        fetched_at, scored_at, reported_at: when the run reached each step; the first two None where nothing was scored.
        analysis: exactly what was built into the report; None for a failure.
        unscored: how many further images of the study could not be scored.
        urgency: what the study was flagged as; None for a failure.
        triage: what the rule made of the study; None for a failure and in format 1.
        policy: the rule as it was in force; None for a failure and in format 1.
        card: the scorer's, with the site's weights in it where there is a policy; None in format 1.
        failure: why there is no analysis; None where there is one.
        looked_for: the findings that were scored, or would have been if the run had not failed.
        scorer: what scored, or would have; None only in format 1.
        told: side and box of each finding as this very document tells them, by the finding's key.
        acquisitions: how and for whom each image was made, by SOP Instance UID; nothing is known in formats 1 and 2.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    source: ImageReference
    format: int
    revision: int
    fetched_at: datetime | None
    scored_at: datetime | None
    reported_at: datetime
    analysis: Analysis | None
    unscored: int
    urgency: Urgency | None
    triage: Triage | None
    policy: TriagePolicy | None
    card: ScorerCard | None
    failure: Failure | None
    looked_for: tuple[FindingType, ...]
    scorer: Algorithm | None
    told: Mapping[str, Told]
    acquisitions: Mapping[str, Acquisition]

    def is_shown(self, finding: Finding) -> bool:
        """Whether the report shows a finding to people; format 1 showed all."""
        return self.triage is None or finding.type in {shown.type for shown in self.triage.shown}

    def is_named(self, finding: Finding) -> bool:
        """Whether the report puts a finding into words; format 1 did so with what reached its threshold."""
        if self.triage is None:
            return finding.is_positive
        return finding.type in {named.finding.type for named in self.triage.named}

    @property
    def reference(self) -> InstanceReference:
        """The report as the predecessor of a next revision."""
        return InstanceReference(
            sop_class_uid=EnhancedSRStorage,
            sop_instance_uid=self.sop_instance_uid,
            series_instance_uid=self.series_instance_uid,
            study_instance_uid=self.study_instance_uid,
        )


def is_own(tags: Dataset | Mapping[str, Any]) -> bool:
    """Whether an object is one of ours: Manufacturer (0008,0070) is "Firstread".

    Args:
        tags: a data set, tags by keyword (as Orthanc gives them), or the DICOM JSON model (PS3.18 Annex F).
    """
    value = tags.get("Manufacturer")
    if value is None and not isinstance(tags, Dataset):
        value = tags.get(_MANUFACTURER_TAG)
        if isinstance(value, Mapping):
            value = next(iter(value.get("Value") or ()), None)
    return isinstance(value, str) and is_own_manufacturer(value)


def parse(dataset: Dataset) -> TriageReport:
    """Read an AI triage report.

    Raises:
        InvalidInput: not a triage report of Firstread, of a newer format, or damaged.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pydicom's on odd values, of which it quotes the header
        try:
            title = next(iter(dataset.get("ConceptNameCodeSequence") or ()), None)
            if not is_own(dataset) or dataset.get("SOPClassUID") != EnhancedSRStorage or title is None:
                raise InvalidInput("not_a_triage_report", "this object is not an AI triage report of Firstread")
            if name_of(dataset) != key_of(codes.CHEST_CAD_REPORT):
                raise InvalidInput("not_a_triage_report", "this SR of Firstread is not an AI triage report")
            return _parsed(dataset)
        except _DAMAGES as error:
            why = " ".join(str(error).split())
            raise InvalidInput("damaged_report", f"this AI triage report cannot be read: {why}") from error


def _parsed(dataset: Dataset) -> TriageReport:
    sections = sections_of(dataset)

    def section(name: Code) -> Section:
        return sections.get(key_of(name), Section([]))

    processing = section(codes.PROCESSING)
    version = int(processing.number(codes.FORMAT))
    if version > codes.FORMAT_VERSION:
        raise InvalidInput(
            "newer_report", f"a newer Firstread wrote this report (format {version}); upgrade to read it"
        )
    images = _images(dataset, section(codes.SCORER))
    scorer, card = _algorithm(section(codes.SCORER)), parsed_card(section(codes.CARD))
    failure_code = section(codes.FAILURE).text(codes.FAILURE_CODE)
    summary, numbers = section(codes.SUMMARY), section(codes.NUMBERS)
    failure = Failure(code=failure_code, message=summary.text(codes.FAILURE_MESSAGE)) if failure_code else None
    looked_for = tuple(found.type for found in card.findings) if card else ()
    analysis, urgency, triage, policy = None, None, None, None
    told: dict[str, Told] = {}
    if failure is None:
        if scorer is None:
            raise LookupError("it does not say what scored")
        urgency = _urgency(summary.find(codes.PRIORITY), version)
        analysis = _analysis(section, images, scorer, version)
        prior = parsed_prior(section(codes.PRIOR), dataset, analysis.findings)
        analysis = replace(analysis, prior=prior)
        looked_for = tuple(finding.type for finding in analysis.findings)
        told = {kind.key: _told(item) for item, kind in numbers.findings()}
        if card:
            policy = parsed_policy(section(codes.POLICY), section(codes.CARD), card)
            sides = {key: one.side for key, one in told.items()}
            triage = parsed_triage(
                section(codes.POLICY), numbers, urgency=urgency, analysis=analysis, policy=policy, sides=sides
            )
    elif not card:
        looked_for = tuple(kind for item, kind in numbers.findings() if name_of(item) == key_of(codes.NOT_LOOKED_FOR))
    return TriageReport(
        study_instance_uid=dataset.StudyInstanceUID,
        series_instance_uid=dataset.SeriesInstanceUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        source=images[0],
        format=version,
        revision=int(processing.number(codes.REVISION)),
        fetched_at=processing.moment_or_none(codes.FETCHED_AT),
        scored_at=processing.moment_or_none(codes.SCORED_AT),
        reported_at=processing.moment(codes.REPORTED_AT),
        analysis=analysis,
        unscored=int(processing.number_or_none(codes.UNSCORED) or 0),
        urgency=urgency,
        triage=triage,
        policy=policy,
        card=card,
        failure=failure,
        looked_for=looked_for,
        scorer=scorer,
        told=told,
        acquisitions=dict(_acquisitions(section(codes.SCORER))),
    )


def _urgency(priority: Dataset | None, version: int) -> Urgency:
    if priority is None and version > 1:
        return Urgency.NONE  # no category where nothing is flagged
    if priority is None:
        raise LookupError(f"it lacks the {codes.PRIORITY.meaning}")
    return _URGENCIES[value_of(priority)]


def _analysis(
    section: Callable[[Code], Section], images: Sequence[ImageReference], scorer: Algorithm, version: int
) -> Analysis:
    origin, explainer = section(codes.SCORER), section(codes.EXPLAINER)
    numbers = section(codes.NUMBERS)
    score = origin if version >= _SCORE_AT_ITS_ORIGIN else below(section(codes.SUMMARY).find(codes.IMPRESSION))
    return Analysis(
        images=tuple(images),
        scorer=scorer,
        findings=tuple(
            _finding(item, kind, numbers.after(item), is_only_image=len(images) == 1)
            for item, kind in numbers.findings()
        ),
        score=score.number(codes.PROBABILITY),
        threshold=score.number(codes.THRESHOLD),
        completed_at=origin.moment(codes.COMPLETED_AT),
        elapsed_ms=origin.number(codes.ELAPSED),
        quality=tuple(
            QualityNote(code=name_of(item)[0], message=item.TextValue) for item in section(codes.IMAGE_QUALITY).items
        ),
        explanation=section(codes.EXPLANATION).text(codes.COMMENT),
        explainer=_algorithm(explainer),
        prompt_version=explainer.text(codes.PROMPT_VERSION),
        snippets=tuple(_snippets(section(codes.PREVIOUS_FINDINGS))),
        account=parsed_account(explainer),
        steps=tuple(map(Step.of_line, section(codes.STEPS).texts(codes.STEP))),
    )


def _finding(item: Dataset, kind: FindingType, after: Section, *, is_only_image: bool) -> Finding:
    numbers = below(item)
    evidence = below(numbers.find(codes.PROBABILITY))
    where = evidence.find(codes.SOURCE_OF_MEASUREMENT)
    if where is None:
        raise LookupError("a finding names no image")
    told, (withheld_side, withheld_region) = _told(item), _withheld(after.text(codes.WITHHELD))
    image = below(where).items[0] if told.box else where
    return Finding(
        type=kind,
        probability=numbers.number(codes.PROBABILITY),
        threshold=numbers.number(codes.THRESHOLD),
        side=told.side or withheld_side,
        region=told.box or withheld_region,
        sop_instance_uid="" if is_only_image else str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
    )


def _told(item: Dataset) -> Told:
    evidence = below(below(item).find(codes.PROBABILITY))
    side, where = evidence.find(codes.LATERALITY), evidence.find(codes.SOURCE_OF_MEASUREMENT)
    return Told(
        side=None if side is None else _SIDES[value_of(side)],
        box=_region(where) if where is not None and where.ValueType == "SCOORD" else None,
    )


def _withheld(text: str) -> tuple[Side | None, Region | None]:
    found = _WITHHELD.fullmatch(text)
    if found is None:
        raise LookupError("evidence that is not shown has neither a side nor a box")
    side, x, y, width, height = found.groups()
    region = Region(x=int(x), y=int(y), width=int(width), height=int(height)) if x else None
    return Side(side) if side else None, region


def _region(item: Dataset) -> Region:
    columns = [int(value) for value in item.GraphicData[::2]]
    rows = [int(value) for value in item.GraphicData[1::2]]
    return Region(x=min(columns), y=min(rows), width=max(columns) - min(columns), height=max(rows) - min(rows))


def _snippets(section: Section) -> Iterator[Snippet]:
    items = section.items
    for position, item in enumerate(items):
        if name_of(item) == key_of(codes.PREVIOUS_FINDING):
            after = items[position + 1] if position + 1 < len(items) else None
            quoted = after is not None and name_of(after) == key_of(codes.QUOTED_FROM)
            yield Snippet(source=after.TextValue if after is not None and quoted else "", snippet=item.TextValue)


def _algorithm(section: Section) -> Algorithm | None:
    if section.find(codes.ALGORITHM_NAME) is None:
        return None
    return Algorithm(
        name=section.text(codes.ALGORITHM_NAME),
        version=section.text(codes.ALGORITHM_VERSION),
        sha256=section.text(codes.WEIGHTS_SHA256),
        device_uid=section.text(codes.DEVICE_UID),
    )


def _acquisitions(section: Section) -> Iterator[tuple[str, Acquisition]]:
    """What follows each image's UID and says how it was made."""
    starts = [place for place, item in enumerate(section.items) if name_of(item) == key_of(codes.SOURCE_IMAGE_UID)]
    for start, end in zip(starts, [*starts[1:], len(section.items)], strict=True):
        said = Section(section.items[start:end])
        priority = said.find(codes.ORDER_PRIORITY)
        yield (
            said.text(codes.SOURCE_IMAGE_UID),
            Acquisition(
                view=said.text(codes.VIEW),
                station=said.text(codes.STATION),
                manufacturer=said.text(codes.MAKER),
                ward=said.text(codes.WARD),
                order_priority=None if priority is None else _ORDER_PRIORITIES[value_of(priority)],
            ),
        )


def _images(dataset: Dataset, section: Section) -> list[ImageReference]:
    """The images of the evidence, in the order in which the section names them."""
    sizes = zip(section.named(codes.ROWS), section.named(codes.COLUMNS), strict=True)
    measured = [(int(number_of(rows)), int(number_of(columns))) for rows, columns in sizes]
    listed = {
        str(sop.ReferencedSOPInstanceUID): (study, series, sop)
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    }
    images = []
    for position, uid in enumerate(section.texts(codes.SOURCE_IMAGE_UID)):
        study, series, sop = listed[uid]
        rows, columns = measured[position] if measured else (0, 0)
        images.append(
            ImageReference(
                study_instance_uid=study.StudyInstanceUID,
                series_instance_uid=series.SeriesInstanceUID,
                sop_class_uid=sop.ReferencedSOPClassUID,
                sop_instance_uid=uid,
                rows=rows,
                columns=columns,
            )
        )
    if not images:
        raise LookupError("it names no image")
    return images


_ORDER_PRIORITIES: Final = {key_of(code): priority for priority, code in codes.ORDER_PRIORITIES.items()}
_SIDES: Final = {key_of(code): side for side, code in codes.SIDES.items()}
_URGENCIES: Final = {key_of(code): urgency for urgency, code in codes.URGENCIES.items()} | {
    key_of(codes.FORMERLY_ROUTINE): Urgency.NONE
}
