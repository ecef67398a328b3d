"""The embedded scorer: on networks small enough to know every number, and on the weights that are shipped."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from imaging.geometry import SquareGeometry
from imaging.radiograph import Radiograph
from models import Scorer
from models.embedded.scorer import WEIGHTS, EmbeddedScorer
from models.regions import locate
from worklist.errors import ModelUnavailable
from worklist.finding import (
    MIRRORED_FILM,
    TURNED_FILM,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Side,
)

NIH = Path(__file__).parents[2] / ".." / "shared" / "data" / "nih"
SIZE_PX = 64
CELLS = 16
KINDS = (
    FindingType.PNEUMOTHORAX,
    FindingType.PLEURAL_EFFUSION,
    FindingType.CONSOLIDATION,
    FindingType.PNEUMONIA,
    FindingType.CARDIOMEGALY,
    FindingType.PULMONARY_EDEMA,
)
KEYS = (*(kind.key for kind in KINDS), "urgent")

Greys = npt.NDArray[np.float32]


def write_network(
    folder: Path,
    *,
    gains: Sequence[float] = (1.0,) * 6,
    names: tuple[str, str] = ("logits", "evidence"),
    changes: Callable[[dict[str, Any]], object] = len,
) -> None:
    """A network whose evidence is `gain` times the mean grey of each cell, its mean the logit, urgent their largest."""
    cell = SIZE_PX // CELLS
    weights = np.broadcast_to(np.array(gains, np.float32)[:, None, None, None] / cell**2, (6, 1, cell, cell))
    logits, evidence = names
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["film", "weights"], [evidence], strides=[cell, cell]),
            helper.make_node("ReduceMean", [evidence, "space"], ["means"], keepdims=0),
            helper.make_node("ReduceMax", ["means", "findings"], ["largest"], keepdims=1),
            helper.make_node("Concat", ["means", "largest"], [logits], axis=1),
        ],
        "test",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, ["n", 1, SIZE_PX, SIZE_PX])],
        [
            helper.make_tensor_value_info(logits, TensorProto.FLOAT, ["n", 7]),
            helper.make_tensor_value_info(evidence, TensorProto.FLOAT, ["n", 6, CELLS, CELLS]),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(weights), "weights"),
            numpy_helper.from_array(np.array([2, 3]), "space"),
            numpy_helper.from_array(np.array([1]), "findings"),
        ],
    )
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    card = {
        "name": "test",
        "version": "7",
        "sha256": hashlib.sha256(content).hexdigest(),
        "input_px": SIZE_PX,
        "outputs": [{"key": key, "scale": 0.5, "bias": 0.25, "threshold": 0.5} for key in KEYS],
    }
    changes(card)
    (folder / "embedded.onnx").write_bytes(content)
    (folder / "embedded.json").write_text(json.dumps(card), encoding="utf-8")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> EmbeddedScorer:
    """A scorer to which bright is evidence of everything, in falling order of the findings."""
    folder = tmp_path_factory.mktemp("weights")
    write_network(folder, gains=(60, 50, 40, 30, 20, 10))
    return EmbeddedScorer(folder)


def film_of(pixels: Greys, *codes: str) -> Radiograph:
    """A film of these greys, with quality notes of these codes."""
    image = ImageReference(
        study_instance_uid="1.2.1",
        series_instance_uid="1.2.2",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        sop_instance_uid="1.2.3",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
    )
    return Radiograph(image=image, pixels=pixels, quality=tuple(QualityNote(code=code, message=code) for code in codes))


def spot(rows: int, columns: int, x: float, y: float, *, background: float = 0.2) -> Greys:
    """A grey film with a bright square of a sixth of its longer side, centered at shares (x, y) of its size."""
    pixels = np.full((rows, columns), background, np.float32)
    half = max(rows, columns) // 12
    row, column = int(y * rows), int(x * columns)
    pixels[max(0, row - half) : row + half, max(0, column - half) : column + half] = 1.0
    return pixels


def by_type(analysis: Analysis) -> dict[FindingType, Finding]:
    """The findings of an analysis by their type."""
    return {finding.type: finding for finding in analysis.findings}


def test_it_is_a_scorer(scorer: EmbeddedScorer) -> None:
    """The embedded scorer keeps the protocol."""
    keeps_the_protocol: Scorer = scorer
    assert keeps_the_protocol.algorithm.name == "test"


def test_probabilities_are_calibrated_logits(tmp_path: Path) -> None:
    """Each probability is sigmoid(scale * logit + bias), and the score is that of the urgent output."""

    def calibrate(card: dict[str, Any]) -> None:
        for place, output in enumerate(card["outputs"]):
            output |= {"scale": 0.1 * (place + 1), "bias": -0.2 * place, "threshold": 0.05 * (place + 1)}

    gains = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
    write_network(tmp_path, gains=gains, changes=calibrate)
    analysis = EmbeddedScorer(tmp_path).score(film_of(np.full((80, 80), 0.5, np.float32)))

    def expected(place: int, logit: float) -> float:
        return 1 / (1 + math.exp(-(0.1 * (place + 1) * logit - 0.2 * place)))

    findings = by_type(analysis)
    for place, kind in enumerate(KINDS):
        assert findings[kind].probability == pytest.approx(expected(place, 0.5 * gains[place]), abs=1e-4)
        assert findings[kind].threshold == pytest.approx(0.05 * (place + 1))
    assert analysis.score == pytest.approx(expected(6, 3.0), abs=1e-4)
    assert analysis.threshold == pytest.approx(0.35)


def test_an_analysis_is_complete(scorer: EmbeddedScorer) -> None:
    """An analysis holds all six findings by falling probability, the film's notes, and when and how long it took."""
    before, began = datetime.now(UTC), time.perf_counter()
    analysis = scorer.score(film_of(spot(300, 200, 0.3, 0.5), "low_contrast"))
    probabilities = [finding.probability for finding in analysis.findings]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {finding.type for finding in analysis.findings} == set(KINDS)
    assert [note.code for note in analysis.quality] == ["low_contrast"]
    after, lasted_ms = datetime.now(UTC), (time.perf_counter() - began) * 1000
    assert analysis.completed_at.utcoffset() == before.utcoffset()
    assert analysis.completed_at.microsecond % 1000 == 0
    assert before - timedelta(milliseconds=1) < analysis.completed_at <= after
    assert 0 < analysis.elapsed_ms <= lasted_ms
    assert analysis.scorer == scorer.algorithm


def test_the_same_film_gets_the_same_findings(scorer: EmbeddedScorer) -> None:
    """Scoring twice gives the same numbers and boxes."""
    film = film_of(spot(300, 200, 0.3, 0.5))
    assert scorer.score(film).findings == scorer.score(film).findings


def test_certain_logits_stay_probabilities(tmp_path: Path) -> None:
    """Logits far beyond the range of exp give 1, not an overflow."""
    write_network(tmp_path, gains=(1e6,) * 6)
    assert EmbeddedScorer(tmp_path).score(film_of(spot(80, 80, 0.5, 0.5))).score == 1.0


@settings(max_examples=60, deadline=None)
@given(rows=st.integers(200, 700), columns=st.integers(200, 700), x=st.floats(0.15, 0.85), y=st.floats(0.15, 0.85))
def test_the_box_lies_around_the_evidence(scorer: EmbeddedScorer, rows: int, columns: int, x: float, y: float) -> None:
    """Wherever the evidence of a film of any shape lies, the box lies around it, in pixels of the source image."""
    region = scorer.score(film_of(spot(rows, columns, x, y))).findings[0].region
    assert region is not None
    half, cell = max(rows, columns) // 12, max(rows, columns) / CELLS
    for low, size, center, limit in (
        (region.x, region.width, int(x * columns), columns),
        (region.y, region.height, int(y * rows), rows),
    ):
        assert low == pytest.approx(max(0, center - half), abs=cell)
        assert low + size == pytest.approx(min(limit, center + half), abs=cell)


@pytest.mark.parametrize("shape", [(600, 300), (300, 600)])
def test_boxes_never_reach_into_the_padding(scorer: EmbeddedScorer, shape: tuple[int, int]) -> None:
    """Evidence at the film's very edge gives a box that ends with the film."""
    for x, y in ((0.0, 0.0), (1.0, 1.0)):
        region = scorer.score(film_of(spot(*shape, x, y))).findings[0].region
        assert region is not None
        assert (region.x, region.y) == (0, 0) if x == 0 else (region.x > 0 and region.y > 0)
        assert region.x + region.width <= shape[1]
        assert region.y + region.height <= shape[0]


def test_dark_padding_is_no_background() -> None:
    """Evidence spread over the whole of a narrow film is diffuse, although the padding around it has none."""
    geometry = SquareGeometry(rows=600, columns=150, size_px=SIZE_PX)
    evidence = np.zeros((CELLS, CELLS), np.float32)
    evidence[:, 6:10] = 10.0
    assert locate(evidence, geometry) is None


@pytest.mark.parametrize(("columns", "is_boxed"), [(3, True), (7, False)])
def test_evidence_over_much_of_the_film_is_diffuse(columns: int, *, is_boxed: bool) -> None:
    """Evidence is boxed while it covers a fifth of the film, and no longer when it covers two fifths."""
    evidence = np.zeros((CELLS, CELLS), np.float32)
    evidence[:, :columns] = 10.0
    assert (locate(evidence, SquareGeometry(rows=640, columns=640, size_px=SIZE_PX)) is not None) is is_boxed


def test_only_the_part_around_the_peak_is_boxed() -> None:
    """Of two separate spots the stronger one is boxed alone."""
    evidence = np.zeros((CELLS, CELLS), np.float32)
    evidence[3:5, 2:4], evidence[10:12, 11:13] = 8.0, 10.0
    region = locate(evidence, SquareGeometry(rows=640, columns=640, size_px=SIZE_PX))
    assert region is not None
    assert region.x > 320
    assert region.y > 320


def test_a_peak_that_hardly_stands_out_is_no_place() -> None:
    """A peak less than 1.5 calibrated log odds above the film's median points nowhere."""
    spot_of_cells = np.zeros((CELLS, CELLS), np.float32)
    spot_of_cells[4:9, 4:9] = 1.0
    geometry = SquareGeometry(rows=640, columns=640, size_px=SIZE_PX)
    assert locate(spot_of_cells * np.float32(1.49) + np.float32(0.3), geometry) is None
    assert locate(spot_of_cells * np.float32(1.51) + np.float32(0.3), geometry) is not None


@pytest.mark.parametrize(
    ("x", "codes", "side"),
    [
        (0.25, (), Side.RIGHT),
        (0.75, (), Side.LEFT),
        (0.5, (), None),
        (0.25, (MIRRORED_FILM,), Side.LEFT),
        (0.75, (MIRRORED_FILM,), Side.RIGHT),
        (0.25, (TURNED_FILM,), None),
    ],
)
def test_sides_are_the_patients(scorer: EmbeddedScorer, x: float, codes: tuple[str, ...], side: Side | None) -> None:
    """The image's left is the patient's right, unless the film is mirrored; near the midline there is no side."""
    findings = by_type(scorer.score(film_of(spot(400, 400, x, 0.5), *codes)))
    assert findings[FindingType.PNEUMOTHORAX].side is side
    assert findings[FindingType.PLEURAL_EFFUSION].side is side


def test_a_heart_has_no_side(tmp_path: Path) -> None:
    """Cardiomegaly and pulmonary edema may have a box but never a side."""
    write_network(tmp_path, gains=(0, 0, 0, 0, 60, 50), changes=_only_bright_is_positive)
    findings = by_type(EmbeddedScorer(tmp_path).score(film_of(spot(400, 400, 0.7, 0.6))))
    for type_ in (FindingType.CARDIOMEGALY, FindingType.PULMONARY_EDEMA):
        assert findings[type_].region is not None
        assert findings[type_].side is None


def _only_bright_is_positive(card: dict[str, Any]) -> None:
    for output in card["outputs"]:
        output["bias"] = -0.01


def test_at_most_three_findings_have_boxes(scorer: EmbeddedScorer) -> None:
    """Of six positive findings with a place, the three most probable have boxes."""
    analysis = scorer.score(film_of(spot(400, 400, 0.3, 0.3)))
    assert all(finding.is_positive for finding in analysis.findings)
    assert [finding.region is not None for finding in analysis.findings] == [True] * 3 + [False] * 3


def test_a_finding_whose_evidence_points_wrong_has_no_box(tmp_path: Path) -> None:
    """What the card denies boxes gets none, and leaves its place to the next finding."""

    def deny(card: dict[str, Any]) -> None:
        card["outputs"][0]["has_boxes"] = False

    write_network(tmp_path, gains=(60, 50, 40, 30, 20, 10), changes=deny)
    analysis = EmbeddedScorer(tmp_path).score(film_of(spot(480, 480, 0.25, 0.25)))
    boxed = [finding.type for finding in analysis.findings if finding.region]
    assert boxed == list(KINDS[1:4])


def test_negative_findings_have_neither_box_nor_side(tmp_path: Path) -> None:
    """A finding below its threshold points nowhere, however sharp its evidence."""
    write_network(
        tmp_path, gains=(60,) * 6, changes=lambda card: [output.update(threshold=1) for output in card["outputs"]]
    )
    analysis = EmbeddedScorer(tmp_path).score(film_of(spot(400, 400, 0.3, 0.3)))
    assert not any(finding.is_positive for finding in analysis.findings)
    assert all(finding.region is None and finding.side is None for finding in analysis.findings)


def test_an_even_film_has_no_boxes(scorer: EmbeddedScorer) -> None:
    """Evidence that is the same everywhere points nowhere."""
    analysis = scorer.score(film_of(np.full((400, 300), 0.9, np.float32)))
    assert any(finding.is_positive for finding in analysis.findings)
    assert all(finding.region is None for finding in analysis.findings)


def test_the_device_uid_follows_the_weights(tmp_path: Path, scorer: EmbeddedScorer) -> None:
    """The Device UID is a 2.25 UID that is the same for the same weights and another for others."""
    write_network(tmp_path, gains=(60, 50, 40, 30, 20, 10))
    assert EmbeddedScorer(tmp_path).algorithm.device_uid == scorer.algorithm.device_uid
    assert re.fullmatch(r"2\.25\.[1-9]\d{1,38}", scorer.algorithm.device_uid)
    write_network(tmp_path, gains=(60, 50, 40, 30, 20, 11))
    assert EmbeddedScorer(tmp_path).algorithm.device_uid != scorer.algorithm.device_uid


def _without_urgent(card: dict[str, Any]) -> None:
    card["outputs"].pop()


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("model_damaged", lambda card: card.update(sha256="0" * 64)),
        ("model_invalid", lambda card: card.pop("input_px")),
        ("model_invalid", _without_urgent),
        ("model_invalid", lambda card: card["outputs"][0].update(scale=-1)),
        ("model_invalid", lambda card: card["outputs"][0].update(bias=math.nan)),
        ("model_invalid", lambda card: card["outputs"][0].update(threshold="high")),
        ("model_invalid", lambda card: card["outputs"][0].update(key="hiccups")),
    ],
    ids=["other weights", "no size", "no urgent", "negative scale", "NaN bias", "threshold in words", "unknown kind"],
)
def test_a_wrong_card_is_refused(tmp_path: Path, code: str, changes: Callable[[dict[str, Any]], object]) -> None:
    """A JSON that does not fit the weights or lacks a number stops the model from loading, in one line."""
    write_network(tmp_path, changes=changes)
    with pytest.raises(ModelUnavailable) as refused:
        EmbeddedScorer(tmp_path)
    assert refused.value.code == code
    assert "\n" not in refused.value.message
    assert "embedded" in refused.value.message


def test_the_outputs_are_those_of_its_json(tmp_path: Path) -> None:
    """A network with other findings, in another order, is read as its JSON lists them, wherever urgency stands."""
    keys = ("nodule", "pulmonary_edema", "mass", "urgent", "atelectasis", "pneumonia", "pneumothorax")

    def rename(card: dict[str, Any]) -> None:
        for output, key in zip(card["outputs"], keys, strict=True):
            output["key"] = key

    write_network(tmp_path, gains=(1, 2, 3, 4, 5, 6), changes=rename)
    analysis = EmbeddedScorer(tmp_path).score(film_of(np.full((80, 80), 0.5, np.float32)))
    assert {finding.type.key for finding in analysis.findings[:2]} == {"pneumothorax", "pneumonia"}
    found = {finding.type.key: finding.probability for finding in analysis.findings}
    rising = [found["nodule"], found["pulmonary_edema"], found["mass"], analysis.score, found["atelectasis"]]
    assert rising == sorted(set(rising))


def test_a_network_may_give_more_than_is_asked(tmp_path: Path) -> None:
    """An output beside logits and evidence does not stop the network from loading."""
    write_network(tmp_path)
    network = onnx.load(tmp_path / "embedded.onnx")
    network.graph.output.append(helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", 6]))
    content = network.SerializeToString()
    (tmp_path / "embedded.onnx").write_bytes(content)
    card = json.loads((tmp_path / "embedded.json").read_text(encoding="utf-8"))
    card["sha256"] = hashlib.sha256(content).hexdigest()
    (tmp_path / "embedded.json").write_text(json.dumps(card), encoding="utf-8")
    assert EmbeddedScorer(tmp_path).score(film_of(spot(64, 64, 0.5, 0.5))).score > 0


def write_two_networks(folder: Path, *, changes: Callable[[dict[str, Any]], object] = len) -> None:
    """The network of write_network, and beside it one of 32 px that tells opacities by dark cells of a quarter each."""
    write_network(folder, gains=(60, 50, 40, 30, 20, 10))
    first = onnx.load(folder / "embedded.onnx")
    cell = 8
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["film", "weights", "bias"], ["evidence"], strides=[cell, cell]),
            helper.make_node("ReduceMax", ["evidence", "space"], ["logits"], keepdims=0),
        ],
        "second",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, ["n", 1, 32, 32])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 1]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["n", 1, 4, 4]),
        ],
        [
            numpy_helper.from_array(np.full((1, 1, cell, cell), -40 / cell**2, np.float32), "weights"),
            numpy_helper.from_array(np.array([20], np.float32), "bias"),
            numpy_helper.from_array(np.array([2, 3]), "space"),
        ],
    )
    second = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    joined = onnx.compose.merge_models(first, onnx.compose.add_prefix(second, "sharp_"), io_map=[])
    content = joined.SerializeToString()
    card = json.loads((folder / "embedded.json").read_text(encoding="utf-8"))
    card["sha256"] = hashlib.sha256(content).hexdigest()
    opacity = {"key": "lung_opacity", "scale": 0.5, "bias": 0.0, "threshold": 0.5}
    card["sharp"] = {"input_px": 32, "outputs": [opacity]}
    changes(card)
    (folder / "embedded.onnx").write_bytes(content)
    (folder / "embedded.json").write_text(json.dumps(card), encoding="utf-8")


def test_a_second_network_has_findings_and_places_of_its_own(tmp_path: Path) -> None:
    """What it tells stands beside the first one's findings with box and side, and changes none of them."""
    pixels = np.full((480, 480), 0.9, np.float32)
    pixels[260:340, 380:460] = 0.0
    write_network(tmp_path, gains=(60, 50, 40, 30, 20, 10))
    alone = EmbeddedScorer(tmp_path).score(film_of(pixels))
    write_two_networks(tmp_path)
    both = by_type(EmbeddedScorer(tmp_path).score(film_of(pixels)))
    opacity = both.pop(FindingType.LUNG_OPACITY)
    assert {kind: found.probability for kind, found in both.items()} == {
        kind: found.probability for kind, found in by_type(alone).items()
    }
    assert (opacity.is_positive, opacity.side) == (True, Side.LEFT)
    assert opacity.region
    assert 380 <= opacity.region.x + opacity.region.width / 2 <= 460
    assert 260 <= opacity.region.y + opacity.region.height / 2 <= 340
    bright = by_type(EmbeddedScorer(tmp_path).score(film_of(np.full((480, 480), 0.9, np.float32))))
    assert not bright[FindingType.LUNG_OPACITY].is_positive


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("model_damaged", lambda card: card.pop("sharp")),
        ("model_invalid", lambda card: card["sharp"].pop("input_px")),
        ("model_failed", lambda card: card["sharp"].update(input_px=16)),
    ],
    ids=["not in the JSON", "no size", "another size"],
)
def test_a_second_network_that_its_json_misstates_is_refused(
    tmp_path: Path, code: str, changes: Callable[[dict[str, Any]], object]
) -> None:
    """A file of two networks is never run as one, nor with a film of a size that the second does not take."""
    write_two_networks(tmp_path, changes=changes)
    with pytest.raises(ModelUnavailable) as refused:
        EmbeddedScorer(tmp_path).score(film_of(spot(80, 80, 0.5, 0.5)))
    assert refused.value.code == code


def test_missing_weights_are_named(tmp_path: Path) -> None:
    """A folder without weights says which folder, and what to do."""
    with pytest.raises(ModelUnavailable, match=f"{re.escape(str(tmp_path))}: install") as refused:
        EmbeddedScorer(tmp_path)
    assert refused.value.code == "model_missing"


def test_json_that_is_none_is_refused(tmp_path: Path) -> None:
    """A sidecar that does not parse stops the model from loading."""
    write_network(tmp_path)
    (tmp_path / "embedded.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelUnavailable) as refused:
        EmbeddedScorer(tmp_path)
    assert refused.value.code == "model_invalid"


def test_other_networks_are_refused(tmp_path: Path) -> None:
    """A file with the right digest that is no network, or another network, is refused."""
    write_network(tmp_path, names=("logits", "heat"))
    with pytest.raises(ModelUnavailable, match="heat") as refused:
        EmbeddedScorer(tmp_path)
    assert refused.value.code == "model_damaged"
    junk = b"no network"
    write_network(tmp_path, changes=lambda card: card.update(sha256=hashlib.sha256(junk).hexdigest()))
    (tmp_path / "embedded.onnx").write_bytes(junk)
    with pytest.raises(ModelUnavailable) as refused:
        EmbeddedScorer(tmp_path)
    assert refused.value.code == "model_damaged"


def test_numbers_that_are_none_fail_the_film(tmp_path: Path) -> None:
    """A network that gives NaN fails the film instead of scoring it."""
    write_network(tmp_path, gains=(math.nan,) * 6)
    with pytest.raises(ModelUnavailable) as refused:
        EmbeddedScorer(tmp_path).score(film_of(spot(80, 80, 0.5, 0.5)))
    assert refused.value.code == "model_failed"


def test_a_size_the_network_does_not_take_fails_the_film(tmp_path: Path) -> None:
    """A card with another input size than the network's ends in an error of ours, not of ONNX Runtime."""
    write_network(tmp_path, changes=lambda card: card.update(input_px=32))
    with pytest.raises(ModelUnavailable) as refused:
        EmbeddedScorer(tmp_path).score(film_of(spot(80, 80, 0.5, 0.5)))
    assert refused.value.code == "model_failed"


@pytest.fixture(scope="module")
def shipped() -> EmbeddedScorer:
    """The scorer with the weights that are shipped."""
    return EmbeddedScorer()


def test_the_shipped_weights_load(shipped: EmbeddedScorer) -> None:
    """The shipped weights match their digest, pass the checker and stay small."""
    card = json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))
    assert hashlib.sha256((WEIGHTS / "embedded.onnx").read_bytes()).hexdigest() == card["sha256"]
    assert [output["key"] for output in card["outputs"]] == list(KEYS)
    assert [output["key"] for output in card["sharp"]["outputs"]] == ["lung_opacity"]
    assert 0.5 < shipped.model_size_mb < 16
    onnx.checker.check_model(str(WEIGHTS / "embedded.onnx"))


def test_the_digest_is_of_weights_and_calibration(tmp_path: Path, scorer: EmbeddedScorer) -> None:
    """Another threshold is another scorer, and so is another network; the same files are the same."""
    write_network(tmp_path, gains=(60, 50, 40, 30, 20, 10))
    assert EmbeddedScorer(tmp_path).algorithm == scorer.algorithm
    write_network(
        tmp_path, gains=(60, 50, 40, 30, 20, 10), changes=lambda card: card["outputs"][0].update(threshold=0.4)
    )
    recalibrated = EmbeddedScorer(tmp_path).algorithm
    assert recalibrated.sha256 != scorer.algorithm.sha256
    assert recalibrated.device_uid != scorer.algorithm.device_uid
    write_network(tmp_path)
    assert EmbeddedScorer(tmp_path).algorithm.sha256 not in {scorer.algorithm.sha256, recalibrated.sha256}


def test_the_shipped_card_is_of_the_shipped_weights(shipped: EmbeddedScorer) -> None:
    """The scorer's card speaks of its weights and of its outputs, each of them."""
    assert (shipped.card.sha256, shipped.card.name) == (shipped.algorithm.sha256, shipped.algorithm.name)
    assert {found.type for found in shipped.card.findings} == {*KINDS, FindingType.LUNG_OPACITY}


def test_a_card_of_other_outputs_is_refused(tmp_path: Path) -> None:
    """A card that leaves an output out, or adds one, stops whoever asks for it, naming the finding."""
    write_network(tmp_path)
    scorer = EmbeddedScorer(tmp_path)
    card = json.loads((WEIGHTS / "card.json").read_text(encoding="utf-8")) | {"sha256": scorer.algorithm.sha256}
    card["findings"] = card["findings"][1:]
    (tmp_path / "card.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ModelUnavailable, match="pneumothorax") as refused:
        _ = scorer.card
    assert refused.value.code == "card_invalid"


def test_more_threads_give_the_same_scores(shipped: EmbeddedScorer) -> None:
    """The number of threads changes the time, not the score."""
    film = film_of(spot(500, 400, 0.4, 0.6))
    assert EmbeddedScorer(threads=2).score(film).score == pytest.approx(shipped.score(film).score, abs=1e-5)


def _nih_rows(name: str) -> list[dict[str, str]]:
    if not NIH.is_dir():
        pytest.skip("the films for development are not here")
    with (NIH / name).open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _nih_film(file: str, scale: int = 1) -> Radiograph:
    with Image.open(NIH / file) as picture:
        grey = picture.convert("L")
        if scale > 1:
            grey = grey.resize((grey.width * scale, grey.height * scale), Image.Resampling.BICUBIC)
        return film_of(np.asarray(grey, np.float32) / np.float32(255))


def test_the_shipped_weights_rank_urgent_films_higher(shipped: EmbeddedScorer) -> None:
    """On held-out films at 512 px, an urgent one has the higher score three times in five at the least."""
    rows = [row for row in _nih_rows("manifest.csv") if row["split"] == "val" and "512" in row["file"]]
    urgent, other = (
        np.array([shipped.score(_nih_film(row["file"])).score for row in rows if float(row["urgent6"]) == label])
        for label in (1, 0)
    )
    assert min(len(urgent), len(other)) > 50
    assert np.mean(urgent[:, None] > other[None]) > 0.6


def test_scores_do_not_depend_on_the_resolution(shipped: EmbeddedScorer) -> None:
    """A film enlarged fourfold gets the same score to within 0.05."""
    for row in [row for row in _nih_rows("manifest.csv") if "512" in row["file"]][:6]:
        small, big = shipped.score(_nih_film(row["file"])), shipped.score(_nih_film(row["file"], scale=4))
        assert big.score == pytest.approx(small.score, abs=0.05)


def test_the_boxes_of_the_shipped_weights_are_where_readers_drew_them(shipped: EmbeddedScorer) -> None:
    """Boxes of effusions and large hearts overlap those drawn by hand and most are centered in them."""
    names = {"Effusion": FindingType.PLEURAL_EFFUSION, "Cardiomegaly": FindingType.CARDIOMEGALY}
    files = {row["image"]: row["file"] for row in _nih_rows("manifest.csv")}
    overlaps, centered = [], []
    for row in _nih_rows("bbox.csv"):
        if row["finding"] not in names or row["image"] not in files:
            continue
        film = _nih_film(files[row["image"]])
        region = by_type(shipped.score(film))[names[row["finding"]]].region
        if region:
            shrink = film.image.columns / 1024  # the boxes are in pixels of the originals
            x, y, width, height = (float(row[key]) * shrink for key in ("x", "y", "w", "h"))
            across = min(region.x + region.width, x + width) - max(region.x, x)
            down = min(region.y + region.height, y + height) - max(region.y, y)
            shared = max(0.0, across) * max(0.0, down)
            overlaps.append(shared / (region.width * region.height + width * height - shared))
            center = (region.x + region.width / 2 - x, region.y + region.height / 2 - y)
            centered.append(0 <= center[0] < width and 0 <= center[1] < height)
    assert len(overlaps) >= 5
    assert np.mean(overlaps) > 0.2
    assert np.mean(centered) > 0.5


def test_the_opacities_of_the_shipped_weights_are_where_radiologists_drew_them(shipped: EmbeddedScorer) -> None:
    """On validation films with an opacity for radiologists, most boxes of likely ones are centered in one of theirs."""
    files = {row["image"]: row["file"] for row in _nih_rows("manifest.csv") if row["split"] == "val"}
    centered = []
    for row in _nih_rows("rsna.csv"):
        drawn = json.loads(row["boxes_xywh_1024"])
        if not drawn or row["image"] not in files:
            continue
        film = _nih_film(files[row["image"]])
        opacity = by_type(shipped.score(film))[FindingType.LUNG_OPACITY]
        if opacity.probability < 0.5 or opacity.region is None:
            continue
        grown = 1024 / film.image.columns
        x, y = (
            grown * (opacity.region.x + opacity.region.width / 2),
            grown * (opacity.region.y + opacity.region.height / 2),
        )
        centered.append(any(left <= x < left + w and top <= y < top + h for left, top, w, h in drawn))
    assert len(centered) >= 10
    assert np.mean(centered) > 0.8
