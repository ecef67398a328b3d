"""An AI result read back from a file or from the PACS."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from dicom_sr.parse import TriageReport, parse
from firstread.compose_worker import build_pacs
from firstread.settings import Settings
from firstread.tables import print_json
from imaging.files import read_image_file
from worklist.account import account_to_json, explained_by
from worklist.answers import finding_answer
from worklist.card import ScorerCard, card_to_json
from worklist.errors import InvalidInput, PermanentError
from worklist.finding import DISCLAIMER, Analysis, Finding
from worklist.triage import NOT_ASSESSED, Urgency
from worklist.words import two_places

_STUDY = re.compile(r"[0-9.]+|[0-9a-f]{8}(-[0-9a-f]{8}){4}")


def read_report(source: str, settings: Settings) -> TriageReport:
    """The AI triage report in a file, or the newest one of a study in the PACS that can be read.

    Those that cannot, such as the emptied copies in an anonymized study, are named on stderr.

    Args:
        source: a file, a Study Instance UID, or Orthanc's identifier of a study.
        settings: where the PACS is.

    Raises:
        InvalidInput: it is no such report, there is none, or two patients share the Study Instance UID.
        PermanentError: none of the study's can be read.
        PacsUnavailable: Orthanc does not answer.
    """
    if os.path.lexists(source) or not _STUDY.fullmatch(source):
        return _read_file(Path(source))
    reports: list[TriageReport] = []
    unreadable: dict[str, PermanentError] = {}
    for dataset in build_pacs(settings).fetch_triage_reports(source):
        try:
            reports.append(parse(dataset))
        except PermanentError as error:
            unreadable[str(dataset.SOPInstanceUID)] = error
    if unreadable and not reports:
        raise next(iter(unreadable.values()))
    for uid, why in unreadable.items():
        sys.stderr.write(f"firstread: passed over SR {uid}: {' '.join(why.message.split())}\n")
    if not reports:
        raise InvalidInput(
            "no_report", f"study {source} has no AI triage report in the PACS: see firstread worklist for its state"
        )
    return max(reports, key=lambda report: (report.revision, report.reported_at))


def _read_file(path: Path) -> TriageReport:
    try:
        return parse(read_image_file(path))
    except InvalidInput as error:
        if isinstance(error.__cause__, FileNotFoundError) and not path.is_symlink():
            raise InvalidInput(
                "no_such_file", f"{path} is neither a file nor a Study Instance UID: check the path"
            ) from error
        if error.code == "not_an_image":
            raise InvalidInput(
                "not_a_report", f"{path} is no DICOM file: name an AI triage report, or a Study Instance UID"
            ) from error
        raise


def print_report(report: TriageReport, *, as_json: bool) -> None:
    """A report for a machine, or for a person."""
    if as_json:
        print_json(report_json(report))
        return
    console = Console(highlight=False)

    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    say(f"AI triage report, revision {report.revision}, of study {report.study_instance_uid}")
    if report.failure:
        say(f"{NOT_ASSESSED}: {report.failure.message} ({report.failure.code})")
    if report.analysis and report.urgency:
        _print_result(report, report.analysis, report.urgency, console)
    if report.scorer:
        scorer = report.scorer
        say(f"Model: {scorer.name} {scorer.version}, SHA-256 {scorer.sha256}")
    for image in report.analysis.images if report.analysis else (report.source,):
        say(f"Image: {image.sop_instance_uid}")
    say(f"Reported: {report.reported_at.isoformat()}")
    say(DISCLAIMER)


def _print_result(report: TriageReport, analysis: Analysis, urgency: Urgency, console: Console) -> None:
    def say(line: str) -> None:
        console.print(line, markup=False, soft_wrap=True)

    words = analysis.explanation
    say(words if words.startswith(urgency.label) else f"{urgency.label}. {words}".rstrip())
    if analysis.account and analysis.explainer:
        for sentence in (*analysis.account.sentences, explained_by(analysis.explainer, analysis.account)):
            say(sentence)
    if report.unscored:
        say(f"{report.unscored} of {report.unscored + len(analysis.images)} images could not be scored.")
    for line in _scope(report.card):
        say(line)
    say("")
    console.print(_findings_table(report, analysis))
    if report.triage and report.policy:
        moved = f"placed {report.triage.head_start} (h:min:s) earlier" if report.triage.head_start else "not moved"
        harm, flag_from = two_places(report.triage.harm), two_places(report.policy.flag_from)
        say(f"Harm of waiting: {harm}, flagged from {flag_from} on: {moved}")
        say(f"Policy: SHA-256 {report.triage.policy_digest} (all its values: --json)")
    is_measured = report.card is None or report.card.is_measured
    calibrated = "calibrated elsewhere, not at this site" if is_measured else "not calibrated"
    say(f"Score for any urgent finding: {two_places(analysis.score)} ({calibrated})")
    for note in analysis.quality:
        say(f"Quality: {note.message}")
    for snippet in analysis.snippets:
        say(f"Earlier report {snippet.source}: {snippet.snippet}")


def _scope(card: ScorerCard | None) -> list[str]:
    if card is None:
        return []
    parts = (
        ("Looked for", [kind.label for kind in card.looked_for]),
        ("Not found reliably, not shown", [kind.label for kind in card.unreliable]),
        ("Not looked for", card.not_looked_for),
    )
    return [f"{what}: {', '.join(names)}" for what, names in parts if names]


def _findings_table(report: TriageReport, analysis: Analysis) -> Table:
    several = len(analysis.images) > 1
    table = Table()
    for heading in ("Finding", "In words", "Probability", "Side", "Box: x y w h", *(["Image"] if several else [])):
        table.add_column(heading)
    places = {image.sop_instance_uid: str(place) for place, image in enumerate(analysis.images, start=1)}
    words = {named.finding.type.key: named.likelihood for named in (report.triage.named if report.triage else ())}
    for finding in analysis.findings:
        if not report.is_shown(finding):
            continue
        told = report.told[finding.type.key]
        box = told.box
        table.add_row(
            finding.type.label,
            words.get(finding.type.key, ""),
            two_places(finding.probability),
            told.side or "",
            f"{box.x} {box.y} {box.width} {box.height}" if box else "",
            *([places[analysis.image_of(finding).sop_instance_uid]] if several else []),
        )
    return table


def report_json(report: TriageReport) -> dict[str, Any]:
    """A report as JSON values, every number as it was written."""
    analysis, triage = report.analysis, report.triage
    explainer = analysis.explainer if analysis else None
    return {
        "study_instance_uid": report.study_instance_uid,
        "series_instance_uid": report.series_instance_uid,
        "sop_instance_uid": report.sop_instance_uid,
        "source_sop_instance_uid": report.source.sop_instance_uid,
        "images": [asdict(image) for image in (analysis.images if analysis else ())],
        "acquisitions": {uid: asdict(made) for uid, made in report.acquisitions.items()},
        "unscored_images": report.unscored,
        "format": report.format,
        "revision": report.revision,
        "fetched_at": report.fetched_at.isoformat() if report.fetched_at else None,
        "scored_at": report.scored_at.isoformat() if report.scored_at else None,
        "reported_at": report.reported_at.isoformat(),
        "urgency": report.urgency,
        "flag": report.urgency.label if report.urgency else NOT_ASSESSED,
        "failure": {"code": report.failure.code, "message": report.failure.message} if report.failure else None,
        "score": analysis.score if analysis else None,
        "threshold": analysis.threshold if analysis else None,
        "harm": triage.harm if triage else None,
        "head_start_s": triage.head_start.total_seconds() if triage else None,
        "explanation": analysis.explanation if analysis else None,
        "prompt_version": analysis.prompt_version if analysis else None,
        "elapsed_ms": analysis.elapsed_ms if analysis else None,
        "findings": [_finding_json(report, analysis, finding) for finding in analysis.findings] if analysis else [],
        "quality": [asdict(note) for note in (analysis.quality if analysis else ())],
        "provenance": [asdict(snippet) for snippet in (analysis.snippets if analysis else ())],
        "policy_sha256": triage.policy_digest if triage else None,
        "policy": report.policy.to_json() if report.policy else None,
        "card": card_to_json(report.card) if report.card else None,
        "model": asdict(report.scorer) if report.scorer else None,
        "explainer": asdict(explainer) if explainer else None,
        "account": account_to_json(analysis.account) if analysis and analysis.account else None,
    }


def _finding_json(report: TriageReport, analysis: Analysis, finding: Finding) -> dict[str, Any]:
    told = report.told[finding.type.key]
    box = told.box
    answer = finding_answer(
        finding,
        side=told.side,
        is_named=report.is_named(finding),
        is_shown=report.is_shown(finding),
    )
    return answer | {
        "key": finding.type.key,
        "region": {"x": box.x, "y": box.y, "w": box.width, "h": box.height} if box else None,
        "sop_instance_uid": analysis.image_of(finding).sop_instance_uid,
    }
