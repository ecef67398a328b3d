"""An AI result read back from a file or from the PACS."""

from __future__ import annotations

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
from worklist.errors import InvalidInput


def read_report(source: str, settings: Settings) -> TriageReport:
    """The AI triage report in a file, or the newest one of a study in the PACS.

    Raises:
        InvalidInput: it is no such report, or there is none.
        PacsUnavailable: Orthanc does not answer.
    """
    path = Path(source)
    if path.exists():
        return parse(read_image_file(path))
    if not set(source) <= set("0123456789."):
        raise InvalidInput("no_such_file", f"{source} is neither a file nor a Study Instance UID: check the path")
    reports = [parse(dataset) for dataset in build_pacs(settings).fetch_triage_reports(source)]
    if not reports:
        raise InvalidInput(
            "no_report", f"study {source} has no AI triage report in the PACS: see firstread worklist for its state"
        )
    return max(reports, key=lambda report: (report.revision, report.reported_at))


def print_report(report: TriageReport, *, as_json: bool) -> None:
    """A report for a machine, or for a person."""
    if as_json:
        print_json(report_json(report))
        return
    console = Console(highlight=False)
    console.print(f"AI triage report, revision {report.revision}, of study {report.study_instance_uid}", markup=False)
    if report.failure:
        console.print(f"Not assessed: {report.failure.message} ({report.failure.code})", markup=False)
    if report.analysis and report.urgency:
        analysis = report.analysis
        console.print(f"Urgency: {report.urgency} (ACR category {report.urgency.acr_category})", markup=False)
        console.print(analysis.explanation, markup=False)
        table = Table()
        for heading in ("Finding", "Probability", "Threshold", "Side", "Box (x, y, width, height)"):
            table.add_column(heading)
        for finding in analysis.findings:
            box = finding.region
            table.add_row(
                finding.type.label,
                f"{finding.probability:.3f}",
                f"{finding.threshold:.3f}",
                finding.side or "",
                f"{box.x}, {box.y}, {box.width}, {box.height}" if box else "",
            )
        console.print(table)
        console.print(f"Any urgent finding: {analysis.score:.3f} (threshold {analysis.threshold:.3f})", markup=False)
        for note in analysis.quality:
            console.print(f"Quality: {note.message}", markup=False)
        for snippet in analysis.snippets:
            console.print(f"Earlier report {snippet.source}: {snippet.snippet}", markup=False)
    if report.scorer:
        scorer = report.scorer
        console.print(f"Model: {scorer.name} {scorer.version}, SHA-256 {scorer.sha256}", markup=False, soft_wrap=True)
    console.print(f"Image: {report.source.sop_instance_uid}", markup=False, soft_wrap=True)
    console.print(f"Reported: {report.reported_at.isoformat()}", markup=False)
    console.print("Not a diagnosis. Research use. Unverified AI output.")


def report_json(report: TriageReport) -> dict[str, Any]:
    """A report as JSON values, every number as it was written."""
    analysis = report.analysis
    explainer = analysis.explainer if analysis else None
    return {
        "study_instance_uid": report.study_instance_uid,
        "series_instance_uid": report.series_instance_uid,
        "sop_instance_uid": report.sop_instance_uid,
        "source_sop_instance_uid": report.source.sop_instance_uid,
        "format": report.format,
        "revision": report.revision,
        "fetched_at": report.fetched_at.isoformat() if report.fetched_at else None,
        "scored_at": report.scored_at.isoformat() if report.scored_at else None,
        "reported_at": report.reported_at.isoformat(),
        "urgency": report.urgency,
        "failure": {"code": report.failure.code, "message": report.failure.message} if report.failure else None,
        "score": analysis.score if analysis else None,
        "threshold": analysis.threshold if analysis else None,
        "explanation": analysis.explanation if analysis else None,
        "prompt_version": analysis.prompt_version if analysis else None,
        "elapsed_ms": analysis.elapsed_ms if analysis else None,
        "findings": [
            {
                "name": finding.type.label,
                "code": finding.type.code.value,
                "scheme": finding.type.code.scheme,
                "probability": finding.probability,
                "threshold": finding.threshold,
                "side": finding.side,
                "region": (
                    {
                        "x": finding.region.x,
                        "y": finding.region.y,
                        "w": finding.region.width,
                        "h": finding.region.height,
                    }
                    if finding.region
                    else None
                ),
            }
            for finding in (analysis.findings if analysis else ())
        ],
        "quality": [asdict(note) for note in (analysis.quality if analysis else ())],
        "provenance": [asdict(snippet) for snippet in (analysis.snippets if analysis else ())],
        "model": asdict(report.scorer) if report.scorer else None,
        "explainer": asdict(explainer) if explainer else None,
    }
