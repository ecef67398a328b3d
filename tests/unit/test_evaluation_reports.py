"""Evaluation of what `report --all` writes: real reports as rows, and what a file of many months may mix."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_sr.parse import parse
from dicom_sr.table import COLUMNS, Row, rows_of
from firstread.evaluate import print_evaluation
from models.evaluation.figures import evaluate_files
from models.evaluation.predictions import read_predictions
from tests.sr_films import (
    CARDIOMEGALY,
    EDEMA,
    EFFUSION,
    PNEUMOTHORAX,
    POLICY,
    build,
    build_failure,
    explained,
    film,
    scored,
    stored,
)
from worklist.csv_cells import defused, plain
from worklist.errors import InvalidInput
from worklist.finding import Finding
from worklist.triage import assess

SITE_COLUMNS = ("view", "station", "manufacturer", "ward", "order_priority", "explainer_version", "patient_id")


def report_rows(number: int, *findings: Finding, failure: str = "", **cells: str) -> list[Row]:
    """The rows of the report of a study: what was found, or a code of why it failed."""
    source = film(StudyInstanceUID=f"1.2.{number}", AccessionNumber=f"A{number}", PatientAge=f"{20 + number:03}Y")
    results = (
        build_failure(source, code=failure) if failure else build(explained(scored(source, *findings)), source=source)
    )
    again = stored(results.triage_report)
    return [row | cells for row in rows_of(again, parse(again), received="", stored="")]


def write(path: Path, rows: Iterable[Row]) -> Path:
    """The file as `report --all --csv` leaves it, its columns and those that a site may add."""
    columns = list(dict.fromkeys((*COLUMNS, *SITE_COLUMNS)))
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", lineterminator="\r\n")
        writer.writeheader()
        writer.writerows({name: defused(text) for name, text in row.items()} for row in rows)
    return path


def figures(folder: Path, rows: Iterable[Row], labels: str) -> dict[str, Any]:
    """The evaluation of rows against a CSV of labels."""
    (folder / "labels.csv").write_text(labels, encoding="utf-8")
    return evaluate_files(write(folder / "all.csv", rows), folder / "labels.csv", prevalence={}, plots=None)


def test_a_real_report_says_what_its_triage_says(tmp_path: Path) -> None:
    """Class, head start, words, thresholds and digests come out of the table as they went into the report."""
    (prediction,) = read_predictions(write(tmp_path / "all.csv", report_rows(1, EFFUSION, CARDIOMEGALY, EDEMA)))
    analysis = scored(film(), EFFUSION, CARDIOMEGALY, EDEMA)
    triage = assess(analysis, POLICY)
    assert prediction.triaged
    assert prediction.triaged.words
    assert prediction.triaged.head_start_s == triage.head_start.total_seconds() > 0
    assert (prediction.triaged.is_flagged, prediction.triaged.harm) == (True, triage.harm)
    assert prediction.triaged.words.named == {named.finding.type.key for named in triage.named}
    assert prediction.triaged.words.reasons == {named.finding.type.key for named in triage.named if named.is_reason}
    assert prediction.probabilities == {
        "urgent": analysis.score,
        **{finding.type.key: finding.probability for finding in (EFFUSION, CARDIOMEGALY, EDEMA)},
    }
    assert prediction.thresholds["pleural_effusion"] == EFFUSION.threshold
    assert prediction.policy == POLICY.digest
    assert prediction.model == (analysis.scorer.name, analysis.scorer.version, analysis.scorer.sha256)
    assert (prediction.groups["sex"], prediction.groups["age_band"]) == ("F", "18-39")


def test_the_order_is_that_of_the_head_starts(tmp_path: Path) -> None:
    """A critical film leads, then the more harmful; where the site left the order to arrival, flags move nothing."""
    little = replace(EFFUSION, probability=0.55)
    studies = [(EDEMA,), (little, EDEMA), (EFFUSION, EDEMA), (PNEUMOTHORAX, EDEMA)]
    rows = [row for number, found in enumerate(studies) for row in report_rows(number, *found)]
    labels = "accession_number,pneumothorax\nA0,0\nA1,0\nA2,0\nA3,1\n"
    listed = figures(tmp_path, rows, labels)["list"]
    assert (listed["moved"]["value"], listed["flagged"]["value"]) == (0.75, 0.75)
    order = listed["order"]["pneumothorax"]
    assert (order["auc"]["value"], order["top_quarter"]["value"], order["lift"]["value"]) == (1, 1, 4)
    listed = figures(tmp_path, [row | {"head_start_s": "0.0"} for row in rows], labels)["list"]
    assert (listed["moved"]["value"], listed["flagged"]["value"]) == (0, 0.75)
    assert listed["order"]["pneumothorax"]["top_quarter"]["value"] == 0.25


def test_a_flag_that_no_named_finding_explains_is_counted(tmp_path: Path) -> None:
    """A finding in words is a reason only if it flags the film by itself, by weight and harm as the report has them."""
    rows = report_rows(1, EFFUSION, CARDIOMEGALY)
    labels = "study_instance_uid,effusion\n1.2.1,1\n"
    assert figures(tmp_path, rows, labels)["list"]["flagged_without_reason"]["value"] == 0
    silent = [row | {"named": "yes" if row["finding"] == "Cardiomegaly" else "no"} for row in rows]
    assert {row["named"] for row in silent} == {"yes", "no"}
    assert figures(tmp_path, silent, labels)["list"]["flagged_without_reason"]["value"] == 1


def test_failed_reports_are_abstentions_with_their_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was refused is out of scope, what went wrong failed, and both are counted by code, also for people."""
    rows = [*report_rows(1, EFFUSION), *report_rows(2, failure="lateral_view"), *report_rows(3, failure="blank_image")]
    rows += report_rows(4, failure="lateral_view")
    result = figures(tmp_path, rows, "accession_number,effusion\nA1,1\nA2,1\nA3,0\nA4,0\n")
    films = result["films"]
    assert films["abstentions"] == {"out_of_scope": ["1.2.2", "1.2.4"], "failed": ["1.2.3"], "no_prediction": []}
    assert films["abstention_codes"] == {"lateral_view": 2, "blank_image": 1}
    print_evaluation(result, as_json=False)
    assert "Why: lateral_view 2, blank_image 1" in capsys.readouterr().out.splitlines()


def test_a_failure_replaces_an_older_success(tmp_path: Path) -> None:
    """The newest revision counts, also where it says less."""
    later = [row | {"revision": "2"} for row in report_rows(1, failure="blank_image")]
    (prediction,) = read_predictions(write(tmp_path / "all.csv", [*later, *report_rows(1, EFFUSION)]))
    assert (prediction.abstention, prediction.failure_code, prediction.probabilities) == ("failed", "blank_image", {})


def test_a_defused_accession_number_is_still_found(tmp_path: Path) -> None:
    """A number that a spreadsheet would compute stands behind an apostrophe in the table, and not in the labels."""
    rows = report_rows(1, EFFUSION, accession_number="=7", station="-CR 1")
    assert "'=7" in write(tmp_path / "all.csv", rows).read_text(encoding="utf-8-sig")
    result = figures(tmp_path, rows, "accession_number,effusion\n=7,1\n")
    assert result["films"]["scored"] == 1
    assert list(result["subgroups"]["station"]) == ["-CR 1"]


def test_what_the_table_knows_of_studies_makes_subgroups_and_patients(tmp_path: Path) -> None:
    """Subgroups come from the columns that say something, unless the labels say it; so do patients, for intervals."""
    cells = {"view": "AP", "station": "CR1", "ward": "ED", "explainer_version": "1.1.0", "patient_id": "P1"}
    rows = [*report_rows(1, EFFUSION, **cells), *report_rows(2, EDEMA, **cells, order_priority="stat")]
    rows += report_rows(3, EDEMA, **cells | {"patient_id": "", "ward": ""})
    result = figures(tmp_path, rows, "accession_number,effusion,view\nA1,1,PA\nA2,0,PA\nA3,0,PA\n")
    groups = {key: list(found) for key, found in result["subgroups"].items() if found}
    assert groups == {
        "sex": ["F"],
        "age_band": ["18-39"],
        "view": ["PA"],
        "station": ["CR1"],
        "ward": ["ED", "unknown"],
        "order_priority": ["STAT", "unknown"],
        "explainer_version": ["1.1.0"],
    }
    assert (result["patients"], result["intervals"]["draws"]) == (2, "patients")
    again = figures(tmp_path, rows, "accession_number,effusion,patient\nA1,1,X\nA2,0,Y\nA3,0,Z\n")
    assert again["patients"] == 3


def test_a_study_of_two_images_is_of_both_views(tmp_path: Path) -> None:
    """Where findings of a study come from images that differ in view, its subgroup names both, in a fixed order."""
    effusion, edema = report_rows(1, EFFUSION, EDEMA)
    rows = [effusion | {"view": "PA", "station": "CR1"}, edema | {"view": "AP", "station": "CR1"}]
    (prediction,) = read_predictions(write(tmp_path / "all.csv", rows))
    assert (prediction.groups["view"], prediction.groups["station"]) == ("AP + PA", "CR1")


def test_a_file_of_many_months_says_what_it_mixes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several models, policies or thresholds are counted and named, for no figure speaks of them all."""
    rows = [*report_rows(1, EFFUSION), *report_rows(2, EDEMA)]
    labels = "accession_number,effusion,edema\nA1,1,0\nA2,0,1\n"
    print_evaluation(figures(tmp_path, rows, labels), as_json=False)
    alone = capsys.readouterr().out
    mixed = [*rows, *report_rows(3, EFFUSION, model_sha256="f" * 64, policy_sha256="e" * 64, threshold="0.4")]
    result = figures(tmp_path, mixed, labels + "A3,1,0\n")
    assert [model["films"] for model in result["models"]] == [2, 1]
    assert [policy["films"] for policy in result["policies"]] == [2, 1]
    assert result["targets"]["pleural_effusion"]["thresholds"] == [0.4, 0.5]
    assert result["targets"]["pleural_effusion"]["operating_point"]["threshold"] is None
    print_evaluation(result, as_json=False)
    text = capsys.readouterr().out
    for line in (
        "Predictions of 2 models: evaluate them apart",
        "Triage policies: 2, so flags and words do not follow one rule",
        "More than one threshold: Pleural effusion",
    ):
        assert line in text.splitlines()
        assert line not in alone


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ("patient,effusion\nP1,1\n", "missing_column"),
        ("accession_number,effusion\n,1\n", "missing_column"),
        ("accession_number,effusion\nA2,1\n", "no_match"),
    ],
)
def test_labels_that_fit_no_study_are_told_the_columns(tmp_path: Path, labels: str, code: str) -> None:
    """Where a row names no film, or none of the table, the message names the columns by which films are found."""
    with pytest.raises(InvalidInput) as caught:
        figures(tmp_path, report_rows(1, EFFUSION), labels)
    assert caught.value.code == code
    assert "file, study_instance_uid, accession_number or source_sop_instance_uid" in caught.value.message


@pytest.mark.parametrize("cell", ["-1", "soon", "inf"])
def test_a_head_start_that_is_none_is_refused(tmp_path: Path, cell: str) -> None:
    """A head start below 0, a word and infinity end with one line that names the row."""
    with pytest.raises(InvalidInput, match=r"line 2 has .+ for the head start") as caught:
        read_predictions(write(tmp_path / "all.csv", report_rows(1, EFFUSION, head_start_s=cell)))
    assert caught.value.code == "bad_number"


@pytest.mark.parametrize("text", ["=1+1", " +49", "-", "@x", "\tx", "＝1", "plain", "", "'quoted", "1-2"])
def test_cells_come_back_as_they_were(text: str) -> None:
    """What is defused for a spreadsheet is read again without the apostrophe, and other texts stay as they are."""
    assert plain(defused(text)) == text
