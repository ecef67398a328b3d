"""A site's own model: fitted to simulated films in which something is planted that the shipped model does not rank."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types
from typer.testing import CliRunner

from firstread.cli import app
from firstread.compose_worker import build_scorer
from firstread.settings import Settings
from imaging.files import read_image_file
from imaging.radiograph import read_radiograph
from imaging.simulated.phantom import simulate_film
from imaging.wrapping import chest_dx, complete_file_meta
from models.embedded.scorer import WEIGHTS, EmbeddedScorer
from models.evaluation.held_out import is_held_out
from models.fitting.films import FeatureStore, read_site
from models.fitting.fit import SiteModel, fit_site
from models.fitting.heads import FOLDS, Part, deal, fit_output
from models.fitting.network import Network
from models.fitting.report import tell, verdict, write_card
from tests.faults.disks import NotPossibleHere, SmallDisk
from worklist.errors import FirstreadError, InvalidInput, PermanentError
from worklist.finding import FindingType
from worklist.scope import ScopeRules

FILMS = 160
HEADING = ["file", "patient", "pneumonia", "cardiomegaly", "urgent"]


def shown(files: Sequence[Path]) -> Iterable[Path]:
    """Shows nothing."""
    return files


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Films of 160 patients. On a third a bright plate lies at the right base, which its labels call a pneumonia."""

    films: Path
    labels: Path
    rows: list[list[object]]

    def relabelled(self, file: Path, rows: Sequence[Sequence[object]], heading: Sequence[str] = HEADING) -> Path:
        """Other labels of some films."""
        with file.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([heading, *rows])
        return file


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The films and their labels; cardiomegaly is on four of them, too few to learn."""
    folder = tmp_path_factory.mktemp("site")
    films = folder / "films"
    films.mkdir()
    chests = [simulate_film(seed, finding=None, rows=224, columns=224).astype(np.float64) for seed in range(3)]
    draw = np.random.default_rng(7)
    rows: list[list[object]] = []
    for number in range(FILMS):
        chest = chests[number % len(chests)]
        grey = np.roll(chest, draw.integers(-6, 7, 2), axis=(0, 1)) / 4095 * 255 * draw.uniform(0.9, 1.1)
        there = int(number % 3 == 0)
        if there:
            top, left = draw.integers(125, 150), draw.integers(40, 65)
            grey[top : top + 26, left : left + 26] += 90
        grey += draw.normal(0, 4, grey.shape)
        name = f"{number:03}.dcm"
        image = chest_dx(np.clip(16 * grey, 0, 4095).astype(np.uint16), bits_stored=12)
        image.PatientAge = "050Y"  # or some simulated chests would pass for children
        image.SOPInstanceUID = image.StudyInstanceUID = image.SeriesInstanceUID = f"1.2.{number + 1}"
        complete_file_meta(image)
        image.save_as(films / name, enforce_file_format=True)
        rows.append([name, f"P{number}", there, int(number < 4), there])
    made = Site(films=films, labels=folder / "labels.csv", rows=rows)
    made.relabelled(made.labels, rows)
    return made


@pytest.fixture(scope="module")
def fitted(site: Site, tmp_path_factory: pytest.TempPathFactory) -> SiteModel:
    """The site's own model."""
    out = tmp_path_factory.mktemp("models") / "embedded"
    return fit_site(films=site.films, labels=site.labels, out=out, scope=ScopeRules(), shown=shown)


def test_what_is_planted_is_learned(fitted: SiteModel) -> None:
    """Patients who taught nothing are told apart by the plate, clearly better than by the shipped model."""
    told = {row.output.key: row for row in tell(fitted)}
    row = told["pneumonia"]
    assert row.became == "new weights"
    assert row.area
    assert row.area.new.value is not None
    assert row.area.new.value > 0.95
    assert row.area.difference.low is not None
    assert row.area.difference.low > 0
    assert "pneumonia" in verdict(list(told.values()))
    assert told["cardiomegaly"].became == "as shipped, too few patients"


def test_the_new_model_loads_as_the_shipped_one_does(fitted: SiteModel) -> None:
    """A worker that is told of the folder scores with it, behind the gates: a film with the plate above one without."""
    scorer = build_scorer(Settings(model_dir=fitted.folder.parent))
    assert scorer.algorithm.sha256 == fitted.card.sha256 == scorer.card.sha256
    assert scorer.algorithm.sha256 != EmbeddedScorer().algorithm.sha256
    assert scorer.algorithm.version.startswith("1.3.0+site.")
    judging = [film for film in fitted.films.listed if film.judges]
    by_truth: dict[bool, list[float]] = {True: [], False: []}
    for film in judging[:12]:
        analysis = scorer.score(read_radiograph(read_image_file(film.file)))
        (found,) = (each for each in analysis.findings if each.type == FindingType.PNEUMONIA)
        assert found.region is None  # nobody knows where the new weights' evidence points
        by_truth[film.label.truth["pneumonia"]].append(found.probability)
    assert min(by_truth[True]) > max(by_truth[False])


def test_what_is_not_fitted_stays_as_shipped_to_the_bit(site: Site, fitted: SiteModel) -> None:
    """A finding with too few patients, and the opacity, have the shipped probability, and the shipped card's words."""
    film = read_radiograph(read_image_file(site.films / "001.dcm"))
    shipped, own = EmbeddedScorer(), EmbeddedScorer(fitted.folder)
    before, after = ({each.type.key: each for each in scorer.score(film).findings} for scorer in (shipped, own))
    kept = {"cardiomegaly", "pleural_effusion", "lung_opacity"}
    assert all(after[key].probability == before[key].probability for key in kept)
    assert all(own.card.of(before[key].type) == shipped.card.of(before[key].type) for key in kept)
    assert after["pneumonia"].probability != before["pneumonia"].probability
    assert "lung opacity as of firstread-embedded 1.3.0" in own.card.reference


def test_the_card_is_measured_on_patients_who_taught_nothing(fitted: SiteModel) -> None:
    """Its precision counts films of held-out patients alone, and the text beside it has the same figures."""
    judging = [film for film in fitted.films.listed if film.judges]
    assert judging
    assert all(film.judges is is_held_out(film.patient) for film in fitted.films.listed)
    card = fitted.card.of(FindingType.PNEUMONIA)
    assert card
    assert card.precision
    there = sum(film.label.truth["pneumonia"] for film in judging)
    assert card.precision.n == pytest.approx(there, abs=2)
    assert f"{len(judging)} films of {len(judging)} patients of this site" in fitted.card.reference
    text = write_card(fitted, tell(fitted)).read_text(encoding="utf-8")
    assert f"| Pneumonia | 0.5 | yes | 0.5 | {card.precision.value:.3f} (" in text
    assert fitted.card.sha256 in text
    assert "too few patients" in text


def test_labels_that_say_nothing_change_no_weight(fitted: SiteModel) -> None:
    """Labels drawn by lot leave the shipped weights, and so does a fit to fewer films than there are features."""
    films = fitted.films
    patient = films.patient
    draw = np.random.default_rng(3)
    standard = ((films.features - films.features.mean(0)) / (films.features.std(0) + 1e-6)).astype(np.float32)
    shipped = Network(WEIGHTS / "embedded.onnx").head.rows(films.features)[:, 3]
    label = (draw.random(len(patient)) < 0.3).astype(np.float64)
    part = Part(features=standard, shipped=shipped, label=label, fold=deal(patient, label > 0), patient=patient)
    with threadpool_limits(limits=1):
        found = fit_output(part)
    assert found.strength is None
    assert found.row.weights is None
    assert (found.held_out == shipped).all()


def test_films_of_a_patient_stay_in_one_fold() -> None:
    """Whole patients are dealt to the folds, those with the finding evenly."""
    patient = np.repeat(np.arange(50), 3)
    positive = patient % 5 == 0
    fold = deal(patient, positive)
    assert all(len(set(fold[patient == number])) == 1 for number in range(50))
    with_it = [len(set(patient[(fold == number) & positive])) for number in range(FOLDS)]
    assert max(with_it) - min(with_it) <= 1


def refusal(films: Path, labels: Path, out: Path) -> FirstreadError:
    """Why a fit is refused."""
    with pytest.raises(FirstreadError) as refused:
        fit_site(films=films, labels=labels, out=out, scope=ScopeRules(), shown=shown)
    assert "\n" not in refused.value.message
    assert not (out / "embedded.json").exists()
    return refused.value


def test_what_cannot_be_fitted_is_refused_in_one_line(
    site: Site, fitted: SiteModel, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    """Films without labels, labels without films, one class, too few, a patient in both parts: each by its name."""
    out = tmp_path / "out"
    shutil.copytree(fitted.folder / "features", out / "features")
    empty = tmp_path / "empty"
    empty.mkdir()
    made = tmp_path / "labels.csv"
    strangers = [[f"x{number}.dcm", f"P{number}", number % 2, 0, number % 2] for number in range(40)]
    sick = [[*row[:2], 1, 0, 1] for row in site.rows]
    few = [row for row in site.rows if int(str(row[1])[1:]) % 12 == 0 or not row[2]]
    parted = [[*row, "val" if number % 5 == 0 else "train"] for number, row in enumerate(site.rows)]
    both = [[row[0], "P0", *row[2:]] if number in {0, 1} else row for number, row in enumerate(parted)]
    split = [*HEADING, "split"]
    cases: list[tuple[str, list[list[object]], list[str], str]] = [
        ("no_match", strangers, HEADING, "none of the 160 files"),
        ("one_class", sick, HEADING, "the same of every film"),
        ("too_few_films", few, HEADING, "pneumonia"),
        ("shared_patient", both, split, "patient P0 has films in train and in val"),
        ("empty_split", [[*row, "train"] for row in site.rows], split, "none to judge"),
        ("bad_split", [[*row, "test"] for row in site.rows], split, "write train or val"),
        ("missing_patient", [[row[0], *row[2:]] for row in site.rows], [HEADING[0], *HEADING[2:]], "no column patient"),
    ]
    for code, rows, heading, words in cases:
        with subtests.test(code):
            error = refusal(site.films, site.relabelled(made, rows, heading), out)
            assert (error.code, words in error.message) == (code, True), error.message
    with subtests.test("no films"):
        assert refusal(empty, site.labels, out).code == "no_films"
    with subtests.test("no labels"):
        assert refusal(site.films, tmp_path / "nowhere.csv", out).code == "unreadable_file"
    with subtests.test("a model is there"), pytest.raises(InvalidInput, match="holds a model already"):
        fit_site(films=site.films, labels=site.labels, out=fitted.folder, scope=ScopeRules(), shown=shown)


def test_films_that_the_product_would_not_score_teach_nothing(tmp_path: Path) -> None:
    """A lateral film and a child's are named by why they are not used; with nothing else there is nothing to fit."""
    films = tmp_path / "films"
    films.mkdir()
    for number, (keyword, value) in enumerate({"ViewPosition": "LL", "PatientAge": "004Y"}.items()):
        image = chest_dx(np.full((128, 128), 100, np.uint16), bits_stored=12)
        image.AccessionNumber = "A1"
        setattr(image, keyword, value)
        image.SOPInstanceUID = image.StudyInstanceUID = image.SeriesInstanceUID = f"1.2.{number + 1}"
        complete_file_meta(image)
        image.save_as(films / f"{number}.dcm", enforce_file_format=True)
    labels = tmp_path / "labels.csv"
    labels.write_text("accession_number,pneumonia,urgent\nA1,1,1\n", encoding="utf-8")
    error = refusal(films, labels, tmp_path / "out")
    assert error.code == "nothing_in_scope"
    assert "lateral_view 1, child 1" in error.message


def test_a_disk_that_fills_is_named_and_the_run_goes_on_from_there(site: Site, tmp_path: Path) -> None:
    """With no space left the run ends in one line; with space again it takes up the features that it kept."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        disk = SmallDisk(folder, 8)
    except NotPossibleHere as reason:
        pytest.skip(str(reason))
    try:
        store = FeatureStore(folder=folder / "own", of_film=Network(WEIGHTS / "embedded.onnx").trunk().of_film(128))
        labels = site.relabelled(tmp_path / "labels.csv", site.rows[:60])
        kept: list[Path] = []

        def filling(files: Sequence[Path]) -> Iterator[Path]:
            for number, file in enumerate(files):
                if number == 20:
                    kept.extend(folder.rglob("*.npy"))
                    disk.fill()
                yield file

        with pytest.raises(PermanentError, match="is full: free some space and run the same command again") as full:
            read_site(site.films, labels, store, ScopeRules(), filling)
        assert full.value.code == "disk_full"
        assert len(kept) == 20
        written = {file: file.stat().st_mtime_ns for file in kept}
        disk.free()
        found = read_site(site.films, labels, store, ScopeRules(), shown)
        assert {file: file.stat().st_mtime_ns for file in kept} == written
        assert len(found.listed) == 60
        assert found.without_label == FILMS - 60
    finally:
        disk.close()


def test_the_command_makes_the_same_model_and_says_what_came_of_it(
    site: Site, fitted: SiteModel, tmp_path: Path
) -> None:
    """`firstread models fit`, with features of an earlier run, gives the same digest, and JSON alone with --json."""
    shutil.copytree(fitted.folder / "features", tmp_path / "features")
    done = CliRunner().invoke(app, ["models", "fit", str(site.films), str(site.labels), str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["sha256"] == fitted.card.sha256
    by_output = {row["output"]: row for row in told["outputs"]}
    assert by_output["pneumonia"]["difference"]["low"] > 0
    assert by_output["cardiomegaly"]["own"] is None
