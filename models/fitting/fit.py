"""From a site's labelled films to its own model: a folder that the embedded scorer loads as it loads the shipped one.

Patients are parted first. Those who teach fit the last layer, each output apart, and give its calibration and its
thresholds, every film by a fit that never saw its patient. Those who judge are scored at the end by the finished
folder, through the code that scores films in the product, and give the card; nothing is chosen on them.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from models.card import CARD_FILE
from models.embedded.scorer import WEIGHTS, EmbeddedScorer
from models.evaluation.measure import OUTPUTS, describe
from models.fitting.enough import is_enough, patients_of, require_enough
from models.fitting.films import FeatureStore, SiteFilms, read_site, write
from models.fitting.heads import Part, deal, fit_output, fit_urgency
from models.fitting.judging import Output, Shown, compared, judge, site_card
from models.fitting.network import Head, Network
from worklist.card import ScorerCard, card_to_json
from worklist.errors import InvalidInput
from worklist.scope import ScopeRules

NETWORK_FILE = "embedded.onnx"
SIDECAR_FILE = "embedded.json"

_FEATURES = "features"
_DRAFT = ".draft"
_TINY = 1e-6  # a feature that never varies
_SITE_DIGITS = 8  # of the digest of the labels, in the version


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SiteModel:
    """A site's own model.

    Attributes:
        folder: where it lies.
        films: what it was made of.
        outputs: in the order of OUTPUTS.
        card: its card.
        base: that of the shipped model.
        sidecar: embedded.json.
    """

    folder: Path
    films: SiteFilms
    outputs: Sequence[Output]
    card: ScorerCard
    base: ScorerCard
    sidecar: Mapping[str, Any]


def fit_site(  # noqa: PLR0913 - what it is made of
    *, films: Path, labels: Path, out: Path, scope: ScopeRules, shown: Shown, base: Path = WEIGHTS
) -> SiteModel:
    """Fit the last layer of the shipped network to a site's films, and write the model with its card.

    Args:
        films: folder of the films.
        labels: what is true of them, see `read_site`.
        out: where the model goes; features of films are kept there too, for another run.
        scope: which images are looked at.
        shown: passes files on, and shows how far it has come.
        base: the model to begin from.

    Raises:
        InvalidInput: already_fitted; too_few_films, one_class; no_card; or as read_site and judge.
        ModelUnavailable: the base cannot be loaded, or has no last layer that can be fitted.
        PermanentError: disk_full or folder_not_writable.
    """
    if (out / SIDECAR_FILE).exists():
        raise InvalidInput("already_fitted", f"{out} holds a model already: name another folder, or remove it")
    shipped = EmbeddedScorer(base)
    network = Network(base / NETWORK_FILE)
    sidecar = json.loads((base / SIDECAR_FILE).read_text(encoding="utf-8"))
    store = FeatureStore(
        folder=out / _FEATURES / sidecar["sha256"], of_film=network.trunk().of_film(int(sidecar["input_px"]))
    )
    site = read_site(films, labels, store, scope, shown)
    # More threads would fight for the cores over matrices this small, and change the sums.
    with threadpool_limits(limits=1):
        outputs, head = _fit(network, site, labels)
    content = network.with_head(head)
    document = _document(sidecar, shipped.algorithm.sha256, outputs, site, labels)
    document["sha256"] = hashlib.sha256(content).hexdigest()
    draft = out / _DRAFT
    try:
        write(draft / NETWORK_FILE, content)
        write(draft / SIDECAR_FILE, (json.dumps(document, indent=2) + "\n").encode())
        analyses = judge(EmbeddedScorer(draft), [film.file for film in site.listed if film.judges], shown)
        outputs = compared(outputs, site, analyses, network.head, sidecar)
        try:
            card = site_card(outputs, site, analyses, shipped.card, document)
        except ValueError as error:
            raise InvalidInput("no_card", f"these films give no card, so no model ({error}): have more") from error
        write(draft / CARD_FILE, (json.dumps(card_to_json(card), indent=2) + "\n").encode())
        for name in (NETWORK_FILE, CARD_FILE, SIDECAR_FILE):  # what is there is whole, and no scorer loads less
            (draft / name).replace(out / name)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return SiteModel(folder=out, films=site, outputs=outputs, card=card, base=shipped.card, sidecar=document)


def _fit(network: Network, site: SiteFilms, labels: Path) -> tuple[list[Output], Head]:
    """Each output, and the last layer as the file will hold it."""
    teaching = ~site.judges
    features, truth = site.features[teaching], site.truth[teaching]
    patient = np.unique(site.patient[teaching], return_inverse=True)[1]
    mean, scale = features.mean(axis=0), features.std(axis=0) + _TINY
    standard = ((features - mean) / scale).astype(np.float32)
    head, rows = network.head, network.head.rows(features)
    counts = [
        (
            key,
            patients_of(site.truth[teaching, number], site.patient[teaching]),
            patients_of(site.truth[site.judges, number], site.patient[site.judges]),
        )
        for number, key in enumerate(OUTPUTS)
    ]
    require_enough(counts, labels)
    outputs, weights, bias = [], head.weights.copy(), head.bias.copy()
    fold = deal(patient, truth[:, -1] > 0)
    for number, (key, taught, judging) in enumerate(counts):
        fitted = None
        if is_enough(taught, judging):
            label = truth[:, number]
            part = Part(
                features=standard,
                shipped=rows[:, number],
                label=label,
                fold=deal(patient, label > 0),
                patient=patient,
            )
            fitted = fit_output(part)
            rows[:, number] = fitted.held_out
            if fitted.row.weights is not None:
                added = fitted.row.weights / scale
                weights[number] = fitted.row.slope * head.weights[number] + added
                bias[number] = fitted.row.slope * head.bias[number] + fitted.row.bias - added @ mean
        outputs.append(Output(key=key, teaching=taught, judging=judging, fitted=fitted, held_out=rows[:, number]))
    combined, urgent = fit_urgency(rows, head.urgent(rows), truth[:, -1], fold, patient)
    outputs[-1] = replace(outputs[-1], held_out=urgent)
    changed = Head(
        weights=weights,
        bias=bias,
        urgency=np.array(combined.weights) if combined else head.urgency,
        urgency_bias=combined.bias if combined else head.urgency_bias,
    )
    return outputs, network.rounded(changed)


def _document(
    sidecar: Mapping[str, Any], base: str, outputs: Sequence[Output], site: SiteFilms, labels: Path
) -> dict[str, Any]:
    """embedded.json of the new model, but for the digest of the network."""
    teaching = ~site.judges
    patient = site.patient[teaching].astype(str)
    given = hashlib.sha256(labels.read_bytes()).hexdigest()
    stated = []
    for number, (output, shipped) in enumerate(zip(outputs, sidecar["outputs"], strict=True)):
        if output.fitted is None:
            stated.append(shipped)
            continue
        label = site.truth[teaching, number]
        known = np.isfinite(label)
        # Where the evidence of a new layer points was held against nobody's box.
        has_boxes = bool(shipped.get("has_boxes", True)) and output.fitted.strength is None
        described = describe(output.key, label[known], output.held_out[known], patient[known])
        stated.append({**described, "has_boxes": has_boxes})
    counts = {
        "n_teaching": int(teaching.sum()),
        "n_teaching_patients": len(np.unique(patient)),
        "n_judging": int(site.judges.sum()),
        "n_judging_patients": len(np.unique(site.patient[site.judges])),
    }
    strengths = {output.key: output.fitted.strength for output in outputs if output.fitted}
    return {
        **sidecar,
        "version": f"{sidecar['version']}+site.{given[:_SITE_DIGITS]}",
        "outputs": stated,
        "fitted": {"base": base, "labels_sha256": given, **counts, "strengths": strengths},
    }
