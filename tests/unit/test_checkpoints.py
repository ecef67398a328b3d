"""Licensed checkpoints: what is pinned, what is refused, and in which words."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.checkpoints.known import KNOWN_MODELS, MEDASR, MEDGEMMA, MEDSIGLIP, folder_of, known_model
from models.checkpoints.loading import load_strictly
from models.checkpoints.manifest import MANIFEST_FILE, pin, read_manifest, verified
from models.checkpoints.stand_in import write_stand_ins
from tests.licensed import require_models
from worklist.errors import InvalidInput, ModelUnavailable

require_models()

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LEAVING_OUT = ("text_model.", "logit_")


@pytest.fixture
def medsiglip(stand_ins: Path, tmp_path: Path) -> Path:
    """A copy of the stand-in, to be spoilt."""
    return Path(shutil.copytree(stand_ins / "medsiglip", tmp_path / "medsiglip"))


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


def note_download(folder: Path, name: str, commit: str = COMMIT, etag: str | None = None) -> None:
    """What `hf download --local-dir` leaves of a large file."""
    note = folder / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    note.parent.mkdir(parents=True, exist_ok=True)
    etag = etag or hashlib.sha256((folder / name).read_bytes()).hexdigest()
    note.write_text(f"{commit}\n{etag}\n1764000000.0\n", encoding="utf-8")


@pytest.mark.parametrize("name", KNOWN_MODELS)
def test_a_stand_in_is_what_its_manifest_says(stand_ins: Path, name: str) -> None:
    """Each stand-in verifies, and says that its weights are random."""
    known = known_model(name)
    manifest = verified(folder_of(known, stand_ins), known)
    assert manifest.is_stand_in
    assert manifest.sha256 == manifest.files["model.safetensors"].sha256


def test_stand_ins_are_the_same_each_time(stand_ins: Path, tmp_path: Path) -> None:
    """Weights come from a fixed seed, so that a digest in a report can be made again."""
    write_stand_ins(tmp_path)
    for model in KNOWN_MODELS.values():
        digests = {read_manifest(folder / model.name, model).sha256 for folder in (stand_ins, tmp_path)}
        assert len(digests) == 1


def test_a_stand_in_never_replaces_a_checkpoint(medsiglip: Path) -> None:
    """A folder with anything but a stand-in is left alone."""
    rewrite(medsiglip / MANIFEST_FILE, lambda manifest: manifest.update(revision=COMMIT))
    with pytest.raises(InvalidInput, match="something else than a stand-in"):
        write_stand_ins(medsiglip.parent)


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "model.safetensors").unlink(), "file_missing"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"version https://git-lfs"), "file_size"),
        (lambda folder: _flip(folder / "model.safetensors"), "file_digest"),
        (lambda folder: (folder / "model-2.safetensors").write_bytes(b""), "file_unknown"),
        (lambda folder: (folder / "modeling.py").write_text("print()"), "file_unknown"),
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "not_pinned"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("[]"), "manifest_invalid"),
        (lambda folder: (folder / MANIFEST_FILE).write_text("{"), "manifest_invalid"),
        (lambda folder: rewrite(folder / MANIFEST_FILE, lambda m: m.update(model="medgemma")), "another_model"),
        (lambda folder: rewrite(folder / MANIFEST_FILE, lambda m: m["files"].pop("config.json")), "manifest_invalid"),
    ],
)
def test_what_was_not_pinned_is_refused(medsiglip: Path, spoil: Callable[[Path], object], code: str) -> None:
    """A file that is missing, cut, changed or added, and a manifest that is none, each have one line."""
    spoil(medsiglip)
    with pytest.raises(ModelUnavailable) as refused:
        verified(medsiglip, MEDSIGLIP)
    assert refused.value.code == code
    assert "\n" not in refused.value.message
    assert str(medsiglip) in refused.value.message


def _flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(("model_dir", "code"), [(None, "model_dir_unset"), (Path("/nowhere"), "model_folder_missing")])
def test_a_missing_folder_is_told_with_what_to_run(model_dir: Path | None, code: str) -> None:
    """No folder, or no setting, names what to set or the command that fetches the model."""
    with pytest.raises(ModelUnavailable) as refused:
        folder_of(MEDGEMMA, model_dir)
    assert refused.value.code == code


def test_a_download_is_pinned_at_the_commit_that_the_hub_noted(medsiglip: Path) -> None:
    """Revision and digests are the hub's own, for large files and small ones."""
    (medsiglip / MANIFEST_FILE).unlink()
    small = (medsiglip / "config.json").read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(small) + small, usedforsecurity=False).hexdigest()
    note_download(medsiglip, "config.json", etag=blob)
    note_download(medsiglip, "model.safetensors")
    assert pin(medsiglip, MEDSIGLIP).revision == COMMIT
    assert verified(medsiglip, MEDSIGLIP).short_revision == COMMIT[:7]


def test_a_download_that_is_not_what_the_hub_states_is_not_pinned(medsiglip: Path) -> None:
    """A file that differs from the hub's digest is named, and nothing is written."""
    (medsiglip / MANIFEST_FILE).unlink()
    note_download(medsiglip, "model.safetensors", etag="0" * 64)
    with pytest.raises(InvalidInput, match=r"model\.safetensors is not the file that the hub states"):
        pin(medsiglip, MEDSIGLIP)
    assert not (medsiglip / MANIFEST_FILE).exists()


def test_files_of_two_revisions_are_not_pinned(medsiglip: Path) -> None:
    """A folder that holds parts of two commits is refused."""
    note_download(medsiglip, "model.safetensors")
    note_download(medsiglip, "spiece.model", commit="f" * 40)
    with pytest.raises(InvalidInput, match="download one revision"):
        pin(medsiglip, MEDSIGLIP)


def test_a_revision_is_asked_for_where_nothing_states_it(medsiglip: Path) -> None:
    """A folder from a USB stick needs --revision, and then is pinned at it."""
    with pytest.raises(InvalidInput, match="--revision"):
        pin(medsiglip, MEDSIGLIP)
    with pytest.raises(InvalidInput, match="'main' is no commit"):
        pin(medsiglip, MEDSIGLIP, "main")
    assert not pin(medsiglip, MEDSIGLIP, COMMIT).is_stand_in


@pytest.mark.parametrize("name", ["tokenizer_config.json", "model.safetensors"])
def test_half_a_download_is_not_pinned(medsiglip: Path, name: str) -> None:
    """What cannot be loaded is not written down as whole."""
    (medsiglip / name).unlink()
    with pytest.raises(InvalidInput, match="run hf download google/medsiglip-448"):
        pin(medsiglip, MEDSIGLIP, COMMIT)


def test_tensors_of_the_text_tower_may_be_left_out(medsiglip: Path) -> None:
    """The vision tower alone loads from the whole checkpoint."""
    from transformers import SiglipVisionModel  # noqa: PLC0415 - may not be installed

    assert not load_strictly(SiglipVisionModel, medsiglip, leaving_out=LEAVING_OUT).training


def _drop(tensors: dict[str, Any]) -> None:
    del tensors["vision_model.post_layernorm.weight"]


def _add(tensors: dict[str, Any]) -> None:
    tensors["vision_model.adapter.weight"] = tensors["vision_model.post_layernorm.weight"].clone()


def _cut(tensors: dict[str, Any]) -> None:
    tensors["vision_model.post_layernorm.weight"] = tensors["vision_model.post_layernorm.weight"][:7].clone()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_drop, r"lacks (vision_model\.)?post_layernorm\.weight"),
        (_add, r"has unexpected (vision_model\.)?adapter\.weight"),
        (_cut, "cannot be loaded|in another shape"),
    ],
)
def test_tensors_that_differ_are_refused(medsiglip: Path, change: Callable[[dict[str, Any]], None], said: str) -> None:
    """A missing tensor, which would load as random numbers, an unexpected one, and one of another shape are named."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - may not be installed
    from transformers import SiglipVisionModel  # noqa: PLC0415 - the same

    file = medsiglip / "model.safetensors"
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=said) as refused:
        load_strictly(SiglipVisionModel, medsiglip, leaving_out=LEAVING_OUT)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "weights_damaged"),
        ("model.safetensors", None, "weights_damaged"),
        ("config.json", b"{", "checkpoint_invalid"),
        ("config.json", b'{"model_type": "siglip", "vision_config": {"hidden_size": 5}}', "checkpoint_invalid"),
    ],
)
def test_a_damaged_checkpoint_is_one_line(medsiglip: Path, name: str, content: bytes | None, code: str) -> None:
    """A pointer instead of weights, half a file, and a configuration that is none are told, never a traceback."""
    from transformers import SiglipVisionModel  # noqa: PLC0415 - may not be installed

    file = medsiglip / name
    file.write_bytes(content if content is not None else file.read_bytes()[:-1000])
    with pytest.raises(ModelUnavailable) as refused:
        load_strictly(SiglipVisionModel, medsiglip, leaving_out=LEAVING_OUT)
    assert refused.value.code == code
    assert "\n" not in refused.value.message


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_a_speech_model_loads_strictly_and_reads_sound(stand_ins: Path, tmp_path: Path) -> None:
    """Sound at 16 kHz becomes a number for each piece and moment; a lost tensor is refused."""
    import torch  # noqa: PLC0415 - of the extra models
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - the same
    from transformers import AutoProcessor, LasrForCTC  # noqa: PLC0415 - the same

    folder = Path(shutil.copytree(folder_of(MEDASR, stand_ins), tmp_path / "medasr"))
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = load_strictly(LasrForCTC, folder)
    sound = torch.sin(torch.arange(32_000) / 9).numpy()
    with torch.inference_mode():
        logits = model(**processor(sound, sampling_rate=16_000)).logits
    assert logits.shape[0] == 1
    assert logits.shape[2] == model.config.vocab_size == len(processor.tokenizer)
    assert isinstance(processor.batch_decode(logits.argmax(-1))[0], str)
    weights = folder / "model.safetensors"
    tensors = load_file(weights)
    lost = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != lost}, weights, metadata={"format": "pt"})
    with pytest.raises(ModelUnavailable, match=f"lacks {lost}"):
        load_strictly(LasrForCTC, folder)
