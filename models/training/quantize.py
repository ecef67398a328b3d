"""The shipped network in 8-bit integers beside itself in float32: what int8 would cost, and what it would gain.

Firstread ships and runs float32; the comparison says whether it could do with less. Weights are quantized a channel
at a time and activations a tensor at a time (Jacob et al., CVPR 2018, arXiv:1712.05877; Krishnamoorthi,
arXiv:1806.08342), with ranges taken from training films.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from onnx.utils import Extractor
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from imaging.geometry import fit_square
from models.embedded.scorer import EmbeddedScorer
from models.evaluation.films import FINDINGS
from models.evaluation.measure import OUTPUTS, auc
from worklist.errors import InvalidInput

# Clip among them, so that a range is taken after ReLU6 and not before: with convolutions alone the logits go wrong by
# several times as much.
_QUANTIZED = ["Conv", "Clip", "Add"]
_BATCH = 32
_REPEATS = 31
_WARM_UPS = 2

Greys = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Variant:
    """The network in one arithmetic.

    Attributes:
        auc: by output, the findings and then urgent; NaN where the films lack a class.
        file_mb: size of the ONNX file, in 10^6 bytes.
        p50_ms: median time of one film on one thread.
    """

    auc: dict[str, float]
    file_mb: float
    p50_ms: float

    @property
    def mean_of_findings(self) -> float:
        """Mean AUC of the findings that have one; NaN where none has."""
        areas = [self.auc[kind.key] for kind in FINDINGS if not np.isnan(self.auc[kind.key])]
        return statistics.fmean(areas) if areas else float("nan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8Comparison:
    """The network in float32 and in int8, judged on the same films.

    Attributes:
        float32: the file as shipped.
        int8: made from it.
        n_calibration: films that set the ranges of the activations.
        n_val: films on which both were judged.
    """

    float32: Variant
    int8: Variant
    n_calibration: int
    n_val: int

    @property
    def urgent_difference(self) -> float:
        """AUC of urgent, int8 less float32."""
        return self.int8.auc["urgent"] - self.float32.auc["urgent"]

    @property
    def mean_difference(self) -> float:
        """Mean AUC of the findings, int8 less float32."""
        return self.int8.mean_of_findings - self.float32.mean_of_findings


def compare_int8(
    weights: Path, calibration: Iterable[Greys], val: Iterable[Greys], truth: NDArray[np.bool_]
) -> Int8Comparison:
    """Quantize embedded.onnx and judge it beside the original.

    Args:
        weights: folder of embedded.onnx and embedded.json.
        calibration: pixels of training films, each as Radiograph.pixels: (rows, columns), 0..1. Some 128 are enough.
        val: pixels of validation films.
        truth: (N, 7), which of `OUTPUTS` is there on each film of `val`.

    Raises:
        InvalidInput: no_films, or bad_labels where `truth` does not fit `val`.
        ModelUnavailable: the weights are missing or damaged.
    """
    EmbeddedScorer(weights)  # refuses weights that are not those of their JSON
    shipped = weights / "embedded.onnx"
    size_px = int(json.loads((weights / "embedded.json").read_text(encoding="utf-8"))["input_px"])
    ranges, films = _squares(calibration, size_px), _squares(val, size_px)
    if truth.shape != (len(films), len(OUTPUTS)):
        raise InvalidInput(
            "bad_labels", f"labels are {truth.shape}, not ({len(films)}, {len(OUTPUTS)}): one row a film, urgent last"
        )
    with tempfile.TemporaryDirectory() as folder:
        scoring, file = scoring_alone(shipped, Path(folder)), Path(folder) / "int8.onnx"
        quantize(scoring, ranges, file)
        float32, int8 = _session(scoring), _session(file)
        times = _alternate((float32, int8), films[:1])
        variants = [
            Variant(auc=_areas(session, films, truth), file_mb=path.stat().st_size / 1e6, p50_ms=p50_ms)
            for session, path, p50_ms in zip((float32, int8), (scoring, file), times, strict=True)
        ]
    return Int8Comparison(float32=variants[0], int8=variants[1], n_calibration=len(ranges), n_val=len(films))


def scoring_alone(file: Path, folder: Path) -> Path:
    """The network of the six findings and of urgency: the file itself, or without the second one, in a folder."""
    network = onnx.load(file)
    if len(network.graph.input) == 1:
        return file
    alone = folder / "float32.onnx"
    onnx.save(Extractor(network).extract_model(["film"], ["logits", "evidence"]), alone)
    return alone


def quantize(network: Path, calibration: Greys, out: Path) -> None:
    """Write the network in int8 (QDQ) to `out`, with ranges from squares (M, 1, S, S), 0..1.

    The same network and films give the same file.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "plain.onnx"
        # Folds the casts of the float16 weights and states every shape; the symbolic inference would need SymPy.
        quant_pre_process(network, plain, skip_symbolic_shape=True)
        quantize_static(
            plain,
            out,
            _Squares(calibration),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_QUANTIZED,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    _correct_bias(network, out, calibration)


def _correct_bias(network: Path, int8: Path, calibration: Greys) -> None:
    """Take back the mean shift of each logit on the calibration films (Nagel et al., ICCV 2019, arXiv:1906.04721)."""
    exact, rounded = (_mean_logits(path, calibration) for path in (network, int8))
    model = onnx.load(int8)
    for node in model.graph.node:
        node.output[:] = ["logits_shifted" if name == "logits" else name for name in node.output]
    model.graph.initializer.append(numpy_helper.from_array(exact - rounded, "shift"))
    model.graph.node.append(helper.make_node("Add", ["logits_shifted", "shift"], ["logits"]))
    onnx.save(model, int8)


def _mean_logits(network: Path, films: Greys) -> Greys:
    session = onnxruntime.InferenceSession(network, providers=["CPUExecutionProvider"])
    return np.mean([session.run(["logits"], {"film": film[None]})[0][0] for film in films], axis=0, dtype=np.float32)


class _Squares(CalibrationDataReader):
    """Squares one at a time, as ONNX Runtime asks for them."""

    def __init__(self, squares: Greys) -> None:
        self._squares: Iterator[Greys] = iter(squares)

    def get_next(self) -> dict[str, Greys] | None:
        """The next square as (1, 1, S, S); None at the end."""
        square = next(self._squares, None)
        return None if square is None else {"film": square[None]}


def _squares(films: Iterable[Greys], size_px: int) -> Greys:
    squares = [fit_square(film, size_px)[0] for film in films]
    if not squares:
        raise InvalidInput("no_films", "no films to quantize with, or to judge by: name some of both")
    return np.stack(squares)[:, None]


def _session(file: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _areas(session: onnxruntime.InferenceSession, films: Greys, truth: NDArray[np.bool_]) -> dict[str, float]:
    parts = [session.run(["logits"], {"film": films[at : at + _BATCH]})[0] for at in range(0, len(films), _BATCH)]
    logits = np.concatenate(parts).astype(np.float64)
    return {key: auc(truth[:, i].astype(np.float64), logits[:, i]) for i, key in enumerate(OUTPUTS)}


def _alternate(sessions: Iterable[onnxruntime.InferenceSession], film: Greys) -> list[float]:
    """Median time of each session in ms; they take turns, so that a busy moment of the machine strikes all alike."""
    rounds = []
    for _ in range(_WARM_UPS + _REPEATS):
        times = []
        for session in sessions:
            started = time.perf_counter()
            session.run(["logits", "evidence"], {"film": film})
            times.append((time.perf_counter() - started) * 1000)
        rounds.append(times)
    return [statistics.median(column) for column in zip(*rounds[_WARM_UPS:], strict=True)]
