"""Two networks in one file: the scores of the first, and of the second what tells opacities."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.embedded.scorer import EmbeddedScorer
from models.evaluation.held_out import is_held_out
from models.training.join import main
from models.training.judge import load_film
from tests.grey_network import LABELS, write_weights
from worklist.finding import FindingType

OTHERS = ("mass", "nodule", "atelectasis", "opacity", "normal")
SIDE_PX = 320
HELD_OUT = [patient for patient in map(str, range(1000)) if is_held_out(patient)][:24]


def write_places(folder: Path) -> None:
    """A network of 32 px whose logits are the mean grey times a number of each output, that of the opacity 40."""
    gains = np.arange(12, dtype=np.float32)
    gains[7 + OTHERS.index("opacity")] = 40
    cell = 8
    weights = np.broadcast_to(gains[:, None, None, None] / cell**2, (12, 1, cell, cell))
    ends = {"zero": 0, "six": 6, "seven": 7, "twelve": 12, "one": 1}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["film", "weights"], ["maps"], name="conv", strides=[cell, cell]),
            helper.make_node("ReduceMean", ["maps", "space"], ["means"], name="mean", keepdims=0),
            helper.make_node("Slice", ["means", "zero", "seven", "one"], ["logits"], name="of_the_six"),
            helper.make_node("Slice", ["maps", "zero", "six", "one"], ["evidence"], name="maps_of_the_six"),
            helper.make_node("Slice", ["means", "seven", "twelve", "one"], ["others"], name="of_others"),
        ],
        "places",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, ["n", 1, 32, 32])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 7]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["n", 6, 4, 4]),
            helper.make_tensor_value_info("others", TensorProto.FLOAT, ["n", 5]),
        ],
        [
            numpy_helper.from_array(np.ascontiguousarray(weights, np.float32), "weights"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "space"),
            *(numpy_helper.from_array(np.array([value], np.int64), name) for name, value in ends.items()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir()
    onnx.save(model, folder / "embedded.onnx")
    sidecar: dict[str, Any] = {
        "sha256": hashlib.sha256((folder / "embedded.onnx").read_bytes()).hexdigest(),
        "input_px": 32,
        "evidence_shape": [6, 4, 4],
        "others": [{"key": key} for key in OTHERS],
    }
    (folder / "embedded.json").write_text(json.dumps(sidecar), encoding="utf-8")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two networks, and films of patients held out, each twice, of which radiologists saw an opacity on bright ones."""
    folder = tmp_path_factory.mktemp("parts")
    write_weights(folder / "scores")
    sidecar = json.loads((folder / "scores" / "embedded.json").read_text(encoding="utf-8"))
    for output in sidecar["outputs"]:
        output["has_boxes"] = output["key"] != "urgent"
    (folder / "scores" / "embedded.json").write_text(json.dumps(sidecar), encoding="utf-8")
    write_places(folder / "places")
    draw = np.random.default_rng(1)
    read = ["image,rsna_class"]
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "image", "split", "patient", "age", "sex", "view", *LABELS])
        for number, patient in enumerate(HELD_OUT):
            there = number % 2
            level = 60 + 40 * there + draw.integers(0, 60)
            grey = (level + draw.integers(0, 20, (SIDE_PX, SIDE_PX))).astype(np.uint8)
            for side, name in ((SIDE_PX, "sharp"), (100, "small")):
                # The smaller copy is wrong on purpose: the sharper one is to be taken.
                film = Image.fromarray(grey if side == SIDE_PX else 255 - grey).resize((side, side))
                film.save(folder / f"{name}-{number}.png")
                rows.writerow([f"{name}-{number}.png", f"o{number}", "train", patient, 50, "F", "PA", *[there] * 7])
            read.append(f"o{number},{'Lung Opacity' if there else 'Normal'}")
    (folder / "rsna.csv").write_text("\n".join(read) + "\n", encoding="utf-8")
    return folder


def joined(parts: Path, out: Path, rsna: str = "rsna.csv") -> int:
    """Run the command."""
    files = {name: parts / name for name in ("scores", "places")}
    files |= {"films": parts, "manifest": parts / "manifest.csv", "rsna": parts / rsna, "out": out}
    return main([word for name, path in files.items() for word in (f"--{name}", str(path))])


def test_the_first_networks_scores_stay_and_the_second_ones_opacity_is_calibrated(parts: Path, tmp_path: Path) -> None:
    """Every output of the first is as before to the last bit; the opacity is likely where radiologists saw one."""
    assert joined(parts, tmp_path) == 0
    before, after = EmbeddedScorer(parts / "scores"), EmbeddedScorer(tmp_path)
    for number in (0, 1, 2, 3):
        film = load_film(parts, f"sharp-{number}.png")
        scores = {found.type: found.probability for found in after.score(film).findings}
        opacity = scores.pop(FindingType.LUNG_OPACITY)
        assert scores == {found.type: found.probability for found in before.score(film).findings}
        assert after.score(film).score == before.score(film).score
        assert after.evidence(film)[0]["lung_opacity"].shape == (4, 4)
        grey = float(film.pixels.mean())
        sidecar = json.loads((tmp_path / "embedded.json").read_text(encoding="utf-8"))
        (output,) = sidecar["sharp"]["outputs"]
        expected = 1 / (1 + np.exp(-(output["scale"] * 40 * grey + output["bias"])))
        assert opacity == pytest.approx(expected, abs=1e-4)
    assert output["auc"] > 0.7
    assert (sidecar["sharp"]["n_calibration"], output["n_positive"]) == (24, 12)
    boxed = {each["key"]: each["has_boxes"] for each in sidecar["outputs"]}
    assert boxed["pleural_effusion"]
    assert not boxed["consolidation"]


def test_the_same_files_give_the_same_bytes(parts: Path, tmp_path: Path) -> None:
    """A release can be made again from its parts, to the last bit."""
    for name in ("one", "other"):
        assert joined(parts, tmp_path / name) == 0
    for file in ("embedded.onnx", "embedded.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes()


def test_the_log_gets_a_line_of_the_joined_release(parts: Path, tmp_path: Path) -> None:
    """What was said of the scores' release is said of the new file, with its digest and those of its parts."""
    digests = {
        name: json.loads((parts / name / "embedded.json").read_text("utf-8"))["sha256"] for name in ("scores", "places")
    }
    line = json.dumps({"release": {"sha256": digests["scores"], "urgency": {"bias": 1}}})
    log = parts / "scores" / "training-log.jsonl"
    log.write_text(f'{{"epoch": 1}}\n{line}\n', encoding="utf-8")
    try:
        assert joined(parts, tmp_path) == 0
        *before, release = (tmp_path / log.name).read_text("utf-8").splitlines()
        assert before == ['{"epoch": 1}', line]
        content = (tmp_path / "embedded.onnx").read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        assert json.loads(release)["release"] == {
            "sha256": sha256,
            "urgency": {"bias": 1},
            "bytes": len(content),
            "joined": digests,
        }
        log.write_text('{"epoch": 1}\n', encoding="utf-8")
        assert joined(parts, tmp_path / "other") == 2
    finally:
        log.unlink()


def test_readings_of_no_held_out_film_are_refused(
    parts: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a film to calibrate on the command ends in one line that names the file, and writes nothing."""
    (parts / "none.csv").write_text("image,rsna_class\nelsewhere,Normal\n", encoding="utf-8")
    (parts / "other.csv").write_text("image,said\no1,Normal\n", encoding="utf-8")
    for rsna in ("none.csv", "other.csv"):
        assert joined(parts, tmp_path / "out", rsna) == 2
        assert rsna in caplog.messages[-1]
    assert not (tmp_path / "out").exists()
