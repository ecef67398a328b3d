"""What may be wrong beside a MedSigLIP checkpoint: one line that says what to do, before any study is touched."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from firstread.compose_worker import build_scorer, build_worker_app
from firstread.settings import Settings
from models.card import CARD_FILE
from models.checkpoints.manifest import MADE_HERE, MANIFEST_FILE
from models.medsiglip.exported import EXPORT_FILE
from models.medsiglip.prompts import PROMPTS_FILE, SHIPPED
from models.medsiglip.scorer import MedSiglipScorer
from models.training.probe import Probe, write
from tests.licensed import require_models
from tests.unit.test_medsiglip import film, rewrite
from worklist.card import card_to_json
from worklist.errors import ModelUnavailable
from worklist.job import Queue

require_models()

LENGTH = 32


@pytest.fixture
def medsiglip(exported_stand_ins: Path, tmp_path: Path) -> Path:
    """A copy of the exported stand-in, to be spoilt."""
    return Path(shutil.copytree(exported_stand_ins / "medsiglip", tmp_path / "models" / "medsiglip"))


def own_prompts(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """The site's own prompts, changed."""
    shutil.copy(SHIPPED, folder / PROMPTS_FILE)
    rewrite(folder / PROMPTS_FILE, change)


def kept_file(folder: Path) -> Path:
    """The file with the weights that are run."""
    record = json.loads((folder / MADE_HERE / EXPORT_FILE).read_text(encoding="utf-8"))
    return folder / MADE_HERE / str(list(record["files"])[-1])


def cut(file: Path) -> None:
    """Lose the last bytes of a file."""
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / MANIFEST_FILE).unlink(), "not_pinned"),
        (lambda folder: shutil.rmtree(folder / MADE_HERE), "not_exported"),
        (lambda folder: (folder / MADE_HERE / EXPORT_FILE).write_text("[]"), "export_damaged"),
        (lambda folder: rewrite(folder / MADE_HERE / EXPORT_FILE, lambda r: r.update(kept="x")), "export_damaged"),
        (lambda folder: rewrite(folder / MADE_HERE / EXPORT_FILE, lambda r: r.update(files={})), "export_damaged"),
        (
            lambda folder: rewrite(folder / MADE_HERE / EXPORT_FILE, lambda r: r.update(model_sha256="0" * 64)),
            "export_outdated",
        ),
        (lambda folder: kept_file(folder).unlink(), "export_damaged"),
        (lambda folder: cut(kept_file(folder)), "export_damaged"),
        (lambda folder: (folder / MADE_HERE / "sentences.npz").unlink(), "not_exported"),
        (lambda folder: cut(folder / MADE_HERE / "sentences.npz"), "export_damaged"),
        (lambda folder: (folder / PROMPTS_FILE).write_text("{"), "prompts_invalid"),
        (lambda folder: own_prompts(folder, lambda p: p.update(resize="nearest")), "prompts_invalid"),
        (lambda folder: own_prompts(folder, lambda p: p.update(findings=[])), "prompts_invalid"),
        (lambda folder: own_prompts(folder, lambda p: p["findings"][0].update(absent="")), "prompts_invalid"),
        (lambda folder: own_prompts(folder, lambda p: p["findings"][0].update(weight=2)), "prompts_invalid"),
        (lambda folder: own_prompts(folder, lambda p: p["findings"][0].update(key="hiccups")), "prompts_invalid"),
        (lambda folder: own_prompts(folder, lambda p: p["findings"].pop()), "export_outdated"),
        (lambda folder: (folder / "probe.json").write_text("{}"), "probe_invalid"),
    ],
)
def test_what_is_wrong_beside_the_checkpoint_is_one_line(
    medsiglip: Path, spoil: Callable[[Path], object], code: str
) -> None:
    """Whatever is missing, cut, changed or of something else is named, with what to do, and nothing is scored."""
    spoil(medsiglip)
    with pytest.raises(ModelUnavailable) as refused:
        MedSiglipScorer(medsiglip)
    assert refused.value.code == code
    assert "\n" not in refused.value.message
    assert str(medsiglip) in refused.value.message


def test_weights_that_no_runtime_reads_are_one_line(medsiglip: Path) -> None:
    """A file whose digest is right and that is no network is told, not thrown."""
    file = kept_file(medsiglip)
    file.write_bytes(b"no network")
    from models.checkpoints.manifest import digest_of  # noqa: PLC0415 - for this alone

    rewrite(medsiglip / MADE_HERE / EXPORT_FILE, lambda record: record["files"].update({file.name: digest_of(file)}))
    with pytest.raises(ModelUnavailable, match="does not load") as refused:
        MedSiglipScorer(medsiglip)
    assert "\n" not in refused.value.message


def test_a_tokenizer_of_another_model_is_refused(medsiglip: Path, stand_ins: Path) -> None:
    """Sentences are not embedded with words that the model never learned."""
    from models.checkpoints.stand_in import _train_pieces  # noqa: PLC0415 - loads transformers
    from models.medsiglip.tower import embed_sentences  # noqa: PLC0415 - the same

    assert embed_sentences(stand_ins / "medsiglip", ["no nodule"])[0].shape == (1, LENGTH)
    file = medsiglip / "spiece.model"
    _train_pieces(file, vocab_size=420, model_type="bpe", byte_fallback=True, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    with pytest.raises(ModelUnavailable) as refused:
        embed_sentences(medsiglip, ["no nodule"])
    assert refused.value.code in {"tokenizer_differs", "checkpoint_invalid"}


def test_films_prepared_in_another_way_are_refused(medsiglip: Path) -> None:
    """A checkpoint whose processor has another mean is none that our own pixel path serves."""
    from models.medsiglip.tower import load_tower  # noqa: PLC0415 - loads torch

    rewrite(medsiglip / "preprocessor_config.json", lambda config: config.update(image_mean=[0.48, 0.45, 0.4]))
    with pytest.raises(ModelUnavailable) as refused:
        load_tower(medsiglip)
    assert refused.value.code == "processor_differs"


def test_no_gpu_is_said(exported_stand_ins: Path) -> None:
    """Asked for a GPU that is not there, the scorer says what to set."""
    import torch  # noqa: PLC0415 - may not be installed

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    settings = Settings(scorer="medsiglip", model_dir=exported_stand_ins, scorer_device="cuda")
    with pytest.raises(ModelUnavailable, match="FIRSTREAD_SCORER_DEVICE=cpu") as refused:
        build_scorer(settings)
    assert refused.value.code == "no_gpu"


@pytest.mark.parametrize(("model_dir", "code"), [(None, "model_dir_unset"), (Path("/nowhere"), "model_folder_missing")])
def test_a_worker_without_medsiglip_does_not_start(
    tmp_path: Path, migrated_sqlite: bytes, model_dir: Path | None, code: str
) -> None:
    """A missing folder ends a worker at once, with the reason, in place of every study failing."""
    (tmp_path / "firstread.db").write_bytes(migrated_sqlite)
    settings = Settings(scorer="medsiglip", model_dir=model_dir, database_url=f"sqlite:///{tmp_path / 'firstread.db'}")
    with pytest.raises(ModelUnavailable) as refused:
        build_worker_app(settings, [Queue.SCORE])
    assert refused.value.code == code


def write_probe(folder: Path, *, length: int = LENGTH, low: float = 0.6) -> Probe:
    """A probe of two findings and urgency, as models.training.probe writes it."""
    generator = np.random.default_rng(0)
    probe = Probe(
        mean=generator.normal(size=length).astype(np.float32),
        scale=np.full(length, 0.5, np.float32),
        coef=generator.normal(size=(3, length)).astype(np.float32),
        intercept=np.zeros(3, np.float32),
    )
    outputs = [
        {"key": key, "scale": 0.5, "bias": -0.2, "threshold": 0.3, "auc_ci95": [low, 0.9]}
        for key in ("pneumothorax", "cardiomegaly", "urgent")
    ]
    write(probe, {"outputs": outputs}, folder)
    return probe


def test_a_probe_takes_the_place_of_the_sentences(medsiglip: Path) -> None:
    """Its findings have its probabilities and operating points, the others keep theirs, and the version names it."""
    before = MedSiglipScorer(medsiglip)
    plain = {found.type.key: found for found in before.score(film(600, 600)).findings}
    probe = write_probe(medsiglip)
    scorer = MedSiglipScorer(medsiglip)
    analysis = scorer.score(film(600, 600))
    found = {one.type.key: one for one in analysis.findings}
    pixels_embedding = _embedding(scorer)
    logits = probe.logits(pixels_embedding[None])[0]
    expected = 1 / (1 + np.exp(-(0.5 * logits - 0.2)))
    assert found["pneumothorax"].probability == pytest.approx(expected[0], abs=1e-6)
    assert found["cardiomegaly"].probability == pytest.approx(expected[1], abs=1e-6)
    assert analysis.score == pytest.approx(expected[2], abs=1e-6)
    assert analysis.threshold == 0.3
    assert found["pneumothorax"].threshold == 0.3
    assert found["mass"] == plain["mass"]
    assert "probe" in scorer.algorithm.version
    assert scorer.algorithm.device_uid != before.algorithm.device_uid


def _embedding(scorer: MedSiglipScorer) -> np.ndarray[Any, np.dtype[np.float32]]:
    from models.medsiglip.pixels import to_input  # noqa: PLC0415 - beside its only use

    image = scorer._backend.run(to_input(film(600, 600), 448, "bicubic")[0])[0][0]  # noqa: SLF001
    return np.asarray(image / np.linalg.norm(image))


def test_a_head_no_better_than_chance_is_not_shown(medsiglip: Path) -> None:
    """What a probe measured as chance neither counts nor is shown; what the sentences say of the rest is."""
    write_probe(medsiglip, low=0.45)
    card = MedSiglipScorer(medsiglip).card
    assert {kind.key for kind in card.unreliable} == {"pneumothorax", "cardiomegaly"}


def test_a_probe_of_another_encoder_is_refused(medsiglip: Path) -> None:
    """Heads for embeddings of another length, and heads that were changed since, are not applied."""
    write_probe(medsiglip, length=LENGTH + 1)
    with pytest.raises(ModelUnavailable, match="for embeddings of 32"):
        MedSiglipScorer(medsiglip)
    write_probe(medsiglip)
    rewrite(medsiglip / "probe.json", lambda values: values.update(sha256="0" * 64))
    with pytest.raises(ModelUnavailable, match="it speaks of 000000000000"):
        MedSiglipScorer(medsiglip)


def test_a_measured_card_counts_for_its_own_model_alone(medsiglip: Path) -> None:
    """card.json beside the checkpoint takes the place of the card without films, unless the prompts have changed."""
    scorer = MedSiglipScorer(medsiglip)
    document = card_to_json(scorer.card) | {"reference": "300 films of this site"}
    (medsiglip / CARD_FILE).write_text(json.dumps(document), encoding="utf-8")
    assert MedSiglipScorer(medsiglip).card.reference == "300 films of this site"
    own_prompts(medsiglip, lambda prompts: prompts["findings"][0].update(weight=0.9))
    with pytest.raises(ModelUnavailable) as refused:
        _ = MedSiglipScorer(medsiglip).card
    assert refused.value.code == "card_of_another_model"
