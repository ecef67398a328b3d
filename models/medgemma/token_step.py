"""One token through Gemma 3's language model, in fewer than half the kernels that transformers' own layers start.

A token is little work in many steps, and on a GPU each kernel costs a microsecond or more however little it does. So
where transformers' layers are made for any number of tokens, this is made for one: its queries meet the keys in plain
products of matrices, without a copy of the keys for each query that shares them; queries and keys are normed and turned
together; products that read the same vector are one; and what goes from layer to layer stays in float32, which needs
fewer conversions and rounds less.

The weights are the model's own, and it is used as before beside this.

Only models.medgemma.decoding imports this module.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import torch
from torch.nn import functional

FULL: Final = "full_attention"
SLIDING: Final = "sliding_attention"
"""Transformers' names of Gemma's two kinds of layers."""


class Kept(Protocol):
    """The keys and values of a layer, each (1, heads, capacity, width)."""

    keys: torch.Tensor
    values: torch.Tensor


class TokenStep:
    """The language model of a MedGemma, for one token at a time.

    Args:
        model: Gemma3ForConditionalGeneration, loaded. Where products are made one, its weights lie in the one array
            from now on.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers has no types
        text = model.model.language_model
        self._embed, self._rotary, self._norm, self._head = text.embed_tokens, text.rotary_emb, text.norm, model.lm_head
        self._window: int = model.config.text_config.sliding_window
        self._type: torch.dtype = model.dtype
        self._layers = [_Layer(layer) for layer in text.layers]

    def __call__(self, token: torch.Tensor, at: torch.Tensor, kept: Sequence[Kept], reach: int) -> torch.Tensor:
        """Logits (1, vocabulary) of the token that follows.

        Args:
            token: its number (1, 1).
            at: its place (1,); keys and values of all places before it are kept, and its own are kept there.
            kept: of each layer.
            reach: how many places are looked at, the first ones; more than `at`.
        """
        places = torch.arange(reach, device=at.device)
        later = places > at
        added = {FULL: self._added(later), SLIDING: self._added(later | (places <= at - self._window))}
        stream = self._embed(token)
        turns = {kind: self._turn(stream, at, kind) for kind in (FULL, SLIDING)}
        stream = stream.float()
        for layer, own in zip(self._layers, kept, strict=True):
            stream = stream + layer.heard(stream, at, own, turns, added)
            stream = stream + layer.thought(stream)
        logits: torch.Tensor = self._head(self._norm(stream).to(self._type))[:, -1]
        return logits

    def _added(self, hidden: torch.Tensor) -> torch.Tensor:
        """What is added to the scores of the places (reach,)."""
        return torch.zeros_like(hidden, dtype=self._type).masked_fill(hidden, -torch.inf)

    def _turn(self, stream: torch.Tensor, at: torch.Tensor, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine of the place for each number of a head (width,), the first half of the sines negated.

        So the two halves, exchanged and multiplied with it, are what is added.
        """
        cosine, sine = (values.flatten() for values in self._rotary(stream.float(), at[None], kind))
        half = len(sine) // 2
        return cosine, torch.cat([-sine[:half], sine[half:]])


class _Layer:
    """One layer for one token; all vectors of the model are (1, 1, D)."""

    def __init__(self, layer: Any) -> None:  # noqa: ANN401 - transformers has no types
        attention, mlp = layer.self_attn, layer.mlp
        self._kind: str = attention.layer_type
        self._width: int = attention.head_dim
        self._sharing: int = attention.num_key_value_groups
        self._asked = _Together([attention.q_proj, attention.k_proj, attention.v_proj])
        self._gate = _Together([mlp.gate_proj, mlp.up_proj])
        self._out, self._down, self._act = attention.o_proj, mlp.down_proj, mlp.act_fn
        self._before, self._after = layer.input_layernorm, layer.post_attention_layernorm
        self._before_mlp, self._after_mlp = layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm
        self._type = attention.q_norm.weight.dtype
        self._eps: float = attention.q_norm.eps
        self._heads: int = attention.config.num_attention_heads
        key_heads = attention.config.num_key_value_heads
        # Each score is divided by a root, which the queries' scale does at once.
        scales = [(1.0 + attention.q_norm.weight.detach().float()) * attention.scaling] * self._heads
        scales += [1.0 + attention.k_norm.weight.detach().float()] * key_heads
        self._scale = torch.stack(scales)  # (heads and key heads, width)

    def heard(
        self,
        stream: torch.Tensor,
        at: torch.Tensor,
        kept: Kept,
        turns: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
        added: Mapping[str, torch.Tensor],
    ) -> torch.Tensor:
        """What attention to the places before adds to a token, float32; arguments as TokenStep's."""
        cosine, sine = turns[self._kind]
        asked = self._asked(self._before(stream).to(self._type)).view(-1, self._width)
        turned, values = asked[: len(self._scale)].float(), asked[len(self._scale) :]
        turned = functional.rms_norm(turned, (self._width,), eps=self._eps) * self._scale
        turned = torch.addcmul(turned * cosine, turned.roll(self._width // 2, -1), sine).to(self._type)
        kept.keys.index_copy_(2, at, turned[None, self._heads :, None])
        kept.values.index_copy_(2, at, values[None, :, None])
        queries = turned[: self._heads].view(-1, self._sharing, self._width)
        scores = added[self._kind]
        reach = len(scores)
        keys, values = kept.keys[0, :, :reach], kept.values[0, :, :reach]
        shares = torch.baddbmm(scores.expand(*queries.shape[:2], reach), queries, keys.mT).softmax(-1)
        return self._after(self._out((shares @ values).view(1, 1, -1)).float())

    def thought(self, stream: torch.Tensor) -> torch.Tensor:
        """What the rest of the layer adds to a token, float32."""
        gate, up = self._gate(self._before_mlp(stream).to(self._type)).chunk(2, dim=-1)
        return self._after_mlp(self._down(self._act(gate) * up).float())


class _Together:
    """Products of one vector with several matrices, as one where they are plain ones: their weights then lie together.

    What is held in 4 bits, or has an adapter beside it, is multiplied by its own module.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts: Sequence[Any] = parts
        if all(type(part) is torch.nn.Linear and part.bias is None for part in parts):
            weight = torch.cat([part.weight.detach() for part in parts])
            for part, rows in zip(parts, weight.split([part.out_features for part in parts]), strict=True):
                part.weight = torch.nn.Parameter(rows, requires_grad=False)
            self._parts = ()
            self._weight = weight

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """The products one after the other (1, 1, all their lengths)."""
        if self._parts:
            return torch.cat([part(vector) for part in self._parts], dim=-1)
        return functional.linear(vector, self._weight)
