"""Evaluation of the reading list: its order, its words, and the table of `report --all` that it is read from."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping
from itertools import pairwise, permutations
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_sr.table import COLUMNS
from firstread.evaluate import print_evaluation
from models.embedded.scorer import WEIGHTS
from models.evaluation.figures import evaluate_files
from models.evaluation.films import FINDINGS
from models.evaluation.labels import read_labels
from models.evaluation.matching import match
from models.evaluation.order import TOP, judge_order, judge_words
from models.evaluation.predictions import read_predictions
from worklist.errors import InvalidInput
from worklist.finding import FindingType

SHA256 = json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8"))["sha256"]


def brute_order(keys: list[int], truth: list[bool]) -> tuple[float, float]:
    """Mean AUC and mean lift of the top quarter over every order in which films of one key may stand."""
    quota, positives = TOP * len(keys), sum(truth)
    areas, lifts = [], []
    for order in permutations(range(len(keys))):
        if any(keys[a] < keys[b] for a, b in pairwise(order)):
            continue
        place = {film: number for number, film in enumerate(order)}
        pairs = [(p, n) for p in order if truth[p] for n in order if not truth[n]]
        areas.append(fmean(place[p] < place[n] for p, n in pairs))
        found = sum(truth[film] * min(1.0, max(0.0, quota - number)) for film, number in place.items())
        lifts.append(found / (TOP * positives))
    return fmean(areas), fmean(lifts)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=3, max_size=6))
def test_an_order_is_the_mean_of_all_that_its_ties_allow(films: list[tuple[int, bool]]) -> None:
    """AUC and lift are those of counting every order in which films that keep their places may have arrived."""
    keys, truth = [key for key, _ in films], [is_ill for _, is_ill in films]
    if len(set(truth)) < 2 or len(set(keys)) < 2:
        return
    order = judge_order(np.array(keys, np.float64), np.array(truth, np.bool_), None)
    area, lift = brute_order(keys, truth)
    assert order.auc.value == pytest.approx(area)
    assert order.lift.value == pytest.approx(lift)


def test_an_order_that_knows_has_the_highest_lift() -> None:
    """Where exactly the sick fifth of the films is moved, the lift is 4, the AUC 1, and every move is right."""
    truth = np.arange(100) < 20
    order = judge_order(np.where(truth, 0.7, 0.0), truth, np.arange(100))
    assert (order.lift.value, order.auc.value, order.moved.value, order.right.value) == pytest.approx((4, 1, 1, 1))
    assert order.right.low is not None
    assert order.right.low < 1


def test_an_order_of_arrival_has_no_lift() -> None:
    """Where nothing is flagged the lift is 1, and precision and AUC say why they are not defined."""
    order = judge_order(np.zeros(40), np.arange(40) < 10, None)
    assert order.lift.value == pytest.approx(1)
    assert (order.moved.value, order.right.note) == (0, "no film is flagged")
    assert order.auc.note == "all films have the same score"


def test_words_are_counted_by_finding() -> None:
    """Each named finding is right or wrong by its own label, and one that no label speaks of is left out."""
    named = [frozenset({"pleural_effusion", "cardiomegaly"}), frozenset({"pleural_effusion"}), frozenset({"mass"})]
    truths = [{"pleural_effusion": True, "cardiomegaly": False}, {"pleural_effusion": False}, {"pneumonia": True}]
    words = judge_words(named, truths, None)
    assert {target: (each.n, each.right.value) for target, each in words.items()} == {
        "all": (3, pytest.approx(1 / 3)),
        "cardiomegaly": (1, 0.0),
        "pleural_effusion": (2, 0.5),
    }


def report_rows(number: int, probability: float, **cells: object) -> list[dict[str, object]]:
    """A study as `report --all` writes it: six findings, of which only effusion has a probability worth naming."""
    study = {
        "study_instance_uid": f"1.2.{number}",
        "accession_number": f"A{number}",
        "model_sha256": SHA256,
        "urgency": "urgent" if probability * 0.8 >= 0.4 else "none",
        "harm": probability * 0.8,
        "score": probability,
        "named": "no",
        "state": "reported",
        "revision": 1,
        "source_sop_instance_uid": f"1.2.{number}.7",
    }
    effusion = {"probability": probability, "named": "yes" if probability >= 0.5 else "no"}
    return [
        {**study, "finding": kind.label, "probability": 0.01}
        | (effusion if kind == FindingType.PLEURAL_EFFUSION else {})
        | cells
        for kind in FINDINGS
    ]


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, object]]) -> Path:
    """Write rows, what a row does not say left empty."""
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.DictWriter(stream, list(columns), restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_what_report_all_writes_is_evaluated(tmp_path: Path) -> None:
    """The long table gives a prediction a study, with class and harm as its reports state them."""
    probabilities = [0.9, 0.6, 0.2, 0.1, 0.05, 0.02]
    rows = [row for number, p in enumerate(probabilities) for row in report_rows(number, p)]
    truths = [{"study_instance_uid": f"1.2.{number}", "effusion": int(number < 3)} for number in range(6)]
    result = evaluate_files(
        write_csv(tmp_path / "all.csv", COLUMNS, rows),
        write_csv(tmp_path / "labels.csv", ("study_instance_uid", "effusion"), truths),
        prevalence={},
        plots=None,
    )
    listed = result["list"]
    assert (result["films"]["scored"], listed["films"], listed["without_triage"]) == (6, 6, 0)
    assert listed["moved"]["value"] == pytest.approx(2 / 6)
    effusion = listed["order"]["pleural_effusion"]
    assert (effusion["moved"]["value"], effusion["right"]["value"]) == pytest.approx((2 / 3, 1))
    assert effusion["auc"]["value"] == pytest.approx((2 * 3 + 0.5 * 3) / 9)
    assert listed["named"]["pleural_effusion"]["n"] == 2
    assert listed["flagged_without_reason"]["value"] == 0
    assert result["targets"]["pleural_effusion"]["auc"]["value"] == 1


def test_the_last_revision_of_a_report_counts(tmp_path: Path) -> None:
    """Of a study that was reported twice, the later report is the prediction."""
    rows = [*report_rows(1, 0.9, revision=2), *report_rows(1, 0.1, revision=10)]
    (prediction,) = read_predictions(write_csv(tmp_path / "all.csv", COLUMNS, rows))
    assert prediction.probabilities["pleural_effusion"] == 0.1
    assert prediction.triaged
    assert not prediction.triaged.is_flagged


def test_a_failed_report_is_an_abstention(tmp_path: Path) -> None:
    """A report that says only that it failed leaves its study without a prediction, and is counted so."""
    failed = {"state": "failed", "probability": "", "score": "", "harm": "", "urgency": ""}
    rows = [*report_rows(1, 0.9), *(row | failed for row in report_rows(2, 0.1))]
    predictions = read_predictions(write_csv(tmp_path / "all.csv", COLUMNS, rows))
    assert [(each.file, each.abstention) for each in predictions] == [("1.2.1", ""), ("1.2.2", "failed")]


@pytest.mark.parametrize(
    ("column", "cell"),
    [
        ("study_instance_uid", "1.2.1"),
        ("accession_number", "A1"),
        ("file", "1.2.1.7.dcm"),
        ("sop_instance_uid", "1.2.1.7"),
    ],
)
def test_studies_are_matched_by_any_of_their_names(tmp_path: Path, column: str, cell: str) -> None:
    """Labels may name the study, the order or the image, under its own column or as a file."""
    rows = [*report_rows(1, 0.9), *report_rows(2, 0.1)]
    labels = write_csv(tmp_path / "labels.csv", (column, "urgent"), [{column: cell, "urgent": 1}])
    matched = match(read_predictions(write_csv(tmp_path / "all.csv", COLUMNS, rows)), read_labels(labels))
    assert [prediction.file for prediction, _ in matched.films] == ["1.2.1"]


def test_an_accession_number_of_two_studies_is_not_guessed(tmp_path: Path) -> None:
    """Two studies of one order match one label by its accession number: the run stops and names both."""
    rows = [*report_rows(1, 0.9), *report_rows(2, 0.1, accession_number="A1")]
    labels = write_csv(
        tmp_path / "labels.csv", ("accession_number", "urgent"), [{"accession_number": "A1", "urgent": 1}]
    )
    with pytest.raises(InvalidInput, match=r"1\.2\.1 and 1\.2\.2 both match") as caught:
        match(read_predictions(write_csv(tmp_path / "all.csv", COLUMNS, rows)), read_labels(labels))
    assert caught.value.code == "ambiguous_film"


def triaged(number: int, effusion: float, **others: object) -> dict[str, object]:
    """A film as `firstread triage --json` writes it."""
    findings = [
        {"name": k.label, "probability": effusion if k == FindingType.PLEURAL_EFFUSION else 0.01} for k in FINDINGS
    ]
    return {"file": f"{number}.png", "score": effusion, "findings": findings, "model": {"sha256": SHA256}} | others


def evaluated(folder: Path, films: list[dict[str, object]]) -> dict[str, Any]:
    """The figures of films of which every other one has an effusion."""
    (folder / "films.json").write_text(json.dumps(films), encoding="utf-8")
    labels = [{"file": f"{number}.png", "effusion": (number + 1) % 2} for number in range(len(films))]
    file = write_csv(folder / "labels.csv", ("file", "effusion"), labels)
    return evaluate_files(folder / "films.json", file, prevalence={}, plots=None)


def test_the_card_says_what_a_file_leaves_out(tmp_path: Path) -> None:
    """Of a model that ships, place and words follow from its card; what the file states of them counts before it."""
    plain = evaluated(tmp_path, [triaged(0, 0.9), triaged(1, 0.1)])["list"]
    assert (plain["moved"]["value"], plain["named"]["all"]["n"]) == (0.5, 1)
    stated = [triaged(0, 0.9, urgency="none"), triaged(1, 0.1, urgency="critical")]
    for film in stated:
        film["findings"] = [{"name": "Pleural effusion", "probability": 0.3, "named": True}]
    listed = evaluated(tmp_path, stated)["list"]
    assert listed["films"] == 2
    assert listed["order"]["pleural_effusion"]["auc"]["value"] == 0
    assert listed["named"]["all"]["n"] == 2


def test_the_flag_is_the_operating_point_where_the_harm_is_stated(tmp_path: Path) -> None:
    """A film is called urgent by its class, and no threshold of the score stands beside that."""
    films = [triaged(0, 0.9, harm=0.7, urgency="urgent", threshold=0.4), triaged(1, 0.5, harm=0.4, urgency="none")]
    (tmp_path / "films.json").write_text(json.dumps(films), encoding="utf-8")
    predictions = read_predictions(tmp_path / "films.json")
    assert [each.calls["urgent"] for each in predictions] == [True, False]
    assert all("urgent" not in each.thresholds for each in predictions)


def test_a_model_without_a_card_has_no_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Films whose place is not known are counted, in JSON and for people, and give no figure of the list."""
    result = evaluated(tmp_path, [triaged(n, p, model={"sha256": "0" * 64}) for n, p in enumerate((0.9, 0.1))])
    assert (result["list"]["films"], result["list"]["without_triage"], result["list"]["named"]) == (0, 2, None)
    assert result["list"]["moved"]["value"] is None
    print_evaluation(result, as_json=False)
    text = capsys.readouterr().out
    assert "Films whose place in the list is not known: 2" in text
    assert "Reading list" not in text


def test_people_see_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of the list and of its words fit into 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    print_evaluation(evaluated(tmp_path, [triaged(n, n % 3 * 0.4 + n / 300) for n in range(30)]), as_json=False)
    text = capsys.readouterr().out
    for words in ("Reading list", "Films that the list moves up: 0.33 [0.19,0.51]", "Findings in words", "Lift"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(("column", "cell", "code"), [("urgency", "high", "bad_label"), ("harm", "2", "bad_number")])
def test_a_class_or_harm_that_is_none_is_refused(tmp_path: Path, column: str, cell: str, code: str) -> None:
    """A word that is no class, and a harm beyond 1, end with one line that names the row."""
    rows = report_rows(1, 0.9, **{column: cell})
    with pytest.raises(InvalidInput, match="line 2") as caught:
        read_predictions(write_csv(tmp_path / "all.csv", COLUMNS, rows))
    assert caught.value.code == code
