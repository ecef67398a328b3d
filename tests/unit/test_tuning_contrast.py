"""What a site's reports teach MedSigLIP, on a stand-in and films with something planted."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from imaging.files import read_image_file
from imaging.radiograph import read_radiograph
from models.medsiglip.contrast import CONTRAST_FILES, read_contrast
from models.medsiglip.probe import PROBE_FILES
from models.medsiglip.prompts import read_prompts
from models.medsiglip.scorer import MedSiglipScorer
from models.training.simulated import PLANTED, plant_films, write_labels
from tests.licensed import require_models
from tests.unit.test_tuning_medsiglip import rows_of
from worklist.errors import ModelUnavailable

require_models()

from models.training.contrast import (  # noqa: E402 - it needs the extra
    ContrastRecipe,
    Floats,
    Pairs,
    common_sentences,
    learn,
    sentences_of,
)
from models.training.medsiglip import main  # noqa: E402 - the same

SICK, WELL = "Bright plate at the right base.", "Nothing lies over the right base. Heart of usual size."
RECIPE = ContrastRecipe(rank=4, rate=1e-2, offset_rate=1e-2, decay=1e-2, films=256, steps=100, every=10, sentences=50)


def units(vectors: npt.NDArray[np.float64]) -> Floats:
    """Vectors (n, D) of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of a site's films with a report on each."""
    planted = plant_films(tmp_path_factory.mktemp("site"), teaching=44, judging=12)
    rows = [[*row[:5], SICK if row[2] == "1" else WELL] for row in rows_of(planted)]
    return write_labels(planted, rows, PLANTED)


@pytest.fixture(scope="module")
def taught(exported_stand_ins: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command wrote."""
    out = tmp_path_factory.mktemp("contrast") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FIRSTREAD_MODEL_DIR", str(exported_stand_ins))
        assert main([str(labels.parent / "films"), str(labels), str(out)]) == 0
    return out


@pytest.fixture
def beside(exported_stand_ins: Path, taught: Path, tmp_path: Path) -> Path:
    """The checkpoint with what was taught beside it."""
    folder = Path(shutil.copytree(exported_stand_ins / "medsiglip", tmp_path / "medsiglip"))
    for name in (*PROBE_FILES, *CONTRAST_FILES, "card.json"):
        shutil.copy(taught / name, folder)
    return folder


def test_films_come_closer_to_what_their_reports_say(taught: Path) -> None:
    """Of patients who taught nothing too: the nearest sentence is the report's more often than without the map."""
    document = json.loads((taught / "contrast.json").read_text(encoding="utf-8"))
    assert document["loss_held_out"]["with"] < document["loss_held_out"]["without"]
    assert (document["n_sentences"], document["n_teaching"], document["n_teaching_patients"]) == (3, 44, 44)
    text = (taught / "card.md").read_text(encoding="utf-8")
    assert "## What the reports taught" in text
    assert "Of 12 films that judge, the nearest of these sentences stands in the report of 100 %, and of 50 %" in text
    assert "| Pneumonia | 6 | " in text
    said = text + json.dumps(document)
    assert not any(sentence in said.lower() for sentence in (*sentences_of(SICK), *sentences_of(WELL)))


def test_the_scorer_puts_the_map_between_film_and_sentences(
    exported_stand_ins: Path, labels: Path, taught: Path, beside: Path
) -> None:
    """A finding that no probe has is asked for by x + x @ down @ up; version, digest and card know of the map."""
    plain, scorer = MedSiglipScorer(exported_stand_ins / "medsiglip"), MedSiglipScorer(beside)
    prompts = read_prompts(beside)
    stated = hashlib.sha256((taught / "contrast.json").read_bytes()).hexdigest()
    assert scorer.algorithm.version.endswith(f", contrast {stated[:7]}")
    assert scorer.card.sha256 == scorer.algorithm.sha256 != plain.algorithm.sha256
    film = read_radiograph(read_image_file(labels.parent / "films" / "055.png"))
    unit = plain.embedding(film)
    with np.load(taught / "contrast.npz") as arrays:
        mapped = unit + unit @ arrays["down"] @ arrays["up"]
    number, nodule = next(one for one in enumerate(prompts.pairs) if one[1].type.key == "nodule")
    logit = plain._sentences.logits(mapped[None])[0, number]  # noqa: SLF001 - what it meets
    before, after = (
        next(found.probability for found in each.score(film).findings if found.type == nodule.type)
        for each in (plain, scorer)
    )
    assert after == pytest.approx(nodule.probability(float(logit)), abs=1e-5)
    assert after != before


def test_a_map_that_is_not_whole_is_refused(beside: Path) -> None:
    """A file that is cut or missing, or a map of another model: one line that says what to do."""
    document, arrays = (beside / name for name in CONTRAST_FILES)
    whole = arrays.read_bytes()

    def without_numbers() -> None:
        document.write_text(json.dumps({"sha256": hashlib.sha256(b"").hexdigest()}), encoding="utf-8")
        arrays.write_bytes(b"")

    spoilt: tuple[Callable[[], object], ...] = (
        lambda: arrays.write_bytes(whole[:-9]), without_numbers, arrays.unlink, document.unlink,
    )  # fmt: skip
    length = MedSiglipScorer(beside)._sentences.directions.shape[1]  # noqa: SLF001
    with pytest.raises(ModelUnavailable, match="for embeddings of 7"):
        read_contrast(beside, 7)
    for spoil in spoilt[:3]:
        spoil()
        with pytest.raises(ModelUnavailable, match="mend or remove both") as refused:
            MedSiglipScorer(beside)
        assert refused.value.code == "contrast_invalid"
        assert "\n" not in refused.value.message
    spoilt[3]()
    assert read_contrast(beside, length) is None


def test_sentences_are_compared_without_marks_and_taught_where_enough_say_them() -> None:
    """One that nobody else writes names a patient perhaps, one that all write tells none apart."""
    assert sentences_of("No  pneumothorax. Effusion!\nHeart size NORMAL") == ["no pneumothorax", "heart size normal"]
    reports = ["Seen by Dr. Who today."] + ["Clear lungs. One view."] * 9 + ["Small effusion. One view."] * 6
    patients = [f"P{number}" for number in range(len(reports))]
    assert common_sentences(reports, patients, 9) == ["clear lungs", "small effusion"]
    assert common_sentences(reports, patients, 1) == ["clear lungs"]
    assert common_sentences(reports, ["P1"] * len(reports), 9) == []


def test_reports_that_say_nothing_of_their_films_teach_nothing() -> None:
    """Of films by chance there is no map; where two directions tell the sentences apart, there is."""
    draw = np.random.default_rng(3)
    says = draw.random((200, 2)) < 0.5
    texts, noise = units(draw.normal(size=(2, 16))), draw.normal(size=(200, 16))
    directions = draw.normal(size=(2, 16))
    patients = [f"P{number}" for number in range(200)]
    by_chance = Pairs(vectors=units(noise), texts=texts, positive=says)
    assert learn(by_chance, patients, 10.0, RECIPE) is None
    shown = Pairs(vectors=units(noise + 3 * says @ directions), texts=texts, positive=says)
    learned = learn(shown, patients, 10.0, RECIPE)
    assert learned is not None
    assert learned.loss < 0.8 * learned.without
