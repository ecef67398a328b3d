"""The parts by themselves, on one thread: pixels, network, SR."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydicom import Dataset

from bench.figures import Figure, median_ms
from bench.films import simulated_films
from dicom_sr.build import Revision, build_results
from imaging.display import to_display
from imaging.files import read_image_file
from imaging.geometry import fit_square
from imaging.radiograph import Radiograph, read_radiograph
from models import Scorer
from models.embedded.scorer import WEIGHTS, EmbeddedScorer
from models.template import TemplateExplainer
from worker.encoding import encode
from worklist.card import Precision
from worklist.finding import Finding, Region
from worklist.triage import SiteChoices, TriagePolicy, assess

_REPEATS = 15


def measure_parts() -> list[Figure]:
    """Times of an uncompressed film of 2500 x 2048 pixels and 16 bits, and of the objects made from it."""
    scorer = EmbeddedScorer(threads=1)
    input_px = int(json.loads((WEIGHTS / "embedded.json").read_text(encoding="utf-8"))["input_px"])
    (dataset,) = simulated_films(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.dcm"
        dataset.save_as(path, enforce_file_format=True)
        film = read_radiograph(read_image_file(path))
        # A film of the network's own size needs no fitting, so what remains is the network.
        small = Radiograph(
            image=replace(film.image, rows=input_px, columns=input_px), pixels=fit_square(film.pixels, input_px)[0]
        )
        figures = [
            Figure(
                name="Film 2500 x 2048: decode and window",
                value=median_ms(lambda: read_radiograph(dataset), _REPEATS),
                unit="ms",
            ),
            Figure(
                name="Film 2500 x 2048: fit to the network's square",
                value=median_ms(lambda: fit_square(film.pixels, input_px), _REPEATS),
                unit="ms",
            ),
            Figure(
                name="Inference and evidence, p50",
                value=median_ms(lambda: scorer.score(small), _REPEATS),
                unit="ms",
                at_most=25,
            ),
            Figure(
                name="From file to Analysis, p50",
                value=median_ms(lambda: scorer.score(read_radiograph(read_image_file(path))), _REPEATS),
                unit="ms",
                at_most=60,
            ),
            Figure(name="Model file", value=scorer.model_size_mb, unit="MB", at_most=15),
        ]
    figures.append(
        Figure(
            name="Build and encode all objects of three findings, p50",
            value=median_ms(_building(dataset, film, scorer), _REPEATS),
            unit="ms",
            at_most=120,
        )
    )
    return figures


def _building(dataset: Dataset, film: Radiograph, scorer: Scorer) -> Callable[[], int]:
    """Building and encoding the objects of a film with three named findings, a box each."""
    card = replace(
        scorer.card,
        findings=tuple(
            replace(found, is_shown=True, named_from=0.5, precision=Precision(value=0.7, n=100))
            for found in scorer.card.findings
        ),
    )
    policy = TriagePolicy.of(card, SiteChoices())
    findings = tuple(
        Finding(
            type=found.type,
            probability=0.9 - 0.1 * number,
            threshold=0.5,
            region=Region(x=300 + 400 * number, y=500, width=350, height=400),
        )
        for number, found in enumerate(card.findings[:3])
    )
    analysis = replace(scorer.score(film), findings=findings, score=0.9)
    triage = assess(analysis, policy)
    explained = TemplateExplainer().explain(analysis, triage, lambda _: film)
    now = datetime.now(UTC)
    revision = Revision(number=1, fetched_at=now, scored_at=now, reported_at=now)
    pixels = to_display(film)

    def build_and_encode() -> int:
        results = build_results(
            explained,
            triage=triage,
            policy=policy,
            sources={dataset.SOPInstanceUID: dataset},
            pixels=lambda _: pixels,
            revision=revision,
        )
        return sum(len(encode(item)) for item in results.objects)

    return build_and_encode
