"""Films with oblong pixels, in borders, tilted, or with several frames are scored as what lies on them, or noted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.uid import SecondaryCaptureImageStorage

from imaging.radiograph import Radiograph, read_radiograph
from imaging.simulated.phantom import simulate_film
from models.embedded.scorer import EmbeddedScorer
from models.gates.scorer import GatedScorer
from tests.film_corpus import dataset_of
from worklist.errors import UnusableImage
from worklist.finding import Analysis, FindingType

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_scorer = GatedScorer(EmbeddedScorer())
FILM = simulate_film(3, finding=FindingType.PLEURAL_EFFUSION, rows=512, columns=512)


def film(values: npt.NDArray[Any] = FILM, **header: Any) -> Radiograph:  # noqa: ANN401 - of any VR
    """A film of 12 bits."""
    return read_radiograph(dataset_of(np.ascontiguousarray(values).astype("u2"), bits=12, **header))


def score(radiograph: Radiograph) -> Analysis:
    """What the scorer behind the gates says."""
    return _scorer.score(radiograph)


def codes(analysis: Analysis) -> set[str]:
    """The codes of its notes."""
    return {note.code for note in analysis.quality}


@pytest.mark.parametrize("keyword", SPACINGS)
def test_oblong_pixels_are_made_square(keyword: str) -> None:
    """Half the rows with pixels twice as high are the same film, and boxes lie on the stored pixels."""
    whole = score(film())
    ratio = [2, 1] if keyword == "PixelAspectRatio" else [0.7, 0.35]
    halved = score(film(FILM.reshape(256, 2, 512).mean(1).round(), **{keyword: ratio}))
    assert halved.score == pytest.approx(whole.score, abs=0.03)
    for finding in halved.findings:
        assert finding.region is None or finding.region.y + finding.region.height <= 256


@pytest.mark.parametrize("ratio", [[0, 0.35], [0.35], [-1, 1], [9, 0.1]])
def test_an_unusable_spacing_changes_nothing(ratio: list[float]) -> None:
    """A spacing that cannot be is passed over."""
    assert film(ImagerPixelSpacing=ratio).pixel_aspect == 1


@pytest.mark.parametrize("border", [0, 4095])
def test_a_film_inside_a_border_is_scored_without_it(border: int) -> None:
    """The exposed part alone is scored, its boxes lie where they lie on the sheet, and a note says so."""
    whole, sheet = score(film()), score(film(np.pad(FILM, ((94, 94), (44, 44)), constant_values=border)))
    assert sheet.score == pytest.approx(whole.score, abs=0.05)
    assert "border" in codes(sheet)
    assert "border" not in codes(whole)
    places = {one.type.key: one.region for one in whole.findings if one.region}
    for finding in sheet.findings:
        if finding.region and (place := places.get(finding.type.key)):
            assert abs(finding.region.x - 44 - place.x) < 40
            assert abs(finding.region.y - 94 - place.y) < 40


@pytest.mark.parametrize("angle", [-30, -20, 20, 30])
def test_a_tilted_film_is_noted(angle: int) -> None:
    """A film tilted by 20 degrees or more, and not an upright one, bears a note."""
    turned = np.asarray(Image.fromarray(FILM.astype("i4")).rotate(angle, resample=Image.Resampling.BILINEAR))
    assert "tilted_film" in codes(score(film(np.clip(turned, 0, 4095))))
    assert "tilted_film" not in codes(score(film()))


@pytest.mark.parametrize("axis", [0, 1])
def test_two_films_in_one_image_are_named(axis: int) -> None:
    """Beside or below each other; one film alone, however oblong, is not taken for two."""
    with pytest.raises(UnusableImage) as refused:
        score(film(np.concatenate([FILM, FILM[:, ::-1]], axis=axis)))
    assert refused.value.code == "several_films"
    assert score(film(FILM.repeat(3, axis=axis)[::2, ::2]))


def test_contradictory_ages_and_burned_in_annotations_are_noted() -> None:
    """A child by one age and an adult by the other, and a copy on which somebody wrote."""
    ages: dict[str, Any] = {"PatientAge": "005Y", "PatientBirthDate": "19600101", "StudyDate": "20260101"}
    assert "contradictory_age" in codes(score(film(**ages)))
    assert not codes(score(film(**ages | {"PatientAge": "066Y"})))
    captured: dict[str, Any] = {"SOPClassUID": SecondaryCaptureImageStorage, "BurnedInAnnotation": "YES"}
    assert "burned_in_annotation" in codes(score(film(**captured)))


def test_of_several_frames_a_note_or_the_reason_speaks() -> None:
    """One frame is looked at, and whoever reads the result or the refusal learns that there are more."""
    first = FILM.astype("<u2").tobytes()
    assert "one_of_several_frames" in codes(score(film(NumberOfFrames=2, PixelData=first * 2)))
    with pytest.raises(UnusableImage, match="2 frames"):
        film(NumberOfFrames=2, PixelData=bytes(len(first)) + first)


def test_a_refused_film_with_a_false_header_names_the_contradiction() -> None:
    """Where no reading gives a chest film the reason is the header, and no verdict on the anatomy."""
    blocks = np.random.default_rng(1).integers(1, 3000, (16, 16)).repeat(32, axis=0).repeat(32, axis=1)
    with pytest.raises(UnusableImage, match="High Bit") as refused:
        score(film(blocks, HighBit=15))
    assert refused.value.code == "contradictory_header"
