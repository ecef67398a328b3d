"""Join two networks into one file: the scores of one, and an opacity of the lung with its place from the other.

    python -m models.training.join --scores DIR --places DIR --films DIR --manifest FILE [FILE] --rsna FILE --out DIR

Both folders hold embedded.onnx and embedded.json, that of the scores its training-log.jsonl too, which gets a line of
the new release. The first network goes in as it is, so that none of its outputs changes by a bit; of the second, which
learned from readers' boxes, only what tells opacities. That output is calibrated on the patients held out
(`split.py`), from whom the second network has not learned, by what radiologists said of their films. The same files
give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, compose, helper, numpy_helper
from onnx.utils import Extractor

from imaging.geometry import fit_square
from models.evaluation.measure import OUTPUTS, describe
from models.training.compare import outside_train
from models.training.judge import Listed, load_film, read_manifests, read_opacities
from worklist.errors import FirstreadError, InvalidInput
from worklist.finding import FindingType

_LOG = logging.getLogger(__name__)
_VERSION = "1.3.0"
_LOG_FILE = "training-log.jsonl"
_PREFIX = "sharp_"
_OTHER = "opacity"  # among the places network's other outputs, whose maps follow those of the six and of urgency
# Its boxes were centered in a radiologist's box on 15 of 58 films of the patients held out; those of the opacity say
# where such things lie.
_WITHOUT_BOXES = {FindingType.CONSOLIDATION.key}


def join(  # noqa: PLR0913 - what the command line takes
    *, scores: Path, places: Path, films: Path, manifest: Sequence[Path], rsna: Path, out: Path
) -> Path:
    """Write embedded.onnx and embedded.json of both networks into a folder.

    Args:
        scores: folder of the network whose outputs stay as they are.
        places: folder of the network that tells opacities among its `others`.
        films: the folder that the manifests lie in.
        manifest: CSVs, see `judge.read_manifest`.
        rsna: CSV of the RSNA challenge of 2018: image, rsna_class.
        out: where to write.

    Returns:
        The file of weights.

    Raises:
        InvalidInput: a file cannot be used, the log is that of other weights, or radiologists read none of the films of
            the patients held out.
    """
    sidecar = json.loads((scores / "embedded.json").read_text(encoding="utf-8"))
    beside = json.loads((places / "embedded.json").read_text(encoding="utf-8"))
    placing = opacity_alone(onnx.load(places / "embedded.onnx"), [each["key"] for each in beside["others"]])
    read = read_opacities(rsna)
    held = _sharpest(films, outside_train(read_manifests(manifest, films))["held out"], read)
    if not held:
        raise InvalidInput("no_films", f"{rsna} has no film of the patients held out")
    logits = _logits(placing, films, held, int(beside["input_px"]))
    label = np.array([read[film.original] for film in held], dtype=np.float64)
    patient = np.array([film.label.patient or "" for film in held])
    output = describe(FindingType.LUNG_OPACITY.key, label, logits, patient)
    # At 95 % specificity a film would be named that lies below its operating point.
    output |= {"threshold": output["threshold_specificity_90"], "has_boxes": True}
    joined = compose.merge_models(onnx.load(scores / "embedded.onnx"), placing, io_map=[], producer_name="firstread")
    del joined.opset_import[1:]  # both state the same one, and ONNX's own tools refuse to read it twice
    onnx.checker.check_model(joined, full_check=True)
    content = joined.SerializeToString(deterministic=True)
    out.mkdir(parents=True, exist_ok=True)
    file = out / "embedded.onnx"
    file.write_bytes(content)
    document: dict[str, Any] = {
        **sidecar,
        "version": _VERSION,
        "sha256": hashlib.sha256(content).hexdigest(),
        "outputs": [
            {**each, "has_boxes": each["has_boxes"] and each["key"] not in _WITHOUT_BOXES}
            for each in sidecar["outputs"]
        ],
        "sharp": {
            "input_px": beside["input_px"],
            "evidence_shape": [1, *beside["evidence_shape"][1:]],
            "outputs": [output],
            "n_calibration": len(held),
            "n_calibration_patients": len(np.unique(patient)),
        },
        "joined": {"scores": sidecar["sha256"], "places": beside["sha256"]},
    }
    (out / "embedded.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if (log := scores / _LOG_FILE).exists():
        (out / _LOG_FILE).write_text(log.read_text(encoding="utf-8") + _release(log, document, file), encoding="utf-8")
    return file


def _release(log: Path, document: dict[str, Any], file: Path) -> str:
    """The release of the scores, in a line of the log, as that of the joined file."""
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    of_the_scores = (entry["release"] for entry in entries if "release" in entry)
    found = [each for each in of_the_scores if each["sha256"] == document["joined"]["scores"]]
    if not found:
        raise InvalidInput("other_weights", f"{log} has no release of the weights beside it")
    joined = {"sha256": document["sha256"], "bytes": file.stat().st_size, "joined": document["joined"]}
    return json.dumps({"release": {**found[-1], **joined}}) + "\n"


def opacity_alone(network: onnx.ModelProto, others: Sequence[str]) -> onnx.ModelProto:
    """The network with one finding: `sharp_film` in, `sharp_logits` (N, 1) and `sharp_evidence` (N, 1, h, w) out.

    Args:
        network: gives `evidence`, cut from the maps of all its outputs, and `others`, logits.
        others: what these are.
    """
    number = others.index(_OTHER)
    named = compose.add_prefix(network, _PREFIX)
    graph = named.graph
    (cut,) = (node for node in graph.node if f"{_PREFIX}evidence" in node.output)
    maps = cut.input[0]
    cut.output[:] = [f"{_PREFIX}of_the_six"]
    (scored,) = (node for node in graph.node if f"{_PREFIX}logits" in node.output)
    scored.output[:] = [f"{_PREFIX}scores_of_the_six"]
    for name, source, at in (("logits", f"{_PREFIX}others", number), ("evidence", maps, len(OUTPUTS) + number)):
        where = [f"{_PREFIX}{name}_{end}" for end in ("first", "end", "axis")]
        for each, value in zip(where, (at, at + 1, 1), strict=True):
            graph.initializer.append(numpy_helper.from_array(np.array([value], np.int64), each))
        graph.node.append(helper.make_node("Slice", [source, *where], [f"{_PREFIX}{name}"]))
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info(f"{_PREFIX}logits", TensorProto.FLOAT, ["batch", 1]),
            helper.make_tensor_value_info(f"{_PREFIX}evidence", TensorProto.FLOAT, ["batch", 1, "rows", "columns"]),
        ]
    )
    return Extractor(named).extract_model([f"{_PREFIX}film"], [f"{_PREFIX}logits", f"{_PREFIX}evidence"])


def _sharpest(folder: Path, films: Sequence[Listed], read: dict[str, bool]) -> list[Listed]:
    """Of each film that a radiologist read, its copy with the most pixels, in the manifests' order."""
    found: dict[str, tuple[int, Listed]] = {}
    for film in films:
        if film.original in read:
            image = load_film(folder, film.label.file).image
            side = max(image.rows, image.columns)
            if side > found.get(film.original, (0, film))[0]:
                found[film.original] = (side, film)
    return [film for _, film in found.values()]


def _logits(network: onnx.ModelProto, folder: Path, films: Sequence[Listed], size_px: int) -> np.ndarray[Any, Any]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the sums, and so the digits, depend on it
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = []
    for film in films:
        square, _ = fit_square(load_film(folder, film.label.file).pixels, size_px)
        given.append(session.run([f"{_PREFIX}logits"], {f"{_PREFIX}film": square[None, None]})[0][0, 0])
    return np.array(given, dtype=np.float64)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 2 where the input cannot be used."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(prog="python -m models.training.join", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scores", type=Path, required=True, help="folder of the network whose outputs stay")
    parser.add_argument("--places", type=Path, required=True, help="folder of the network that tells opacities")
    parser.add_argument("--films", type=Path, required=True, help="folder that the manifests and their films lie in")
    parser.add_argument("--manifest", type=Path, required=True, nargs="+", help="CSVs, one row a film")
    parser.add_argument("--rsna", type=Path, required=True, help="CSV of the RSNA challenge of 2018")
    parser.add_argument("--out", type=Path, required=True, help="folder of what is written")
    try:
        file = join(**vars(parser.parse_args(arguments)))
    except FirstreadError as error:
        _LOG.error("%s", error.message)
        return 2
    _LOG.info("%s", file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
