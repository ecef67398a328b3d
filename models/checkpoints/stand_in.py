"""Tiny random checkpoints of the licensed models' own architectures, to try and to test all but what the weights know.

They are made in a second without a network, and load through the very code that loads the real ones. What they say of
a film means nothing, and their manifest says so.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.checkpoints import loading  # sets what must be set before transformers is imported
from models.checkpoints.known import MEDASR, MEDGEMMA, MEDSIGLIP
from models.checkpoints.manifest import MANIFEST_FILE, STAND_IN, pin
from worklist.errors import InvalidInput

_HALF: Final = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_REPORT: Final = (
    "No pneumothorax. Small left pleural effusion, greater on the right. Consolidation suspicious for pneumonia. "
    "Pulmonary edema improved, stable, worsened, new. Cardiomegaly. Mass, nodule, atelectasis, fracture, tubes and "
    "lines. A chest X-ray with possible, probable, unlikely bilateral upper lower lobe opacity. Prior film, comparison."
)
_MARKS: Final = (
    "<mask>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
    "<unused94>", "<unused95>",
)  # fmt: skip
"""Gemma's own marks of turns, images and thoughts; the first five are never text."""
_CONTROLS: Final = 5
_TURNS: Final = (
    "{{ bos_token }}"
    "{%- if messages[0]['role'] == 'system' -%}"
    "{%- set system = messages[0]['content'] if messages[0]['content'] is string"
    " else messages[0]['content'][0]['text'] -%}"
    "{%- set lead = system + '\n\n' -%}{%- set turns = messages[1:] -%}"
    "{%- else -%}{%- set lead = '' -%}{%- set turns = messages -%}{%- endif -%}"
    "{%- for turn in turns -%}"
    "{{ '<start_of_turn>' + ('model' if turn['role'] == 'assistant' else turn['role']) + '\n' }}"
    "{{ lead if loop.first else '' }}"
    "{%- if turn['content'] is string -%}{{ turn['content'] | trim }}"
    "{%- else -%}{%- for part in turn['content'] -%}"
    "{{ '<start_of_image>' if part['type'] == 'image' else part['text'] | trim }}"
    "{%- endfor -%}{%- endif -%}"
    "{{ '<end_of_turn>\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\n' }}{%- endif -%}"
)
"""Gemma's chat template: a system turn leads the first user turn, images stand where they are."""


def write_stand_ins(model_dir: Path) -> tuple[Path, ...]:
    """Make a stand-in of each licensed model, with its manifest.

    Args:
        model_dir: what FIRSTREAD_MODEL_DIR will name; it must not hold these models yet.

    Returns:
        The models' folders.

    Raises:
        InvalidInput: folder_in_use, a folder holds something else than a stand-in.
        ModelUnavailable: models_not_installed.
    """
    made = []
    for model, write in ((MEDSIGLIP, write_medsiglip), (MEDGEMMA, write_medgemma), (MEDASR, write_medasr)):
        folder = model_dir / model.name
        _require_free(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with loading.reading(folder):
            import torch  # noqa: PLC0415 - of the extra models

            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                write(folder)
        pin(folder, model, STAND_IN)
        made.append(folder)
    return tuple(made)


def _require_free(folder: Path) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
        is_stand_in = manifest["revision"] == STAND_IN
    except (OSError, ValueError, KeyError, TypeError):
        is_stand_in = False
    if not is_stand_in:
        raise InvalidInput("folder_in_use", f"{folder} holds something else than a stand-in: name another folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class SiglipSize:
    """How large both towers are: width, layers, heads and inner width; words of the text's, pixels of a patch."""

    width: int
    layers: int
    heads: int
    inner: int
    words: int | None
    patch_px: int


TINY: Final = SiglipSize(width=32, layers=2, heads=2, inner=64, words=None, patch_px=56)
MEDSIGLIP_448: Final = SiglipSize(width=1152, layers=27, heads=16, inner=4304, words=32_000, patch_px=14)
"""As google/medsiglip-448: 878 million parameters, 3.5 GB."""


def write_medsiglip(folder: Path, size: SiglipSize = TINY) -> None:
    """A random checkpoint of MedSigLIP's architecture, without its manifest."""
    from transformers import (  # noqa: PLC0415 - of the extra models
        SiglipConfig,
        SiglipImageProcessorPil,
        SiglipModel,
        SiglipTokenizer,
    )

    _train_pieces(
        folder / "spiece.model", vocab_size=300, model_type="unigram", pad_id=0, eos_id=1, unk_id=2, bos_id=-1
    )
    # As Google's: no attention mask, the text is padded to 64 tokens.
    tokenizer = SiglipTokenizer(str(folder / "spiece.model"), model_max_length=64, model_input_names=["input_ids"])
    tower = {
        "hidden_size": size.width, "intermediate_size": size.inner, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
    }  # fmt: skip
    text = tower | {
        "vocab_size": size.words or tokenizer.vocab_size, "max_position_embeddings": 64,
        "projection_size": size.width, "pad_token_id": 1, "bos_token_id": None, "eos_token_id": 1,
    }  # fmt: skip
    vision = tower | {"image_size": 448, "patch_size": size.patch_px}
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    images = SiglipImageProcessorPil(
        size={"height": 448, "width": 448}, resample=3, rescale_factor=0.00392156862, **_HALF
    )
    images.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class GemmaSize:
    """How large the language model (text) and the encoder of its images (vision) are, in the words of their config.

    words is the vocabulary, None for what the stand-in's own tokenizer has; precision a type of torch by its name.
    """

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    words: int | None
    image_tokens: int
    precision: str


TINY_GEMMA: Final = GemmaSize(
    text={
        "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 6, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 64,
        "initializer_range": 0.2,
    },
    vision={
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 112,
    },
    words=None,
    image_tokens=4,
    precision="float32",
)  # fmt: skip
MEDGEMMA_4B: Final = GemmaSize(
    text={
        "hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "query_pre_attn_scalar": 256, "sliding_window": 1024,
    },
    vision={
        "hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16,
        "patch_size": 14,
    },
    words=262_208,
    image_tokens=256,
    precision="bfloat16",
)  # fmt: skip
"""As google/medgemma-1.5-4b-it: 4.3 billion parameters, 8.6 GB."""


def write_medgemma(folder: Path, size: GemmaSize = TINY_GEMMA) -> None:
    """A checkpoint of MedGemma with random weights."""
    import torch  # noqa: PLC0415 - of the extra models
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - of the extra models
    from transformers import (  # noqa: PLC0415 - of the extra models
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessorPil,
        Gemma3Processor,
        GemmaTokenizer,
        GenerationConfig,
    )

    _train_pieces(
        folder / "tokenizer.model", vocab_size=640, model_type="bpe", byte_fallback=True, character_coverage=1.0,
        pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
        control_symbols=list(_MARKS[:_CONTROLS]), user_defined_symbols=list(_MARKS[_CONTROLS:]),
        add_dummy_prefix=False, remove_extra_whitespaces=False, normalization_rule_name="identity",
    )  # fmt: skip
    _, turn, end, begin_image, end_image, image = _MARKS[:6]
    tokenizer = GemmaTokenizer.from_pretrained(
        folder, extra_special_tokens={"boi_token": begin_image, "eoi_token": end_image, "image_token": image}
    )
    tokenizer.add_special_tokens({"additional_special_tokens": [turn, end]}, replace_extra_special_tokens=False)
    number = tokenizer.convert_tokens_to_ids
    stops = [1, number(end)]
    config = Gemma3Config(
        text_config={"max_position_embeddings": 8192, **size.text, "vocab_size": size.words or len(tokenizer)},
        vision_config={"image_size": 896, "vision_use_head": False, **size.vision},
        mm_tokens_per_image=size.image_tokens, eos_token_id=stops, boi_token_index=number(begin_image),
        eoi_token_index=number(end_image), image_token_index=number(image),
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, size.precision))  # made in it: a copy in float32 would be twice as large
    try:
        model = Gemma3ForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=0, bos_token_id=2, do_sample=False)
    model.save_pretrained(folder)
    del model  # of full size, it and its copy would not fit into many machines
    # Google's file names the tower's tensors so, and llama.cpp and vLLM know no other name; transformers loads both.
    file = folder / "model.safetensors"
    named = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): tensor
        for name, tensor in load_file(file).items()
    }
    save_file(named, file, metadata={"format": "pt"})
    images = Gemma3ImageProcessorPil(size={"height": 896, "width": 896}, **_HALF)
    processor = Gemma3Processor(images, tokenizer, chat_template=_TURNS, image_seq_length=size.image_tokens)
    processor.save_pretrained(folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class LasrSize:
    """How large the encoder of speech is, in the words of its config; words is None for the stand-in's own."""

    encoder: Mapping[str, Any]
    words: int | None


TINY_LASR: Final = LasrSize(
    encoder={
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "subsampling_conv_channels": 16, "conv_kernel_size": 8,
    },
    words=None,
)  # fmt: skip
MEDASR_105M: Final = LasrSize(encoder={}, words=512)
"""As google/medasr: 105 million parameters, 0.4 GB; transformers' own values are its size."""


def write_medasr(folder: Path, size: LasrSize = TINY_LASR) -> None:
    """A random checkpoint of MedASR's architecture, speech at 16 kHz to text by CTC, without its manifest."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers  # noqa: PLC0415 - of the extra models
    from transformers import (  # noqa: PLC0415 - of the extra models
        LasrCTCConfig,
        LasrFeatureExtractor,
        LasrForCTC,
        LasrProcessor,
        LasrTokenizer,
    )

    pieces = Tokenizer(models.Unigram())
    pieces.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace("\u2581", "always", split=True)]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=["<pad>", "</s>", "<unk>"],
        unk_token="<unk>",  # noqa: S106 - no password
        show_progress=False,
    )
    pieces.train_from_iterator([line.lower() for line in _corpus()], trainer)
    learnt = json.loads(pieces.to_str())["model"]["vocab"]
    tokenizer = LasrTokenizer(vocab=[tuple(piece) for piece in learnt], extra_ids=0)
    config = LasrCTCConfig(vocab_size=size.words or len(tokenizer), pad_token_id=0, encoder_config=dict(size.encoder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about a convolution whose kernel has an even width
        LasrForCTC(config).save_pretrained(folder)
    LasrProcessor(LasrFeatureExtractor(), tokenizer).save_pretrained(folder)


def _corpus() -> list[str]:
    """Report words, and the JSON that an explainer writes."""
    words = _REPORT.split()
    reports = [" ".join(words[start : start + 9]) for start in range(len(words))]
    boxes = [{"box_2d": [n, 2 * n, 9 * n, 999 - n], "label": "pleural effusion"} for n in range(50)]
    return [*reports, *(json.dumps({"explanation": "x", "boxes": [box]}) for box in boxes)]


def _train_pieces(file: Path, **options: Any) -> None:  # noqa: ANN401 - sentencepiece's options
    """A SentencePiece model of a small made-up corpus."""
    import sentencepiece  # noqa: PLC0415 - of the extra models

    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_corpus()), model_writer=content, hard_vocab_limit=False, minloglevel=2,
        num_threads=1, **options,
    )  # fmt: skip
    file.write_bytes(content.getvalue())
