"""An AI triage report back to the Analysis that it was built from. Needs pydicom alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import EnhancedSRStorage

from dicom_sr import codes
from dicom_sr.revision import InstanceReference
from worklist.errors import InvalidInput
from worklist.finding import (
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
    Snippet,
)
from worklist.scope import is_own_object
from worklist.study import Failure
from worklist.urgency import Urgency

_MANUFACTURER_TAG: Final = "00080070"


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageReport:
    """What an AI triage report holds: an analysis with its urgency, or a failure.

    Attributes:
        study_instance_uid, series_instance_uid, sop_instance_uid: the report's own.
        source: the film it speaks of (rows and columns are 0 in a failure report).
        format: version of the report's layout.
        revision: 1, 2, ...: which run over the study.
        fetched_at, scored_at, reported_at: when the run reached each step; the first two None where nothing was scored.
        analysis: exactly what was built into the report; None for a failure.
        urgency: how soon the study should be read; None for a failure.
        failure: why there is no analysis; None where there is one.
        looked_for: the findings that were looked for, or would have been if the run had not failed.
        scorer: what scored, or would have.
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
    urgency: Urgency | None
    failure: Failure | None
    looked_for: tuple[FindingType, ...]
    scorer: Algorithm | None

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
    return isinstance(value, str) and is_own_object({"Manufacturer": value})


def parse(dataset: Dataset) -> TriageReport:
    """Read an AI triage report.

    Raises:
        InvalidInput: not a triage report of Firstread, of a newer format, or damaged.
    """
    title = next(iter(dataset.get("ConceptNameCodeSequence") or ()), None)
    if not is_own(dataset) or dataset.get("SOPClassUID") != EnhancedSRStorage or title is None:
        raise InvalidInput("not_a_triage_report", "this object is not an AI triage report of Firstread")
    if _key(title) != _key_of(codes.CHEST_CAD_REPORT):
        raise InvalidInput("not_a_triage_report", "this SR of Firstread is not an AI triage report")
    try:
        report = _parsed(dataset)
    except (AttributeError, IndexError, KeyError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise InvalidInput("damaged_report", f"this AI triage report cannot be read: {error}") from error
    return report


class _Section:
    """The items of one section, by concept."""

    def __init__(self, items: list[Dataset]) -> None:
        self.items = items

    def find(self, name: Code) -> Dataset | None:
        return next(self.named(name), None)

    def named(self, name: Code) -> Iterator[Dataset]:
        return (item for item in self.items if _name(item) == _key_of(name))

    def text(self, name: Code) -> str:
        item = self.find(name)
        return "" if item is None else str(item.TextValue)

    def number(self, name: Code, default: float | None = None) -> float:
        item = self.find(name)
        if item is None:
            if default is None:
                raise LookupError(f"it lacks the {name.meaning}")
            return default
        measured = item.MeasuredValueSequence[0]
        return float(measured.get("FloatingPointValue", measured.NumericValue))

    def moment(self, name: Code) -> datetime:
        return datetime.fromisoformat(self.text(name))


def _parsed(dataset: Dataset) -> TriageReport:
    sections = {_name(item): _Section(_children(item)) for item in dataset.ContentSequence}

    def section(name: Code) -> _Section:
        return sections.get(_key_of(name), _Section([]))

    processing = section(codes.PROCESSING)
    version = int(processing.number(codes.FORMAT))
    if version > codes.FORMAT_VERSION:
        raise InvalidInput(
            "newer_report", f"a newer Firstread wrote this report (format {version}); upgrade to read it"
        )
    source = _source_image(dataset, section(codes.SCORER))
    scorer = _algorithm(section(codes.SCORER))
    failure_code = section(codes.FAILURE).text(codes.FAILURE_CODE)
    summary, numbers = section(codes.SUMMARY), section(codes.NUMBERS)
    failure = Failure(code=failure_code, message=summary.text(codes.FAILURE_MESSAGE)) if failure_code else None
    analysis, urgency = None, None
    looked_for = tuple(_TYPES[_value(item)] for item in numbers.named(codes.NOT_LOOKED_FOR))
    if failure is None:
        if scorer is None:
            raise LookupError("it does not say what scored")
        urgency = _URGENCIES[_value(next(summary.named(codes.PRIORITY)))]
        analysis = _analysis(section, source, scorer)
        looked_for = tuple(finding.type for finding in analysis.findings)
    return TriageReport(
        study_instance_uid=dataset.StudyInstanceUID,
        series_instance_uid=dataset.SeriesInstanceUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        source=source,
        format=version,
        revision=int(processing.number(codes.REVISION)),
        fetched_at=processing.moment(codes.FETCHED_AT) if processing.find(codes.FETCHED_AT) else None,
        scored_at=processing.moment(codes.SCORED_AT) if processing.find(codes.SCORED_AT) else None,
        reported_at=processing.moment(codes.REPORTED_AT),
        analysis=analysis,
        urgency=urgency,
        failure=failure,
        looked_for=looked_for,
        scorer=scorer,
    )


def _analysis(section: Callable[[Code], _Section], source: ImageReference, scorer: Algorithm) -> Analysis:
    impression = _Section(_children(next(section(codes.SUMMARY).named(codes.IMPRESSION))))
    origin, explainer = section(codes.SCORER), section(codes.EXPLAINER)
    return Analysis(
        image=source,
        scorer=scorer,
        findings=tuple(_finding(item) for item in section(codes.NUMBERS).items if item.ValueType == "CODE"),
        score=impression.number(codes.PROBABILITY),
        threshold=impression.number(codes.THRESHOLD),
        completed_at=origin.moment(codes.COMPLETED_AT),
        elapsed_ms=origin.number(codes.ELAPSED),
        quality=tuple(
            QualityNote(code=_name(item)[0], message=item.TextValue) for item in section(codes.IMAGE_QUALITY).items
        ),
        explanation=section(codes.EXPLANATION).text(codes.COMMENT),
        explainer=_algorithm(explainer),
        prompt_version=explainer.text(codes.PROMPT_VERSION),
        snippets=tuple(_snippets(section(codes.PREVIOUS_FINDINGS))),
    )


def _finding(item: Dataset) -> Finding:
    numbers = _Section(_children(item))
    evidence = _Section(_children(next(numbers.named(codes.PROBABILITY))))
    side = evidence.find(codes.LATERALITY)
    where = evidence.find(codes.SOURCE_OF_MEASUREMENT)
    return Finding(
        type=_TYPES[_value(item)],
        probability=numbers.number(codes.PROBABILITY),
        threshold=numbers.number(codes.THRESHOLD),
        side=None if side is None else _SIDES[_value(side)],
        region=None if where is None or where.ValueType != "SCOORD" else _region(where),
    )


def _region(item: Dataset) -> Region:
    columns = [int(value) for value in item.GraphicData[::2]]
    rows = [int(value) for value in item.GraphicData[1::2]]
    return Region(x=min(columns), y=min(rows), width=max(columns) - min(columns), height=max(rows) - min(rows))


def _snippets(section: _Section) -> Iterator[Snippet]:
    items = section.items
    for position, item in enumerate(items):
        if _name(item) == _key_of(codes.PREVIOUS_FINDING):
            after = items[position + 1] if position + 1 < len(items) else None
            quoted = after is not None and _name(after) == _key_of(codes.QUOTED_FROM)
            yield Snippet(source=after.TextValue if after is not None and quoted else "", snippet=item.TextValue)


def _algorithm(section: _Section) -> Algorithm | None:
    if section.find(codes.ALGORITHM_NAME) is None:
        return None
    return Algorithm(
        name=section.text(codes.ALGORITHM_NAME),
        version=section.text(codes.ALGORITHM_VERSION),
        sha256=section.text(codes.WEIGHTS_SHA256),
        device_uid=section.text(codes.DEVICE_UID),
    )


def _source_image(dataset: Dataset, section: _Section) -> ImageReference:
    study = dataset.CurrentRequestedProcedureEvidenceSequence[0]
    series = study.ReferencedSeriesSequence[0]
    sop = series.ReferencedSOPSequence[0]
    return ImageReference(
        study_instance_uid=study.StudyInstanceUID,
        series_instance_uid=series.SeriesInstanceUID,
        sop_class_uid=sop.ReferencedSOPClassUID,
        sop_instance_uid=sop.ReferencedSOPInstanceUID,
        rows=int(section.number(codes.ROWS, 0)),
        columns=int(section.number(codes.COLUMNS, 0)),
    )


def _children(item: Dataset) -> list[Dataset]:
    return list(item.get("ContentSequence") or ())


def _name(item: Dataset) -> tuple[str, str]:
    return _key((item.get("ConceptNameCodeSequence") or [Dataset()])[0])


def _value(item: Dataset) -> tuple[str, str]:
    return _key(item.ConceptCodeSequence[0])


def _key(item: Dataset) -> tuple[str, str]:
    return (str(item.get("CodeValue") or item.get("LongCodeValue") or ""), str(item.get("CodingSchemeDesignator")))


def _key_of(code: Code) -> tuple[str, str]:
    return (code.value, code.scheme_designator)


_TYPES: Final = {_key_of(code): kind for kind, code in codes.FINDING_TYPES.items()}
_SIDES: Final = {_key_of(code): side for side, code in codes.SIDES.items()}
_URGENCIES: Final = {_key_of(code): urgency for urgency, code in codes.URGENCIES.items()}
