"""A site's probe on MedSigLIP's embeddings, on a stand-in and films with something planted."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from imaging.files import read_image_file
from imaging.radiograph import read_radiograph
from models.gates.scorer import GatedScorer
from models.medsiglip.probe import PROBE_FILES
from models.medsiglip.scorer import MedSiglipScorer
from models.training.simulated import PLANTED, plant_films, write_labels
from tests.licensed import require_models
from tests.notebooks import run_notebook
from worklist.finding import FindingType

require_models()

from models.training.medsiglip import main  # noqa: E402 - it needs the extra

TEACHING, JUDGING = 44, 12


def rows_of(labels: Path) -> list[list[str]]:
    """The rows of a file of labels, without the heading."""
    with labels.open(newline="", encoding="utf-8") as stream:
        return list(csv.reader(stream))[1:]


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The labels of a site's films, which lie in films/ beside them."""
    return plant_films(tmp_path_factory.mktemp("site"), teaching=TEACHING, judging=JUDGING)


@pytest.fixture(scope="module")
def probed(exported_stand_ins: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command wrote."""
    out = tmp_path_factory.mktemp("probe") / "out"
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("FIRSTREAD_MODEL_DIR", str(exported_stand_ins))
        assert main([str(labels.parent / "films"), str(labels), str(out)]) == 0
    return out


def test_a_probe_is_loaded_beside_the_checkpoint_and_tells_apart_what_sentences_do_not(
    exported_stand_ins: Path, labels: Path, probed: Path, tmp_path: Path
) -> None:
    """With the three files beside it, the scorer ranks films of patients who taught nothing by the plate."""
    folder = tmp_path / "medsiglip"
    shutil.copytree(exported_stand_ins / "medsiglip", folder)
    zero_shot = MedSiglipScorer(folder)
    for name in (*PROBE_FILES, "card.json"):
        shutil.copy(probed / name, folder)
    scorer = MedSiglipScorer(folder)
    assert scorer.algorithm.sha256 == scorer.card.sha256 != zero_shot.algorithm.sha256
    assert "probe " in scorer.algorithm.version
    found: dict[str, list[float]] = {"0": [], "1": []}
    for file, _, there, *_ in rows_of(labels)[TEACHING:]:
        film = read_radiograph(read_image_file(labels.parent / "films" / file))
        before, after = (
            {each.type: each.probability for each in GatedScorer(each).score(film).findings}
            for each in (zero_shot, scorer)
        )
        found[there].append(after[FindingType.PNEUMONIA])
        assert after[FindingType.PNEUMONIA] != before[FindingType.PNEUMONIA]
        assert after[FindingType.NODULE] == before[FindingType.NODULE]  # no label speaks of it
    assert min(found["1"]) > max(found["0"])


def test_the_card_is_measured_on_patients_who_taught_nothing(probed: Path) -> None:
    """Probe and card state of how many films and patients each is, and the text has the figures of both ways."""
    document = json.loads((probed / "probe.json").read_text(encoding="utf-8"))
    assert [output["key"] for output in document["outputs"]] == ["pneumonia", "urgent"]
    assert (document["fitted"]["n_teaching"], document["fitted"]["n_judging_patients"]) == (TEACHING, JUDGING)
    card = json.loads((probed / "card.json").read_text(encoding="utf-8"))
    assert f"{JUDGING} films of {JUDGING} patients of this site" in card["reference"]
    text = (probed / "card.md").read_text(encoding="utf-8")
    assert card["sha256"] in text
    assert "| Pneumonia | 6 | " in text


def test_what_teaches_nothing_is_refused_in_one_line(  # noqa: PLR0913, PLR0917 - fixtures
    exported_stand_ins: Path,
    labels: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    subtests: pytest.Subtests,
) -> None:
    """Films without labels, labels without films, one class, a recipe with another key, no checkpoint: exit 2 or 1."""
    monkeypatch.setenv("FIRSTREAD_MODEL_DIR", str(exported_stand_ins))
    films, rows = labels.parent / "films", rows_of(labels)[TEACHING - 2 :]
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("strengths = [1.0]\n", encoding="utf-8")
    strangers = write_labels(tmp_path / "strangers.csv", [[f"x{row[0]}", *row[1:]] for row in rows], PLANTED)
    sick = write_labels(tmp_path / "sick.csv", [[*row[:2], 1, 1, *row[4:]] for row in rows], PLANTED)
    empty = tmp_path / "empty"
    empty.mkdir()
    for films_given, given, more, code, words in (
        (empty, labels, [], 2, "holds no DICOM, PNG or JPEG file"),
        (films, tmp_path / "nowhere.csv", [], 2, "is no readable text file"),
        (films, strangers, [], 2, "has a label in"),
        (films, sick, [], 2, "says the same of every film that can be used (pneumonia, urgent)"),
        (films, labels, ["--recipe", str(recipe)], 2, "is no recipe"),
    ):
        with subtests.test(words):
            caplog.clear()
            out = tmp_path / "out"
            assert main([str(films_given), str(given), str(out), *more]) == code
            (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
            assert words in line
            assert "\n" not in line
            assert not (out / "probe.json").exists()
    with subtests.test("no checkpoint"):
        monkeypatch.setenv("FIRSTREAD_MODEL_DIR", str(empty))
        assert main([str(films), str(labels), str(tmp_path / "out")]) == 1


def test_the_notebook_runs(exported_stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It leaves a probe and an adapter, each with its card."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIRSTREAD_MODEL_DIR", str(exported_stand_ins))
    run_notebook("02_fine_tune.ipynb")
    assert (tmp_path / "fine-tune" / "probe" / "card.json").exists()
    assert (tmp_path / "fine-tune" / "adapter" / "card.md").exists()
