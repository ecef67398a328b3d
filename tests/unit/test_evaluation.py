"""Evaluation: its figures against published and brute-force ones, and what it makes of files good and bad."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from firstread.evaluate import print_evaluation
from models.embedded.scorer import WEIGHTS
from models.evaluation.boxes import iou, localize
from models.evaluation.figures import evaluate_files
from models.evaluation.films import TARGETS, Box, Label, Prediction
from models.evaluation.intervals import delong, perfect, proportion, resample, wilson
from models.evaluation.labels import read_labels
from models.evaluation.matching import Matched, match
from models.evaluation.metrics import Sample, calibrate, calibration_bins, joined_bins, operate, rank
from models.evaluation.predictions import read_predictions
from worklist.errors import InvalidInput

# Albumin, total protein, K-G score and outcome of 43 patients, the example of DeLong et al. (Biometrics 1988).
OVARIAN = np.array(
    [
        *((3.0, 5.8, 10, 0), (3.2, 6.3, 5, 1), (3.9, 6.8, 3, 1), (2.8, 4.8, 6, 0), (3.2, 5.8, 3, 1), (0.9, 4.0, 5, 0)),
        *((2.5, 5.7, 8, 0), (1.6, 5.6, 5, 1), (3.8, 5.7, 5, 1), (3.7, 6.7, 6, 1), (3.2, 5.4, 4, 1), (3.8, 6.6, 6, 1)),
        *((4.1, 6.6, 5, 1), (3.6, 5.7, 5, 1), (4.3, 7.0, 4, 1), (3.6, 6.7, 4, 0), (2.3, 4.4, 6, 1), (4.2, 7.6, 4, 0)),
        *((4.0, 6.6, 6, 0), (3.5, 5.8, 6, 1), (3.8, 6.8, 7, 1), (3.0, 4.7, 8, 0), (4.5, 7.4, 5, 1), (3.7, 7.4, 5, 1)),
        *((3.1, 6.6, 6, 1), (4.1, 8.2, 6, 1), (4.3, 7.0, 5, 1), (4.3, 6.5, 4, 1), (3.2, 5.1, 5, 1), (2.6, 4.7, 6, 1)),
        *((3.3, 6.8, 6, 0), (1.7, 4.0, 7, 0), (3.7, 6.1, 5, 1), (3.3, 6.3, 7, 1), (4.2, 7.7, 6, 1), (3.5, 6.2, 5, 1)),
        *((2.9, 5.7, 9, 0), (2.1, 4.8, 7, 1), (2.8, 6.2, 8, 0), (4.0, 7.0, 7, 1), (3.3, 5.7, 6, 1), (3.7, 6.9, 5, 1)),
        (3.6, 6.6, 5, 1),
    ]
)

Numbers = npt.NDArray[np.float64]

# Eighths tie often, and their halves and squares are exact.
scores = hnp.arrays(np.int64, st.integers(10, 60), elements=st.integers(0, 8)).map(lambda eighths: eighths / 8)


@st.composite
def samples(draw: st.DrawFn, *, with_calls: bool = False) -> Sample:
    """Films of both classes, with ties among their scores."""
    probability = draw(scores)
    truth = draw(hnp.arrays(np.bool_, len(probability)))
    assume(truth.any() and not truth.all() and np.ptp(probability) > 0)
    called = draw(hnp.arrays(np.bool_, len(probability))) if with_calls else None
    return Sample(truth=truth, probability=probability, called=called, patient=None)


def simulated(count: int, *, slope: float = 1.0, seed: int = 1, films_per_patient: int = 1) -> Sample:
    """Films whose probabilities are right when slope is 1, and too bold when it is less."""
    generator = np.random.default_rng(seed)
    log_odds = generator.normal(-1, 1.5, count)
    truth = generator.random(count) < 1 / (1 + np.exp(-log_odds * slope))
    probability = 1 / (1 + np.exp(-log_odds))
    truth, probability = np.repeat(truth, films_per_patient), np.repeat(probability, films_per_patient)
    patient = np.repeat(np.arange(count), films_per_patient) if films_per_patient > 1 else None
    return Sample(truth=truth, probability=probability, called=probability > 0.3, patient=patient)


@pytest.mark.parametrize(
    ("column", "sign", "area", "error"),
    [(0, 1, 0.7366, 0.0927), (1, 1, 0.6478, 0.1000), (2, -1, 0.7258, 0.1028)],
    ids=["albumin", "total protein", "K-G score"],
)
def test_delong_gives_the_published_figures(column: int, sign: int, area: float, error: float) -> None:
    """On the patients of DeLong's own paper, area and standard error are those that SAS publishes for them."""
    outcome = OVARIAN[:, 3] > 0
    marker = sign * OVARIAN[:, column]
    figure = delong(marker[outcome], marker[~outcome])
    assert figure.value == pytest.approx(area, abs=5e-5)
    assert figure.low is not None
    assert figure.high is not None
    assert (figure.high - figure.low) / 2 / 1.959964 == pytest.approx(error, abs=5e-5)


@settings(deadline=None, max_examples=40)
@given(samples())
def test_delong_counts_pairs(sample: Sample) -> None:
    """Area and variance by mid-ranks are those of counting every pair of a positive and a negative film."""
    positive, negative = sample.probability[sample.truth], sample.probability[~sample.truth]
    assume(min(len(positive), len(negative)) > 1)
    pairs = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    variance = pairs.mean(1).var(ddof=1) / len(positive) + pairs.mean(0).var(ddof=1) / len(negative)
    figure = delong(positive, negative)
    assert figure.value == pytest.approx(pairs.mean())
    assert figure.low == pytest.approx(max(pairs.mean() - 1.959963985 * math.sqrt(variance), 0))
    assert figure.high == pytest.approx(min(pairs.mean() + 1.959963985 * math.sqrt(variance), 1))


@settings(deadline=None, max_examples=40)
@given(samples())
def test_ranking_heeds_order_alone(sample: Sample) -> None:
    """The AUC is scikit-learn's; it stays under a rising transform and turns to its complement under a falling one."""
    area = rank(sample, 0.1).auc.value
    assert area is not None
    assert area == pytest.approx(roc_auc_score(sample.truth, sample.probability))
    for transformed, expected in ((sample.probability**3 / 2, area), (1 - sample.probability, 1 - area)):
        changed = Sample(truth=sample.truth, probability=transformed, called=None, patient=None)
        assert rank(changed, 0.1).auc.value == pytest.approx(expected)


@settings(deadline=None, max_examples=40)
@given(samples())
def test_chosen_thresholds_are_the_best_there_are(sample: Sample) -> None:
    """No other threshold keeps the aim and does better, and each threshold gives the figures beside it."""
    positive, negative = sample.probability[sample.truth], sample.probability[~sample.truth]
    rates = [((positive >= t).mean(), (negative < t).mean()) for t in (*np.unique(sample.probability), 2.0)]
    ranking = rank(sample, 0.2)
    chosen = ranking.at_specificity
    assert chosen.sensitivity.value == pytest.approx(max(sens for sens, spec in rates if spec >= 0.95))
    for aim, at in zip((0.90, 0.95), ranking.at_sensitivity, strict=True):
        assert at.specificity.value == pytest.approx(max(spec for sens, spec in rates if sens >= aim))
    for at in (chosen, *ranking.at_sensitivity):
        threshold = 2.0 if at.threshold is None else at.threshold
        hits, alarms = (positive >= threshold).mean(), (negative >= threshold).mean()
        assert at.sensitivity.value == pytest.approx(hits)
        assert at.specificity.value == pytest.approx(1 - alarms)
        assert at.alarm_rate.value == pytest.approx(0.2 * hits + 0.8 * alarms)


def test_an_aim_that_is_just_met_is_met() -> None:
    """Of twenty positive and twenty negative films, one miss is a sensitivity of 0.95, one alarm a specificity."""
    truth = np.repeat([True, False], 20)
    probability = np.concatenate([np.linspace(0.9, 0.6, 18), [0.3, 0.1], [0.95], np.linspace(0.5, 0.01, 19)])
    ranking = rank(Sample(truth=truth, probability=probability, called=None, patient=None), 0.1)
    assert ranking.at_specificity.specificity.value == pytest.approx(0.95)
    assert ranking.at_specificity.sensitivity.value == pytest.approx(0.9)
    assert [at.threshold for at in ranking.at_sensitivity] == pytest.approx([0.6, 0.3])


def test_intervals_agree_on_independent_films() -> None:
    """Where every patient has one film, the bootstrap of patients gives DeLong's and Wilson's intervals, nearly."""
    one = simulated(600)
    other = Sample(truth=one.truth, probability=one.probability, called=one.called, patient=np.arange(600))
    pairs: list[tuple[Any, Any]] = [(rank(one, 0.1).auc, rank(other, 0.1).auc)]
    plain, clustered = operate(one, 0.1), operate(other, 0.1)
    assert plain
    assert clustered
    pairs += [(getattr(plain, name), getattr(clustered, name)) for name in ("sensitivity", "specificity", "ppv", "npv")]
    for analytic, drawn in pairs:
        assert analytic.value == pytest.approx(drawn.value)
        assert analytic.low == pytest.approx(drawn.low, abs=0.01)
        assert analytic.high == pytest.approx(drawn.high, abs=0.01)
    assert calibrate(one).slope.low == pytest.approx(calibrate(other).slope.low)


def test_copies_of_a_film_add_no_certainty() -> None:
    """Three equal films of each patient leave every interval as wide as one film of each would."""
    copies = simulated(200, films_per_patient=3)
    single = copies.where(np.arange(600) % 3 == 0)
    assert rank(copies, 0.1).auc.low == pytest.approx(rank(single, 0.1).auc.low)
    one, three = operate(single, 0.1), operate(copies, 0.1)
    assert one
    assert three
    assert three.sensitivity.low == pytest.approx(one.sensitivity.low)
    assert calibrate(copies).slope.low == pytest.approx(calibrate(single).slope.low)


def test_a_bootstrap_draws_whole_patients() -> None:
    """Films of one patient are drawn together, and each draw has as many patients as there are."""
    weights = np.concatenate(list(resample(np.array([7, 3, 7, 5]))))
    assert weights.shape == (2000, 4)
    assert (weights[:, 0] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()


def test_proportions_keep_a_width_at_the_ends() -> None:
    """No failure among ten films is no proof of none: Wilson's bound, and with patients theirs."""
    assert wilson(0.0, 10).high == pytest.approx(0.2775, abs=1e-4)
    assert wilson(0.8, 50).low == pytest.approx(0.6696, abs=1e-4)
    all_right = np.ones(20, np.bool_)
    assert proportion(all_right, np.arange(20) // 2, note="").low == pytest.approx(wilson(1.0, 10).low)
    assert proportion(all_right[:0], None, note="no film").note == "no film"


def test_a_perfect_area_keeps_a_width() -> None:
    """Scores that separate seven positive films from nine negative ones may by chance: AUC from 0.025 ** (1 / 7) on."""
    truth = np.arange(16) < 7
    probability = np.where(truth, 0.9, 0.1)
    figure = rank(Sample(truth=truth, probability=probability, called=None, patient=None), 0.1).auc
    assert (figure.value, figure.high) == (1.0, 1.0)
    assert figure.low == pytest.approx(0.025 ** (1 / 7))
    assert perfect(0.0, 7).high == pytest.approx(1 - 0.025 ** (1 / 7))


@settings(deadline=None, max_examples=40)
@given(samples(with_calls=True))
def test_operating_point_counts_films(sample: Sample) -> None:
    """The four counts add up, and at the films' own prevalence the predictive values are the observed ones."""
    point = operate(sample, float(sample.truth.mean()))
    assert point
    assert point.true_positives + point.false_negatives == sample.truth.sum()
    assert point.false_positives + point.true_negatives == (~sample.truth).sum()
    for observed, stated in ((point.ppv, point.ppv_at_prevalence), (point.npv, point.npv_at_prevalence)):
        if observed.value is None or stated.value is None:
            assert observed.value is stated.value
            continue
        assert stated.value == pytest.approx(observed.value)
        assert stated.low is not None
        assert stated.high is not None
        assert stated.low - 1e-9 <= stated.value <= stated.high + 1e-9


def test_predictive_values_follow_bayes() -> None:
    """Sensitivity 0.8 and specificity 0.9 give a PPV of 0.08 / 0.17 at a prevalence of 0.1."""
    truth = np.repeat([True, False], [10, 10])
    called = np.concatenate([np.arange(10) < 8, np.arange(10) < 1])
    point = operate(Sample(truth=truth, probability=called * 0.5, called=called, patient=None), 0.1)
    assert point
    assert point.ppv_at_prevalence.value == pytest.approx(0.08 / 0.17)
    assert point.npv_at_prevalence.value == pytest.approx(0.81 / 0.83)


def test_calibration_sees_bold_probabilities() -> None:
    """Slope and intercept are near 1 and 0 for right probabilities, and half the slope for odds twice as bold."""
    right = calibrate(simulated(3000))
    assert right.slope.low is not None
    assert right.slope.high is not None
    assert right.slope.low < 1 < right.slope.high
    assert right.intercept.value == pytest.approx(0, abs=0.15)
    assert right.ece.value == pytest.approx(0, abs=0.03)
    bold = calibrate(simulated(3000, slope=0.5))
    assert bold.slope.value == pytest.approx(0.5, abs=0.07)
    assert bold.ece.value is not None
    assert bold.ece.value > 0.1


def test_recalibrated_probabilities_need_no_more() -> None:
    """What slope and intercept make of the probabilities has slope 1 and intercept 0: the fit is the best one."""
    sample = simulated(300, slope=0.4)
    first = calibrate(sample)
    assert first.slope.value is not None
    assert first.intercept.value is not None
    log_odds = np.log(sample.probability / (1 - sample.probability))
    mended = 1 / (1 + np.exp(-(first.slope.value * log_odds + first.intercept.value)))
    second = calibrate(Sample(truth=sample.truth, probability=mended, called=None, patient=None))
    assert second.slope.value == pytest.approx(1, abs=1e-4)
    assert second.intercept.value == pytest.approx(0, abs=1e-4)
    assert second.mean_probability.value == pytest.approx(sample.truth.mean(), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(samples(), st.randoms(use_true_random=False))
def test_calibration_bins_hold_every_film_once(sample: Sample, random: Random) -> None:
    """Bins keep all films and positives, at most ten, whatever the order of the films."""
    mean, positives, count = calibration_bins(sample)
    assert count.sum() == len(sample.truth)
    assert positives.sum() == sample.truth.sum()
    assert len(count) <= 10
    assert mean @ count == pytest.approx(sample.probability.sum())
    order = list(range(len(sample.truth)))
    random.shuffle(order)
    shuffled = Sample(truth=sample.truth[order], probability=sample.probability[order], called=None, patient=None)
    assert calibrate(shuffled).ece.value == pytest.approx(calibrate(sample).ece.value)


@settings(deadline=None, max_examples=40)
@given(samples())
def test_joined_bins_hold_five_positives(sample: Sample) -> None:
    """What is drawn of calibration rests on five positive films a point and keeps every film; below five is nothing."""
    mean, positives, count = joined_bins(sample)
    if sample.truth.sum() < 5:
        assert len(count) == 0
        return
    assert positives.min() >= 5
    assert len(count) <= 10
    assert (count.sum(), positives.sum()) == (len(sample.truth), sample.truth.sum())
    assert mean @ count == pytest.approx(sample.probability.sum())
    assert (np.diff(mean) > 0).all()


def test_few_positives_still_make_more_than_one_point() -> None:
    """Of fourteen positive films, ten of them among the most probable, two bins are drawn and not one."""
    probability = np.linspace(0.99, 0.01, 100)
    truth = np.isin(np.arange(100), [*range(10), 20, 40, 60, 80])
    _, positives, count = joined_bins(Sample(truth=truth, probability=probability, called=None, patient=None))
    assert positives.tolist() == [8, 6]
    assert count.tolist() == [94, 6]


def test_errors_of_probability_are_those_of_the_textbook() -> None:
    """One probability for all films: Brier's score is the mean squared error, the calibration error the distance."""
    figures = calibrate(
        Sample(truth=np.arange(40) < 10, probability=np.full(40, 0.4), called=None, patient=None),
    )
    assert figures.brier.value == pytest.approx(0.25 * 0.36 + 0.75 * 0.16)
    assert figures.ece.value == pytest.approx(0.15)
    assert figures.slope.note == "all films have the same score"


@pytest.mark.parametrize(
    ("truth", "probability", "note"),
    [
        ([], [], "no labelled film with a prediction"),
        ([0, 0, 0], [0.1, 0.2, 0.3], "no positive film"),
        ([1, 1, 1], [0.1, 0.2, 0.3], "no negative film"),
        ([1, 0, 0], [0.2, 0.2, 0.2], "all films have the same score"),
    ],
)
def test_what_is_not_defined_says_why(truth: list[int], probability: list[float], note: str) -> None:
    """Films that cannot be ranked give no figure and the reason, and no warning."""
    flags = np.array(truth, np.bool_)
    sample = Sample(truth=flags, probability=np.array(probability), called=flags, patient=None)
    ranking, trust = rank(sample, 0.1), calibrate(sample)
    for figure in (ranking.auc, ranking.at_specificity.sensitivity, ranking.at_sensitivity[0].alarm_rate, trust.slope):
        assert (figure.value, figure.low, figure.note) == (None, None, note)
    point = operate(sample, 0.1)
    assert point
    assert (point.sensitivity.value is None) == (not flags.any())


def test_few_films_and_separated_ones_get_no_interval_they_cannot_have() -> None:
    """Two positive films give an area without an interval; separated films have no slope."""
    truth = np.arange(40) < 2
    few = Sample(truth=truth, probability=np.linspace(0.9, 0.1, 40), called=None, patient=None)
    assert rank(few, 0.1).auc.value == 1.0
    assert (rank(few, 0.1).auc.low, rank(few, 0.1).auc.note) == (None, "too few films for an interval")
    assert calibrate(few).slope.note == "the scores separate positive from negative films"


@settings(deadline=None, max_examples=40)
@given(samples(with_calls=True), st.integers(1, 4))
def test_no_figure_is_ever_beyond_its_bounds(sample: Sample, films_per_patient: int) -> None:
    """Whatever films come, shares and their intervals lie between 0 and 1 and nothing is NaN."""
    patient = np.arange(len(sample.truth)) // films_per_patient
    grouped = Sample(truth=sample.truth, probability=sample.probability, called=sample.called, patient=patient)
    ranking, point, trust = rank(grouped, 0.1), operate(grouped, 0.1), calibrate(grouped)
    assert point
    shares = [ranking.auc, point.sensitivity, point.specificity, point.ppv, point.npv, trust.brier, trust.ece]
    for at in (ranking.at_specificity, *ranking.at_sensitivity):
        shares += [at.sensitivity, at.specificity, at.alarm_rate]
    for figure in shares:
        assert all(0 <= number <= 1 for number in (figure.value, figure.low, figure.high) if number is not None)
    for figure in (trust.slope, trust.intercept):
        assert all(math.isfinite(number) for number in (figure.value, figure.low, figure.high) if number is not None)


def write_csv(path: Path, rows: Iterable[Mapping[str, object]]) -> Path:
    """Write rows under the columns of the first."""
    rows = list(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue(), encoding="utf-8")
    return path


def triaged(file: str, **probabilities: float) -> dict[str, object]:
    """A film as `firstread triage --json` writes it, as far as evaluation reads it; score and findings by name."""
    score = probabilities.pop("score", 0.5)
    return {
        "file": file,
        "label": "Urgent" if score >= 0.4 else "Non-Urgent",
        "score": score,
        "findings": [{"name": name.replace("_", " "), "probability": p} for name, p in probabilities.items()],
        "crops": [],
        "model": {"name": "a model", "version": "1", "sha256": "0" * 64},
    }


def refused(file: str, state: str) -> dict[str, object]:
    """A film without a prediction, as `firstread triage --json` writes it."""
    return {"file": file, "state": state, "failure": {"code": "why", "message": "Why."}}


def dump(path: Path, rows: object) -> Path:
    """Write JSON."""
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def prediction_of(file: str, *crops: Box) -> Prediction:
    """A prediction of a file name that says nothing but its boxes."""
    return Prediction(file=file, abstention="", probabilities={}, thresholds={}, calls={}, boxes=crops, model=None)


def label_of(file: str, *boxes: Box, patient: str | None = None) -> Label:
    """A label of a file name that says nothing but its boxes."""
    return Label(file=file, truth={}, patient=patient, groups={}, boxes=boxes, foreign_boxes=0)


def test_all_forms_of_a_file_say_the_same(tmp_path: Path) -> None:
    """A JSON array, JSON lines and CSV of the same predictions read the same."""
    films = [triaged("a.png", score=0.8, Pleural_effusion=0.7), triaged("b.png", score=0.1, Pleural_effusion=0.2)]
    array = read_predictions(dump(tmp_path / "array.json", films))
    lines = tmp_path / "lines.jsonl"
    lines.write_text("\n".join(map(json.dumps, films)) + "\n\n", encoding="utf-8")
    table = write_csv(
        tmp_path / "table.csv",
        [
            {"image": "a.png", "score": 0.8, "Effusion": 0.7, "label": "Urgent"},
            {"image": "b.png", "score": 0.1, "Effusion": 0.2, "label": "Non-Urgent"},
        ],
    )
    assert read_predictions(lines) == array
    for row, film in zip(read_predictions(table), array, strict=True):
        assert (row.file, row.probabilities, row.calls) == (film.file, film.probabilities, film.calls)
    assert array[0].probabilities == {"urgent": 0.8, "pleural_effusion": 0.7}
    assert array[0].calls == {"urgent": True}


def test_thresholds_of_the_file_make_calls(tmp_path: Path) -> None:
    """A threshold in a finding or in a column calls a film positive from there on."""
    film = triaged("a.png", Pneumonia=0.3)
    film["findings"] = [{"name": "Pneumonia", "probability": 0.3, "threshold": 0.3}]
    columns = {"file": "a.png", "pneumonia": 0.3, "pneumonia_threshold": 0.31}
    assert read_predictions(dump(tmp_path / "p.json", [film]))[0].calls["pneumonia"] is True
    assert read_predictions(write_csv(tmp_path / "p.csv", [columns]))[0].calls == {"pneumonia": False}


@pytest.mark.parametrize(
    ("column", "target"),
    [
        ("pleural_effusion", "pleural_effusion"),
        ("Pleural effusion", "pleural_effusion"),
        ("Effusion", "pleural_effusion"),
        ("Edema", "pulmonary_edema"),
        ("PNEUMOTHORAX", "pneumothorax"),
        ("urgent6", "urgent"),
        ("urgent", "urgent"),
    ],
)
def test_findings_have_many_names(tmp_path: Path, column: str, target: str) -> None:
    """Keys, English labels and the names of ChestX-ray14 name the same finding."""
    label = read_labels(write_csv(tmp_path / "labels.csv", [{"file": "a", column: "1"}]))[0]
    assert label.truth[target] is True


@pytest.mark.parametrize(
    ("cells", "truth"),
    [
        (("0", "0", "0", "0", "0", "0"), {"urgent": False}),
        (("0", "", "1", "0", "", "0"), {"urgent": True}),
        (("0", "", "0", "0", "0", "0"), {}),
    ],
)
def test_urgency_is_derived_only_where_it_follows(
    tmp_path: Path, cells: tuple[str, ...], truth: dict[str, bool]
) -> None:
    """Any finding makes a film urgent, six absent ones make it not so, and an unknown one leaves it open."""
    row = {"file": "a"} | dict(zip(TARGETS[1:], cells, strict=True))
    label = read_labels(write_csv(tmp_path / "labels.csv", [row]))[0]
    assert {target: flag for target, flag in label.truth.items() if target == "urgent"} == truth


@pytest.mark.parametrize(
    ("age", "band"),
    [
        *(("17", "0-17"), ("18", "18-39"), ("034Y", "18-39"), ("011M", "0-17"), ("59.0", "40-59"), ("60", "60-79")),
        *(("80", "80+"), ("", "unknown"), ("414", "unknown"), ("old", "unknown")),
    ],
)
def test_ages_fall_into_bands(tmp_path: Path, age: str, band: str) -> None:
    """Years and DICOM Age Strings give a band; an age that cannot be gives `unknown`."""
    labels = read_labels(write_csv(tmp_path / "labels.csv", [{"file": "a", "urgent": 1, "age": age, "sex": "f"}]))
    assert labels[0].groups == {"age_band": band, "sex": "F"}


GOOD_LABELS = "file,urgent\na.png,1\n"
GOOD_PREDICTIONS = "file,score\na.png,0.5\n"


@pytest.mark.parametrize(
    ("predictions", "labels", "code"),
    [
        ("", GOOD_LABELS, "empty_file"),
        (" \n", GOOD_LABELS, "empty_file"),
        ("file,score\n", GOOD_LABELS, "empty_file"),
        ("[]", GOOD_LABELS, "empty_file"),
        ('[{"file": "a.png", "score": 0.5}', GOOD_LABELS, "bad_json"),
        ('{"file": "a.png", "score": 0.5}\n{"file"', GOOD_LABELS, "bad_json"),
        ("[" * 100_000, GOOD_LABELS, "bad_json"),
        ("[1, 2]", GOOD_LABELS, "bad_json"),
        ('[{"file": "a.png", "findings": [7]}]', GOOD_LABELS, "bad_json"),
        ('[{"file": "a.png", "score": NaN}]', GOOD_LABELS, "bad_number"),
        ('[{"file": "a.png", "score": true}]', GOOD_LABELS, "bad_number"),
        ('[{"file": "a.png", "score": 0.5, "crops": [{"x": 1}]}]', GOOD_LABELS, "bad_box"),
        ('[{"file": "a.png", "score": 0.5, "state": "failed"}]', GOOD_LABELS, "contradiction"),
        ('[{"score": 0.5}]', GOOD_LABELS, "missing_column"),
        ("name,score\na.png,0.5\n", GOOD_LABELS, "missing_column"),
        ("file,nothing\na.png,0.5\n", GOOD_LABELS, "missing_column"),
        ("file,score\na.png,nan\n", GOOD_LABELS, "bad_number"),
        ("file,score\na.png,1.5\n", GOOD_LABELS, "bad_number"),
        ("file,score\na.png,high\n", GOOD_LABELS, "bad_number"),
        ("file,score,label\na.png,0.5,1\n", GOOD_LABELS, "bad_label"),
        ("file,score\na.png\n", GOOD_LABELS, "bad_csv"),
        ('file,score\n"a.png,0.5\n', GOOD_LABELS, "bad_csv"),
        ("file,score,score\na.png,0.5,0.5\n", GOOD_LABELS, "two_columns"),
        ("file,Effusion,pleural_effusion\na.png,0.5,0.5\n", GOOD_LABELS, "two_columns"),
        ("file,score\na.png,0.5\n./a.png,0.6\n", GOOD_LABELS, "duplicate_film"),
        (GOOD_PREDICTIONS, "file,urgent\na.png,1\na.png,1\n", "duplicate_film"),
        (GOOD_PREDICTIONS, "file,urgent\na.png,-1\n", "bad_label"),
        (GOOD_PREDICTIONS, "file,urgent\na.png,nan\n", "bad_label"),
        (GOOD_PREDICTIONS, "file,sick\na.png,1\n", "missing_column"),
        (GOOD_PREDICTIONS, "file,urgent,patient\na.png,1,\n", "missing_patient"),
        (GOOD_PREDICTIONS, 'file,urgent,boxes\na.png,1,"[[1, 2, 3]]"\n', "bad_box"),
        (GOOD_PREDICTIONS, 'file,urgent,boxes\na.png,1,"[[1, 2, 0, 4, ""Edema""]]"\n', "bad_box"),
        (GOOD_PREDICTIONS, "file,urgent,boxes\na.png,1,here\n", "bad_box"),
        (GOOD_PREDICTIONS, "file,urgent\nb.png,1\n", "no_match"),
        (GOOD_PREDICTIONS, "file,urgent\nx/a.png,1\ny/a.png,1\n", "ambiguous_film"),
        ("file,score\nx/a.png,0.5\ny/a.png,0.5\n", GOOD_LABELS, "ambiguous_film"),
    ],
)
def test_bad_files_get_one_clear_line(tmp_path: Path, predictions: str, labels: str, code: str) -> None:
    """Whatever is wrong with a file, the answer is one line with its stable code and never a traceback."""
    (tmp_path / "predictions").write_text(predictions, encoding="utf-8")
    (tmp_path / "labels").write_text(labels, encoding="utf-8")
    with pytest.raises(InvalidInput) as caught:
        evaluate_files(tmp_path / "predictions", tmp_path / "labels", prevalence={}, plots=None)
    assert caught.value.code == code
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300 + 2 * len(str(tmp_path))


def test_unreadable_files_get_one_clear_line(tmp_path: Path) -> None:
    """A missing file, a binary one and a folder that is a file are all refused by code."""
    good, labels = tmp_path / "p.csv", tmp_path / "l.csv"
    good.write_text(GOOD_PREDICTIONS, encoding="utf-8")
    labels.write_text(GOOD_LABELS, encoding="utf-8")
    (tmp_path / "film.dcm").write_bytes(bytes(range(256)))
    calls = [
        (tmp_path / "none.csv", None, "unreadable_file"),
        (tmp_path / "film.dcm", None, "unreadable_file"),
        (good, labels, "bad_folder"),
    ]
    for predictions, plots, code in calls:
        with pytest.raises(InvalidInput) as caught:
            evaluate_files(predictions, labels, prevalence={}, plots=plots)
        assert caught.value.code == code


@pytest.mark.parametrize(
    ("predicted", "labelled", "found"),
    [
        (["/films/a.dcm"], ["a.png"], {"a.png": "/films/a.dcm"}),
        (["C:\\films\\a.JPG"], ["a"], {"a": "C:/films/a.JPG"}),
        (["out/1.2.840.1", "out/1.2.840.2"], ["1.2.840.2"], {"1.2.840.2": "out/1.2.840.2"}),
        (["/data/b/a.png"], ["b/a.png", "c/a.png"], {"b/a.png": "/data/b/a.png"}),
        (["a.png"], ["a.png", "x/a.png"], {"a.png": "a.png"}),
        (["x/a.dcm"], ["a.png", "a.dcm"], {"a.dcm": "x/a.dcm"}),
    ],
)
def test_films_are_matched_by_name(
    predicted: list[str], labelled: list[str], found: dict[str, str], tmp_path: Path
) -> None:
    """The path that agrees most wins; an image suffix does not matter, and the dots of a UID are no suffix."""
    predictions = write_csv(tmp_path / "p.csv", [{"file": file, "score": 0.5} for file in predicted])
    labels = write_csv(tmp_path / "l.csv", [{"file": file, "urgent": 1} for file in labelled])
    matched = match(read_predictions(predictions), read_labels(labels))
    assert {label.file: prediction.file for prediction, label in matched.films} == found


def test_films_of_one_side_are_kept_by_name() -> None:
    """Rows that only one file has are named, and the order of the rows does not matter."""
    predictions = [prediction_of(file) for file in ("c", "a", "x")]
    labels = [label_of(file) for file in ("a", "b", "c", "d")]
    matched = match(predictions, labels)
    assert matched == match(predictions[::-1], labels[::-1])
    assert isinstance(matched, Matched)
    assert (matched.unmatched_predictions, matched.unmatched_labels) == (("x",), ("b", "d"))


def test_boxes_are_held_against_the_best_crop() -> None:
    """Overlap counts area, pointing counts centers, a crop of another finding counts for nothing."""
    heart = Box(x=0, y=0, w=10, h=10, target="cardiomegaly")
    half = Box(x=5, y=0, w=10, h=10, target=None)
    other = Box(x=0, y=0, w=10, h=10, target="pneumonia")
    assert iou(heart, half) == pytest.approx(50 / 150)
    assert iou(heart, Box(x=10, y=0, w=5, h=5, target=None)) == 0
    crops = {"a": (half, other), "b": (Box(x=2, y=2, w=4, h=4, target=None),), "c": ()}
    found = localize([(prediction_of(file, *boxes), label_of(file, heart)) for file, boxes in crops.items()])
    assert list(found) == ["cardiomegaly"]
    figures = found["cardiomegaly"]
    assert (figures.boxes, figures.without_crop) == (3, 1)
    assert figures.mean_iou.value == pytest.approx((50 / 150 + 16 / 100) / 3)
    assert [share.value for share in figures.overlapping] == pytest.approx([2 / 3, 1 / 3, 0])
    assert figures.pointing_game.value == pytest.approx(2 / 3)  # the center of `half` lies on the edge


def evaluated(tmp_path: Path) -> dict[str, Any]:
    """Two hundred films of a hundred patients, some of them out of scope, failed or in one file alone."""
    sample = simulated(200)
    films = [
        triaged(f"out/{i:03}.dcm", score=float(p), Pneumothorax=float(p) / 2) for i, p in enumerate(sample.probability)
    ]
    films[0], films[1] = refused("out/000.dcm", "out_of_scope"), refused("out/001.dcm", "failed")
    labels = [
        {
            "file": f"{i:03}.png",
            "Pneumothorax": int(truth),
            "urgent": 1 if i < 2 else int(truth),
            "Edema": "",
            "patient": f"P{i // 2}",
            "sex": "FM"[i % 2] if i < 190 else "X",
            "boxes": json.dumps([[0, 0, 5, 5, "Pneumothorax"], [0, 0, 5, 5, "Mass"]]) if i == 5 else "",
        }
        for i, truth in enumerate(sample.truth)
    ]
    films.append(triaged("out/alone.dcm"))
    labels.append(labels[-1] | {"file": "lonely.png"})
    predictions = dump(tmp_path / "p.json", films)
    return evaluate_files(predictions, write_csv(tmp_path / "l.csv", labels), prevalence={}, plots=None)


def test_nothing_is_dropped_in_silence(tmp_path: Path) -> None:
    """Films out of scope or failed are abstentions, those of one file are named, and unknown labels are counted."""
    result = evaluated(tmp_path)
    films = result["films"]
    assert (films["predictions"], films["labels"], films["matched"], films["scored"]) == (201, 201, 200, 198)
    assert films["coverage"] == pytest.approx(0.99)
    assert films["abstentions"] == {"out_of_scope": ["out/000.dcm"], "failed": ["out/001.dcm"], "no_prediction": []}
    assert films["abstention_codes"] == {"why": 2}
    assert films["abstained_urgent"] == 2
    assert films["unmatched_predictions"] == ["out/alone.dcm"]
    assert films["unmatched_labels"] == ["lonely.png"]
    assert result["patients"] == 99
    assert result["foreign_boxes"] == 1
    assert result["localization"]["pneumothorax"]["without_crop"] == 1
    urgent, edema = result["targets"]["urgent"], result["targets"]["pulmonary_edema"]
    assert (urgent["n"], urgent["without_label"], urgent["without_probability"]) == (198, 0, 0)
    assert (edema["n"], edema["without_label"], edema["without_probability"]) == (0, 198, 198)
    assert edema["auc"]["note"] == "no labelled film with a prediction"
    assert result["targets"]["pneumothorax"]["operating_point"] is None
    assert urgent["operating_point"]["threshold"] is None


def test_json_has_stable_keys_and_no_nan(tmp_path: Path) -> None:
    """Every target has the same keys in the same shape, and the whole is strict JSON."""

    def shape(value: object) -> object:
        return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None

    result = evaluated(tmp_path)
    json.dumps(result, allow_nan=False)
    shapes = [shape(figures | {"operating_point": None}) for figures in result["targets"].values()]
    assert tuple(result["targets"]) == TARGETS
    assert all(each == shapes[0] for each in shapes)
    assert set(result["targets"]["urgent"]["at_sensitivity"]) == {"0.90", "0.95"}
    assert set(result["targets"]["urgent"]["auc"]) == {"value", "low", "high", "note"}


def test_small_subgroups_get_no_area(tmp_path: Path) -> None:
    """A subgroup needs ten positive and ten negative films; below that it says so."""
    sexes = evaluated(tmp_path)["subgroups"]["sex"]
    assert set(sexes) == {"F", "M", "X"}
    assert sexes["F"]["urgent"]["auc"]["value"] > 0.5
    assert sexes["F"]["urgent"]["n"] == 94
    assert (sexes["X"]["urgent"]["auc"]["value"], sexes["X"]["urgent"]["auc"]["note"]) == (None, "too few")


def test_a_film_may_say_nothing_of_its_subgroup(tmp_path: Path) -> None:
    """JSON lines need not all have the same keys: a film without a sex is in no group of it."""
    films = [{"file": f"{number}.png", "score": number / 9} for number in range(4)]
    labels = [{"file": f"{number}.png", "urgent": number % 2, "sex": "F"} for number in range(3)]
    labels.append({"file": "3.png", "urgent": 1})
    result = evaluate_lines(tmp_path, films, labels)
    assert result["subgroups"]["sex"]["F"]["urgent"]["n"] == 3


def test_the_sites_threshold_is_told_where_it_made_the_calls(tmp_path: Path) -> None:
    """The threshold beside the figures of Urgent and Non-Urgent is that of the prediction, not of the model's card."""
    sha256 = hashlib.sha256((WEIGHTS / "embedded.json").read_bytes()).hexdigest()
    films = [
        {"file": f"{number}.png", "score": score, "threshold": 0.7, "label": label, "model": {"sha256": sha256}}
        for number, (score, label) in enumerate([(0.6, "Non-Urgent"), (0.8, "Urgent")])
    ]
    labels = [{"file": f"{number}.png", "urgent": number} for number in range(2)]
    assert evaluate_lines(tmp_path, films, labels)["targets"]["urgent"]["operating_point"]["threshold"] == 0.7


def evaluate_lines(folder: Path, films: Iterable[object], labels: Iterable[object]) -> dict[str, Any]:
    """The figures of predictions and labels, written as JSON lines."""
    for name, rows in (("films.jsonl", films), ("labels.jsonl", labels)):
        (folder / name).write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return evaluate_files(folder / "films.jsonl", folder / "labels.jsonl", prevalence={}, plots=None)


def test_same_files_give_the_same_numbers(tmp_path: Path) -> None:
    """The bootstrap is seeded: two runs agree to the last digit."""
    assert evaluated(tmp_path) == evaluated(tmp_path)


def test_people_get_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tables name what was left out and what is not defined, and fit into 80 columns without cutting a number."""
    monkeypatch.setenv("COLUMNS", "80")
    print_evaluation(evaluated(tmp_path), as_json=False)
    text = capsys.readouterr().out
    assert "In one file alone: predictions 1, labels 1 (--json names them)" in text.splitlines()
    assert "lonely.png" not in text
    for words in (
        "coverage 99.0%",
        "out of scope: 1 (out/000.dcm)",
        "Why: why 2",
        "these films",
        "too few",
        "not stated",
        "No labelled film",
        "Threshold",
        "Intercept",
    ):
        assert words in text
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
