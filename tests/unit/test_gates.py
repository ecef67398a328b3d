"""The gates before any score: what they refuse, what they put right, and that boxes find their way back."""

from __future__ import annotations

import base64
import csv
import importlib.util
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from firstread.compose_worker import build_scorer
from firstread.settings import Settings
from firstread.triage import triage_files
from imaging.files import read_image_file
from imaging.radiograph import Radiograph, read_radiograph
from imaging.simulated.phantom import simulate_film, simulate_lateral_film
from models import Scorer
from models.gates.child import CHILD_WEIGHTS
from models.gates.scorer import ANSWERS, SIDE_PX, WAYS, WEIGHTS, GatedScorer, Gates
from tests.bad_films import chest
from worklist.card import FindingCard, ScorerCard
from worklist.errors import ModelUnavailable, OutOfScope, UnusableImage
from worklist.finding import (
    MIRRORED_FILM,
    TURNED_FILM,
    Algorithm,
    Analysis,
    Finding,
    FindingType,
    ImageReference,
    QualityNote,
    Region,
)
from worklist.scope import CHILD_FILM, ScopeRules, assess_scope

NIH = Path(__file__).parents[2] / ".." / "shared" / "data" / "nih"
SHARED = NIH.parent / "dicom"
needs_nih = pytest.mark.skipif(not NIH.is_dir(), reason="the films of ChestX-ray14 are not here")

# Films of ChestX-ray14 that the network was not trained on, as the archive holds them.
TURNED = {
    "nih_512/00003081_000.jpg": 3,
    "nih_512/00002117_004.jpg": 3,
    "nih_512/00002599_004.jpg": 3,
    "nih_512/00010531_041.jpg": 3,
    "nih_128/00002898_001.jpg": 2,
    "nih_128/00003064_030.jpg": 2,
    "nih_128/00002300_026.jpg": 4,
}
LATERAL = (
    *("00001602_000", "00002097_000", "00002117_003", "00002391_000", "00002592_003", "00002639_009", "00002644_006"),
    "00002705_000",
)

KINDS = (
    FindingType.PNEUMOTHORAX,
    FindingType.PLEURAL_EFFUSION,
    FindingType.CONSOLIDATION,
    FindingType.PNEUMONIA,
    FindingType.CARDIOMEGALY,
    FindingType.PULMONARY_EDEMA,
)

CARD = ScorerCard(
    name="test",
    version="1",
    sha256="0",
    findings=(
        FindingCard(type=FindingType.PNEUMOTHORAX, weight=1),
        FindingCard(type=FindingType.PNEUMONIA, weight=0.5),
    ),
    not_looked_for=(),
    flag_from=0.5,
    reference="nothing",
    reference_harms=(),
)

Greys = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def gates() -> Gates:
    """The gates that are shipped."""
    return Gates()


def film_of(pixels: npt.NDArray[np.floating], *codes: str) -> Radiograph:
    """A film of these greys, with quality notes of these codes."""
    image = ImageReference(
        study_instance_uid="1.2.1",
        series_instance_uid="1.2.2",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.1",
        sop_instance_uid="1.2.3",
        rows=pixels.shape[0],
        columns=pixels.shape[1],
    )
    notes = tuple(QualityNote(code=code, message=code) for code in codes)
    return Radiograph(image=image, pixels=pixels.astype(np.float32), quality=notes)


def phantom(seed: int, finding: FindingType | None = None, rows: int = 300, columns: int = 256) -> Greys:
    """A simulated frontal film, 0..1."""
    return (simulate_film(seed, finding=finding, rows=rows, columns=columns) / 4095).astype(np.float32)


def laid(upright: Greys, way: int) -> Greys:
    """The film that becomes this upright one by way 0 to 7: inverted from 4 on, turned clockwise by way % 4."""
    turned = np.rot90(upright, -(way % 4))
    return np.ascontiguousarray(1 - turned if way >= 4 else turned)


def outcome(gates: Gates, pixels: npt.NDArray[np.floating]) -> int | str:
    """The way in which a film was put right, or the code under which it was refused."""
    try:
        checked = gates.check(film_of(pixels))
    except UnusableImage as refused:
        return refused.code
    return checked.quarter_turns + 4 * ("inverted_film" in notes(gates, pixels))


def notes(gates: Gates, pixels: npt.NDArray[np.floating]) -> set[str]:
    """The codes of the notes with which a film is checked."""
    return {note.code for note in gates.check(film_of(pixels)).radiograph.quality}


def nih(name: str) -> Greys:
    """A film of ChestX-ray14."""
    with Image.open(NIH / name) as image:
        return (np.asarray(image.convert("L")) / 255).astype(np.float32)


def held_out_adults(count: int) -> list[Greys]:
    """Every so many of the validation films of adults, which are of other patients than those of training."""
    with (NIH / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val" and int(row["age"]) >= 18]
    return [nih(row["file"]) for row in rows[:: len(rows) // count]]


@dataclass
class BrightestScorer:
    """Finds the plain white square of a film, and keeps the film it was given."""

    card: ScorerCard = CARD
    algorithm: Algorithm = Algorithm(name="test", version="1", sha256="0", device_uid="2.25.1")  # noqa: RUF009 - frozen
    model_size_mb: float = 1.5
    seen: Radiograph | None = None

    def score(self, radiograph: Radiograph) -> Analysis:
        """One finding, boxed around all plain white pixels; it needs an image that is as large as the pixels."""
        self.seen = radiograph
        rows, columns = np.nonzero(radiograph.pixels == 1)
        box = boxed(radiograph.pixels == 1) if rows.size and columns.size else None
        finding = Finding(type=FindingType.PNEUMOTHORAX, probability=0.9, threshold=0.5, region=box)
        return Analysis(
            images=(radiograph.image,),
            scorer=self.algorithm,
            findings=(finding, Finding(type=FindingType.PNEUMONIA, probability=0.1, threshold=0.5)),
            score=0.9,
            threshold=0.5,
            completed_at=datetime.now(UTC),
            elapsed_ms=0.0,
            quality=radiograph.quality,
        )


def boxed(mask: npt.NDArray[np.bool_]) -> Region:
    """The box around all that is true."""
    rows, columns = np.nonzero(mask)
    x, y = int(columns.min()), int(rows.min())
    return Region(x=x, y=y, width=int(columns.max()) + 1 - x, height=int(rows.max()) + 1 - y)


# --- frontal films pass -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("finding", [None, *KINDS])
def test_simulated_frontal_films_pass_as_they_are(gates: Gates, finding: FindingType | None) -> None:
    """In health and disease, portrait or landscape, a simulated frontal film passes unchanged and without a note."""
    for seed, (rows, columns) in enumerate([(300, 256), (256, 300), (700, 600)]):
        film = film_of(phantom(40 + seed, finding, rows, columns), "low_resolution")
        checked = gates.check(film)
        assert checked.radiograph is film
        assert checked.quarter_turns == 0


@needs_nih
def test_real_frontal_films_pass_as_they_are(gates: Gates) -> None:
    """Of films of other patients than those of training none is refused, turned or inverted."""
    films = held_out_adults(230)
    assert len(films) >= 230
    assert Counter(outcome(gates, film) for film in films) == {0: len(films)}


@pytest.mark.parametrize(
    "name", ["rg1_chest_15bit_mono1_uncompressed.dcm", "cr_mono1_10bit_chest.dcm", "nhsx_google_nih_dx.dcm"]
)
def test_real_dicom_chest_films_pass(gates: Gates, name: str) -> None:
    """Films of other makers, resolutions and encodings pass too, without a note from the gates."""
    if not (SHARED / name).is_file():
        pytest.skip(f"{name} is not here")
    film = read_radiograph(read_image_file(SHARED / name))
    assert gates.check(film).radiograph is film


def test_the_window_does_not_matter(gates: Gates) -> None:
    """A film that a viewer shows darker, lighter or flatter gets the same verdict."""
    film = phantom(3)
    expected = gates.judge(film).frontal[0]
    for changed in (film**2, np.sqrt(film), 0.3 + 0.4 * film):
        assert gates.judge(changed.astype(np.float32)).frontal[0] == pytest.approx(expected, abs=0.02)


# --- turned and inverted films are put right ----------------------------------------------------------------------


@pytest.mark.parametrize("way", range(WAYS))
def test_turned_and_inverted_films_are_put_right(gates: Gates, way: int) -> None:
    """Each of the eight ways to lay a film is undone, with a note for a turn and a note for an inversion."""
    upright = phantom(11)
    stored = film_of(laid(upright, way), "low_resolution")
    checked = gates.check(stored)
    assert checked.stored is stored
    assert checked.quarter_turns == way % 4
    np.testing.assert_allclose(checked.radiograph.pixels, upright, atol=1e-6)
    assert (checked.radiograph.image.rows, checked.radiograph.image.columns) == upright.shape
    codes = {note.code for note in checked.radiograph.quality}
    assert codes == {"low_resolution"} | ({TURNED_FILM} if way % 4 else set()) | (
        {"inverted_film"} if way >= 4 else set()
    )


@needs_nih
def test_real_films_are_put_right_or_refused_but_never_put_wrong(gates: Gates) -> None:
    """Of real films laid in all eight ways at least 95 % are put right, and none is turned or inverted wrongly."""
    results = Counter((way, outcome(gates, laid(film, way))) for film in held_out_adults(100) for way in range(1, WAYS))
    right = sum(count for (way, result), count in results.items() if way == result)
    assert right >= 0.95 * results.total()
    assert not [key for key in results if isinstance(key[1], int) and key[1] not in {key[0], 0}]


@needs_nih
@pytest.mark.parametrize(("name", "way"), TURNED.items())
def test_films_that_the_archive_holds_turned_are_put_right(gates: Gates, name: str, way: int) -> None:
    """Films that really were stored on their side, on their head or inverted are put right."""
    assert outcome(gates, nih(name)) == way


def test_the_note_of_the_header_gives_way(gates: Gates) -> None:
    """Where header and pixels agree that the film is turned, one note says so; a mirrored one keeps its own note."""
    checked = gates.check(film_of(laid(phantom(11), 2), TURNED_FILM, MIRRORED_FILM))
    codes = [note.code for note in checked.radiograph.quality]
    assert sorted(codes) == [MIRRORED_FILM, TURNED_FILM]
    assert all(note.message != TURNED_FILM for note in checked.radiograph.quality)


@settings(max_examples=60, deadline=None)
@given(way=st.integers(0, WAYS - 1), seed=st.integers(0, 3), place=st.tuples(*[st.floats(0, 1)] * 2), data=st.data())
def test_boxes_lie_on_the_stored_pixels(way: int, seed: int, place: tuple[float, float], data: st.DataObject) -> None:
    """What the scorer boxes on the film put right is boxed at the same stored pixels, however the film lies."""
    upright = 0.9 * FILMS[seed]
    height, width = data.draw(st.integers(4, 24)), data.draw(st.integers(4, 24))
    row, column = (
        int(share * (side - length)) for share, side, length in zip(place, upright.shape, (height, width), strict=True)
    )
    upright[row : row + height, column : column + width] = 1
    stored = laid(upright, way)
    expected = boxed(stored == (0 if way >= 4 else 1))
    scorer = BrightestScorer()
    try:
        analysis = GatedScorer(scorer, SHIPPED).score(film_of(stored))
    except UnusableImage as error:
        if error.code != "unclear_orientation" or way == 0:
            raise
        reject()  # the square itself leaves in doubt how a film lies that lies wrong
    assert analysis.findings[0].region == expected
    assert analysis.findings[1].region is None
    assert (analysis.image.rows, analysis.image.columns) == stored.shape
    assert scorer.seen is not None
    assert scorer.seen.pixels.shape == upright.shape


SHIPPED = Gates()
FILMS = [phantom(70 + seed, rows=rows, columns=260) for seed, rows in enumerate((300, 230, 261, 400))]


# --- a film in doubt is scored, not refused -----------------------------------------------------------------------


def gates_saying(folder: Path, frontal: float, lateral: float = -9.0) -> Gates:
    """Gates that give these logits to each of the eight ways of any film; "neither" has 0."""
    thresholds = {"certain": 0.97, "least": 0.1, "lateral": 0.4, "doubtful": 0.5, "cut_off": 0.5}
    arrays = {
        "first": np.zeros((1, SIDE_PX**2), "i1"),
        "scale": np.zeros(1, "<f4"),
        "bias": np.zeros(1, "<f4"),
        "last": np.zeros((ANSWERS, 1), "<f4"),
        "last_bias": np.array([frontal, lateral, -9.0], "<f4"),
    }
    network = {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}
    file = folder / "gates.json"
    file.write_text(json.dumps({"thresholds": thresholds, "network": network}), encoding="utf-8")
    return Gates(file)


def test_a_film_in_doubt_is_scored_as_it_is_with_a_note(tmp_path: Path) -> None:
    """Where a film may lie in any of the eight ways, upright among them, it is left as it is, and a note says so."""
    checked = gates_saying(tmp_path, frontal=9).check(film_of(phantom(1)))
    assert checked.quarter_turns == 0
    assert [note.code for note in checked.radiograph.quality] == ["unusual_film"]


@pytest.mark.parametrize(
    ("frontal", "lateral", "code", "kind"),
    [
        (-9, -9, "not_chest_film", OutOfScope),
        (-9, 9, "lateral_film", OutOfScope),
        (-0.8, -9, "unclear_orientation", UnusableImage),
    ],
)
def test_a_refusal_names_what_is_likeliest(
    tmp_path: Path, frontal: float, lateral: float, code: str, kind: type[UnusableImage]
) -> None:
    """No chest and a lateral film are out of scope; one that lies unclearly can be sent again, and fails."""
    with pytest.raises(UnusableImage) as refused:
        gates_saying(tmp_path, frontal, lateral).check(film_of(phantom(1)))
    assert refused.value.code == code
    assert type(refused.value) is kind


def test_an_upright_film_like_a_lateral_one_is_not_called_turned(gates: Gates) -> None:
    """A film that is refused for its likeness to a lateral one is called that, even where a frontal one is likelier."""
    frontal, lateral = (
        simulate(1, rows=300, columns=256) / 4095
        for simulate in (partial(simulate_film, finding=None), simulate_lateral_film)
    )
    film = (0.2 * frontal + 0.8 * lateral).astype(np.float32)
    verdict = gates.judge(film)
    assert verdict.frontal[0] > verdict.lateral > 0.4
    assert outcome(gates, film) == "lateral_film"


# --- what is no frontal chest film is refused ---------------------------------------------------------------------


@needs_nih
@pytest.mark.parametrize("name", LATERAL)
def test_real_lateral_films_are_refused(gates: Gates, name: str) -> None:
    """Lateral films of other patients than those of training are not scored as frontal ones."""
    assert outcome(gates, nih(f"nih_128/{name}.jpg")) in {"lateral_film", "not_chest_film"}


def test_simulated_lateral_films_are_refused(gates: Gates) -> None:
    """Nearly all simulated lateral films are refused as such, and none passes without a note."""
    films = [simulate_lateral_film(500 + seed, rows=300, columns=256) / 4095 for seed in range(20)]
    results = Counter(outcome(gates, film) for film in films)
    assert results["lateral_film"] >= 17
    assert all("unusual_film" in notes(gates, film) for film in films if outcome(gates, film) == 0)


def leg() -> Greys:
    """The film of a lower leg of the package pydicom-data."""
    package = importlib.util.find_spec("data_store")
    if package is None or package.origin is None:
        pytest.skip("pydicom-data is not installed")
    return read_radiograph(read_image_file(Path(package.origin).parent / "data" / "RG3_UNCR.dcm")).pixels


def ct_slice() -> Greys:
    """A slice through an abdomen."""
    if not SHARED.is_dir():
        pytest.skip("the CT slice is not here")
    return read_radiograph(read_image_file(SHARED / "NOT_CHEST_ct_abdomen.dcm")).pixels


def disc() -> Greys:
    """A grey disc on a black ground."""
    y, x = np.mgrid[-1:1:400j, -1:1:400j]
    return np.where(np.hypot(x, y) < 0.6, 0.7, 0.1).astype(np.float32)


def noise() -> Greys:
    """Nothing but noise."""
    return np.random.default_rng(0).random((400, 400), np.float32)


def photo() -> Greys:
    """A sky above a dark ground, with a sun."""
    y, x = np.mgrid[0:1:400j, 0:1:400j]
    sky = np.where(y < 0.6, 0.9 - 0.4 * y, 0.25 + 0.1 * np.sin(40 * x) * y)
    return np.where(np.hypot(x - 0.7, y - 0.2) < 0.1, 1, sky).astype(np.float32)


def page() -> Greys:
    """Printed text."""
    image = Image.new("L", (400, 500), 255)
    pen = ImageDraw.Draw(image)
    for line in range(20, 480, 18):
        pen.text((30, line), "Patient informed and consents to the procedure as described above.", fill=0)
    return (np.asarray(image) / 255).astype(np.float32)


@pytest.mark.parametrize("picture", [leg, ct_slice, disc, noise, photo, page])
def test_what_is_no_chest_film_is_refused(gates: Gates, picture: Callable[[], Greys]) -> None:
    """Another part of the body, a CT slice, a test pattern, noise, a photograph and a page of text are not scored."""
    assert isinstance(outcome(gates, picture()), str)


# --- exposure, borders and cut-off films --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda film: np.full_like(film, 0.5), "blank_image"),
        (lambda film: 0.5 + 0.02 * film, "blank_image"),
        (np.ones_like, "burned_out_film"),
        (lambda film: np.clip(film * 30, 0, 1), "burned_out_film"),
        (np.zeros_like, "underexposed_film"),
        (lambda film: np.clip(film * 30 - 29, 0, 1), "underexposed_film"),
        (lambda film: np.pad(film, ((700, 700), (700, 700))), "collimated_film"),
    ],
)
def test_films_that_show_nothing_are_refused(gates: Gates, change: Callable[[Greys], Greys], code: str) -> None:
    """Blank, white, black, and all but wholly collimated films are refused, each for its own reason."""
    assert outcome(gates, change(phantom(5))) == code


@pytest.mark.parametrize("border", [0.0, 1.0])
@pytest.mark.parametrize("way", [0, 3, 6])
def test_a_chest_in_a_wide_border_is_found(gates: Gates, border: float, way: int) -> None:
    """A black or white border around the exposed field hides neither the chest nor how it lies, and is noted."""
    framed = np.pad(phantom(9), ((150, 60), (100, 90)), constant_values=border)
    assert outcome(gates, laid(framed, way)) == way
    assert "small_field" in notes(gates, laid(framed, way))


@needs_nih
def test_films_without_their_upper_part_are_noted(gates: Gates) -> None:
    """Of real films that lack their upper half most get a note, of whole ones next to none."""
    films = held_out_adults(100)
    whole, cut = (
        sum("cut_off_film" in notes(gates, film) for film in group if isinstance(outcome(gates, film), int))
        for group in (films, [film[len(film) // 2 :] for film in films])
    )
    assert whole <= 5
    assert cut >= 50


# --- the scorer behind the gates ----------------------------------------------------------------------------------


def test_a_gated_scorer_is_a_scorer() -> None:
    """It keeps the protocol, gives the inner scorer's identity, and counts its own time."""

    class Slow(BrightestScorer):
        def score(self, radiograph: Radiograph) -> Analysis:
            time.sleep(0.02)
            return super().score(radiograph)

    inner = Slow()
    scorer: Scorer = GatedScorer(inner)
    assert (scorer.card, scorer.algorithm, scorer.model_size_mb) == (CARD, inner.algorithm, inner.model_size_mb)
    assert scorer.score(film_of(phantom(2))).elapsed_ms >= 20


def test_notes_of_the_film_and_of_the_gates_are_in_the_analysis() -> None:
    """Whoever reads the result learns what was noticed of the film and what the gates did to it."""
    analysis = GatedScorer(BrightestScorer()).score(film_of(laid(phantom(2), 7), "low_contrast"))
    assert [note.code for note in analysis.quality] == ["low_contrast", TURNED_FILM, "inverted_film"]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "model_missing"),
        ("no JSON", "model_invalid"),
        ("{}", "model_invalid"),
        ('{"network": {"first": "%%"}}', "model_invalid"),
        (WEIGHTS.read_text(encoding="utf-8").replace('"least": ', '"most": '), "model_invalid"),
    ],
)
def test_damaged_weights_are_refused(tmp_path: Path, content: str | None, code: str) -> None:
    """Without its weights no worker starts as if there were no gates."""
    if content is not None:
        (tmp_path / "gates.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelUnavailable) as error:
        Gates(tmp_path / "gates.json")
    assert error.value.code == code


def test_damaged_weights_of_the_childs_gate_are_refused(tmp_path: Path) -> None:
    """Neither does one start without its gate for children."""
    (tmp_path / "child.json").write_text('{"network": {}, "threshold": 1}', encoding="utf-8")
    with pytest.raises(ModelUnavailable, match=r"child\.json lacks or misstates 'first'"):
        Gates(child=tmp_path / "child.json")


@pytest.mark.parametrize("way", [0, 2, 5])
def test_a_film_like_a_childs_is_out_of_scope_unless_an_age_is_stated(tmp_path: Path, way: int) -> None:
    """What looks like a child's film is refused however it lies; a header that states an age outweighs it."""
    document = json.loads(CHILD_WEIGHTS.read_text(encoding="utf-8"))
    (tmp_path / "child.json").write_text(json.dumps(document | {"threshold": -1e9}), encoding="utf-8")
    eager = Gates(child=tmp_path / "child.json")
    film = film_of(laid(phantom(11), way))
    with pytest.raises(OutOfScope, match="looks like a child's, and no age says otherwise") as refused:
        eager.check(film)
    assert refused.value.code == CHILD_FILM
    assert eager.check(replace(film, states_age=True)).quarter_turns == way % 4


@needs_nih
def test_some_children_and_hardly_any_adults_look_like_a_child(gates: Gates) -> None:
    """Of films without an age, of patients of neither part of training, children are refused and adults are not."""
    with (NIH / "manifest.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "val" and int(row["age"]) < 12]
    children = Counter(outcome(gates, nih(row["file"])) for row in rows)
    assert children[CHILD_FILM] >= len(rows) / 4
    adults = Counter(outcome(gates, film) for film in held_out_adults(230))
    assert adults[CHILD_FILM] <= 1


@pytest.mark.parametrize(
    ("header", "is_stated"),
    [
        ({}, False),
        ({"PatientAge": "000Y"}, False),
        ({"PatientBirthDate": "19600101"}, False),
        ({"PatientAge": "064Y"}, True),
        ({"PatientBirthDate": "19600101", "StudyDate": "20240101"}, True),
    ],
)
def test_a_radiograph_says_whether_its_header_states_an_age(header: dict[str, str], *, is_stated: bool) -> None:
    """Patient's Age does, and a birth date with the date of the study; one of these alone does not."""
    dataset = chest()
    for keyword in ("PatientAge", "PatientBirthDate", "StudyDate", "AcquisitionDate", "ContentDate"):
        dataset.pop(keyword, None)
    for keyword, value in header.items():
        setattr(dataset, keyword, value)
    assert read_radiograph(dataset).states_age is is_stated


def test_every_scorer_of_the_product_is_gated(tmp_path: Path) -> None:
    """What the workers, /predict and `firstread triage` are given refuses what is no chest film."""
    scorer = build_scorer(Settings())
    with pytest.raises(UnusableImage, match=r"does not look like|looks turned"):
        scorer.score(film_of(page()))
    Image.fromarray((laid(phantom(8, rows=700, columns=600), 1) * 255).astype(np.uint8)).save(tmp_path / "turned.png")
    Image.fromarray((page() * 255).astype(np.uint8)).save(tmp_path / "page.png")
    young = chest()
    young.PatientAge = "009Y"
    young.PatientBirthDate = "20160301"
    young.save_as(tmp_path / "young.dcm", enforce_file_format=True)
    results = triage_files([tmp_path], prior=None, settings=Settings())
    by_name = {Path(result["file"]).name: result for result in results}
    assert TURNED_FILM in by_name["turned.png"]["quality"]
    assert by_name["page.png"]["state"] == "out_of_scope"
    assert by_name["page.png"]["failure"]["code"] == "not_chest_film"
    assert by_name["young.dcm"]["state"] == "out_of_scope"
    assert by_name["young.dcm"]["failure"]["code"] == "child"


# --- children -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "is_child"),
    [
        ({"PatientAge": "017Y"}, True),
        ({"PatientAge": "018Y"}, False),
        ({"PatientAge": " 009y"}, True),
        ({"PatientAge": "215M"}, True),
        ({"PatientAge": "216M"}, False),
        ({"PatientAge": "012W"}, True),
        ({"PatientAge": "003D"}, True),
        ({"PatientAge": "000Y"}, False),  # what devices write that do not know
        ({"PatientAge": "17"}, False),
        ({"PatientAge": "adult"}, False),
        ({"PatientAge": ""}, False),
        ({}, False),
        ({"PatientBirthDate": "20080102", "StudyDate": "20260101"}, True),
        ({"PatientBirthDate": "20080101", "StudyDate": "20260101"}, False),
        ({"PatientBirthDate": "2015.06.30", "StudyDate": "20260101"}, True),
        ({"PatientBirthDate": "20150630", "ContentDate": "20260101"}, True),
        ({"PatientBirthDate": "20150630"}, False),
        ({"PatientBirthDate": "20260101", "StudyDate": "20260101"}, False),
        ({"PatientBirthDate": "20300101", "StudyDate": "20260101"}, False),
        ({"PatientBirthDate": "2015", "StudyDate": "20260101"}, False),
        ({"PatientBirthDate": "20159999", "StudyDate": "20260101"}, False),
        ({"PatientAge": "045Y", "PatientBirthDate": "20150630", "StudyDate": "20260101"}, False),
        ({"PatientAge": "010Y", "PatientBirthDate": "19500630", "StudyDate": "20260101"}, False),
        ({"PatientAge": "010Y", "PatientBirthDate": "20150630", "StudyDate": "20260101"}, True),
        ({"PatientAge": "000Y", "PatientBirthDate": "20250630", "StudyDate": "20260101"}, True),
    ],
)
def test_children_are_out_of_scope(header: dict[str, str], *, is_child: bool) -> None:
    """A patient whose header says under 18, and nowhere 18 or more, is out of scope; an unknown age is not."""
    radiograph = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "Modality": "DX", "BodyPartExamined": "CHEST"}
    failure = assess_scope({**radiograph, **header}, ScopeRules())
    assert (failure.code if failure else None) == ("child" if is_child else None)


@settings(max_examples=200)
@given(text=st.text(max_size=12), other=st.text(max_size=12))
def test_no_age_or_date_breaks_the_scope(text: str, other: str) -> None:
    """Whatever stands in the age and the dates, the header is judged."""
    header = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.1", "Modality": "DX", "PatientAge": text}
    failure = assess_scope({**header, "PatientBirthDate": other, "StudyDate": text}, ScopeRules())
    assert failure is None or failure.code == "child"
