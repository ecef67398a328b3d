"""MedSigLIP in torch: the vision tower with an embedding for each patch, and the embeddings of sentences.

Only who exports, or scores on a GPU, imports this module.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from models.checkpoints.loading import load_strictly, reading  # before torch and transformers, see there
from models.medsiglip.pixels import MEAN, RESCALE, STD
from worklist.errors import ModelUnavailable

import torch  # isort: skip
from transformers import AutoConfig, AutoTokenizer, SiglipModel, SiglipVisionModel  # isort: skip

_TEXT_TENSORS = ("text_model.", "logit_scale", "logit_bias")
_BICUBIC = 3


class Tower(torch.nn.Module):
    """The vision tower, with its pooling head taken apart.

    forward(pixel_values (n, 3, S, S)) gives image embeddings (n, D), and patch embeddings (n, P, D) in reading order:
    what the pooling head would say of the film if it saw that patch alone. A head that attends to one position passes
    its value on, so this is the value and what follows it (as Zhou et al., ECCV 2022, arXiv:2112.01071, do with CLIP),
    in the very space of the image embedding and of the sentences.

    Film and patches go through each layer together, so that each weight is used once: the exporters see no constant
    in one that two nodes share, and would leave it in float32.
    """

    def __init__(self, vision: Any) -> None:  # noqa: ANN401 - transformers has no types
        super().__init__()
        head, attention = vision.head, vision.head.attention
        vision.use_head, vision.head = False, torch.nn.Identity()
        self.vision, self.project, self.norm, self.mlp = vision, attention.out_proj, head.layernorm, head.mlp
        weights = attention.in_proj_weight.detach().chunk(3)
        biases = attention.in_proj_bias.detach().chunk(3)
        self.key, self.value = (_linear(weights[part], biases[part]) for part in (1, 2))
        query = torch.nn.functional.linear(head.probe.detach(), weights[0], biases[0])  # the same for every film
        self.heads = attention.num_heads
        self.register_buffer("query", self._by_head(query))

    def forward(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See above."""
        patches = self.vision(pixel_values=pixel_values).last_hidden_state
        values = self.value(patches)
        keys = self._by_head(self.key(patches)).transpose(2, 3)
        shares = (self.query @ keys / self.query.shape[-1] ** 0.5).softmax(dim=-1)  # (n, heads, 1, P)
        pooled = (shares @ self._by_head(values)).transpose(1, 2).flatten(2)
        together = self.project(torch.cat([pooled, values], dim=1))
        together = together + self.mlp(self.norm(together))
        return together[:, 0], together[:, 1:]

    def _by_head(self, vectors: torch.Tensor) -> torch.Tensor:
        """(n, P, D) as (n, heads, P, D / heads)."""
        return vectors.unflatten(2, (self.heads, -1)).transpose(1, 2)


def _linear(weight: torch.Tensor, bias: torch.Tensor) -> torch.nn.Linear:
    layer = torch.nn.Linear(weight.shape[1], weight.shape[0], dtype=weight.dtype)
    layer.weight, layer.bias = (torch.nn.Parameter(values.clone()) for values in (weight, bias))
    return layer


def load_tower(folder: Path, **options: Any) -> Tower:  # noqa: ANN401 - transformers' options
    """The vision tower of a verified checkpoint, without its text tower.

    Raises:
        ModelUnavailable: as load_strictly, or processor_differs: its films are prepared in another way than ours.
    """
    _require_our_pixels(folder)
    return Tower(load_strictly(SiglipVisionModel, folder, leaving_out=_TEXT_TENSORS, **options)).eval()


def input_size(folder: Path) -> int:
    """Side in pixels of the square that a checkpoint takes.

    Raises:
        ModelUnavailable: checkpoint_invalid.
    """
    with reading(folder):
        return int(AutoConfig.from_pretrained(folder, local_files_only=True).vision_config.image_size)


def embed_sentences(folder: Path, sentences: Sequence[str]) -> tuple[npt.NDArray[np.float32], float]:
    """Embeddings (n, D) of sentences, each of length 1, and the scale of the logits.

    The text is padded to the length of the model, without a mask, as it was when the model was trained.

    Raises:
        ModelUnavailable: as load_strictly, or tokenizer_differs: it is of another model.
    """
    model = load_strictly(SiglipModel, folder)
    length = int(model.config.text_config.max_position_embeddings)
    known = int(model.config.text_config.vocab_size)
    with reading(folder):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        ids = tokenizer(
            list(sentences), padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        ).input_ids
    if len(tokenizer) > known or int(ids.max()) >= known:
        raise ModelUnavailable(
            "tokenizer_differs",
            f"the tokenizer in {folder} has {len(tokenizer)} words, the model {known}: download the checkpoint again",
        )
    with torch.inference_mode():
        vectors = model.get_text_features(input_ids=ids).pooler_output
        vectors = torch.nn.functional.normalize(vectors.float(), dim=-1)
        logit_scale = float(model.logit_scale.exp())
    return vectors.numpy().astype(np.float32), logit_scale


def write_onnx(tower: Tower, size_px: int, file: Path) -> None:
    """The tower as an ONNX file with its weights beside it: pixel_values (n, 3, S, S) in, both embeddings out."""
    example = torch.zeros((2, 3, size_px, size_px))  # of one film the exporter would make a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own exporter, about itself
        torch.onnx.export(
            tower, (example,), file, input_names=["pixel_values"], output_names=["image_embedding", "patch_embeddings"],
            dynamic_shapes={"pixel_values": {0: "n"}}, external_data=True, dynamo=True, verbose=False,
        )  # fmt: skip


def _require_our_pixels(folder: Path) -> None:
    """Refuse a checkpoint whose processor does something else than models.medsiglip.pixels."""
    with reading(folder):
        from transformers import AutoImageProcessor  # noqa: PLC0415 - slow, and for this alone

        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        found = (processor.resample, *processor.image_mean, *processor.image_std)
        same = found == (_BICUBIC, *[MEAN] * 3, *[STD] * 3) and abs(processor.rescale_factor - RESCALE) < 1e-6  # noqa: PLR2004
    if not same:
        raise ModelUnavailable(
            "processor_differs", f"{folder} prepares films in another way than medsiglip-448: it is another model"
        )
