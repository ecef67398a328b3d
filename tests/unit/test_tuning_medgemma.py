"""A site's adapter on MedGemma, trained on a stand-in and on films with something planted."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset

from imaging.radiograph import read_radiograph
from models.checkpoints.known import MEDGEMMA
from models.checkpoints.manifest import read_manifest
from models.embedded.scorer import EmbeddedScorer
from models.fitting.films import read_usable
from models.gates.scorer import GatedScorer, Gates
from models.medgemma.adapter import read_adapter, read_adapter_in
from models.medgemma.answer import read_answer
from models.medgemma.film import show_film
from models.medgemma.in_process import NOT_IN_4_BITS, InProcessModel, load_weights
from models.medgemma.prompt import load_prompt
from models.medgemma.question import Patience
from models.training.lessons import Lesson, make_lessons
from models.training.recipes import read_recipe
from models.training.simulated import PLANTED, plant_films, write_labels
from tests.faults.disks import NotPossibleHere, SmallDisk
from tests.licensed import require_models
from worklist.errors import InvalidInput, ModelUnavailable, PermanentError
from worklist.finding import Analysis
from worklist.scope import ScopeRules

require_models()

from transformers.quantizers.quantizers_utils import should_convert_module  # noqa: E402 - it needs the extra

from models.training.lora import LoraRecipe, Trained, train  # noqa: E402 - the same
from models.training.medgemma import RECIPE, main  # noqa: E402 - the same

STEPS = 6
CHANGES = {
    "rank = 16": "rank = 8",
    "(q|k|v|o|gate|up|down)_proj": "(o|down)_proj",
    "learning_rate = 2e-4": "learning_rate = 3e-2",
    "epochs = 2": "epochs = 3",
    "batch = 8": "batch = 2",
    "max_gradient = 0.3": "max_gradient = 5.0",
    "checkpoint_every = 25": "checkpoint_every = 2",
    "judged_answers = 20": "judged_answers = 1",
}
"""To the shipped recipe: random weights learn in a few large steps."""


def rows_of(labels: Path) -> list[list[str]]:
    """The rows of a file of labels, without the heading."""
    with labels.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels of six films, which lie in films/ beside them; the last two judge."""
    return plant_films(tmp_path_factory.mktemp("site"), teaching=4, judging=2)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe for the stand-in."""
    text = RECIPE.read_text(encoding="utf-8")
    for before, after in CHANGES.items():
        assert before in text
        text = text.replace(before, after)
    file = tmp_path_factory.mktemp("recipe") / "medgemma.toml"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def tuned(stand_ins: Path, labels: Path, recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command wrote."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FIRSTREAD_MODEL_DIR", str(stand_ins))
        assert main([str(labels.parent / "films"), str(labels), str(out), "--recipe", str(recipe)]) == 0
    return out


@pytest.fixture(scope="module")
def lessons(labels: Path) -> list[Lesson]:
    """What the command teaches of these films."""
    scorer = GatedScorer(EmbeddedScorer())

    def look(_: bytes, read: Callable[[], Dataset], __: Gates) -> Analysis:
        return scorer.score(read_radiograph(read()))

    films = read_usable(labels.parent / "films", labels, look, ScopeRules(), lambda files: files)
    reports = {row[0]: row[5] for row in rows_of(labels)}
    made = make_lessons(films.listed, films.looked, reports, scorer, load_prompt())
    return [lesson for lesson in made if isinstance(lesson, Lesson)]


def test_what_is_taught_is_learned(tuned: Path) -> None:
    """The loss falls, also on films of patients who taught nothing, and the card states it beside what was judged."""
    losses = json.loads((tuned / "adapter.json").read_text(encoding="utf-8"))["losses"]
    assert len(losses["steps"]) == STEPS
    assert losses["steps"][-1] < 0.8 * losses["steps"][0]
    assert losses["judging_after"] < 0.8 * losses["judging_before"]
    text = (tuned / "card.md").read_text(encoding="utf-8")
    assert f"{losses['judging_before']} before, {losses['judging_after']} after {STEPS} steps" in text
    assert "Of 1 films that judge" in text
    assert not (tuned / "training.pt").exists()


def test_the_explainer_loads_the_adapter_beside_the_checkpoint(
    stand_ins: Path, lessons: list[Lesson], tuned: Path, tmp_path: Path
) -> None:
    """Its digest is in the model's identity, and its answer keeps to the schema."""
    folder = Path(shutil.copytree(stand_ins / "medgemma", tmp_path / "medgemma"))
    shutil.copytree(tuned, folder / "adapter")
    manifest = read_manifest(folder, MEDGEMMA)
    adapter = read_adapter(folder, manifest)
    assert adapter
    model = InProcessModel(folder)
    assert model.algorithm.version == f"stand-in, bfloat16, adapter {adapter.sha256[:7]}"
    assert model.algorithm.sha256 not in {manifest.sha256, adapter.sha256}
    answer = model.answer(lessons[0].asked(), Patience(until=float("inf"), why_unwanted=lambda: ""))
    assert read_answer(answer, load_prompt(), show_film(lessons[0].radiograph())).explanation


def test_a_run_that_a_full_disk_stopped_goes_on_to_the_same_adapter(
    stand_ins: Path, lessons: list[Lesson], recipe: Path, tuned: Path, tmp_path: Path
) -> None:
    """It ends in one line; with space again it begins at the last checkpoint, and learns what it would have learned."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        disk = SmallDisk(folder, 8)
    except NotPossibleHere as reason:
        pytest.skip(str(reason))
    begun: list[int] = []

    def run(shown: Callable[[Sequence[int]], Iterable[int]], made_of: str = "a digest") -> Trained:
        return train(
            load_weights(stand_ins / "medgemma", precision="bfloat16", threads=1),
            lessons,
            read_recipe(recipe, LoraRecipe),
            base="a stand-in",
            checkpoint=folder / "out" / "training.pt",
            made_of=made_of,
            shown=shown,
        )

    def filling(steps: Sequence[int]) -> Iterator[int]:
        for step in steps:
            if step == 3:
                disk.fill()
            yield step

    def noting(steps: Sequence[int]) -> Sequence[int]:
        begun.extend(steps[:1])
        return steps

    try:
        with pytest.raises(PermanentError, match="is full: free some space and run the same command again"):
            run(filling)
        disk.free()
        with pytest.raises(InvalidInput, match="of other films, labels, weights or another recipe"):
            run(noting, made_of="another digest")
        went_on = run(noting)
    finally:
        disk.close()
    assert begun == [2]
    uninterrupted = json.loads((tuned / "adapter.json").read_text(encoding="utf-8"))
    assert list(went_on.progress.losses) == uninterrupted["losses"]["steps"]
    assert hashlib.sha256(went_on.weights).hexdigest() == uninterrupted["files"]["adapter_model.safetensors"]


def test_four_bits_are_for_the_language_model_alone(stand_ins: Path) -> None:
    """What sees the film, and what chooses the words, keep their 16 bits; nothing else does."""
    model = load_weights(stand_ins / "medgemma", precision="bfloat16", threads=1).model
    layers = [name for name, layer in model.named_modules() if type(layer).__name__ == "Linear"]
    assert any("vision_tower" in name for name in layers)
    for name in layers:
        assert should_convert_module(name, NOT_IN_4_BITS) is ("language_model" in name), name


def test_an_adapter_of_something_else_is_refused(stand_ins: Path, tuned: Path, tmp_path: Path) -> None:
    """One of another checkpoint, and one whose weights were cut: each in one line that says so."""
    manifest = read_manifest(stand_ins / "medgemma", MEDGEMMA)
    with pytest.raises(ModelUnavailable, match=r"holds no adapter of this checkpoint .the checkpoint has SHA-256"):
        read_adapter_in(tuned, replace(manifest, files={}))
    cut = Path(shutil.copytree(tuned, tmp_path / "adapter"))
    weights = cut / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(ModelUnavailable, match=r"adapter_model.safetensors has SHA-256"):
        read_adapter_in(cut, manifest)


def test_a_worker_without_the_library_says_what_to_install(
    stand_ins: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter is never passed over in silence."""
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelUnavailable, match=r"pip install 'firstread\[tuning\]'"):
        InProcessModel(stand_ins / "medgemma", adapter_in=tuned)


def test_what_teaches_nothing_is_refused_in_one_line(  # noqa: PLR0913, PLR0917 - fixtures
    stand_ins: Path,
    labels: Path,
    tuned: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    """Films without labels, labels without films, one class, a bad recipe, an adapter that is there: exit 2."""
    monkeypatch.setenv("FIRSTREAD_MODEL_DIR", str(stand_ins))
    films, rows = labels.parent / "films", rows_of(labels)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("rank = 8\n", encoding="utf-8")
    strangers = write_labels(tmp_path / "strangers.csv", [[f"x{row[0]}", *row[1:]] for row in rows], PLANTED)
    sick = write_labels(tmp_path / "sick.csv", [[*row[:2], 1, 1, *row[4:]] for row in rows], PLANTED)
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    for films_given, given, folder, more, words in (
        (empty, labels, out, [], "holds no DICOM, PNG or JPEG file"),
        (films, tmp_path / "nowhere.csv", out, [], "is no readable text file"),
        (films, strangers, out, [], "has a label in"),
        (films, sick, out, [], "says the same of every film that can be used (urgent, pneumonia)"),
        (films, labels, out, ["--recipe", str(recipe)], "is no recipe"),
        (films, labels, tuned, [], "holds an adapter already"),
    ):
        with subtests.test(words):
            caplog.clear()
            assert main([str(films_given), str(given), str(folder), *more]) == 2
            (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert words in line
            assert "\n" not in line
