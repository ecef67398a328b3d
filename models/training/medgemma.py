"""MedGemma tuned to a site: low-rank matrices beside its frozen weights, taught by films, labels and reports.

    python -m models.training.medgemma FILMS LABELS OUT

LABELS is what `python -m models.training.medsiglip` takes, with a column `report` where there are reports. What is
taught, and what of it the product's safety layers refuse, is in models.training.lessons. Weights are frozen in 4 bits
on an NVIDIA GPU with bitsandbytes (QLoRA: Dettmers et al., arXiv:2305.14314), else in bfloat16, on a CPU too; the
matrices that learn are in float32. A run that was stopped, by a full disk or by hand, goes on at its last checkpoint.

OUT then holds adapter_config.json, adapter_model.safetensors, adapter.json and card.md, and belongs beside the
checkpoint as the folder `adapter`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydicom import Dataset
from tqdm import tqdm

from imaging.radiograph import read_radiograph
from models.checkpoints.known import MEDGEMMA, folder_of
from models.checkpoints.manifest import MANIFEST_FILE, Manifest, verified
from models.embedded.scorer import WEIGHTS as SHIPPED
from models.embedded.scorer import EmbeddedScorer
from models.evaluation.card_text import environment
from models.evaluation.films import TARGETS
from models.evaluation.tables import read_rows
from models.fitting.enough import one_class
from models.fitting.films import Listed, Usable, read_usable, write
from models.fitting.report import TEXT_FILE
from models.gates.scorer import GatedScorer, Gates
from models.medgemma.adapter import CONFIG, RECORD, WEIGHTS
from models.medgemma.explainer import MedGemmaExplainer
from models.medgemma.in_process import InProcessModel, Precision, load_weights
from models.medgemma.prompt import load_prompt
from models.training.lessons import Lesson, make_lessons
from models.training.recipes import read_recipe
from models.training.site_command import run, shown
from worklist.errors import InvalidInput, ModelUnavailable
from worklist.finding import Analysis
from worklist.scope import ScopeRules

RECIPE = Path(__file__).with_name("medgemma.toml")

_LOG = logging.getLogger("models.training.medgemma")
_DRAFT = ".draft"
_TIME_LIMIT_S = 600.0  # for one answer of those that are judged


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """Of the films that judge: how many were explained, and how many times the safety layers accepted the words."""

    asked: int
    accepted: int
    why_not: Counter[str]


def tune_medgemma(  # noqa: PLR0913 - what it is made of
    *, films: Path, labels: Path, out: Path, model_dir: Path | None, recipe_file: Path = RECIPE, threads: int = 1
) -> Judged:
    """Train an adapter on a site's films, and write it with its card.

    Args:
        films: folder of the films.
        labels: what is true of them, as models.fitting.films.read_usable takes it; `report` holds the reports.
        out: where the adapter goes, and the checkpoints of the run.
        model_dir: FIRSTREAD_MODEL_DIR: MedGemma lies there, and `embedded` where the site scores with its own.
        recipe_file: hyper-parameters.
        threads: of the processor, where there is no graphics card.

    Raises:
        InvalidInput: already_trained, folder_in_use, another_run; one_class, no_lessons; or as read_usable.
        ModelUnavailable: tuning_not_installed; or as InProcessModel.
        PermanentError: disk_full or folder_not_writable.
    """
    if (out / RECORD).exists():
        raise InvalidInput("already_trained", f"{out} holds an adapter already: name another folder, or remove it")
    if (out / MANIFEST_FILE).exists():
        raise InvalidInput("folder_in_use", f"{out} holds a model: name a folder of its own for the adapter")
    if find_spec("peft") is None:
        raise ModelUnavailable("tuning_not_installed", "peft is not installed: pip install 'firstread[models,tuning]'")
    from models.training.lora import CHECKPOINT, LoraRecipe, train  # noqa: PLC0415 - it needs an extra

    recipe = read_recipe(recipe_file, LoraRecipe)
    folder = folder_of(MEDGEMMA, model_dir)
    manifest, prompt = verified(folder, MEDGEMMA), load_prompt()
    own = model_dir / "embedded" if model_dir else SHIPPED
    scorer = GatedScorer(EmbeddedScorer(own if own.exists() else SHIPPED))

    def look(_: bytes, read: Callable[[], Dataset], __: Gates) -> Analysis:
        return scorer.score(read_radiograph(read()))

    usable = read_usable(films, labels, look, ScopeRules(), shown)
    _require_classes(usable.listed, labels)
    reports = {row["file"]: str(row.get("report") or "") for _, row in read_rows(labels, {})}
    made = list(make_lessons(usable.listed, usable.looked, reports, scorer, prompt))
    lessons = [lesson for lesson in made if isinstance(lesson, Lesson)]
    refused = [why for why in made if isinstance(why, str)]
    for judges, does in ((False, "teaches"), (True, "judges")):
        if not any(lesson.judges is judges for lesson in lessons):
            raise InvalidInput(
                "no_lessons", f"the safety layers refuse what {labels} says of every film that {does} ({refused[0]})"
            )
    precision = _precision()
    loaded = load_weights(folder, precision=precision, threads=threads)
    _LOG.info(
        "%d films teach, %d judge; weights in %s on the %s",
        sum(not lesson.judges for lesson in lessons),
        sum(lesson.judges for lesson in lessons),
        precision,
        loaded.model.device.type,
    )
    facts: dict[str, Any] = {
        "base": manifest.repository,
        "base_revision": manifest.revision,
        "base_sha256": manifest.sha256,
        "precision": precision,
        "prompt_version": prompt.version,
        "prompt_sha256": prompt.sha256,
        "scorer_sha256": scorer.algorithm.sha256,
        "recipe": asdict(recipe),
        "labels_sha256": hashlib.sha256(labels.read_bytes()).hexdigest(),
        "n_teaching": sum(not lesson.judges for lesson in lessons),
        "n_judging": sum(lesson.judges for lesson in lessons),
        "n_refused_by_layers": len(refused),
    }
    taught = [(lesson.file.name, lesson.judges, lesson.question.text, lesson.answer) for lesson in lessons]
    trained = train(
        loaded,
        lessons,
        recipe,
        base=manifest.repository,
        checkpoint=out / CHECKPOINT,
        made_of=hashlib.sha256(json.dumps([facts, taught]).encode()).hexdigest(),
        shown=lambda steps: tqdm(steps, desc="steps", disable=not sys.stderr.isatty()),
    )
    del loaded
    losses = {
        "steps": list(trained.progress.losses), "judging_before": trained.progress.before,
        "judging_after": trained.after,
    }  # fmt: skip
    draft = out / _DRAFT
    try:
        files = {CONFIG: trained.config.encode(), WEIGHTS: trained.weights}
        for name, content in files.items():
            write(draft / name, content)
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        record = {**facts, "losses": losses, "files": digests}
        write(draft / RECORD, (json.dumps(record, indent=2) + "\n").encode())
        judged = _judge(
            folder, draft, precision, threads, [one for one in lessons if one.judges][: recipe.judged_answers]
        )
        write(out / TEXT_FILE, _card_text(record, draft, manifest, usable, judged).encode())
        for name in (*files, RECORD):  # what is there is whole, and no explainer loads less
            (draft / name).replace(out / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    (out / CHECKPOINT).unlink(missing_ok=True)
    return judged


def _require_classes(films: Sequence[Listed], labels: Path) -> None:
    said = {key: {film.label.truth[key] for film in films if key in film.label.truth} for key in TARGETS}
    if all(len(values) < 2 for values in said.values()):  # noqa: PLR2004 - with and without
        raise one_class(labels, [key for key, values in said.items() if values])


def _precision() -> Precision:
    """4 bits where they can be had."""
    import torch  # noqa: PLC0415 - of an extra

    return "4bit" if torch.cuda.is_available() and find_spec("bitsandbytes") else "bfloat16"


def _judge(folder: Path, adapter: Path, precision: Precision, threads: int, lessons: Sequence[Lesson]) -> Judged:
    """What the safety layers make of the tuned model's own words on films that taught nothing."""
    why_not: Counter[str] = Counter()
    if lessons:
        model = InProcessModel(folder, precision=precision, threads=threads, adapter_in=adapter)
        explainer = MedGemmaExplainer(model, time_limit_s=_TIME_LIMIT_S)
        for lesson in tqdm(lessons, desc="answers", disable=not sys.stderr.isatty()):
            film = lesson.radiograph()
            explained = explainer.explain(lesson.analysis, lesson.triage, lambda _, film=film: film)  # type: ignore[misc]
            if explained.account and explained.account.why:
                why_not[explained.account.why] += 1
    return Judged(asked=len(lessons), accepted=len(lessons) - why_not.total(), why_not=why_not)


def _card_text(
    record: dict[str, Any], draft: Path, manifest: Manifest, usable: Usable[Analysis], judged: Judged
) -> str:
    sha256 = hashlib.sha256((draft / RECORD).read_bytes()).hexdigest()
    template = environment(Path(__file__).parent).get_template("medgemma_card.md.j2")
    return template.render(record=record, sha256=sha256, manifest=manifest, films=usable, judged=judged)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see site_command."""

    def train(options: argparse.Namespace, model_dir: Path | None) -> str:
        judged = tune_medgemma(
            films=options.films,
            labels=options.labels,
            out=options.out,
            model_dir=model_dir,
            recipe_file=options.recipe,
            threads=options.threads,
        )
        return (
            f"The safety layers accept {judged.accepted} of {judged.asked} answers. Read {options.out / TEXT_FILE}; to "
            "use the adapter, put the folder beside the checkpoint as adapter/"
        )

    return run("medgemma", (__doc__ or "").splitlines()[0], RECIPE, train, arguments)


if __name__ == "__main__":
    sys.exit(main())
