"""Films scored one by one, without any PACS, by the model and pixel path of the workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pydicom
from rich.console import Console
from rich.table import Table

from firstread.compose_worker import build_explainer, build_scorer
from firstread.settings import Settings
from firstread.tables import print_json
from firstread.wrap import load_any, open_study_files
from gateway.pages import DISCLAIMER
from models import Explainer, Scorer
from models.pixels import read_film
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import Analysis
from worklist.scope import assess_scope

_SCOPE_KEYWORDS = (
    "SOPClassUID", "Modality", "BodyPartExamined", "SeriesDescription", "ProtocolName", "StudyDescription",
    "AcquisitionDeviceProcessingDescription", "RequestedProcedureDescription", "PerformedProcedureStepDescription",
    "ViewPosition", "PatientOrientation", "Rows",
)  # fmt: skip


def triage_files(paths: Sequence[Path], *, prior: Path | None, settings: Settings) -> list[dict[str, Any]]:
    """One result a file: the prediction, or why there is none.

    Args:
        paths: DICOM, PNG or JPEG files, or folders of them.
        prior: a text file with an earlier report.
        settings: which models, and what is in scope.

    Raises:
        InvalidInput: a path or the prior report does not exist, or there is no file at all.
        ModelUnavailable: the model cannot be loaded.
    """
    prior_reports = _read_prior(prior)
    files = list(open_study_files(paths))
    if not files:
        raise InvalidInput("nothing_to_score", "there is nothing to score: name DICOM, PNG or JPEG files")
    scorer, explainer = build_scorer(settings), build_explainer(settings)
    return [_triage(file, scorer, explainer, prior_reports, settings) for file in files]


def print_triage(results: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """The results as JSON, or as a table, most urgent first."""
    if as_json:
        print_json(list(results))
        return
    table = Table(caption=DISCLAIMER, caption_justify="left")
    for heading in ("File", "Label", "Score", "Explanation"):
        table.add_column(heading, overflow="fold")
    for result in sorted(results, key=lambda result: -result.get("score", -1.0)):
        if "failure" in result:
            state = str(result["state"]).replace("_", " ")
            table.add_row(result["file"], state, "", result["failure"]["message"])
        else:
            table.add_row(result["file"], result["label"], f"{result['score']:.2f}", result["explanation"])
    Console().print(table)


def _triage(
    file: Path, scorer: Scorer, explainer: Explainer, prior_reports: tuple[tuple[str, str], ...], settings: Settings
) -> dict[str, Any]:
    try:
        dataset = load_any(file)
        refused = assess_scope(dict(_header(dataset)), settings.scope_rules)
        if refused:
            failure = {"code": refused.code, "message": refused.message}
            return {"file": str(file), "state": "out_of_scope", "failure": failure}
        film = read_film(dataset)
        analysis = explainer.explain(scorer.score(film), film, prior_reports)
    except FirstreadError as error:
        failure = {"code": error.code, "message": error.message}
        return {"file": str(file), "state": "failed", "failure": failure}
    return {"file": str(file), **prediction(analysis, model_size_mb=scorer.model_size_mb)}


def prediction(analysis: Analysis, *, model_size_mb: float) -> dict[str, Any]:
    """An Analysis as the object of POST /predict; boxes in pixels of the source image."""
    return {
        "label": "Urgent" if analysis.is_urgent else "Non-Urgent",
        "score": analysis.score,
        "explanation": analysis.explanation,
        "crops": [
            {"x": box.x, "y": box.y, "w": box.width, "h": box.height, "thumb_path": None}
            for box in (finding.region for finding in analysis.findings)
            if box
        ],
        "provenance": [{"source": snippet.source, "snippet": snippet.snippet} for snippet in analysis.snippets],
        "findings": [
            {
                "name": finding.type.label,
                "code": finding.type.code.value,
                "scheme": finding.type.code.scheme,
                "probability": finding.probability,
            }
            for finding in analysis.findings
        ],
        "quality": {note.code: note.message for note in analysis.quality},
        "model": {
            "name": analysis.scorer.name,
            "version": analysis.scorer.version,
            "sha256": analysis.scorer.sha256,
        },
        "elapsed_ms": analysis.elapsed_ms,
        "model_size_mb": model_size_mb,
        "disclaimer": DISCLAIMER,
    }


def _header(dataset: pydicom.Dataset) -> Iterator[tuple[str, str]]:
    for keyword in _SCOPE_KEYWORDS:
        value = dataset.get(keyword)
        if value is not None:
            is_many = isinstance(value, pydicom.multival.MultiValue)
            yield keyword, "\\".join(map(str, value)) if is_many else str(value)


def _read_prior(prior: Path | None) -> tuple[tuple[str, str], ...]:
    if prior is None:
        return ()
    try:
        return ((prior.name, prior.read_text(encoding="utf-8")),)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("bad_prior", f"{prior} is not a readable text file ({error}): choose another") from error
