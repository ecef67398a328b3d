"""Training of the embedded network, on films made here; skipped where the extra `training` is not installed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch", reason="the extra `training` is not installed")
pytest.importorskip("tqdm", reason="the extra `training` is not installed")

from models.training.archive import LATERAL
from models.training.config import Recipe, load_recipe
from models.training.films import COLUMNS, Films, load
from models.training.fitting import Fit, build, predict

CONFIG = Path(__file__).parents[2] / "models" / "training" / "config.toml"


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The recipe, shrunk until an epoch takes a second."""
    whole = load_recipe(CONFIG)
    return replace(
        whole,
        films=replace(whole.films, cached_px=32, chosen_source="chosen", kept_negatives=1.0),
        network=replace(whole.network, network_px=32),
        fit=replace(whole.fit, epochs=2, batch=8, mixup=0.4, threads=1),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen films and their manifest; every other one is bright and urgent, one is named as a lateral one."""
    folder = tmp_path_factory.mktemp("films")
    draw = np.random.default_rng(0)
    names = [*(f"{number}.jpg" for number in range(16)), min(LATERAL)]
    (folder / "nih_128").mkdir()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        header = ["file", "split", "source", "view", "sex", "patient", *COLUMNS.values()]
        rows = csv.DictWriter(stream, header)
        rows.writeheader()
        for number, name in enumerate(names):
            grey = draw.integers(0, 60, (40, 30)) + 150 * (number % 2)
            Image.fromarray(grey.astype(np.uint8)).save(folder / name)
            labels = dict.fromkeys(COLUMNS.values(), number % 2)
            source = "chosen" if number < 4 else "other"
            known = {"source": source, "view": "PA", "sex": "F", "patient": number}
            rows.writerow({"file": name, "split": "train", **known, **labels})
    return folder


@pytest.fixture(scope="module")
def films(folder: Path, recipe: Recipe) -> Films:
    """The films as the training sees them."""
    return load(folder, folder / "manifest.csv", "train", recipe.films)


@pytest.fixture(scope="module")
def weights(recipe: Recipe) -> dict[str, Any]:
    """Random weights in the place of those of ImageNet."""
    state = dict(build(recipe.network).state_dict())
    state["_conv_stem.weight"] = state["_conv_stem.weight"].repeat(1, 3, 1, 1) / 3
    return {key: value for key, value in state.items() if not key.startswith("_classifier.")}


def test_wrongly_stored_films_are_left_out(films: Films) -> None:
    """A film that the archive stores wrongly is not learned from."""
    assert len(films) == 16


def test_labels_of_the_chosen_collection_are_masked_or_shifted(films: Films, recipe: Recipe) -> None:
    """Where the collection was chosen by label, the masked labels leave the loss and no others do."""
    masked = [list(COLUMNS).index(key) for key in recipe.films.masked_keys]
    assert not films.believed[:4, masked].any()
    assert films.believed[4:].all()
    assert films.believed.sum() == films.believed.size - 4 * len(masked)


def test_a_teacher_is_trained_by_the_recipe_but_for_its_changes(recipe: Recipe) -> None:
    """What a teacher does not name is as in the recipe, and it has no teachers of its own."""
    for teacher in recipe.teachers.each:
        own = recipe.of(teacher).as_dict()
        assert own.pop("teachers")["each"] == []
        for section, values in own.items():
            assert values == recipe.as_dict()[section] | dict(teacher.changes.get(section, {}))


def test_the_chosen_collection_is_known(films: Films) -> None:
    """The films of the collection chosen by label can be left out."""
    assert films.chosen.tolist() == [True] * 4 + [False] * 12
    assert not films.subset(~films.chosen).offset.any()


def test_resumed_run_ends_as_an_uninterrupted_one(
    recipe: Recipe, films: Films, weights: dict[str, Any], tmp_path: Path
) -> None:
    """A run that was stopped after an epoch and resumed gives the same network to the last bit."""
    whole = Fit(recipe, films, 1, weights)
    whole.run(tmp_path / "whole.pt", lambda _: None)
    first = Fit(recipe, films, 1, weights)

    def stop(_: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "stopped.pt", stop)
    second = Fit(recipe, films, 1, weights)
    second.resume(tmp_path / "stopped.pt")
    assert second.epoch == 1
    second.run(tmp_path / "stopped.pt", lambda _: None)
    assert np.array_equal(predict(whole.averaged, films), predict(second.averaged, films))


def test_teachers_are_followed_where_labels_are_not_believed(
    recipe: Recipe, films: Films, weights: dict[str, Any], tmp_path: Path
) -> None:
    """With every label masked, the network goes where the teachers say."""
    blind = replace(films, believed=np.zeros_like(films.believed))
    logits = []
    for probability in (0.0, 1.0):
        fit = Fit(recipe, blind, 1, weights, np.full_like(films.labels, probability))
        fit.run(tmp_path / "taught.pt", lambda _: None)
        logits.append(predict(fit.network, films))
    assert (logits[1] > logits[0]).all()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[teachers]", "[pupils]", "sections must be"),
        ("mixup", "mixdown", r"\[fit\] must have exactly"),
        ("kept_negatives = 0.33", "kept_negatives = 0", "share in"),
        ("seed = 2", "seed = 1", "two teachers have one seed"),
        ("augment.flip", "augment.flop", r"teacher 5: \[augment\] must have exactly"),
        ("films.chosen_learned", "films.masked_keys", "may change chosen_learned"),
        ("fit = { ep", "fits = { ep", "a teacher has a seed and changes to sections"),
    ],
)
def test_wrong_recipe_is_refused(before: str, after: str, words: str, tmp_path: Path) -> None:
    """A section or key that is missing, misspelled or out of range is named."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        load_recipe(file)
