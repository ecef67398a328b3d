"""Simulated films as picture files, and one on which the shipped model names a finding and outlines it."""

from __future__ import annotations

import io
from functools import cache
from itertools import count

import numpy as np
from PIL import Image

from firstread.compose_worker import build_scorer
from firstread.settings import Settings
from imaging.files import read_image
from imaging.radiograph import read_radiograph
from imaging.simulated.phantom import simulate_film
from worklist.finding import FindingType
from worklist.triage import SiteChoices, TriagePolicy, assess

ROWS, COLUMNS = 600, 512


def picture(kind: str, seed: int = 3, finding: FindingType = FindingType.PLEURAL_EFFUSION) -> bytes:
    """A simulated film as PNG or JPEG, of 600 rows and 512 columns."""
    pixels = simulate_film(seed, finding=finding, rows=ROWS, columns=COLUMNS) >> 4
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


@cache
def boxed_picture() -> bytes:
    """The first simulated film of an enlarged heart, as PNG, that the shipped model names and draws a box around."""
    scorer = build_scorer(Settings())
    policy = TriagePolicy.of(scorer.card, SiteChoices())
    for seed in count(1):
        png = picture("PNG", seed, FindingType.CARDIOMEGALY)
        analysis = scorer.score(read_radiograph(read_image(io.BytesIO(png), "film.png")))
        if any(analysis.box_of(named.finding) for named in assess(analysis, policy).named):
            return png
    raise AssertionError
