"""MedGemma reads a question once and then writes token by token, each step the same work over arrays that stay put.

A step is more than a thousand kernels of microseconds, which Python starts more slowly than a GPU runs them. So on a
GPU a step is recorded once, as a CUDA graph, and then started as a whole. That needs arrays of one size in one place:
the keys and values of all that was read and written lie in arrays as long as the longest answer, and a step looks at
their beginning, _STRIDE tokens more at a time, with a graph for each length. On a processor the same steps run as they
are.

Only who runs the model in process imports this module.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

from models.checkpoints import loading  # noqa: F401 - sets what must be set before torch is imported

import torch  # isort: skip
from transformers.cache_utils import Cache, StaticLayer  # isort: skip

from models.checkpoints.graphs import record
from models.medgemma.token_step import TokenStep

_STRIDE: Final = 512


class Decoder:
    """One model and what it has read and written of one answer at a time.

    Args:
        model: Gemma3ForConditionalGeneration, loaded; its norms are replaced by faster ones of the same values.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401 - transformers has no types
        for module in model.modules():
            if type(module).__name__ == "Gemma3RMSNorm":
                module.forward = partial(_norm, scale=1.0 + module.weight.detach().float(), eps=module.eps)
        self._model = model
        self._take = TokenStep(model)
        self._is_recorded = model.device.type == "cuda"
        self._token = torch.zeros((1, 1), dtype=torch.long, device=model.device)
        self._at = torch.zeros(1, dtype=torch.long, device=model.device)  # where the token is written
        self.forget()

    def forget(self) -> None:
        """Give back the memory of keys, values and graphs."""
        self._places = _Places(0)
        self._cache = Cache(layers=[])
        self._graphs: dict[int, tuple[Any, torch.Tensor]] = {}

    @torch.inference_mode()
    def read(self, inputs: Any, most: int) -> torch.Tensor:  # noqa: ANN401 - a dictionary of transformers
        """Read a question, and forget the one before.

        Args:
            inputs: as the model's processor makes them, on the model's device, of one question.
            most: tokens that may be written after it.

        Returns:
            Logits (1, vocabulary) of the first token of the answer.
        """
        length = int(inputs["input_ids"].shape[1])
        if length + most > self._places.capacity:
            self.forget()
            self._places = _Places(_strides(length + most))
            self._cache = Cache(
                layers=[_Kept(self._places) for _ in range(self._model.config.text_config.num_hidden_layers)]
            )
        self._cache.reset()
        self._places.at = torch.arange(length, device=self._model.device)
        self._places.reach = length
        logits = self._model(**inputs, cache=self._cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        self._length = length
        self._at.fill_(length - 1)
        self._places.at = self._at
        return logits

    @torch.inference_mode()
    def write(self, token: int) -> torch.Tensor:
        """Write a token, and begin to compute what may follow; on a GPU that goes on after the return.

        Returns:
            Logits (1, vocabulary) of the next token, valid until the next call.
        """
        self._length += 1
        self._token.fill_(token)
        self._at += 1
        self._places.reach = min(_strides(self._length), self._places.capacity)
        if not self._is_recorded:
            return self._step()
        if self._places.reach not in self._graphs:
            self._graphs[self._places.reach] = record(self._step)
        graph, logits = self._graphs[self._places.reach]
        graph.replay()
        return logits

    def _step(self) -> torch.Tensor:
        return self._take(self._token, self._at, self._cache.layers, self._places.reach)


class _Places:
    """Where the tokens of a forward pass go in all layers, and how far those lie that it looks at."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.at = torch.zeros(0, dtype=torch.long)
        self.reach = 0


class _Kept(StaticLayer):
    """The keys and values of one layer, in arrays (1, heads, capacity, width).

    A sliding layer keeps all of them too, hidden by its mask: where they lie would depend on how many there are.
    """

    def __init__(self, places: _Places) -> None:
        super().__init__(max_cache_len=places.capacity)
        self._places = places

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *_: object, **__: object
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keep those of the tokens of this pass, and give those that it looks at."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        self.keys.index_copy_(2, self._places.at, key_states)
        self.values.index_copy_(2, self._places.at, value_states)
        return self.keys[:, :, : self._places.reach], self.values[:, :, : self._places.reach]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:  # noqa: ARG002 - of the method in transformers
        """How many keys a pass looks at, from which on."""
        return self._places.reach, 0


def _strides(length: int) -> int:
    """A length rounded up to whole strides."""
    return -(-length // _STRIDE) * _STRIDE


def _norm(values: torch.Tensor, *, scale: torch.Tensor, eps: float) -> torch.Tensor:
    """Gemma3RMSNorm in three kernels instead of ten: in float32, scaled by one more than its weight."""
    return torch.nn.functional.rms_norm(values.float(), scale.shape, scale, eps).type_as(values)
