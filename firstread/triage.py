"""Images judged one by one, without any PACS, by the models and the triage rule of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from firstread.compose_worker import build_predictor, build_scorer
from firstread.settings import Settings
from firstread.tables import cell, print_json
from imaging.files import open_study_files, opened, read_text_file
from worker.predict import Predictor
from worklist.errors import FirstreadError, InvalidInput, OutOfScope
from worklist.finding import DISCLAIMER
from worklist.triage import NOT_ASSESSED, TriagePolicy, Urgency
from worklist.words import two_places


def triage_files(paths: Sequence[Path], *, prior: Path | None, settings: Settings) -> list[dict[str, Any]]:
    """One result a file: the prediction, or why there is none.

    Args:
        paths: DICOM, PNG or JPEG files, or folders of them.
        prior: a text file with an earlier report.
        settings: which models, what is in scope, and the site's choices of what is flagged.

    Raises:
        InvalidInput: a path or the prior report does not exist, or there is no file at all.
        ModelUnavailable: the model cannot be loaded.
    """
    prior_reports = _read_prior(prior)
    files = list(open_study_files(paths))
    if not files:
        raise InvalidInput("nothing_to_score", "there is nothing to score: name DICOM, PNG or JPEG files")
    predictor = build_predictor(settings, build_scorer(settings))
    policy = TriagePolicy.of(predictor.scorer.card, settings.site_rules.triage)
    return [_triage(file, predictor, policy, prior_reports) for file in files]


def print_triage(results: Sequence[dict[str, Any]], *, as_json: bool) -> None:
    """The results as JSON, or as a table, most urgent first."""
    if as_json:
        print_json(list(results))
        return
    table = Table(caption=DISCLAIMER, caption_justify="left")
    for heading in ("File", "AI flag", "Score", "Explanation"):
        table.add_column(heading, overflow="fold")
    for result in sorted(results, key=_rank, reverse=True):
        if "failure" in result:
            table.add_row(cell(result["file"]), NOT_ASSESSED, "", cell(result["failure"]["message"]))
        else:
            table.add_row(
                cell(result["file"]),
                Urgency(result["urgency"]).label,
                two_places(result["score"]),
                cell(result["explanation"]),
            )
    Console().print(table)


def _rank(result: dict[str, Any]) -> tuple[bool, float]:
    return result.get("urgency") == Urgency.CRITICAL, float(result.get("harm", -1.0))


def _triage(
    file: Path, predictor: Predictor, policy: TriagePolicy, prior_reports: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    try:
        with opened(file) as content:
            prediction = predictor.predict(content, str(file), policy, prior_reports)
    except FirstreadError as error:
        state = "out_of_scope" if isinstance(error, OutOfScope) else "failed"
        return {"file": str(file), "state": state, "failure": {"code": error.code, "message": error.message}}
    return {"file": str(file), **prediction.to_json()}


def _read_prior(prior: Path | None) -> tuple[tuple[str, str], ...]:
    if prior is None:
        return ()
    return ((prior.name, read_text_file(prior)),)
