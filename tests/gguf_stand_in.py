"""A stand-in of MedGemma as the two files that llama.cpp reads: the language model, and the encoder of its images.

Made from the checkpoint itself with the package gguf, which llama.cpp's own converter is written with.
"""

from __future__ import annotations

# ruff: noqa: ANN401 - a configuration of transformers has no type
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt
import sentencepiece
from safetensors.numpy import load_file
from transformers import AutoConfig

_CONTROL, _NORMAL_MARK, _UNKNOWN, _BYTE, _NORMAL = 3, 4, 2, 6, 1  # llama.cpp's kinds of tokens
_ROPE_BASE = 1e6
_MARKS = frozenset({"<image_soft_token>", "<unused94>", "<unused95>"})
_PROJECTOR = {
    "multi_modal_projector.mm_input_projection_weight": "mm.input_projection.weight",
    "multi_modal_projector.mm_soft_emb_norm.weight": "mm.soft_emb_norm.weight",
}


def write_gguf(checkpoint: Path, folder: Path) -> tuple[Path, Path]:
    """Write both files; returns the language model's and the encoder's."""
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    model, encoder = folder / "medgemma.gguf", folder / "medgemma-mmproj.gguf"
    _write_model(model, checkpoint, config.text_config, tensors)
    _write_encoder(encoder, config, tensors)
    return model, encoder


def _write_model(file: Path, checkpoint: Path, text: Any, tensors: dict[str, npt.NDArray[np.float32]]) -> None:
    writer = gguf.GGUFWriter(file, "gemma3")
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(_ROPE_BASE)
    writer.add_sliding_window(text.sliding_window)
    _add_tokens(writer, checkpoint)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, text.num_hidden_layers)
    for name, tensor in tensors.items():
        if not name.startswith("language_model."):
            continue
        ours = names.get_name(name.removeprefix("language_model."), (".weight", ".bias"))
        # Gemma's norms hold the distance from one.
        whole = tensor + 1 if name.endswith("norm.weight") else tensor
        writer.add_tensor(ours, whole if whole.ndim == 1 else whole.astype(np.float16))
    _finish(writer)


def _add_tokens(writer: gguf.GGUFWriter, checkpoint: Path) -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(checkpoint / "tokenizer.model"))

    def kind(token: int) -> int:
        if pieces.is_control(token):
            return _CONTROL
        if pieces.is_unknown(token):
            return _UNKNOWN
        if pieces.is_byte(token):
            return _BYTE
        return _NORMAL_MARK if pieces.id_to_piece(token) in _MARKS else _NORMAL

    count = len(pieces)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([pieces.id_to_piece(token).encode() for token in range(count)])
    writer.add_token_scores([pieces.get_score(token) for token in range(count)])
    writer.add_token_types([kind(token) for token in range(count)])
    writer.add_bos_token_id(pieces.bos_id())
    writer.add_eos_token_id(pieces.eos_id())
    writer.add_pad_token_id(pieces.pad_id())
    writer.add_unk_token_id(pieces.unk_id())
    writer.add_add_space_prefix(value=False)
    writer.add_eot_token_id(pieces.piece_to_id("<end_of_turn>"))
    writer.add_chat_template((checkpoint / "chat_template.jinja").read_text(encoding="utf-8"))


def _write_encoder(file: Path, config: Any, tensors: dict[str, npt.NDArray[np.float32]]) -> None:
    vision = config.vision_config
    writer = gguf.GGUFWriter(file, "clip")
    writer.add_type("mmproj")
    writer.add_clip_has_vision_encoder(value=True)
    writer.add_clip_projector_type("gemma3")
    writer.add_vision_projection_dim(config.text_config.hidden_size)
    writer.add_vision_image_size(vision.image_size)
    writer.add_vision_patch_size(vision.patch_size)
    writer.add_vision_embedding_length(vision.hidden_size)
    writer.add_vision_feed_forward_length(vision.intermediate_size)
    writer.add_vision_block_count(vision.num_hidden_layers)
    writer.add_vision_head_count(vision.num_attention_heads)
    writer.add_vision_attention_layernorm_eps(vision.layer_norm_eps)
    writer.add_vision_image_mean([0.5] * 3)
    writer.add_vision_image_std([0.5] * 3)
    writer.add_vision_use_gelu(value=True)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.MMPROJ, vision.num_hidden_layers)
    for name, tensor in tensors.items():
        if not name.startswith(("vision_tower.", "multi_modal_projector.")):
            continue
        whole = tensor + 1 if "soft_emb_norm" in name else tensor
        is_exact = whole.ndim == 1 or "position" in name or "patch_embedding" in name
        ours = names.get_name(name, (".weight", ".bias")) or _PROJECTOR[name]
        writer.add_tensor(ours, np.ascontiguousarray(whole if is_exact else whole.astype(np.float16)))
    _finish(writer)


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
