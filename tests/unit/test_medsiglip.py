"""MedSigLIP on a stand-in: pixels, sentences, exports, findings and places are those of the checkpoint itself."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from PIL import Image

from imaging.display import to_display
from imaging.geometry import SquareGeometry
from imaging.radiograph import Radiograph
from models.checkpoints.manifest import MADE_HERE, MANIFEST_FILE
from models.medsiglip.exported import (
    EXPORT_FILE,
    FLOAT,
    INT8,
    OPENVINO,
    OPENVINO_INT8,
    OPENVINO_INT8_FLOAT,
    Tried,
    open_backend,
)
from models.medsiglip.pixels import to_input
from models.medsiglip.prompts import PROMPTS_FILE, SHIPPED, read_prompts
from models.medsiglip.scorer import MedSiglipScorer
from models.regions import locate
from tests.licensed import require_models
from worklist.errors import ModelUnavailable
from worklist.finding import ImageReference
from worklist.triage import SiteChoices, TriagePolicy, Urgency, assess

require_models()

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SHAPES = [(448, 448), (700, 600), (601, 799), (1200, 2048), (100, 90), (449, 447)]


def film(rows: int, columns: int, seed: int = 0) -> Radiograph:
    """A film of smooth shapes and noise, all greys, 0 to 1."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.random((7, 9)).astype(np.float32)).resize(
        (columns, rows), Image.Resampling.BICUBIC
    )
    pixels = np.clip(np.asarray(coarse) + 0.1 * generator.standard_normal((rows, columns)), 0, 1).astype(np.float32)
    image = ImageReference(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.4",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1.1",
        sop_instance_uid=f"1.2.3.4.{seed}",
        rows=rows,
        columns=columns,
    )
    return Radiograph(image=image, pixels=pixels)


def padded(radiograph: Radiograph) -> Image.Image:
    """The film as google's container prepares it for the processor: RGB, centered on a black square."""
    display = to_display(radiograph)
    rows, columns = display.shape
    side = max(rows, columns)
    square = Image.new("RGB", (side, side))
    square.paste(Image.fromarray(display).convert("RGB"), ((side - columns) // 2, (side - rows) // 2))
    return square


def rewrite(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a JSON file in place."""
    document = json.loads(file.read_text(encoding="utf-8"))
    change(document)
    file.write_text(json.dumps(document), encoding="utf-8")


@pytest.fixture(scope="session")
def exported(exported_stand_ins: Path) -> Path:
    """The stand-in with its export, to be read only."""
    return exported_stand_ins / "medsiglip"


@pytest.fixture
def medsiglip(exported: Path, tmp_path: Path) -> Path:
    """A copy of the exported stand-in, to be spoilt."""
    return Path(shutil.copytree(exported, tmp_path / "medsiglip"))


@pytest.fixture
def real(medsiglip: Path) -> Path:
    """The same, under a manifest that does not call it a stand-in."""
    rewrite(medsiglip / MANIFEST_FILE, lambda manifest: manifest.update(revision=COMMIT))
    return medsiglip


@pytest.mark.parametrize("shape", SHAPES)
def test_pixels_are_those_of_the_checkpoints_processor(stand_ins: Path, shape: tuple[int, int]) -> None:
    """Bicubic, for any shape and size of film, all three channels within 1e-6 of Hugging Face's processor."""
    from transformers import AutoImageProcessor  # noqa: PLC0415 - may not be installed

    processor = AutoImageProcessor.from_pretrained(stand_ins / "medsiglip", local_files_only=True)
    radiograph = film(*shape)
    expected = processor(padded(radiograph), return_tensors="np").pixel_values
    found, geometry = to_input(radiograph, 448, "bicubic")
    assert found.shape == expected.shape == (1, 3, 448, 448)
    assert np.abs(found - expected).max() <= 1e-6
    assert np.array_equal(found, to_input(radiograph, 448, "bicubic", threads=3)[0])
    assert geometry == SquareGeometry(rows=shape[0], columns=shape[1], size_px=448)


@pytest.mark.parametrize("shape", SHAPES)
def test_bilinear_is_not_antialiased(shape: tuple[int, int]) -> None:
    """The other published way samples four pixels at each cell's center and cuts to whole greys, as torch does too."""
    import torch  # noqa: PLC0415 - may not be installed

    radiograph = film(*shape)
    square = torch.from_numpy(np.asarray(padded(radiograph), np.float32)[None, None, :, :, 0].copy())
    sampled = torch.nn.functional.interpolate(square, (448, 448), mode="bilinear", align_corners=False).numpy()[0, 0]
    found = (to_input(radiograph, 448, "bilinear")[0][0, 0] * 0.5 + 0.5) / 0.00392156862
    is_whole = np.abs(sampled - np.rint(sampled)) < 1e-3  # there rounding may decide which grey is the next lower
    assert np.abs(found - np.where(is_whole, np.rint(sampled), np.floor(sampled))).max() < 1 + 1e-3
    assert np.abs(found - np.floor(sampled))[~is_whole].max(initial=0) < 1e-3


def test_probabilities_are_the_checkpoints_own(exported: Path) -> None:
    """Each is the softmax over its pair that the whole model, with its own processor, gives for film and sentences."""
    import torch  # noqa: PLC0415 - may not be installed
    from transformers import AutoModel, AutoProcessor  # noqa: PLC0415 - the same

    radiograph, prompts = film(700, 600), read_prompts(exported)
    model = AutoModel.from_pretrained(exported, local_files_only=True).eval()
    processor = AutoProcessor.from_pretrained(exported, local_files_only=True)
    texts = [sentence for pair in prompts.sentences for sentence in pair]
    inputs = processor(
        text=texts,
        images=[padded(radiograph)],
        padding="max_length",
        max_length=64,
        truncation=True,
        return_tensors="pt",
    )
    with torch.inference_mode():
        logits = model(**inputs).logits_per_image.reshape(-1, 2)
    expected = logits.softmax(dim=1)[:, 0].numpy()
    found = {finding.type.key: finding.probability for finding in MedSiglipScorer(exported).score(radiograph).findings}
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert [found[pair.type.key] for pair in prompts.pairs] == pytest.approx(expected, abs=2e-3)  # 8-bit integers


def test_a_patch_is_embedded_as_if_the_head_saw_it_alone(exported: Path) -> None:
    """The film's embedding is the checkpoint's own, a patch's what its pooling head makes of that patch by itself."""
    import torch  # noqa: PLC0415 - may not be installed
    from transformers import SiglipVisionModel  # noqa: PLC0415 - the same

    from models.medsiglip.tower import load_tower  # noqa: PLC0415 - loads torch

    whole = SiglipVisionModel.from_pretrained(exported, local_files_only=True).eval()
    pixels = torch.from_numpy(to_input(film(500, 500), 448, "bicubic")[0].copy())
    with torch.inference_mode():
        image, patches = load_tower(exported)(pixels)
        seen = whole(pixel_values=pixels)
        alone = [whole.head(seen.last_hidden_state[:, number : number + 1])[0] for number in (0, 17, 63)]
    assert torch.allclose(image, seen.pooler_output, atol=1e-5)
    for number, expected in zip((0, 17, 63), alone, strict=True):
        assert torch.allclose(patches[0, number], expected, atol=1e-5)


def cosines(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Of the last axis."""
    lengths = np.linalg.norm(found, axis=-1) * np.linalg.norm(expected, axis=-1)
    return np.asarray((found * expected).sum(-1) / lengths)


def test_every_candidate_says_what_torch_says(exported: Path, tmp_path: Path) -> None:
    """Each way to run the tower gives both embeddings of torch, of one film and of two at once."""
    import torch  # noqa: PLC0415 - may not be installed

    from models.medsiglip import export  # noqa: PLC0415 - loads torch
    from models.medsiglip.tower import load_tower  # noqa: PLC0415 - the same

    tower = load_tower(exported)
    films = np.concatenate([to_input(film(600, 500, seed), 448, "bicubic")[0] for seed in (1, 2)])
    with torch.inference_mode():
        expected = [answer.numpy() for answer in tower(torch.from_numpy(films))]
    tried = []
    for name in export._make(tower, 448, tmp_path):
        backend = open_backend(name, tmp_path / export._FILES[name][0], threads=1)  # noqa: SLF001
        for count in (1, 2):
            for found, wanted in zip(backend.run(films[:count]), expected, strict=True):
                assert found.shape == wanted[:count].shape
                assert cosines(found, wanted[:count]).min() >= 0.99, name
        tried.append(name)
    assert tried == [INT8, OPENVINO, OPENVINO_INT8, FLOAT]
    stored = onnx.load(tmp_path / export._FILES[INT8][0]).graph.initializer  # noqa: SLF001
    matrices = [one.name for one in stored if one.data_type == onnx.TensorProto.FLOAT and min([*one.dims, 0][:2]) > 1]
    assert [name for name in matrices if "embedding" not in name] == []  # a weight that two nodes share would stay


def test_an_earlier_export_runs_in_the_numbers_it_was_measured_in(exported: Path, tmp_path: Path) -> None:
    """On a CPU with 16-bit numbers too: its record says float32 between the 8-bit products."""
    from models.medsiglip import export  # noqa: PLC0415 - loads torch
    from models.medsiglip.tower import load_tower  # noqa: PLC0415 - the same

    file = tmp_path / export._FILES[OPENVINO_INT8][0]  # noqa: SLF001
    assert OPENVINO_INT8 in list(export._make(load_tower(exported), 448, tmp_path))
    backend: Any = open_backend(OPENVINO_INT8_FLOAT, file, threads=1)
    earlier = backend._model  # noqa: SLF001
    assert earlier.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"
    assert earlier.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 128


def test_the_path_of_the_gpu_says_what_the_export_says(exported: Path) -> None:
    """The backend of CUDA, here on a CPU and in float32, gives the kept export's embeddings."""
    from models.medsiglip.backends import Torch  # noqa: PLC0415 - beside the others

    kept = json.loads((exported / MADE_HERE / EXPORT_FILE).read_text(encoding="utf-8"))
    backend = open_backend(kept["kept"], exported / MADE_HERE / next(iter(kept["files"])), threads=1)
    pixels = to_input(film(640, 480), 448, "bicubic")[0]
    assert cosines(Torch(exported, device="cpu", threads=1).run(pixels)[0], backend.run(pixels)[0]).min() >= 0.999


def test_the_export_keeps_the_fastest_faithful_candidate(exported: Path) -> None:
    """The record has each candidate's time and least cosine, and only the kept one's files stay."""
    record = json.loads((exported / MADE_HERE / EXPORT_FILE).read_text(encoding="utf-8"))
    assert set(record["tried"]) == {INT8, OPENVINO, OPENVINO_INT8, FLOAT}
    assert record["tried"][record["kept"]]["cosine"] >= 0.999
    assert record["machine"] == "a test, 1 thread"
    left = {file.name for file in (exported / MADE_HERE).iterdir()}
    assert left == {EXPORT_FILE, "sentences.npz", *record["files"]}


def test_speed_never_buys_another_embedding() -> None:
    """The fastest of those with a cosine of at least 0.999 is chosen; none of them is refused with the figures."""
    from models.medsiglip.export import choose  # noqa: PLC0415 - loads torch

    exact = Tried(seconds=3.0, cosine=1.0, size_mb=1700)
    quick = Tried(seconds=1.0, cosine=0.9991, size_mb=450)
    wrong = Tried(seconds=0.1, cosine=0.9989, size_mb=450)
    assert choose({FLOAT: exact, INT8: quick, OPENVINO: wrong}) == INT8
    with pytest.raises(ModelUnavailable, match=r"openvino 0\.99890"):
        choose({OPENVINO: wrong})


def test_other_sentences_are_embedded_again_and_nothing_else(medsiglip: Path) -> None:
    """After a change of the prompts the scorer asks for an export, which then leaves the tower as it is."""
    from models.medsiglip.export import export  # noqa: PLC0415 - loads torch

    before = MedSiglipScorer(medsiglip).algorithm
    shutil.copy(SHIPPED, medsiglip / PROMPTS_FILE)
    rewrite(medsiglip / PROMPTS_FILE, lambda prompts: prompts["findings"][0].update(present="pneumothorax"))
    with pytest.raises(ModelUnavailable, match="run firstread models export medsiglip") as refused:
        MedSiglipScorer(medsiglip)
    assert refused.value.code == "export_outdated"
    record = (medsiglip / MADE_HERE / EXPORT_FILE).read_bytes()
    export(medsiglip, threads=1, machine="another", say=lambda _: None)
    assert (medsiglip / MADE_HERE / EXPORT_FILE).read_bytes() == record
    after = MedSiglipScorer(medsiglip).algorithm
    assert after.sha256 != before.sha256
    assert after.device_uid != before.device_uid


def test_boxes_lie_where_the_patches_say(medsiglip: Path) -> None:
    """A box is that of the patches' evidence for its finding, in source pixels, of findings that have places."""
    shutil.copy(SHIPPED, medsiglip / PROMPTS_FILE)
    rewrite(medsiglip / PROMPTS_FILE, lambda prompts: [pair.update(scale=400.0) for pair in prompts["findings"]])
    scorer, radiograph = MedSiglipScorer(medsiglip), film(900, 640, seed=3)
    findings = scorer.score(radiograph).findings
    boxed = [finding for finding in findings if finding.region]
    assert 1 <= len(boxed) <= 3
    assert not {"pulmonary_edema", "tubes_and_lines"} & {finding.type.key for finding in boxed}
    assert all(finding.probability >= finding.threshold for finding in boxed)
    pixels, geometry = to_input(radiograph, 448, "bicubic")
    patches = scorer._sentences.logits(scorer._backend.run(pixels)[1][0])  # noqa: SLF001 - the evidence itself
    keys = [pair.type.key for pair in read_prompts(medsiglip).pairs]
    for finding in boxed:
        evidence = patches[:, keys.index(finding.type.key)].reshape(8, 8) * np.float32(400)
        assert finding.region == locate(evidence, geometry)


def test_nothing_is_named_nor_critical_without_known_precision(real: Path) -> None:
    """A card without films names nothing and calls nothing critical, however probable, and shows all it looks for."""
    card = MedSiglipScorer(real).card
    assert {"mass", "nodule", "atelectasis", "fracture", "tubes_and_lines"} <= {kind.key for kind in card.looked_for}
    assert not card.can_be_critical
    assert all(found.named_from is None and found.precision is None for found in card.findings)


def test_nothing_is_flagged_before_the_sites_own_studies_are_known(real: Path) -> None:
    """Without reference films the alert budget cannot be kept, so nothing is flagged; by the site's own last it is."""
    scorer = MedSiglipScorer(real)
    analysis = scorer.score(film(700, 600))
    certain = replace(analysis, findings=tuple(replace(found, probability=0.999) for found in analysis.findings))
    at_first = assess(certain, TriagePolicy.of(scorer.card, SiteChoices()))
    assert at_first.urgency is Urgency.NONE
    later = assess(certain, TriagePolicy.of(scorer.card, SiteChoices(), harms=[0.1] * 1000))
    assert later.urgency is Urgency.URGENT
    assert later.evidence == "Urgent finding suspected, none certain enough to name"


def test_a_stand_in_says_so_in_every_result(exported: Path, real: Path) -> None:
    """Name and card of random weights say what they are; the version of real ones names revision and prompts."""
    stand_in = MedSiglipScorer(exported)
    assert stand_in.algorithm.name == "medsiglip-stand-in"
    assert "random weights" in stand_in.card.reference
    assert stand_in.score(film(600, 600)).scorer == stand_in.algorithm
    scorer = MedSiglipScorer(real)
    assert scorer.algorithm.name == "medsiglip-448"
    assert scorer.algorithm.version.startswith(f"{COMMIT[:7]}, prompts 1.0.0 ")
    assert len(scorer.algorithm.version) <= 64  # LO, Software Versions (0018,1020)


def test_a_cpu_needs_neither_torch_nor_the_checkpoint(medsiglip: Path) -> None:
    """Manifest and export are enough to score, with the same numbers."""
    expected = MedSiglipScorer(medsiglip).score(film(600, 600)).findings
    for file in medsiglip.iterdir():
        if file.is_file() and file.name != MANIFEST_FILE:
            file.unlink()
    assert MedSiglipScorer(medsiglip).score(film(600, 600)).findings == expected


def test_the_calibration_of_the_prompts_counts(medsiglip: Path) -> None:
    """Scale and bias of a pair act on its log odds."""
    plain = {found.type.key: found.probability for found in MedSiglipScorer(medsiglip).score(film(600, 600)).findings}
    shutil.copy(SHIPPED, medsiglip / PROMPTS_FILE)
    rewrite(medsiglip / PROMPTS_FILE, lambda prompts: prompts["findings"][0].update(scale=2.0, bias=-1.0))
    found = {one.type.key: one.probability for one in MedSiglipScorer(medsiglip).score(film(600, 600)).findings}
    key = "pneumothorax"
    assert math.log(found[key] / (1 - found[key])) == pytest.approx(2 * math.log(plain[key] / (1 - plain[key])) - 1)
    assert {name: one for name, one in found.items() if name != key} == {
        name: one for name, one in plain.items() if name != key
    }
