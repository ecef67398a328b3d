"""Backup, restore, rebuild, failures and retry as an engineer calls them, beside a running site."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import RunningSite
from tests.bad_films import chest
from worklist.study import StudyState


@pytest.fixture
def environment(running: RunningSite) -> dict[str, str]:
    """Settings by which the command finds the site."""
    return {
        **os.environ,
        "COLUMNS": "200",
        "FIRSTREAD_DATABASE_URL": running.site.database_url,
        "FIRSTREAD_ORTHANC_URL": running.site.orthanc_url,
    }


def call(environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Call the command."""
    return subprocess.run(
        [sys.executable, "-m", "firstread", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_failed_is_shown_and_tried_again(running: RunningSite, environment: dict[str, str]) -> None:
    """In a table and as JSON, without the patient; an unknown study is bad input."""
    broken = chest(71)
    broken.PixelData = broken.PixelData[: len(broken.PixelData) // 2]
    running.send([broken])
    uid = str(broken.StudyInstanceUID)
    assert running.done(1)[uid]["state"] == StudyState.FAILED
    shown = json.loads(call(environment, "failures", "--json").stdout)
    (item,) = (item for item in shown["items"] if item["study_instance_uid"] == uid)
    assert (item["accession_number"], item["failure"]["code"]) == ("A0071", "pixel_data_truncated")
    table = call(environment, "failures").stdout
    assert "A0071" in table
    assert "Bad" not in table
    assert call(environment, "retry", uid).stdout == "1 failed job scheduled again\n"
    assert running.done(1)[uid]["state"] == StudyState.FAILED
    refused = call(environment, "retry", "1.2.3")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_a_running_site_is_backed_up_and_not_restored(
    running: RunningSite, environment: dict[str, str], tmp_path: Path
) -> None:
    """One line for cron; what runs is named, whether it is to be restored or rebuilt."""
    running.send([chest(72)])
    running.done(1)
    file = tmp_path / "one.backup"
    done = call(environment, "backup", file)
    assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
    assert done.stdout.startswith(f"backed up to {file}: ")
    for arguments in (("restore", str(file), "--replace"), ("rebuild",)):
        refused = call(environment, *arguments)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "still running: gateway on " in refused.stderr
        assert refused.stderr.count("\n") == 1
    elsewhere = environment | {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}
    restored = call(elsewhere, "restore", file)
    assert restored.returncode == 0, restored.stderr
    assert restored.stdout.startswith(f"restored {file}: ")
    again = call(elsewhere, "restore", file)
    assert (again.returncode, "--replace" in again.stderr) == (2, True)
    file.write_bytes(file.read_bytes()[:-100])
    assert call(elsewhere, "restore", file, "--replace").returncode == 2


def test_a_copy_is_rebuilt_from_the_pacs(running: RunningSite, environment: dict[str, str], tmp_path: Path) -> None:
    """Into an empty database of its own, beside the site's; a database without tables is named first."""
    running.send([chest(73)])
    running.done(1)
    elsewhere = environment | {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path / 'new.db'}"}
    refused = call(elsewhere, "rebuild")
    assert (refused.returncode, "firstread db upgrade" in refused.stderr) == (1, True)
    call(elsewhere, "db", "upgrade")
    rebuilt = call(elsewhere, "rebuild")
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert "taken in" in rebuilt.stdout
    assert rebuilt.stdout.splitlines()[-1].startswith("what people did is in no PACS")
