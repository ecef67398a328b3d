"""MedGemma in this process, by transformers: bfloat16, or 4 bits where the machine has them.

llguidance decides before each token which ones keep the answer within the schema. Together with the token limit that
makes an answer complete, so that every answer parses; numpy computes its masks, since its torch backend would compile
a kernel first.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal

from models.checkpoints.known import MEDGEMMA
from models.checkpoints.loading import load_strictly, not_installed, reading
from models.checkpoints.manifest import verified
from models.medgemma.adapter import read_adapter, read_adapter_in, with_adapter
from models.medgemma.question import Patience, Question
from worklist.errors import ModelUnavailable
from worklist.finding import Algorithm
from worklist.uids import device_uid

Precision = Literal["bfloat16", "4bit"]
# As strict JSON without spaces: a model that may write spaces fills the limit with them.
_COMPACT: Final = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_LOOK_S: Final = 1.0  # between two looks at whether the answer is still wanted
NOT_IN_4_BITS: Final = [".*vision_tower", ".*multi_modal_projector", "lm_head"]  # matched from the first letter on


class InProcessModel:
    """The checkpoint of a folder, on the graphics card where there is one; it answers one question at a time.

    Args:
        folder: the checkpoint's, with its manifest.
        precision: of the weights; 4bit needs bitsandbytes.
        threads: of the processor, where there is no graphics card.
        adapter_in: the folder of an adapter; what lies in `adapter` beside the checkpoint where it is not given.

    Raises:
        ModelUnavailable: a file is missing, damaged or not the one that it should be, a library is not installed, or
            the weights do not fit; the code says which.
    """

    def __init__(
        self, folder: Path, *, precision: Precision = "bfloat16", threads: int = 1, adapter_in: Path | None = None
    ) -> None:
        try:
            import llguidance  # noqa: F401, PLC0415 - of the extra models; told before gigabytes are read
        except ModuleNotFoundError as error:
            raise not_installed(error) from error
        manifest = verified(folder, MEDGEMMA)
        adapter = read_adapter_in(adapter_in, manifest) if adapter_in else read_adapter(folder, manifest)
        loaded = load_weights(folder, precision=precision, threads=threads)
        self._processor = loaded.processor
        self._model = with_adapter(loaded.model, adapter) if adapter else loaded.model
        ends = self._model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        with reading(folder):
            from models.medgemma.decoding import Decoder  # noqa: PLC0415 - loads torch and transformers

            self._decoder = Decoder(self._model)
            self._grammars = _Grammars(self._processor.tokenizer, self._model)
        version, sha256 = f"{manifest.short_revision}, {precision}", manifest.sha256
        if adapter:
            version += f", adapter {adapter.sha256[:7]}"
            sha256 = hashlib.sha256(f"{sha256}\n{adapter.sha256}".encode()).hexdigest()
        self._algorithm = Algorithm(
            name="medgemma-stand-in" if manifest.is_stand_in else manifest.repository.rpartition("/")[2],
            version=version,
            sha256=sha256,
            device_uid=device_uid(f"{sha256} {precision}"),
        )

    @property
    def algorithm(self) -> Algorithm:
        """Repository, revision, precision and adapter; digest of the weights, or of their digest and the adapter's."""
        return self._algorithm

    def answer(self, question: Question, patience: Patience) -> str:
        """The text of its answer: JSON of the question's schema.

        Raises:
            NoLongerWanted: the answer is of no use any more.
            ModelUnavailable: explainer_timeout, or gpu_out_of_memory.
        """
        import torch  # noqa: PLC0415 - is loaded by now

        patience.require()
        guide = self._grammars.guide(question)
        try:
            inputs = chat_inputs(self._processor, question).to(self._model.device, dtype=self._model.dtype)
            tokens = self._written(inputs, guide, question.max_tokens, patience)
        except torch.OutOfMemoryError as error:
            self._decoder.forget()
            torch.cuda.empty_cache()
            raise ModelUnavailable(
                "gpu_out_of_memory",
                "the graphics card has too little memory for this film: see models/README.md for what a model needs",
            ) from error
        written: str = self._processor.decode(tokens, skip_special_tokens=True)
        return written

    def _written(self, inputs: Any, guide: _Guide, most: int, patience: Patience) -> list[int]:  # noqa: ANN401
        """The tokens of an answer, each the likeliest that its schema allows."""
        tokens: list[int] = []
        looked_at = time.monotonic()
        logits = self._decoder.read(inputs, most)
        while True:
            tokens.append(guide.choose(logits))
            if time.monotonic() - looked_at > _LOOK_S:
                looked_at = time.monotonic()
                patience.require()
            if tokens[-1] in self._ends or len(tokens) == most:
                return tokens
            logits = self._decoder.write(tokens[-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """The checkpoint's model and processor, as transformers has them."""

    model: Any
    processor: Any


def load_weights(folder: Path, *, precision: Precision, threads: int) -> Loaded:
    """The checkpoint of a folder that was verified, on the graphics card where there is one; as InProcessModel."""
    try:
        import torch  # noqa: PLC0415
        from transformers import AutoModelForImageTextToText, AutoProcessor  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise not_installed(error) from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(threads)
    options = {"quantization_config": _four_bits()} if precision == "4bit" else {"dtype": torch.bfloat16}
    model = load_strictly(AutoModelForImageTextToText, folder, device_map=device, **options)
    with reading(folder):
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        _require_its_words(processor.tokenizer, model.config, folder)
    return Loaded(model=model, processor=processor)


def chat_inputs(processor: Any, question: Question) -> Any:  # noqa: ANN401 - transformers has no types
    """A question as the model takes it, up to where its answer begins."""
    films = [{"type": "image", "image": image} for image in question.images]
    return processor.apply_chat_template(
        [
            {"role": "system", "content": [{"type": "text", "text": question.system}]},
            {"role": "user", "content": [*films, {"type": "text", "text": question.text}]},
        ],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


class _Grammars:
    """The vocabulary and the compiled schema, each made once: seconds for Gemma's 262,144 tokens."""

    def __init__(self, tokenizer: Any, model: Any) -> None:  # noqa: ANN401
        import llguidance.hf  # noqa: PLC0415

        self._tokenizer = llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=model.config.text_config.vocab_size, eos_token=model.generation_config.eos_token_id
        )
        self._compiled: dict[str, str] = {}

    def guide(self, question: Question) -> _Guide:
        import llguidance  # noqa: PLC0415

        schema = json.dumps(question.schema)
        if schema not in self._compiled:
            self._compiled = {schema: llguidance.LLMatcher.grammar_from_json_schema(schema, defaults=_COMPACT)}
        return _Guide(llguidance.LLMatcher(self._tokenizer, self._compiled[schema]))


class _Guide:
    """Chooses the tokens of one answer within its schema."""

    def __init__(self, matcher: Any) -> None:  # noqa: ANN401
        self._matcher = matcher
        self._mask: Any = None
        self._chosen = -1

    def choose(self, logits: Any) -> int:  # noqa: ANN401 - a tensor (1, vocabulary)
        """The likeliest token that is allowed next. Which are, is computed while a GPU still computes the logits."""
        import llguidance.numpy  # noqa: PLC0415
        import torch  # noqa: PLC0415

        if self._mask is None:
            self._mask = llguidance.numpy.allocate_token_bitmask(1, logits.shape[1])
        elif not self._matcher.consume_token(self._chosen):
            raise ModelUnavailable("explainer_error", f"the answer left its schema: {self._matcher.get_error()}")
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask, 0)
        words = torch.from_numpy(self._mask).to(logits.device)
        bits = words[:, :, None] >> torch.arange(32, dtype=words.dtype, device=words.device) & 1
        allowed = bits.flatten(1)[:, : logits.shape[1]].bool()
        self._chosen = int(logits.masked_fill(~allowed, -torch.inf).argmax())
        return self._chosen


def _require_its_words(tokenizer: Any, config: Any, folder: Path) -> None:  # noqa: ANN401 - transformers has no types
    """Refuse the tokenizer of another model: its numbers would be other words, and an image would be none."""
    known, image = config.text_config.vocab_size, tokenizer.convert_tokens_to_ids(tokenizer.image_token)
    if len(tokenizer) > known or image != config.image_token_index:
        raise ModelUnavailable(
            "tokenizer_differs",
            f"the tokenizer in {folder} is of another model ({len(tokenizer)} words, the model knows {known}; an image "
            f"is number {image}, the model's {config.image_token_index}): download the checkpoint again",
        )


def _four_bits() -> Any:  # noqa: ANN401
    import torch  # noqa: PLC0415 - is loaded by now
    from transformers import BitsAndBytesConfig  # noqa: PLC0415

    if find_spec("bitsandbytes") is None:
        raise ModelUnavailable(
            "models_not_installed", "bitsandbytes is not installed, which 4 bits need: pip install bitsandbytes"
        )
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=NOT_IN_4_BITS,
    )
