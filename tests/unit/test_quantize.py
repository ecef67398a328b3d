"""The comparison with int8, on the shipped network."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from imaging.geometry import fit_square
from imaging.simulated.phantom import simulate_film
from models.embedded.scorer import WEIGHTS
from models.evaluation.films import FINDINGS
from models.evaluation.measure import OUTPUTS
from models.training.quantize import Variant, compare_int8, quantize, scoring_alone
from worklist.errors import InvalidInput, ModelUnavailable

NIH = Path(__file__).parents[2] / ".." / "shared" / "data" / "nih"
COLUMNS = ("Pneumothorax", "Effusion", "Consolidation", "Pneumonia", "Cardiomegaly", "Edema", "urgent6")

Greys = NDArray[np.float32]


def films(count: int, seed: int) -> list[Greys]:
    """Small simulated films, each of another patient, healthy or with one of the findings in turn."""
    kinds = [None, *FINDINGS]
    simulated = [
        simulate_film(seed + number, finding=kinds[number % len(kinds)], rows=256, columns=210)
        for number in range(count)
    ]
    return [(film / 4095).astype(np.float32) for film in simulated]


def network_logits(file: Path, squares: Greys) -> Greys:
    """Logits (N, 7) of squares (N, 1, S, S)."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"film": squares})[0])


@pytest.fixture(scope="module")
def scoring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network that scores, of the shipped file."""
    return scoring_alone(WEIGHTS / "embedded.onnx", tmp_path_factory.mktemp("scoring"))


@pytest.fixture(scope="module")
def squares(scoring: Path) -> Greys:
    """Simulated films as the network takes them, (16, 1, S, S)."""
    session = onnxruntime.InferenceSession(scoring, providers=["CPUExecutionProvider"])
    return np.stack([fit_square(film, session.get_inputs()[0].shape[-1])[0] for film in films(16, 1)])[:, None]


@pytest.fixture(scope="module")
def int8(scoring: Path, squares: Greys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped network in int8."""
    file = tmp_path_factory.mktemp("int8") / "int8.onnx"
    quantize(scoring, squares, file)
    return file


def test_every_convolution_is_in_int8(int8: Path) -> None:
    """Each convolution takes weights that are stored in int8, a scale a channel."""
    graph = onnx.load(int8).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    sources = {node.output[0]: node for node in graph.node}
    convolutions = [node for node in graph.node if node.op_type == "Conv"]
    assert len(convolutions) > 10
    for node in convolutions:
        source = sources[node.input[1]]
        values, scale = (weights[name] for name in source.input[:2])
        assert source.op_type == "DequantizeLinear"
        assert values.data_type == onnx.TensorProto.INT8
        assert scale.dims[0] == values.dims[0]


def test_the_logits_stay(int8: Path, scoring: Path, squares: Greys) -> None:
    """On the films that set the ranges, logits in int8 differ by little of what tells films apart, and not on average.

    Ranges taken before ReLU6 would break the bounds.
    """
    exact, rounded = (network_logits(file, squares) for file in (scoring, int8))
    assert np.all(np.abs(rounded - exact).mean(axis=0) < 0.4 * exact.std(axis=0))
    for number, key in enumerate(OUTPUTS):
        assert np.corrcoef(exact[:, number], rounded[:, number])[0, 1] > 0.9, key
    assert np.abs((rounded - exact).mean(axis=0)).max() < 1e-3
    assert not np.array_equal(exact, rounded)


def test_ranges_come_from_the_calibration_films(int8: Path, scoring: Path, squares: Greys, tmp_path: Path) -> None:
    """Ranges from blank films do not fit others: the logits go further wrong."""
    quantize(scoring, np.zeros_like(squares), tmp_path / "blank.onnx")
    exact, fitted, blank = (network_logits(file, squares) for file in (scoring, int8, tmp_path / "blank.onnx"))
    assert np.abs(blank - exact).mean() > 2 * np.abs(fitted - exact).mean()


def test_the_same_films_give_the_same_file(int8: Path, scoring: Path, squares: Greys, tmp_path: Path) -> None:
    """Quantizing again writes the same bytes."""
    quantize(scoring, squares, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == int8.read_bytes()


def test_judges_both_on_the_same_films(scoring: Path) -> None:
    """Copies of two films, labelled apart, are ranked all right or all wrong, and an absent class has no figure."""
    first, second = films(2, 30)
    truth = np.repeat([[True], [False]], 3, axis=0) & np.ones(len(OUTPUTS), np.bool_)
    truth[:, 0] = True
    judged = compare_int8(WEIGHTS, films(4, 20), [first] * 3 + [second] * 3, truth)
    assert (judged.n_calibration, judged.n_val) == (4, 6)
    for variant in (judged.float32, judged.int8):
        assert math.isnan(variant.auc["pneumothorax"])
        assert {variant.auc[key] for key in OUTPUTS[1:]} <= {0.0, 0.5, 1.0}
        assert variant.p50_ms > 0
    assert judged.float32.file_mb == scoring.stat().st_size / 1e6
    assert judged.int8.file_mb < judged.float32.file_mb
    assert judged.urgent_difference == judged.int8.auc["urgent"] - judged.float32.auc["urgent"]


def test_the_mean_leaves_out_urgent_and_what_val_lacks() -> None:
    """The mean is that of the findings of which val has both classes."""
    areas = dict(zip(OUTPUTS, (math.nan, 0.5, 0.6, 0.7, 0.8, 0.9, 0.1), strict=True))
    assert Variant(auc=areas, file_mb=1, p50_ms=1).mean_of_findings == pytest.approx(0.7)


@pytest.mark.parametrize(
    ("calibration", "val", "labels", "code"),
    [
        (0, 1, (1, 7), "no_films"),
        (1, 0, (0, 7), "no_films"),
        (1, 1, (2, 7), "bad_labels"),
        (1, 1, (1, 6), "bad_labels"),
    ],
)
def test_refuses_films_that_do_not_fit(calibration: int, val: int, labels: tuple[int, int], code: str) -> None:
    """Without films, or with labels of other films or outputs, nothing is compared."""
    with pytest.raises(InvalidInput) as refused:
        compare_int8(WEIGHTS, films(calibration, 1), films(val, 2), np.zeros(labels, np.bool_))
    assert refused.value.code == code


def test_refuses_weights_that_are_not_those_of_their_json(tmp_path: Path) -> None:
    """A figure for the card is never taken from weights that the product would not load."""
    for name in ("embedded.json", "embedded.onnx"):
        shutil.copy(WEIGHTS / name, tmp_path)
    with (tmp_path / "embedded.onnx").open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        compare_int8(tmp_path, films(1, 1), films(1, 2), np.zeros((1, 7), np.bool_))


def test_int8_ranks_real_films_as_float32_does() -> None:
    """On val at 512 px the AUC of urgent and the mean of the findings stay within 0.01 of float32's."""
    if not (NIH / "manifest.csv").exists():
        pytest.skip("the films of ChestX-ray14 are not in ../shared/data/nih")
    with (NIH / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    train = [row for row in rows if row["split"] == "train"]
    train = [train[index] for index in np.random.default_rng(0).permutation(len(train))[:128]]
    val = [row for row in rows if row["split"] == "val" and row["file"].startswith("nih_512")]

    def pixels(row: dict[str, str]) -> Greys:
        with Image.open(NIH / row["file"]) as film:
            return np.asarray(film.convert("L"), np.float32) / np.float32(255)

    truth = np.array([[row[column] == "1" for column in COLUMNS] for row in val])
    judged = compare_int8(WEIGHTS, map(pixels, train), map(pixels, val), truth)
    assert abs(judged.urgent_difference) <= 0.01
    assert abs(judged.mean_difference) <= 0.01
