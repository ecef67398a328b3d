"""`firstread models`, as a person types it, and a film scored by what it made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imaging.simulated.samples import build_samples
from tests.licensed import require_models

require_models()


def firstread(*arguments: str, model_dir: Path | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    """What a command prints and how it ends."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FIRSTREAD_")}
    if model_dir:
        environment["FIRSTREAD_MODEL_DIR"] = str(model_dir)
    return subprocess.run(
        [sys.executable, "-m", "firstread", *arguments], env=environment | settings, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `firstread models stand-in` fills."""
    folder = tmp_path_factory.mktemp("made") / "models"
    done = firstread("models", "stand-in", str(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"now set FIRSTREAD_MODEL_DIR={folder}" in done.stdout
    assert "random weights" in done.stdout
    return folder


def test_a_film_is_scored_by_what_stand_in_made(made: Path, tmp_path: Path) -> None:
    """One command makes the checkpoints, the next scores with them; the result says whose numbers they are."""
    film = next(sample for sample in build_samples(seed=0) if "SIMULATED" in str(sample.PatientName))
    film.save_as(tmp_path / "film.dcm", enforce_file_format=True)
    done = firstread("triage", str(tmp_path / "film.dcm"), "--json", model_dir=made, FIRSTREAD_SCORER="medsiglip")
    assert (done.returncode, done.stderr) == (0, "")
    (result,) = json.loads(done.stdout)
    assert result["urgency"] == "none"
    assert result["model"]["name"] == "medsiglip-stand-in"
    assert "prompts 1.0.0" in result["model"]["version"]
    assert {"Mass", "Nodule", "Atelectasis", "Rib fracture", "Tubes and lines"} <= {
        finding["name"] for finding in result["findings"]
    }
    assert not any(finding["named"] for finding in result["findings"])


def test_list_and_verify_tell_what_is_here(made: Path) -> None:
    """Each model with where it comes from, its revision and its digest; verify reads every byte."""
    listed = firstread("models", "list", "--json", model_dir=made)
    by_name = {model["name"]: model for model in json.loads(listed.stdout)}
    assert by_name["medsiglip"]["repository"] == "google/medsiglip-448"
    assert {model["revision"] for model in by_name.values()} == {"stand-in"}
    verified = firstread("models", "verify", model_dir=made)
    assert verified.returncode == 0
    assert all(str(model["sha256"]) in verified.stdout for model in by_name.values())
    nowhere = firstread("models", "list")
    assert nowhere.returncode == 0
    assert "needs FIRSTREAD_MODEL_DIR" in nowhere.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("models", "verify", "medgemma"), 1, "run hf download google/medgemma-1.5-4b-it"),
        (("models", "verify", "chexnet"), 2, "there is no model 'chexnet': choose from medsiglip, medgemma"),
        (("models", "pin", "medsiglip"), 2, "give the hub's commit as --revision"),
        (("models", "export", "medgemma"), 2, "only medsiglip is exported"),
        (("models", "export", "medsiglip"), 1, "has SHA-256"),
        (("models", "warm", "medsiglip"), 1, "run firstread models export medsiglip"),
        (("triage", "nothing.dcm"), 2, "nothing.dcm"),
    ],
)
def test_what_is_wrong_is_one_line(
    stand_ins: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Exit 2 for bad usage, 1 for a model that is not what it should be, each with what to do."""
    folder = Path(shutil.copytree(stand_ins / "medsiglip", tmp_path / "medsiglip"))
    if arguments[1] == "export":
        weights = bytearray((folder / "model.safetensors").read_bytes())
        weights[-1] ^= 1
        (folder / "model.safetensors").write_bytes(weights)
    done = firstread(*arguments, model_dir=tmp_path, FIRSTREAD_SCORER="medsiglip")
    assert done.returncode == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
