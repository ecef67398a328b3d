"""Writing the trained network as ONNX: folded, float16 on disk, float32 in the arithmetic."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .films import FINDINGS, KEYS, NORMAL, OPACITY, URGENT

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .network import Block, ChestNetwork, SamePaddedConv

# Shipped beside the findings, under another name, as no finding of the reading list is called so.
OTHERS = ("mass", "nodule", "atelectasis", OPACITY, NORMAL)

_OUTPUTS = ("logits", "evidence", "others")
_OPSET = 18
_SMALL = 64  # below this many values, halving the storage is not worth a node


class DeployedNetwork(nn.Module):
    """The network as shipped: the findings in order, then urgency, the findings' evidence, and what else it tells.

    The urgency logit is `weights` (7,) applied to the six finding logits and the learned urgency
    logit, plus `bias`.
    """

    def __init__(self, network: ChestNetwork, weights: NDArray[np.float64], bias: float) -> None:
        """Fold batch normalisation into a copy of `network` and keep only the shipped outputs."""
        super().__init__()
        kept = [KEYS.index(key) for key in (*FINDINGS, URGENT, *OTHERS)]
        self.network = fold(network)
        classifier = self.network._classifier  # noqa: SLF001 - this module owns the surgery
        head = nn.Conv2d(classifier.in_channels, len(kept), 1)
        head.weight = nn.Parameter(classifier.weight.detach()[kept].clone())
        head.bias = nn.Parameter(cast("Tensor", classifier.bias).detach()[kept].clone())
        self.network._classifier = head  # noqa: SLF001
        self.urgency = nn.Linear(len(FINDINGS) + 1, 1)
        self.urgency.weight = nn.Parameter(torch.tensor(weights, dtype=torch.float32).view(1, -1))
        self.urgency.bias = nn.Parameter(torch.tensor([bias], dtype=torch.float32))
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, film: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits (N, 7), evidence (N, 6, h, w) and logits of `OTHERS` (N, 5) for films (N, 1, S, S) in 0..1."""
        logits, evidence = self.network(film)
        findings = len(FINDINGS)
        urgent = self.urgency(logits[:, : findings + 1])
        return torch.cat([logits[:, :findings], urgent], dim=1), evidence[:, :findings], logits[:, findings + 1 :]


def fold(network: ChestNetwork) -> ChestNetwork:
    """Return a copy whose batch normalisations are folded into the convolutions before them."""
    folded = copy.deepcopy(network).float().eval()
    folded._conv_stem, folded._bn0 = _pair(folded._conv_stem, folded._bn0)  # noqa: SLF001
    folded._conv_head, folded._bn1 = _pair(folded._conv_head, folded._bn1)  # noqa: SLF001
    for block in folded._blocks:  # noqa: SLF001
        part = cast("Block", block)
        if part._expand_conv is not None and part._bn0 is not None:  # noqa: SLF001
            part._expand_conv, part._bn0 = _pair(part._expand_conv, part._bn0)  # noqa: SLF001
        part._depthwise_conv, part._bn1 = _pair(part._depthwise_conv, part._bn1)  # noqa: SLF001
        part._project_conv, part._bn2 = _pair(part._project_conv, part._bn2)  # noqa: SLF001
    return folded


def _pair(conv: SamePaddedConv, norm: nn.BatchNorm2d) -> tuple[SamePaddedConv, nn.BatchNorm2d]:
    # An identity takes the place of the normalisation, so that `forward` stays as it is.
    return fuse_conv_bn_eval(conv, norm), cast("nn.BatchNorm2d", nn.Identity())


def round_to_half(network: nn.Module) -> None:
    """Round every stored weight to float16 in place, as the file will hold it."""
    with torch.no_grad():
        for value in network.parameters():
            if value.numel() >= _SMALL:
                value.copy_(value.half().float())


def write_onnx(network: DeployedNetwork, file: Path, input_px: int) -> None:
    """Export with a dynamic batch; weights are float16 in the file and cast when loaded."""
    example = torch.rand(2, 1, input_px, input_px)
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["film"],
        output_names=list(_OUTPUTS),
        dynamic_shapes={"film": {0: torch.export.Dim("batch", min=1, max=1024)}},
        opset_version=_OPSET,
        dynamo=True,
    )
    if program is None:
        message = "the exporter returned no program"
        raise RuntimeError(message)
    model = program.model_proto
    casts = []
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        stored = f"{weight.name}_half"
        casts.append(helper.make_node("Cast", [stored], [weight.name], to=TensorProto.FLOAT))
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), stored))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.value_info[:]
    # The exporter records source lines of this machine, which have no place in a published file.
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""
    model.doc_string = "Firstread embedded chest-radiograph network"
    model.producer_name = "firstread"
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def run_onnx(file: Path, films: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return logits (N, 7), evidence (N, 6, h, w) and others (N, 5) of films (N, 1, S, S) in 0..1."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    parts = [session.run(_OUTPUTS, {"film": films[start : start + 32]}) for start in range(0, len(films), 32)]
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def largest_difference(network: DeployedNetwork, file: Path, films: Tensor) -> float:
    """Return the largest absolute difference of any output between torch and ONNX Runtime."""
    with torch.inference_mode():
        expected = network(films)
    found = run_onnx(file, films.numpy())
    return max(float(np.abs(want.numpy() - got).max()) for want, got in zip(expected, found, strict=True))
