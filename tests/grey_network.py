"""A network whose every finding is the mean grey of a film, and labelled films for it."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from models.evaluation.measure import OUTPUTS

LABELS = ("Pneumothorax", "Effusion", "Consolidation", "Pneumonia", "Cardiomegaly", "Edema", "urgent6")


def write_weights(folder: Path, threshold: float = 0.5) -> str:
    """Write the network, its sidecar and its log into a new folder; the digest of both."""
    cell = 16
    weights = np.full((6, 1, cell, cell), 8 / cell**2, np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["film", "weights"], ["evidence"], strides=[cell, cell]),
            helper.make_node("ReduceMean", ["evidence", "space"], ["means"], keepdims=0),
            helper.make_node("ReduceMax", ["means", "findings"], ["largest"], keepdims=1),
            helper.make_node("Concat", ["means", "largest"], ["logits"], axis=1),
        ],
        "grey",
        [helper.make_tensor_value_info("film", TensorProto.FLOAT, ["n", 1, 64, 64])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 7]),
            helper.make_tensor_value_info("evidence", TensorProto.FLOAT, ["n", 6, 4, 4]),
        ],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2, 3], np.int64), "space"),
            numpy_helper.from_array(np.array([1], np.int64), "findings"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    folder.mkdir()
    onnx.save(model, folder / "embedded.onnx")
    digest = hashlib.sha256((folder / "embedded.onnx").read_bytes()).hexdigest()
    names = ("threshold", "threshold_sensitivity_95", "threshold_specificity_90", "threshold_specificity_95")
    thresholds = dict.fromkeys(names, threshold)
    output = {"scale": 1.0, "bias": -4.0, "auc": 0.5, "ece_cross_fitted": 0.1, **thresholds}
    data = {"n_train": 8, "n_train_patients": 8, "n_urgency_fit": 8, "manifest_sha256": ["0" * 64]}
    sidecar = {
        "name": "grey",
        "version": "9",
        "sha256": digest,
        "input_px": 64,
        "evidence_shape": [6, 4, 4],
        "data": data,
        "trained": {"network_px": 64, "seed": 1},
        "preprocessing": "As it is.",
        "outputs": [{"key": key, **output} for key in OUTPUTS],
    }
    (folder / "embedded.json").write_text(json.dumps(sidecar), encoding="utf-8")
    release = {"sha256": digest, "onnx_torch_difference": 0.0, "urgency": {"weights": {"urgent": 1.0}}}
    (folder / "training-log.jsonl").write_text(json.dumps({"release": release}) + "\n", encoding="utf-8")
    return hashlib.sha256((folder / "embedded.json").read_bytes()).hexdigest()


def write_films(folder: Path) -> None:
    """24 validation films of two sizes, of a patient each, mostly brighter where something is found; 8 to train.

    manifest.csv lists them, bbox.csv has readers' boxes of two.
    """
    draw = np.random.default_rng(0)
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "image", "split", "patient", "age", "sex", "view", *LABELS])
        for number in range(32):
            there, side = number % 2, 300 if number % 4 < 2 else 100
            grey = draw.integers(0, 60, (side, side)) + 60 + 30 * there + draw.integers(0, 40)
            Image.fromarray(grey.astype(np.uint8)).save(folder / f"{number}.png")
            split = "val" if number < 24 else "train"
            rows.writerow([f"{number}.png", f"o{number}", split, number, 15 + 3 * number, "F", "PA", *[there] * 7])
    boxes = "image,finding,x,y,w,h\no0,Effusion,512,256,128,64\no0,Nodule,1,1,9,9\no2,Pneumonia,0,0,1024,1024\n"
    (folder / "bbox.csv").write_text(boxes, encoding="utf-8")
