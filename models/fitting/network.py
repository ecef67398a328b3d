"""The last layer of an embedded network: what goes into it, what it is, and the same network with another one.

The network of the six findings ends in a 1x1 convolution over its last features, the mean of the maps plus a bias, and
a weighted sum that is the urgency (models/training/export.py). The features before it are computed once a film; then
another last layer costs nothing to try, and needs no more than numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.utils import Extractor

from imaging.geometry import fit_square
from imaging.radiograph import Radiograph
from models.evaluation.measure import OUTPUTS
from worklist.errors import ModelUnavailable

Matrix = npt.NDArray[np.float64]

_FINDINGS = len(OUTPUTS) - 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Head:
    """The last layer: with features (N, D), `logits = features @ weights.T + bias`, and urgency of these.

    Attributes:
        weights: (7, D), of the findings in the order of OUTPUTS and of urgency as it was learned.
        bias: (7,).
        urgency: (7,), how much each of these logits counts for the urgency that the network gives.
        urgency_bias: what is added to that.
    """

    weights: Matrix
    bias: Matrix
    urgency: Matrix
    urgency_bias: float

    def rows(self, features: npt.NDArray[np.float32]) -> Matrix:
        """Logits (N, 7) of features (N, D): those of the findings, and urgency as it was learned."""
        return np.asarray(features.astype(np.float64) @ self.weights.T + self.bias)

    def urgent(self, rows: Matrix) -> Matrix:
        """The logit (N,) of urgency, of the logits (N, 7) of `rows`."""
        return np.asarray(rows @ self.urgency + self.urgency_bias)


class Network:
    """An embedded network whose last layer can be taken out.

    Args:
        file: embedded.onnx.

    Raises:
        ModelUnavailable: model_damaged, it is no network; no_last_layer, it does not end as described above.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._model = onnx.load(file)
        except Exception as error:  # protobuf's, of a library that need not be named here
            raise ModelUnavailable("model_damaged", f"{file} is no network: install Firstread again.") from error
        try:
            self._find()
            self.head = self._read()
        except (KeyError, ValueError, IndexError) as error:
            raise ModelUnavailable(
                "no_last_layer", f"{file} does not end in a layer that can be fitted: fit the shipped model"
            ) from error

    def _find(self) -> None:
        made = {name: node for node in self._model.graph.node for name in node.output}
        maps = made["evidence"].input[0]
        layer = made[maps]
        ((urgent,),) = [_sources(made, node, "Gemm") for node in (made["logits"],)]
        (added,) = [made[name] for name in urgent.input[:1]]
        self._features, self._weights = layer.input[0], self._stored(made, layer.input[1])
        self._bias = next(name for name in added.input if name not in made)
        self._urgency, self._urgency_bias = urgent.input[1], urgent.input[2]

    def _stored(self, made: Mapping[str, onnx.NodeProto], name: str) -> str:
        """The initializer that a tensor is, or is cast from."""
        return made[name].input[0] if name in made else name

    def _read(self) -> Head:
        held = {tensor.name: numpy_helper.to_array(tensor) for tensor in self._model.graph.initializer}
        weights = held[self._weights].astype(np.float64)
        if weights.ndim != 4 or len(weights) != len(OUTPUTS):  # noqa: PLR2004 - a 1x1 convolution
            raise ValueError(weights.shape)
        return Head(
            weights=weights[:, :, 0, 0],
            bias=held[self._bias].astype(np.float64),
            urgency=held[self._urgency][0].astype(np.float64),
            urgency_bias=float(held[self._urgency_bias][0]),
        )

    def trunk(self) -> Trunk:
        """What computes the features."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        shape = ["batch", self.head.weights.shape[1], "rows", "columns"]
        model.graph.value_info.append(helper.make_tensor_value_info(self._features, TensorProto.FLOAT, shape))
        return Trunk(Extractor(model).extract_model(["film"], [self._features]))

    def rounded(self, head: Head) -> Head:
        """A last layer as the file will hold it."""
        kinds = {tensor.name: numpy_helper.to_array(tensor).dtype for tensor in self._model.graph.initializer}
        names = (self._weights, self._bias, self._urgency)
        weights, bias, urgency = (
            values.astype(kinds[name]).astype(np.float64)
            for values, name in zip((head.weights, head.bias, head.urgency), names, strict=True)
        )
        return Head(weights=weights, bias=bias, urgency=urgency, urgency_bias=float(np.float32(head.urgency_bias)))

    def with_head(self, head: Head) -> bytes:
        """The network with another last layer, as the content of an embedded.onnx; the same values, the same bytes."""
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        given: dict[str, npt.NDArray[Any]] = {
            self._weights: head.weights[:, :, None, None],
            self._bias: head.bias,
            self._urgency: head.urgency[None],
            self._urgency_bias: np.array([head.urgency_bias]),
        }
        for tensor in model.graph.initializer:
            if tensor.name in given:
                kind = numpy_helper.to_array(tensor).dtype
                tensor.CopyFrom(numpy_helper.from_array(given[tensor.name].astype(kind), tensor.name))
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


class Trunk:
    """The network up to its last layer."""

    def __init__(self, model: onnx.ModelProto) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def features(self, square: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The mean over the film of the features (D,) of a film (S, S) fitted to the network's square."""
        (maps,) = self._session.run(None, {"film": square[None, None]})
        return np.asarray(maps[0].mean(axis=(1, 2)), dtype=np.float32)

    def of_film(self, size_px: int) -> Callable[[Radiograph], npt.NDArray[np.float32]]:
        """What computes the features of an upright film, for a network whose square has this side."""
        return lambda upright: self.features(fit_square(upright.pixels, size_px)[0])


def _sources(made: Mapping[str, onnx.NodeProto], node: onnx.NodeProto, kind: str) -> list[onnx.NodeProto]:
    """The nodes of a kind among those whose outputs a node takes."""
    return [made[name] for name in node.input if name in made and made[name].op_type == kind]
