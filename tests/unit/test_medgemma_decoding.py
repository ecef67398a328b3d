"""Word by word over arrays that stay put: the same words, of the same numbers, as transformers' own generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.medgemma.question import Question
from tests.licensed import require_models

require_models()

from models.medgemma.in_process import chat_inputs, load_weights  # noqa: E402 - it needs the extra

WRITTEN = 90  # tokens, more than the stand-in's sliding window of 64 and than several strides
CLOSE = 1e-4  # of logits in float32, which differ by the order of sums


def question(text: str) -> Question:
    """A film of noise and a text."""
    film = Image.effect_noise((896, 896), 60).convert("RGB")
    return Question(system="You describe a film.", images=(film,), text=text, schema={}, max_tokens=WRITTEN)


def test_words_and_numbers_are_those_of_transformers(stand_ins: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long question, then a short one over what the long one left, then one that needs more room than there is."""
    import torch  # noqa: PLC0415 - only here
    from transformers import GenerationConfig  # noqa: PLC0415

    from models.medgemma.decoding import Decoder  # noqa: PLC0415

    monkeypatch.setattr("models.medgemma.decoding._STRIDE", 16)
    loaded = load_weights(stand_ins / "medgemma", precision="bfloat16", threads=1)
    exact, model = loaded.model.float(), load_weights(stand_ins / "medgemma", precision="bfloat16", threads=1).model
    decoder = Decoder(model.float())
    endless = GenerationConfig(max_new_tokens=WRITTEN, do_sample=False, eos_token_id=None, pad_token_id=0)
    for text in ("effusion " * 40, "Small.", "A much longer question about the left lung. " * 30):
        inputs = chat_inputs(loaded.processor, question(text))
        wanted = exact.generate(**inputs, generation_config=endless, return_dict_in_generate=True, output_logits=True)
        logits = decoder.read(inputs, WRITTEN)
        for step, token in enumerate(wanted.sequences[0, inputs["input_ids"].shape[1] :].tolist()):
            assert torch.allclose(logits, wanted.logits[step], atol=CLOSE), (text, step)
            assert int(logits.argmax()) == token
            if step < WRITTEN - 1:
                logits = decoder.write(token)


def test_memory_is_given_back_and_taken_again(stand_ins: Path) -> None:
    """After it is forgotten, a question is read as it was."""
    loaded = load_weights(stand_ins / "medgemma", precision="bfloat16", threads=1)
    from models.medgemma.decoding import Decoder  # noqa: PLC0415

    decoder: Any = Decoder(loaded.model)
    inputs = chat_inputs(loaded.processor, question("Effusion?")).to(dtype=loaded.model.dtype)
    before = decoder.read(inputs, 5)
    decoder.forget()
    assert not decoder._cache.layers  # noqa: SLF001 - what holds the memory
    assert decoder.read(inputs, 5).equal(before)
