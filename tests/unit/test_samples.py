"""The simulated films and the sample studies made of them."""

from __future__ import annotations

import importlib.util
import logging
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import JPEGLSLossless

from imaging.simulated.phantom import simulate_film, simulate_lateral_film
from imaging.simulated.samples import build_samples
from imaging.simulated.thickness import pixel_spacing_mm
from worklist.finding import FindingType
from worklist.scope import ScopeRules, assess_scope, is_own_object

_NOW = datetime(2026, 3, 4, 12, 30, tzinfo=UTC)
_SIDE = 256


@pytest.fixture(scope="module")
def samples() -> list[Dataset]:
    """All sample images of one build."""
    return list(build_samples(seed=3, now=_NOW))


@pytest.fixture(scope="module")
def simulated(samples: list[Dataset]) -> list[Dataset]:
    """The simulated ones among them."""
    return [sample for sample in samples if sample.get("SyntheticData") == "YES"]


def film(seed: int, finding: FindingType | None = None) -> npt.NDArray[np.int32]:
    """A small simulated film."""
    return simulate_film(seed, finding=finding, rows=_SIDE, columns=_SIDE).astype(np.int32)


def change(seed: int, finding: FindingType) -> npt.NDArray[np.int32]:
    """What a finding changes in a patient's film, seen as positive where it turns whiter."""
    return film(seed, finding) - film(seed)


def is_out_of_scope(sample: Dataset) -> str | None:
    """Why a sample is not looked at."""
    header = {element.keyword: str(element.value) for element in sample if element.keyword != "PixelData"}
    header["PatientOrientation"] = "\\".join(sample.get("PatientOrientation") or [])
    failure = assess_scope(header, ScopeRules())
    return failure.code if failure else None


def test_a_seed_is_a_patient() -> None:
    """One seed always makes the same pixels, another seed makes another patient."""
    assert (film(1) == film(1)).all()
    assert np.abs(film(1) - film(2)).mean() > 50


@pytest.mark.parametrize("shape", [(300, 256), (256, 300), (64, 64)])
def test_a_film_has_the_size_and_depth_asked_for(shape: tuple[int, int]) -> None:
    """Films are 12 bits deep and of any size, portrait or landscape."""
    for pixels in (
        simulate_film(1, finding=None, rows=shape[0], columns=shape[1]),
        simulate_lateral_film(1, rows=shape[0], columns=shape[1]),
    ):
        assert pixels.shape == shape
        assert pixels.dtype == np.uint16
        assert 0 <= pixels.min() < 1000
        assert 3000 < pixels.max() <= 4095


@pytest.mark.parametrize("seed", range(4))
def test_a_film_looks_like_a_chest(seed: int) -> None:
    """Lungs are darker than the mediastinum between them and the abdomen below, air beside the neck darker still."""
    pixels = film(seed)
    lungs = np.median(pixels[80:130, 50:90]), np.median(pixels[80:130, 165:205])
    assert max(lungs) < np.median(pixels[80:130, 118:138]) - 500
    assert max(lungs) < np.median(pixels[210:240, 70:110]) - 500
    assert np.median(pixels[:12, :30]) < min(lungs) - 300


def test_a_large_film_is_noisy_and_a_small_one_is_less_so() -> None:
    """Quantum noise falls as a pixel grows and catches more photons."""
    small, large = (
        np.diff(simulate_film(1, finding=None, rows=side, columns=side)[: side // 40, : side // 40].astype(float)).std()
        for side in (512, 2048)
    )
    assert large > 2 * small > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_pneumothorax_darkens_one_edge_of_one_lung(seed: int) -> None:
    """Air replaces lung along the outer border of one side, and the other side stays as it was."""
    right, left = np.hsplit(change(seed, FindingType.PNEUMOTHORAX)[60:180], 2)
    sick, well = sorted((right, left[:, ::-1]), key=lambda half: float(half.min()))
    assert (sick < -150).mean() > 0.03
    assert sick[:, :64].mean() < sick[:, 80:].mean()
    assert np.abs(well).mean() < 40


@pytest.mark.parametrize("seed", range(4))
def test_an_effusion_whitens_one_base(seed: int) -> None:
    """Fluid whitens the bottom of one lung, higher at the chest wall than in the middle, and leaves its top alone."""
    whole = change(seed, FindingType.PLEURAL_EFFUSION)
    right, left = np.hsplit(whole, 2)
    sick, well = sorted((right, left[:, ::-1]), key=lambda half: -float(half.max()))
    white = sick > 400
    assert white[100:200].mean() > 0.05
    assert not white[:80].any()
    assert np.abs(well).mean() < 60
    wall, middle = (int(np.argmax(white[:, columns].any(axis=1))) for columns in (slice(45, 60), slice(75, 90)))
    assert wall < middle


@pytest.mark.parametrize("finding", [FindingType.CONSOLIDATION, FindingType.PNEUMONIA])
def test_an_infiltrate_is_a_white_patch_in_one_lung(finding: FindingType) -> None:
    """A consolidation or pneumonia whitens a part of one lung only."""
    for seed in range(4):
        halves = np.hsplit(change(seed, finding), 2)
        sick, well = sorted((float((half > 200).mean()) for half in halves), reverse=True)
        assert 0.01 < sick < 0.3
        assert well < 0.01


def test_edema_whitens_both_lungs_around_the_hila() -> None:
    """Pulmonary edema is on both sides, and stronger near the hilum than at the outer border."""
    for seed in range(4):
        haze = change(seed, FindingType.PULMONARY_EDEMA)[90:130]
        assert min(haze[:, 75:100].mean(), haze[:, 156:181].mean()) > 150
        assert haze[:, 75:100].mean() > haze[:, 30:50].mean()


def test_cardiomegaly_widens_the_heart() -> None:
    """The heart's shadow grows to the patient's left, low in the chest."""
    for seed in range(4):
        whole = change(seed, FindingType.CARDIOMEGALY)
        assert (whole[110:170, 140:210] > 300).mean() > 0.1
        assert (whole[30:70] > 300).mean() < 0.01


def test_pixel_spacing_shows_the_whole_chest() -> None:
    """Whatever the shape of a film, it covers at least 35 by 38 cm."""
    for rows, columns in ((2048, 2048), (2500, 2048), (1000, 3000)):
        spacing = pixel_spacing_mm(rows, columns)
        assert rows * spacing > 380
        assert columns * spacing > 350


def test_there_are_enough_samples(samples: list[Dataset], simulated: list[Dataset]) -> None:
    """At least eleven simulated patients and two real films, with one study for each patient."""
    assert len({sample.PatientID for sample in simulated}) >= 11
    assert len(samples) - len(simulated) == 2
    assert len({sample.StudyInstanceUID for sample in samples}) == len({sample.PatientID for sample in samples})
    assert len({sample.AccessionNumber for sample in samples}) == len({sample.PatientID for sample in samples})
    assert len({sample.SOPInstanceUID for sample in samples}) == len(samples)


def test_every_simulated_film_says_so(simulated: list[Dataset]) -> None:
    """SIMULATED stands in the name and Synthetic Data is YES, so that no such film is taken for a patient's."""
    assert simulated
    assert all("SIMULATED" in str(sample.PatientName) for sample in simulated)
    assert not any(is_own_object({"Manufacturer": sample.Manufacturer}) for sample in simulated)


def test_names_of_many_scripts_survive_the_file(simulated: list[Dataset], tmp_path: Path) -> None:
    """Kanji in ISO 2022 IR 87 and Cyrillic in UTF-8 are read back as they were written."""
    for number, sample in enumerate(simulated):
        sample.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    names = {str(dcmread(path).PatientName) for path in tmp_path.iterdir()}
    assert {"SIMULATED-Oda^Mio=小田^澪=おだ^みお", "SIMULATED-Соколова^Вера"} <= names
    assert any(b"\x1b$B" in path.read_bytes() for path in tmp_path.iterdir())


def test_order_priorities_are_mixed(simulated: list[Dataset]) -> None:
    """One STAT, one HIGH and one LOW order stand among routine ones."""
    by_study = {sample.StudyInstanceUID: sample.RequestedProcedurePriority for sample in simulated}
    counts = Counter(by_study.values())
    assert {word: counts[word] for word in ("STAT", "HIGH", "LOW")} == {"STAT": 1, "HIGH": 1, "LOW": 1}
    assert counts["ROUTINE"] >= 8
    assert all(sample.RequestAttributesSequence[0].AccessionNumber == sample.AccessionNumber for sample in simulated)


def test_the_formats_are_mixed(simulated: list[Dataset]) -> None:
    """There are DX and CR, an inverted film, and a losslessly compressed one that decodes."""
    modalities = Counter(sample.Modality for sample in simulated)
    assert modalities["CR"] >= 2
    assert modalities["DX"] >= 8
    assert sum(sample.PhotometricInterpretation == "MONOCHROME1" for sample in simulated) == 1
    (compressed,) = [sample for sample in simulated if sample.file_meta.TransferSyntaxUID == JPEGLSLossless]
    assert compressed.pixel_array.shape == (compressed.Rows, compressed.Columns)
    assert compressed.LossyImageCompression == "00"


def test_the_inverted_film_shows_dark_air_once_inverted(simulated: list[Dataset]) -> None:
    """In the MONOCHROME1 film the air beside the neck has the highest values, and stays inside the window."""
    (inverted,) = [sample for sample in simulated if sample.PhotometricInterpretation == "MONOCHROME1"]
    pixels = inverted.pixel_array
    assert np.median(pixels[:80, :200]) > np.median(pixels)
    low, high = (inverted.WindowCenter + sign * inverted.WindowWidth / 2 for sign in (-1, 1))
    assert low < np.median(pixels) < high


def test_only_the_lateral_and_the_leg_are_out_of_scope(samples: list[Dataset]) -> None:
    """Every study but the leg has exactly one film to look at; the second film of one patient is a lateral."""
    reasons = [(sample.ViewPosition, is_out_of_scope(sample)) for sample in samples]
    assert sorted(reason for reason in reasons if reason[1]) == [("AP", "not_chest"), ("LL", "lateral_view")]
    in_scope = [sample.StudyInstanceUID for sample in samples if is_out_of_scope(sample) is None]
    assert len(in_scope) == len(set(in_scope)) == len({sample.StudyInstanceUID for sample in samples}) - 1


def test_studies_are_of_today(samples: list[Dataset]) -> None:
    """All studies were taken shortly before now, in the order in which they come."""
    times = [f"{sample.StudyDate}{sample.StudyTime}" for sample in samples]
    assert times == sorted(times)
    assert "20260304110000" < times[0] < times[-1] <= f"{_NOW:%Y%m%d%H%M%S}"


def test_a_seed_repeats_the_studies_and_none_makes_new_ones(samples: list[Dataset]) -> None:
    """With a seed UIDs and pixels come out the same, without one every build is new studies."""
    again, one, other = (list(islice(build_samples(seed=seed), 2)) for seed in (3, None, None))
    assert again[1].pixel_array.tobytes() == samples[1].pixel_array.tobytes()
    for number in (0, 1):
        assert again[number].SOPInstanceUID == samples[number].SOPInstanceUID
        uids = {build[number].StudyInstanceUID for build in (again, one, other)}
        assert len(uids) == 3


def test_the_validator_finds_the_fault_of_the_real_film_alone(samples: list[Dataset], tmp_path: Path) -> None:
    """Dciodvfy, with the current standard, has no error to report but the spacing of zero of the first real film."""
    validator = Path(sys.executable).with_name("dciodvfy")
    errors = []
    for number, sample in enumerate(samples):
        sample.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        command = [str(validator), "-new", str(tmp_path / f"{number}.dcm")]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        errors += [(number, line) for line in (run.stdout + run.stderr).splitlines() if "Error" in line]
    fault = "Error - </PixelSpacing(0028,0030)[{}]> - Value is zero"
    assert errors == [(0, fault.format(1)), (0, fault.format(2))]


def test_without_pydicom_data_the_real_films_are_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the package with the real films is missing, the log says so and the simulated ones still come."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with caplog.at_level(logging.WARNING):
        first = next(iter(build_samples(seed=3, now=_NOW)))
    assert "SIMULATED" in str(first.PatientName)
    assert "pydicom-data" in caplog.text
