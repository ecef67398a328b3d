"""MedSigLIP tuned to a site: a linear probe on the embeddings of its films, and what its reports teach, with a card.

    python -m models.training.medsiglip FILMS LABELS OUT

The towers stay as they are; for each finding with enough patients, and for urgency, a logistic regression on the film's
embedding takes the place of the sentences (models.training.probe). Where the labels have reports, a small map draws
embeddings to what they say (models.training.contrast), by which the other findings are asked for. Embeddings are those
by which the scorer works on this machine, so that both are fitted to the very numbers that they will meet. Patients are
parted first: those who teach choose the strength and give the calibration, each film by a fit that never saw its
patient; those who judge are scored at the end through the product's own code, with sentences and with what was fitted,
and give the card.

OUT then holds probe.npz, probe.json, card.json, card.md, and contrast.npz and contrast.json where the reports taught
something: all but card.md belong beside the checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import sklearn
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it comes with scikit-learn, and without types

from models.card import CARD_FILE
from models.checkpoints.known import MEDSIGLIP, folder_of
from models.checkpoints.loading import reading
from models.checkpoints.manifest import MANIFEST_FILE
from models.evaluation.card_text import environment
from models.evaluation.films import NAMES, URGENT
from models.evaluation.intervals import Flags, Numbers
from models.evaluation.measure import OUTPUTS, describe
from models.evaluation.metrics import Sample
from models.evaluation.paired import Row, mean_areas, paired
from models.evaluation.tables import read_rows
from models.fitting.enough import is_enough, patients_of, require_enough
from models.fitting.films import FeatureStore, SiteFilms, read_site, write
from models.fitting.judging import Output, judge, said_of, site_card
from models.fitting.report import TEXT_FILE
from models.medsiglip.contrast import CONTRAST_FILES
from models.medsiglip.probe import PROBE_FILES
from models.medsiglip.scorer import MedSiglipScorer
from models.training.probe import RECIPE, Probe, ProbeRecipe, describe_probe, packed, regress, standard
from models.training.recipes import read_recipe
from models.training.site_command import run, shown
from worklist.card import ScorerCard, card_to_json
from worklist.errors import InvalidInput
from worklist.finding import Analysis
from worklist.scope import ScopeRules

if TYPE_CHECKING:
    from models.training.contrast import SiteContrast

_LOG = logging.getLogger("models.training.medsiglip")
_DRAFT = ".draft"
_TITLES = {key: name.capitalize() for name, key in reversed(NAMES.items())} | {URGENT: "Urgent"}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteProbe:
    """A site's probe.

    Attributes:
        folder: where it lies.
        films: what it was made of.
        card: what the films that judge say of it.
        rows: by output, area under the ROC curve with sentences and with the probe on the films that judge.
        contrast: what the reports taught; None where they are too few, or taught nothing.
    """

    folder: Path
    films: SiteFilms
    card: ScorerCard
    rows: Sequence[Row]
    contrast: SiteContrast | None

    @property
    def files(self) -> tuple[str, ...]:
        """What belongs beside the checkpoint."""
        return (*PROBE_FILES, CARD_FILE, *(CONTRAST_FILES if self.contrast else ()))


def fit_medsiglip(  # noqa: PLR0913 - what it is made of
    *, films: Path, labels: Path, out: Path, model: Path, scope: ScopeRules, recipe: ProbeRecipe, threads: int = 1
) -> SiteProbe:
    """Fit a probe to a site's films, and write it with its card.

    Args:
        films: folder of the films.
        labels: what is true of them, as models.fitting.films.read_usable takes it.
        out: where the probe goes; embeddings are kept there too, for another run.
        model: the folder of MedSigLIP, exported for this machine.
        scope: which images are looked at.
        recipe: how it is fitted.
        threads: CPU threads that a film may take.

    Raises:
        InvalidInput: already_fitted, folder_in_use; too_few_films, one_class; no_card; or as read_usable.
        ModelUnavailable: as MedSiglipScorer.
        PermanentError: disk_full or folder_not_writable.
    """
    if (out / PROBE_FILES[0]).exists():
        raise InvalidInput("already_fitted", f"{out} holds a probe already: name another folder, or remove it")
    if (out / MANIFEST_FILE).exists():
        raise InvalidInput("folder_in_use", f"{out} holds a model: name a folder of its own for the probe")
    draft = out / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)  # of a run that was killed
    zero_shot = MedSiglipScorer(model, threads=threads, beside=draft)  # whatever probe the site has already
    base, digest = zero_shot.card, zero_shot.algorithm.sha256
    store = FeatureStore(folder=out / "embeddings" / digest, of_film=zero_shot.embedding)
    site = read_site(films, labels, store, scope, shown)
    probe, outputs, described = _fit(site, labels, recipe)
    contrast = _contrasted(site, labels, model, threads)
    judging = [film.file for film in site.listed if film.judges]
    before = judge(zero_shot, judging, shown)
    arrays = packed(probe)
    teaching = ~site.judges
    fitted = {
        "labels_sha256": hashlib.sha256(labels.read_bytes()).hexdigest(),
        "model_sha256": digest,
        "n_teaching": int(teaching.sum()),
        "n_teaching_patients": len(np.unique(site.patient[teaching])),
        "n_judging": len(judging),
        "n_judging_patients": len(np.unique(site.patient[site.judges])),
        "scikit_learn": sklearn.__version__,
    }
    facts: dict[str, Any] = {"outputs": described, "fitted": fitted}
    document, numbers = PROBE_FILES
    try:
        write(draft / numbers, arrays)
        write(draft / document, describe_probe(probe, arrays, facts).encode())
        if contrast:
            for name, content in zip(CONTRAST_FILES, _packed(contrast, fitted), strict=True):
                write(draft / name, content)
        after = judge(MedSiglipScorer(model, threads=threads, beside=draft), judging, shown)
        outputs = [_compared(output, site, before, after) for output in outputs]
        try:
            card = site_card(outputs, site, after, base, facts)
        except ValueError as error:
            raise InvalidInput("no_card", f"these films give no card, so no probe ({error}): have more") from error
        rows = [
            paired(output.key, [(output.shipped, output.own)], mean_areas)
            for output in outputs
            if output.shipped and output.own
        ]
        found = SiteProbe(folder=out, films=site, card=card, rows=rows, contrast=contrast)
        write(draft / CARD_FILE, (json.dumps(card_to_json(card), indent=2) + "\n").encode())
        write(out / TEXT_FILE, _card_text(found, facts).encode())
        # The probe's document last: without it the command begins anew.
        for name in sorted(found.files, key=document.__eq__):  # what is there is whole, and no scorer loads less
            (draft / name).replace(out / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return found


def _fit(site: SiteFilms, labels: Path, recipe: ProbeRecipe) -> tuple[Probe, list[Output], list[dict[str, Any]]]:
    """The probe, what is known of each output, and of those that it has, their calibration and thresholds."""
    teaching = ~site.judges
    vectors, truth = site.features[teaching], site.truth[teaching]
    patient = site.patient[teaching].astype(str)
    counts = [
        (
            key,
            patients_of(site.truth[teaching, number], site.patient[teaching]),
            patients_of(site.truth[site.judges, number], site.patient[site.judges]),
        )
        for number, key in enumerate(OUTPUTS)
    ]
    require_enough(counts, labels)
    mean, scale = standard(vectors)
    scaled = (vectors - mean) / scale
    heads, outputs, described = [], [], []
    for number, (key, taught, judging) in enumerate(counts):
        held_out = np.full(len(vectors), np.nan)
        if is_enough(taught, judging):
            known = np.isfinite(truth[:, number])
            label = truth[known, number]
            # More threads would fight for the cores over matrices this small, and change the sums.
            with threadpool_limits(limits=1):
                chosen = regress(scaled[known], label, patient[known], key, recipe)
                held_out[known] = cross_val_predict(
                    chosen.head, scaled[known], label > 0, cv=PredefinedSplit(chosen.fold), method="decision_function"
                )
                heads.append(chosen.head.fit(scaled[known], label > 0))
            strength = {"strength": float(chosen.head.C), "auc_cross_validated": round(chosen.ranking, 4)}
            described.append(describe(key, label, held_out[known], patient[known]) | strength)
            _LOG.info("%s: C %g, AUC of patients held out %.3f", key, chosen.head.C, chosen.ranking)
        outputs.append(Output(key=key, teaching=taught, judging=judging, fitted=None, held_out=held_out))
    probe = Probe(
        mean=mean,
        scale=scale,
        coef=np.concatenate([head.coef_ for head in heads]).astype(np.float32),
        intercept=np.concatenate([head.intercept_ for head in heads]).astype(np.float32),
    )
    return probe, outputs, described


def _compared(output: Output, site: SiteFilms, before: Sequence[Analysis], after: Sequence[Analysis]) -> Output:
    """An output that the probe has, with what sentences and probe say of the films that judge."""
    if np.isnan(output.held_out).all():
        return output
    label = site.truth[site.judges, OUTPUTS.index(output.key)]
    known = np.isfinite(label)
    return replace(
        output,
        shipped=_sample(output.key, before, label, known, site),
        own=_sample(output.key, after, label, known, site),
    )


def _sample(
    key: str,
    analyses: Sequence[Analysis],
    label: Numbers,
    known: Flags,
    site: SiteFilms,
) -> Sample:
    said = [said_of(analysis, key) for analysis in analyses]
    return Sample(
        truth=label[known] > 0,
        probability=np.array([probability for probability, _ in said])[known],
        called=np.array([called for _, called in said])[known],
        patient=site.patient[site.judges][known],
    )


def _contrasted(site: SiteFilms, labels: Path, model: Path, threads: int) -> SiteContrast | None:
    """What the reports taught; None where there are none.

    Raises:
        ModelUnavailable: models_not_installed; or as contrast_site.
    """
    stated = {row["file"]: str(row.get("report") or "").strip() for _, row in read_rows(labels, {})}
    reports = [stated.get(film.label.file, "") for film in site.listed]
    if not any(reports):
        return None
    with reading(model):
        from models.training import contrast  # noqa: PLC0415 - the text tower needs torch, which a probe does not
    recipe = read_recipe(contrast.RECIPE, contrast.ContrastRecipe)
    return contrast.contrast_site(site, reports, model, recipe=recipe, threads=threads)


def _packed(contrast: SiteContrast, fitted: dict[str, Any]) -> tuple[bytes, bytes]:
    """contrast.json, which has no word of a report, and contrast.npz."""
    learned, arrays = contrast.learned, contrast.learned.packed()
    document = {
        "name": "firstread-contrast",
        "sha256": hashlib.sha256(arrays).hexdigest(),
        "embedding_length": len(learned.down),
        "steps": learned.steps,
        "loss_held_out": {"without": round(learned.without, 4), "with": round(learned.loss, 4)},
        "n_teaching": contrast.films,
        "n_teaching_patients": contrast.patients,
        "n_sentences": contrast.sentences,
        "labels_sha256": fitted["labels_sha256"],
        "model_sha256": fitted["model_sha256"],
    }
    return (json.dumps(document, indent=2) + "\n").encode(), arrays


def _card_text(found: SiteProbe, facts: dict[str, Any]) -> str:
    template = environment(Path(__file__).parent).get_template("medsiglip_card.md.j2")
    return template.render(
        scorer_card=found.card,
        films=found.films,
        titles=_TITLES,
        rows=found.rows,
        contrast=found.contrast,
        **facts,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; see site_command."""

    def train(options: argparse.Namespace, model_dir: Path | None) -> str:
        found = fit_medsiglip(
            films=options.films,
            labels=options.labels,
            out=options.out,
            model=folder_of(MEDSIGLIP, model_dir),
            scope=ScopeRules(),
            recipe=read_recipe(options.recipe, ProbeRecipe),
            threads=options.threads,
        )
        files = ", ".join(found.files)
        return f"read {found.folder / TEXT_FILE}; to use the probe, copy {files} beside the checkpoint"

    return run("medsiglip", (__doc__ or "").splitlines()[0], RECIPE, train, arguments)


if __name__ == "__main__":
    sys.exit(main())
