"""Every film of the corpus gives its greys, and one whose header lies is not read without a word."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.radiograph import read_radiograph
from tests.film_corpus import Variant, corpus
from worklist.finding import CONTRADICTORY_HEADER

VARIANTS = list(corpus())


def test_the_corpus_is_large_and_names_each_film_once() -> None:
    """There are at least 400 variants, each under a name of its own."""
    assert len(VARIANTS) >= 400
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_a_film_of_the_corpus_gives_its_greys(variant: Variant) -> None:
    """The greys are those of the film that is in the pixels, and a note is there exactly where the header lies."""
    found = read_radiograph(variant.build())
    assert float(np.abs(found.pixels - variant.greys()).mean()) < variant.tolerance
    assert (CONTRADICTORY_HEADER in {note.code for note in found.quality}) == variant.is_noted
