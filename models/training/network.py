"""EfficientNet-Lite on one grey channel, with a linear head that doubles as an evidence map.

EfficientNet (Tan and Le, ICML 2019, arXiv:1905.11946) without squeeze-and-excitation and with ReLU6, so that it also
quantizes well. Parameter names are those of the published ImageNet checkpoints, so they load without a key map.

The head is a 1x1 convolution on the last feature map, followed by a soft maximum over its cells (log-sum-exp, Pinheiro
and Collobert, CVPR 2015, arXiv:1411.6228), or by their mean. The map tells where the logit comes from, as a class
activation map does (Zhou et al., CVPR 2016, arXiv:1512.04150), at no further cost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

_BATCH_NORM_EPSILON = 1e-3
_FEATURES = 1280


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row of the architecture table: `repeats` blocks, of which only the first strides."""

    repeats: int
    kernel_px: int
    stride: int
    expansion: int
    channels: int


@dataclass(frozen=True, kw_only=True)
class Size:
    """A row of the EfficientNet-Lite family: how much wider and deeper than Lite0."""

    width: float
    depth: float

    def of(self, stage: Stage, *, is_end: bool) -> Stage:
        """The stage of this size: channels in steps of 8; the first and the last stage do not get deeper."""
        wide = stage.channels * self.width
        channels = max(8, int(wide + 4) // 8 * 8)
        if channels < 0.9 * wide:
            channels += 8
        repeats = stage.repeats if is_end else math.ceil(stage.repeats * self.depth)
        return replace(stage, channels=channels, repeats=repeats)


SIZES = {
    "lite0": Size(width=1.0, depth=1.0),
    "lite2": Size(width=1.1, depth=1.2),
}

LITE0 = (
    Stage(repeats=1, kernel_px=3, stride=1, expansion=1, channels=16),
    Stage(repeats=2, kernel_px=3, stride=2, expansion=6, channels=24),
    Stage(repeats=2, kernel_px=5, stride=2, expansion=6, channels=40),
    Stage(repeats=3, kernel_px=3, stride=2, expansion=6, channels=80),
    Stage(repeats=3, kernel_px=5, stride=1, expansion=6, channels=112),
    Stage(repeats=4, kernel_px=5, stride=2, expansion=6, channels=192),
    Stage(repeats=1, kernel_px=3, stride=1, expansion=6, channels=320),
)
_LAST_STRIDED_STAGE = 5


class SamePaddedConv(nn.Conv2d):
    """A convolution padded like TensorFlow's SAME for even inputs, as the checkpoint expects.

    With stride 2 the odd pixel of padding goes to the right and bottom; symmetric padding would
    shift every feature map of the pretrained network by half a pixel.
    """

    def __init__(  # noqa: PLR0913 - mirrors the arguments of a convolution
        self,
        channels_in: int,
        channels_out: int,
        kernel_px: int,
        *,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
    ) -> None:
        """Build a convolution without bias."""
        total = dilation * (kernel_px - 1) + 1 - stride
        before = total // 2
        self.excess = total - 2 * before
        super().__init__(
            channels_in,
            channels_out,
            kernel_px,
            stride=stride,
            padding=before,
            dilation=dilation,
            groups=groups,
            bias=False,
        )

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name nn.Conv2d uses
        """Convolve (N, C, H, W); H and W are divided by the stride."""
        if self.excess:
            # A larger symmetric padding would need a crop; padding only what is missing is cheaper.
            input = functional.pad(input, (0, self.excess, 0, self.excess))  # noqa: A001
        return super().forward(input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=_BATCH_NORM_EPSILON, momentum=0.01)


class Block(nn.Module):
    """Inverted residual block (Sandler et al., CVPR 2018) with stochastic depth."""

    def __init__(  # noqa: PLR0913 - one argument a column of the table
        self,
        channels_in: int,
        channels_out: int,
        *,
        kernel_px: int,
        stride: int,
        expansion: int,
        dilation: int,
        drop: float,
    ) -> None:
        """Build the block; `drop` is the probability of skipping its residual branch."""
        super().__init__()
        wide = channels_in * expansion
        self._expand_conv = SamePaddedConv(channels_in, wide, 1) if expansion > 1 else None
        self._bn0 = _norm(wide) if expansion > 1 else None
        self._depthwise_conv = SamePaddedConv(wide, wide, kernel_px, stride=stride, groups=wide, dilation=dilation)
        self._bn1 = _norm(wide)
        self._project_conv = SamePaddedConv(wide, channels_out, 1)
        self._bn2 = _norm(channels_out)
        self._residual = stride == 1 and channels_in == channels_out
        self._drop = drop

    def forward(self, features: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        out = features
        if self._expand_conv is not None and self._bn0 is not None:
            out = functional.relu6(self._bn0(self._expand_conv(out)))
        out = functional.relu6(self._bn1(self._depthwise_conv(out)))
        out = self._bn2(self._project_conv(out))
        if not self._residual:
            return cast("Tensor", out)
        if self.training and self._drop > 0:
            keep = torch.rand(len(out), 1, 1, 1, device=out.device) >= self._drop
            out = out * (keep / (1 - self._drop))
        return cast("Tensor", out + features)


class ChestNetwork(nn.Module):
    """A grey film in, one logit and one evidence map per output out."""

    def __init__(  # noqa: PLR0913 - the shape of the network
        self,
        outputs: int,
        *,
        network_px: int,
        size: str = "lite0",
        output_stride: int = 32,
        pooling: float = 0.0,
        dropout: float = 0.2,
        stochastic_depth: float = 0.1,
    ) -> None:
        """Build the network with random weights.

        Args:
            outputs: Number of logits.
            network_px: Side to which a film is resized (bilinearly) inside the network.
            size: Key of `SIZES`.
            output_stride: 32, or 16 to keep the last maps twice as fine by dilation.
            pooling: Sharpness of the soft maximum over the cells; 0 takes their mean.
            dropout: Probability of dropping a feature channel before the head.
            stochastic_depth: Probability of skipping the last block; earlier ones less, linearly.

        """
        super().__init__()
        if output_stride not in {16, 32}:
            message = f"output_stride must be 16 or 32, not {output_stride}"
            raise ValueError(message)
        self.network_px, self.pooling = network_px, pooling
        stages = [SIZES[size].of(each, is_end=number in {0, len(LITE0) - 1}) for number, each in enumerate(LITE0)]
        self._conv_stem = SamePaddedConv(1, 32, 3, stride=2)
        self._bn0 = _norm(32)
        total = sum(stage.repeats for stage in stages)
        blocks: list[nn.Module] = []
        channels, dilation = 32, 1
        for number, stage in enumerate(stages):
            stride = stage.stride
            fine = number == _LAST_STRIDED_STAGE and output_stride == 16  # noqa: PLR2004
            if fine:
                stride = 1
            for repeat in range(stage.repeats):
                blocks.append(
                    Block(
                        channels,
                        stage.channels,
                        kernel_px=stage.kernel_px,
                        stride=stride if repeat == 0 else 1,
                        expansion=stage.expansion,
                        dilation=dilation,
                        drop=stochastic_depth * len(blocks) / total,
                    )
                )
                channels = stage.channels
                # The strided block itself keeps its sampling; only what follows it must dilate.
                dilation = 2 if fine or dilation > 1 else 1
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SamePaddedConv(channels, _FEATURES, 1)
        self._bn1 = _norm(_FEATURES)
        self._dropout = nn.Dropout2d(dropout)
        self._classifier = nn.Conv2d(_FEATURES, outputs, 1)
        nn.init.zeros_(cast("Tensor", self._classifier.bias))
        nn.init.normal_(self._classifier.weight, std=0.01)
        self._frozen: list[nn.Module] = []

    def freeze_first(self, blocks: int) -> None:
        """Exclude the first convolution and the first `blocks` blocks from training."""
        self._frozen = [self._conv_stem, self._bn0, *list(self._blocks)[:blocks]]
        for part in self._frozen:
            part.requires_grad_(requires_grad=False)
        self.train(self.training)

    def train(self, mode: bool = True) -> ChestNetwork:  # noqa: FBT001, FBT002 - nn.Module's own
        """Switch between training and inference; frozen parts always infer."""
        super().train(mode)
        for part in self._frozen:
            part.eval()
        return self

    def features(self, film: Tensor) -> Tensor:
        """Turn films (N, 1, S, S), float32 in 0..1, into features (N, 1280, h, w)."""
        if film.shape[-1] != self.network_px:
            film = functional.interpolate(
                film, size=(self.network_px, self.network_px), mode="bilinear", align_corners=False
            )
        # EfficientNet-Lite was trained on (pixel - 127) / 128 of 8-bit pixels.
        out = functional.relu6(self._bn0(self._conv_stem((film * 255.0 - 127.0) / 128.0)))
        for block in self._blocks:
            out = block(out)
        return functional.relu6(self._bn1(self._conv_head(out)))

    def forward(self, film: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, outputs) and evidence (N, outputs, h, w) in logit units.

        The mean, or soft maximum, of an evidence map plus the bias of its output is its logit.
        """
        bias = cast("Tensor", self._classifier.bias)
        # In float32 whatever the features are: a soft maximum of halves would be coarse.
        evidence = functional.conv2d(self._dropout(self.features(film)), self._classifier.weight).float()
        cells = evidence.flatten(2)
        if not self.pooling:
            return cells.mean(dim=2) + bias, evidence
        soft = torch.logsumexp(self.pooling * cells, dim=2) - math.log(cells.shape[2])
        return soft / self.pooling + bias, evidence


def load_imagenet(network: ChestNetwork, weights: Mapping[str, Tensor]) -> None:
    """Copy an ImageNet checkpoint of the same size into `network`, its head excepted.

    The three colour channels of the first convolution are summed, which gives the response that
    the pretrained network would have had to the grey film repeated three times.

    Raises:
        ValueError: The checkpoint misses a parameter or has one of another shape.

    """
    state = {key: value for key, value in weights.items() if not key.startswith("_fc.")}
    state["_conv_stem.weight"] = state["_conv_stem.weight"].sum(dim=1, keepdim=True)
    result = network.load_state_dict(state, strict=False)
    missing = [key for key in result.missing_keys if not key.startswith("_classifier.")]
    if missing or result.unexpected_keys:
        message = f"not an EfficientNet-Lite checkpoint of this size: {missing} {result.unexpected_keys}"
        raise ValueError(message)
