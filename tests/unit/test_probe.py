"""The linear probe, on embeddings in which the signal is planted."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.evaluation import measure
from models.evaluation.measure import OUTPUTS
from models.training.probe import Embeddings, Examples, Probe, fit, judge, main, read_embeddings, read_examples
from worklist.errors import InvalidInput

LENGTH = 24
COLUMNS = ("Pneumothorax", "Effusion", "Consolidation", "Pneumonia", "Cardiomegaly", "Edema", "urgent6")
PNEUMOTHORAX, EFFUSION = 0, 1

Rows = list[dict[str, str]]
Change = Callable[[Rows, dict[str, Any]], object]


def planted(films: int, seed: int, *, strength: float = 1.5, prevalence: float = 0.35) -> Examples:
    """Two films a patient; each output moves the embedding along an axis of its own, by `strength` sigma."""
    generator = np.random.default_rng(seed)
    truth = (generator.random((films, len(OUTPUTS))) < prevalence).astype(float)
    vectors = generator.normal(size=(films, LENGTH))
    vectors[:, : len(OUTPUTS)] += strength * truth
    # Encoders give components of very different sizes, none around zero.
    vectors = vectors * np.geomspace(0.01, 100, LENGTH) + 3
    return Examples(
        vectors=vectors.astype(np.float32),
        truth=truth,
        patient=np.array([f"{seed}-{film // 2}" for film in range(films)]),
    )


def areas(probe: Probe, val: Examples) -> NDArray[np.float64]:
    """The AUC of each head."""
    return np.array([measure.auc(*pair) for pair in zip(val.truth.T, probe.logits(val.vectors).T, strict=True)])


@pytest.fixture(scope="module")
def clean() -> tuple[Examples, Examples, Probe, list[dict[str, Any]]]:
    """Planted films of both splits, and the heads fitted on them."""
    train, val = planted(600, 1), planted(300, 2)
    probe, _ = fit(train)
    return train, val, probe, judge(probe, val)


def write_files(folder: Path, changes: Change = lambda *_: None) -> list[str]:
    """Embeddings and a manifest of 120 films, 80 to train and 40 of val; the arguments of the command line."""
    splits = {"train": planted(80, 3), "val": planted(40, 4)}
    rows = [
        {"file": f"{split}/{number}.png", "split": split, "source": "a hospital", "patient": str(patient)}
        | {column: f"{value:.0f}" for column, value in zip(COLUMNS, truth, strict=True)}
        for split, films in splits.items()
        for number, (patient, truth) in enumerate(zip(films.patient, films.truth, strict=True))
    ]
    arrays: dict[str, Any] = {
        "files": np.array([row["file"] for row in rows]),
        "embeddings": np.concatenate([films.vectors for films in splits.values()]),
    }
    changes(rows, arrays)
    np.savez(folder / "embeddings.npz", **arrays)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    names = {"embeddings": "embeddings.npz", "manifest": "manifest.csv", "out": "out"}
    return [part for option, name in names.items() for part in (f"--{option}", str(folder / name))]


def test_recovers_the_planted_signal(clean: tuple[Examples, Examples, Probe, list[dict[str, Any]]]) -> None:
    """Each head ranks val as well as the planted shift allows, and its interval holds that AUC."""
    _, val, probe, outputs = clean
    ideal = 0.8556  # Phi(1.5 / sqrt 2): two unit normals 1.5 apart
    assert [output["key"] for output in outputs] == list(OUTPUTS)
    assert [output["auc"] for output in outputs] == pytest.approx(areas(probe, val), abs=1e-4)
    assert areas(probe, val) == pytest.approx(ideal, abs=0.06)
    assert areas(probe, val).mean() == pytest.approx(ideal, abs=0.03)
    assert all(output["auc_ci95"][0] < output["auc"] < output["auc_ci95"][1] for output in outputs)


def test_without_signal_finds_none() -> None:
    """Embeddings that say nothing of the labels rank val no better than chance."""
    probe, _ = fit(planted(300, 5, strength=0))
    assert areas(probe, planted(300, 6, strength=0)).mean() == pytest.approx(0.5, abs=0.05)


def test_tolerates_wrong_labels(clean: tuple[Examples, Examples, Probe, list[dict[str, Any]]]) -> None:
    """One wrong label in five on train costs little on val."""
    train, val, probe, _ = clean
    wrong = np.random.default_rng(7).random(train.truth.shape) < 0.2
    noisy = Examples(vectors=train.vectors, truth=np.abs(train.truth - wrong), patient=train.patient)
    assert areas(fit(noisy)[0], val).mean() > areas(probe, val).mean() - 0.05


def test_calibrates_on_val(clean: tuple[Examples, Examples, Probe, list[dict[str, Any]]]) -> None:
    """Where val has another prevalence than train, probabilities follow val."""
    _, _, probe, _ = clean
    rare = planted(400, 8, prevalence=0.1)
    for number, output in enumerate(judge(probe, rare)):
        calibration = measure.Calibration(scale=output["scale"], bias=output["bias"])
        probability = calibration(probe.logits(rare.vectors)[:, number])
        assert probability.mean() == pytest.approx(rare.truth[:, number].mean(), abs=0.005)
        assert output["ece"] < 0.06


def test_thresholds_are_operating_points_of_val(
    clean: tuple[Examples, Examples, Probe, list[dict[str, Any]]],
) -> None:
    """On val the thresholds give the sensitivity and the specificity that they are named for."""
    _, val, probe, outputs = clean
    for number, output in enumerate(outputs):
        positive = val.truth[:, number] > 0
        calibration = measure.Calibration(scale=output["scale"], bias=output["bias"])
        probability = calibration(probe.logits(val.vectors)[:, number]).round(4)
        sensitive, specific = (output[f"threshold_{name}_95"] for name in ("sensitivity", "specificity"))
        assert np.mean(probability[positive] >= round(sensitive, 4)) == pytest.approx(0.95, abs=0.02)
        assert np.mean(probability[~positive] < round(specific, 4)) == pytest.approx(0.95, abs=0.02)
        if output["key"] == "urgent":
            assert sensitive < output["threshold"] < specific
        else:
            assert output["threshold"] == specific


def test_holds_whole_patients_out() -> None:
    """What only tells patients apart cross-validates at chance, for no patient is on both sides of a fold."""
    generator = np.random.default_rng(9)
    patient = np.repeat(np.arange(60), 6)
    truth = np.tile((generator.random((60, 1)) < 0.5).astype(float), len(OUTPUTS))[patient]
    fingerprints = generator.normal(size=(60, 200))[patient] + 0.1 * generator.normal(size=(360, 200))
    train = Examples(vectors=fingerprints.astype(np.float32), truth=truth, patient=patient.astype(str))
    _, choices = fit(train)
    assert all(choice["auc_cross_validated"] < 0.65 for choice in choices)


def test_an_unknown_label_is_left_out(clean: tuple[Examples, Examples, Probe, list[dict[str, Any]]]) -> None:
    """A label that is not known neither teaches its output nor judges it, and leaves the other outputs alone."""
    train, val, probe, outputs = clean
    unknown = train.truth.copy()
    unknown[::3, PNEUMOTHORAX] = np.nan
    judged = val.truth.copy()
    judged[:100, PNEUMOTHORAX] = np.nan
    other, _ = fit(Examples(vectors=train.vectors, truth=unknown, patient=train.patient))
    figures = judge(probe, Examples(vectors=val.vectors, truth=judged, patient=val.patient))
    assert not np.array_equal(other.coef[PNEUMOTHORAX], probe.coef[PNEUMOTHORAX])
    assert np.array_equal(other.coef[EFFUSION:], probe.coef[EFFUSION:])
    assert figures[PNEUMOTHORAX]["n_positive"] == np.nansum(judged[:, PNEUMOTHORAX])
    assert figures[EFFUSION:] == outputs[EFFUSION:]


def test_the_files_say_what_was_measured(tmp_path: Path) -> None:
    """Two runs write the same bytes, and a loader that follows the docstring finds the AUC that the JSON states."""
    arguments = write_files(tmp_path)
    written = []
    for _ in range(2):
        assert main(arguments) == 0
        written.append([(tmp_path / "out" / f"probe.{kind}").read_bytes() for kind in ("npz", "json")])
    assert written[0] == written[1]
    card = json.loads(written[0][1])
    assert card["sha256"] == hashlib.sha256(written[0][0]).hexdigest()
    assert card["data"] | {"n_train": 80, "n_train_patients": 40, "n_calibration": 40} == card["data"]
    with np.load(tmp_path / "out" / "probe.npz") as arrays:
        heads = {name: arrays[name] for name in ("mean", "scale", "coef", "intercept")}
    assert {array.dtype for array in heads.values()} == {np.dtype(np.float32)}
    val = read_examples(read_embeddings(tmp_path / "embeddings.npz"), tmp_path / "manifest.csv")["val"]
    logits = (val.vectors - heads["mean"]) / heads["scale"] @ heads["coef"].T + heads["intercept"]
    for number, output in enumerate(card["outputs"]):
        assert output["auc"] == pytest.approx(measure.auc(val.truth[:, number], logits[:, number]), abs=1e-4)


def test_reads_names_beside_an_npy(tmp_path: Path) -> None:
    """A bare array takes the names of its films from the text file beside it."""
    vectors = np.arange(6.0, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "encoded.npy", vectors)
    (tmp_path / "encoded.txt").write_text("a.png\nb.png\nc.png\n", encoding="utf-8")
    read = read_embeddings(tmp_path / "encoded.npy")
    assert list(read.files) == ["a.png", "b.png", "c.png"]
    assert np.array_equal(read.vectors, vectors)


def test_leaves_a_source_out_of_one_output_on_train_only(tmp_path: Path) -> None:
    """Films of a source that is left out lose that one label on train, and keep it on val."""

    def change(rows: Rows, _: object) -> None:
        for row in rows[::2]:
            row["source"] = "chosen by label"

    write_files(tmp_path, change)
    embeddings = read_embeddings(tmp_path / "embeddings.npz")
    examples = read_examples(embeddings, tmp_path / "manifest.csv", [("pneumothorax", "chosen")])
    unknown = np.isnan(examples["train"].truth)
    assert unknown[::2, PNEUMOTHORAX].all()
    assert unknown.sum() == 40
    assert not np.isnan(examples["val"].truth).any()


def _drop_names(_: Rows, arrays: dict[str, Any]) -> None:
    del arrays["files"]


def _flatten(_: Rows, arrays: dict[str, Any]) -> None:
    arrays["embeddings"] = arrays["embeddings"].ravel()


def _spoil(_: Rows, arrays: dict[str, Any]) -> None:
    arrays["embeddings"][5, 3] = np.nan


def _repeat(_: Rows, arrays: dict[str, Any]) -> None:
    arrays["files"][1] = arrays["files"][0]


def _drop_row(rows: Rows, _: object) -> None:
    rows.pop()


def _drop_split(rows: Rows, _: object) -> None:
    for row in rows:
        del row["split"]


def _all_train(rows: Rows, _: object) -> None:
    for row in rows:
        row["split"] = "train"


def _share_patient(rows: Rows, _: object) -> None:
    rows[-1]["patient"] = rows[0]["patient"]


def _no_effusion_to_learn(rows: Rows, _: object) -> None:
    for row in rows[8:80]:
        row["Effusion"] = "0"


def _no_edema_to_judge(rows: Rows, _: object) -> None:
    for row in rows[80:]:
        row["Edema"] = "0"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_drop_names, "gives no embeddings"),
        (_flatten, r"embeddings \(2880,\) for 120 names"),
        (_spoil, "no finite numbers"),
        (_repeat, "names a film twice"),
        (_drop_row, r"no row for val/39\.png and 0 more"),
        (_drop_split, "no column split"),
        (_all_train, "split val"),
        (_share_patient, "3-0 and 0 more are in train and in val"),
        (_no_effusion_to_learn, "patients with pleural_effusion"),
        (_no_edema_to_judge, "0 of 40 films with pulmonary_edema"),
    ],
)
def test_refuses_what_it_cannot_use(tmp_path: Path, change: Change, message: str) -> None:
    """Unusable input is refused with one line that names what is wrong."""

    def run() -> None:
        examples = read_examples(read_embeddings(tmp_path / "embeddings.npz"), tmp_path / "manifest.csv")
        judge(fit(examples["train"])[0], examples["val"])

    write_files(tmp_path, change)
    with pytest.raises(InvalidInput, match=message) as refused:
        run()
    assert "\n" not in refused.value.message


def test_the_command_line_says_what_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The command ends with 2 and one line, and writes nothing, where the input cannot be used."""
    assert main([*write_files(tmp_path), "--leave-out", "edema=a hospital"]) == 2
    assert [record.message for record in caplog.records if "'edema'" in record.message]
    assert not (tmp_path / "out").exists()


def test_refuses_a_file_that_is_no_array(tmp_path: Path) -> None:
    """A file that is no array at all is refused by name."""
    (tmp_path / "x.npz").write_text("no array", encoding="utf-8")
    with pytest.raises(InvalidInput, match=r"x\.npz"):
        read_embeddings(tmp_path / "x.npz")


def test_embeddings_of_some_films_will_do(tmp_path: Path) -> None:
    """Films of the manifest without an embedding are left aside."""
    write_files(tmp_path)
    whole = read_embeddings(tmp_path / "embeddings.npz")
    some = Embeddings(files=whole.files[10:100], vectors=whole.vectors[10:100])
    examples = read_examples(some, tmp_path / "manifest.csv")
    assert (len(examples["train"].vectors), len(examples["val"].vectors)) == (70, 20)
