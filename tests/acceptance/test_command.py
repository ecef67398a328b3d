"""The command line, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from PIL import Image

from imaging.simulated.phantom import simulate_film
from tests.acceptance.conftest import RunningSite, free_port_base
from tests.bad_films import BAD_FILMS, chest
from tests.servers import find_shared_data
from worklist.finding import FindingType
from worklist.triage import Urgency

FIRSTREAD = [sys.executable, "-m", "firstread"]


# Root reads whatever is locked; without these capabilities it is an account like any other.
AS_ANYBODY = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def run(
    *arguments: str | Path, environment: dict[str, str] | None = None, as_anybody: bool = False
) -> subprocess.CompletedProcess[str]:
    """Call the command, as one who may not read everything where that is asked for."""
    return subprocess.run(
        [*(AS_ANYBODY if as_anybody else ()), *FIRSTREAD, *map(str, arguments)],
        env={**os.environ, "COLUMNS": "140", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def require_one_line(result: subprocess.CompletedProcess[str], code: int) -> str:
    """The one line on stderr of a call that fails as it should."""
    assert result.returncode == code, result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("firstread: ")
    return lines[0]


def test_demo_once_on_real_films(tmp_path: Path) -> None:
    """`demo --once --json --studies DIR` ends with every study of a folder of real films in its right state."""
    films = find_shared_data() / "dicom"
    result = run(
        "demo", "--once", "--json", "--studies", films, "--state", tmp_path, "--port-base", str(free_port_base())
    )
    assert result.returncode == 0, result.stderr
    states = {item["study_instance_uid"]: item["state"] for item in json.loads(result.stdout)["items"]}
    assert states == {
        "1.3.6.1.4.1.5962.1.2.9.20040826185059.5457": "reported",  # CR, uncompressed and JPEG 2000
        "1.2.392.200036.9125.0.199302241758.16": "reported",  # CR without file meta information
        "1.3.6.1.4.1.11129.5.5.112507010803284478207522016832191866964708": "reported",  # DX as Secondary Capture
        "1.2.826.0.1.3680043.2.1125.1.64854732231592794220757963127858480": "out_of_scope",  # CT of the abdomen
        "2.718.28": "out_of_scope",  # CR of an eye
    }


def test_demo_runs_until_ctrl_c_and_leaves_nothing(tmp_path: Path) -> None:
    """The demo shows its address, reports pictures too, and Ctrl-C ends every process that it started."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    film = Image.fromarray(
        (simulate_film(1, finding=FindingType.PLEURAL_EFFUSION, rows=512, columns=480) >> 4).astype("u1")
    )
    film.save(pictures / "one.png")
    film.save(pictures / "two.jpg", quality=95)
    base = free_port_base()
    demo = subprocess.Popen(
        [*FIRSTREAD, "demo", "--studies", pictures, "--state", tmp_path / "state", "--port-base", str(base)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        items = _wait_for_reports(f"http://127.0.0.1:{base}", 2)
        assert {item["patient_id"] for item in items} >= {"one", "two"} or len(items) == 2
        children = psutil.Process(demo.pid).children(recursive=True)
        assert len(children) >= 6, "Orthanc, Redis, the gateway, the DICOM server and two workers"
        demo.send_signal(signal.SIGINT)
        _, shown = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == 0
    assert f"http://127.0.0.1:{base}/" in shown
    assert f"findscu -S -aec FIRSTREAD 127.0.0.1 {base + 3} -k QueryRetrieveLevel=STUDY" in shown
    assert "Ctrl-C" in shown
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_demo_names_a_taken_port(running: RunningSite, tmp_path: Path) -> None:
    """A port in use is named, with what to do."""
    line = require_one_line_after_notes(
        run(
            "demo",
            "--once",
            "--state",
            tmp_path,
            "--port-base",
            str(running.site.port_base),
            "--studies",
            _one_film(tmp_path),
        )
    )
    assert str(running.site.port_base) in line
    assert "--port-base" in line


def require_one_line_after_notes(result: subprocess.CompletedProcess[str]) -> str:
    """The last line on stderr, behind the notes of what was being done."""
    assert result.returncode == 1
    return result.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["nonsense"], 2, "nonsense"),
        (["worker", "--queues", "typo"], 2, "score,report,predict"),
        (["worklist", "--reading", "typo"], 2, "prior"),
        (["send", "missing.dcm"], 2, "missing.dcm"),
        (["triage", "missing.png"], 2, "missing.png"),
        (["report", "missing.dcm"], 2, "missing.dcm"),
        (["demo", "--studies", "missing"], 2, "missing"),
        (["worklist"], 1, "firstread gateway"),
        (["retry"], 1, "firstread db upgrade"),
        (["gateway"], 1, "firstread db upgrade"),
    ],
)
def test_failures_are_one_line(tmp_path: Path, arguments: list[str], code: int, says: str) -> None:
    """What a person can get wrong is answered with one line that says what to do, and the right exit code."""
    environment = {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path}/none.db", "FIRSTREAD_HTTP_PORT": "9"}
    assert says in require_one_line(run(*arguments, environment=environment), code)


@pytest.mark.parametrize(
    ("arguments", "wrong", "code", "says"),
    [
        (["worklist"], {"FIRSTREAD_HTTP_PORT": "abc"}, 2, "FIRSTREAD_HTTP_PORT"),
        (["worklist"], {"FIRSTREAD_MODALITIES": "CR,DX"}, 2, "modalities"),
        (["worker"], {"FIRSTREAD_LEAST_HEAD_START_MIN": "960"}, 2, "FIRSTREAD_ORDER_HORIZON_H=16"),
        (["report", "--all"], {"FIRSTREAD_ORTHANC_URL": "pacs:8042"}, 2, "starts with http://"),
        (["worker"], {"FIRSTREAD_BROKER_URL": "nonsense://host"}, 2, "starts with redis://"),
        (["db", "upgrade"], {"FIRSTREAD_DATABASE_URL": "sqlite:////nowhere/none.db"}, 1, "FIRSTREAD_DATABASE_URL"),
        (["demo", "--state", "/proc/none", "--studies", "."], {}, 2, "--state"),
    ],
)
def test_a_wrong_setting_is_one_line(arguments: list[str], wrong: dict[str, str], code: int, says: str) -> None:
    """A setting that cannot be used is named in one last line, never by a traceback."""
    result = run(*arguments, environment=wrong)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert says in result.stderr.splitlines()[-1]


def test_a_setting_that_is_gone_is_one_warning(tmp_path: Path) -> None:
    """What an earlier version read is named with its replacement, and the command does its work."""
    environment = {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path}/firstread.db", "FIRSTREAD_PREVALENCE": "0.1"}
    result = run("db", "upgrade", environment=environment)
    assert result.returncode == 0
    (line,) = result.stderr.splitlines()
    assert "FIRSTREAD_PREVALENCE" in line
    assert "FIRSTREAD_ALERT_BUDGET_PERCENT" in line


def test_upgrade_says_what_it_did(tmp_path: Path) -> None:
    """Each revision that is applied is named, and once all are, nothing is left to do."""
    environment = {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path}/firstread.db"}
    first, second = (run("db", "upgrade", environment=environment).stdout.splitlines() for _ in range(2))
    assert [line.split(":")[0] for line in first[:3]] == ["applied 0001", "applied 0002", "applied 0003"]
    assert "upgraded from nothing" in first[-1]
    assert len(second) == 1
    assert "nothing was to be done" in second[0]
    assert stat.S_IMODE((tmp_path / "firstread.db").stat().st_mode) == 0o600, "patients' names are in it"


def test_a_gateway_names_a_taken_port(tmp_path: Path) -> None:
    """A gateway whose port is in use says so in one line, and how to choose another."""
    environment = {"FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path}/firstread.db"}
    assert run("db", "upgrade", environment=environment).returncode == 0
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        line = require_one_line(run("gateway", environment={**environment, "FIRSTREAD_HTTP_PORT": port}), 1)
    assert port in line
    assert "FIRSTREAD_HTTP_HOST and _PORT" in line


def test_version_and_help_alone() -> None:
    """`--version` prints name and version; no command at all prints the help alone, as bad usage."""
    assert run("--version").stdout == f"firstread {version('firstread')}\n"
    bare = run()
    assert (bare.returncode, bare.stderr) == (2, "")
    assert "doctor" in bare.stdout


def test_send_worklist_report_retry(running: RunningSite, tmp_path: Path) -> None:
    """A film sent by hand shows on the list, its report reads back, and a failed one can be run again."""
    film = chest(21)
    path = tmp_path / "film.dcm"
    film.save_as(path)
    bad = BAD_FILMS["truncated_pixel_data"](tmp_path)
    environment = running.site.environment
    assert run("send", path, bad, environment=environment).returncode == 0
    running.done(1)
    listed = {
        item["study_instance_uid"]: item
        for item in json.loads(run("worklist", "--json", environment=environment).stdout)["items"]
    }
    score = listed[film.StudyInstanceUID]["score"]
    assert film.PatientID in run("worklist", environment={**environment, "COLUMNS": "300"}).stdout
    assert film.PatientID not in run("worklist", "--reading", "prior", environment=environment).stdout
    report = json.loads(run("report", film.StudyInstanceUID, "--json", environment=environment).stdout)
    assert report["score"] == score
    for_people = run("report", film.StudyInstanceUID, environment=environment).stdout
    assert Urgency(listed[film.StudyInstanceUID]["urgency"]).label in for_people
    assert "Not a diagnosis" in for_people
    line = require_one_line(run("report", "1.2.3.4", environment=environment), 2)
    assert "1.2.3.4" in line
    failed = next(
        item for item in listed.values() if item["failure"] and item["failure"]["code"] == "pixel_data_truncated"
    )
    again = run("retry", failed["study_instance_uid"], environment=environment)
    assert "1 failed job scheduled again" in again.stdout
    assert running.done(1)[failed["study_instance_uid"]]["state"] == "failed"
    assert [report.revision for report in running.reports(failed["study_instance_uid"])] == [1, 2]


def test_doctor_finds_all_well_and_leaves_no_film(running: RunningSite) -> None:
    """On a healthy site every check passes, and the simulated film is gone from the list and the PACS."""
    before = running.done(0)
    result = run("doctor", "--json", environment=running.site.environment)
    findings = json.loads(result.stdout)
    slow = [finding for finding in findings if "within seconds" in finding["detail"]]  # a busy machine, and a warning
    assert [finding for finding in findings if finding["state"] != "ok" and finding not in slow] == []
    assert result.returncode == 0
    deadline = time.monotonic() + 60
    while running.done(0).keys() != before.keys():
        assert time.monotonic() < deadline, "the doctor's film is still listed"
        time.sleep(0.2)
    without = json.loads(run("doctor", "--json", "--no-film", environment=running.site.environment).stdout)
    assert [finding["check"] for finding in findings] == [*(one["check"] for one in without), "Simulated film"]


def test_doctor_says_what_to_do_when_nothing_runs(tmp_path: Path) -> None:
    """On a machine where nothing runs, each line of the doctor says what to do."""
    environment = {
        "FIRSTREAD_DATABASE_URL": f"sqlite:///{tmp_path}/none.db",
        "FIRSTREAD_BROKER_URL": "redis://127.0.0.1:9/0",
        "FIRSTREAD_ORTHANC_URL": "http://127.0.0.1:9",
        "FIRSTREAD_ORTHANC_DICOM_PORT": "9",
        "FIRSTREAD_HTTP_PORT": "9",
        "FIRSTREAD_EXPLAINER": "openai",
        "FIRSTREAD_EXPLAINER_URL": "http://127.0.0.1:9",
    }
    result = run("doctor", environment=environment)
    assert result.returncode == 1
    urls = ("FIRSTREAD_BROKER_URL", "FIRSTREAD_ORTHANC_URL", "FIRSTREAD_EXPLAINER_URL")
    for advice in ("firstread db upgrade", "firstread gateway", *urls):
        assert advice in result.stdout
    assert result.stdout.count("no answer from Orthanc") == 1, "one cause is told once"
    assert len(result.stdout.splitlines()) == 17, "a line a check, whatever the database's driver says"


def test_triage_needs_no_pacs(tmp_path: Path) -> None:
    """`triage --json` gives one object a file: a prediction, or a state with its reason."""
    folder = tmp_path / "films"
    folder.mkdir()
    chest(22).save_as(folder / "good.dcm")
    BAD_FILMS["ct_slice"](folder).rename(folder / "ct.dcm")
    BAD_FILMS["blank"](folder).rename(folder / "blank.dcm")
    (folder / "note").write_text("no image", encoding="utf-8")
    os.mkfifo(folder / "pipe")  # which nobody may ever write into
    prior = tmp_path / "prior.txt"
    prior.write_text("Small left pleural effusion. Heart of usual size.", encoding="utf-8")
    result = run("triage", folder, "--prior", prior, "--json")
    assert result.returncode == 0, result.stderr
    by_name = {Path(entry["file"]).name: entry for entry in json.loads(result.stdout)}
    good = by_name["good.dcm"]
    assert good["label"] in {"Urgent", "Non-Urgent"}
    assert 0 <= good["score"] <= 1
    assert good["provenance"] == [{"source": "prior.txt", "snippet": "Small left pleural effusion."}]
    assert len(good["model"]["sha256"]) == 64
    assert by_name["ct.dcm"]["state"] == "out_of_scope"
    assert by_name["blank.dcm"]["failure"]["code"] == "blank_image"
    assert by_name["note"]["state"] == "failed"
    assert "is no regular file" in by_name["pipe"]["failure"]["message"]


def test_what_is_no_file_is_a_line_and_stops_nothing(tmp_path: Path) -> None:
    """Of pipes, sockets, devices, links and locked folders each is told why, and the film beside them is judged."""
    folder = tmp_path / "as found"
    folder.mkdir()
    locked = folder / "locked"
    locked.mkdir()
    name = os.fsdecode(b"R\xf6ntgen.dcm")  # Latin-1, as an old archive has it
    film = _one_film(folder)
    film.rename(folder / name)
    locked.chmod(0)
    for link, target in {"nothing": "nowhere", "loop": "loop", "same": ".", "zero": "/dev/zero"}.items():
        (folder / link).symlink_to(target)
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        judged = run("triage", "--json", folder, as_anybody=True)
        named = [path for path in folder.iterdir() if path.name != "same"]
        sent = run("send", *named, "--host", "127.0.0.1", "--port", "9", as_anybody=True)
    assert judged.returncode == 0, judged.stderr
    results = {Path(entry["file"]).name: entry for entry in json.loads(judged.stdout)}
    assert results.pop(name)["label"] in {"Urgent", "Non-Urgent"}
    assert {which: entry["failure"]["message"].partition(f"/{which} ")[2] for which, entry in results.items()} == {
        "locked": "cannot be read: Permission denied",
        "loop": "cannot be read: Too many levels of symbolic links",
        "nothing": "cannot be read: it is a link to nothing",
        "pipe": "is no regular file: name a file on the disk",
        "same": "is a link to a folder, which is not followed: name the folder itself",
        "socket": "is no regular file: name a file on the disk",
        "zero": "is no regular file: name a file on the disk",
    }
    assert sent.returncode == 1
    assert sent.stderr.splitlines()[-1].startswith("firstread: no DICOM server answers")
    assert {line.split(": ")[1] for line in sent.stderr.splitlines() if line.startswith("not sent: ")} == {
        str(folder / which) for which in ("locked", "loop", "nothing", "pipe", "socket", "zero")
    }
    line = require_one_line(run("report", locked / "report\x1b[31m.dcm", as_anybody=True), 2)
    assert line.endswith("report[31m.dcm cannot be read: Permission denied")


def _one_film(folder: Path) -> Path:
    path = folder / "film.dcm"
    chest(23).save_as(path)
    return path


def _wait_for_reports(url: str, count: int) -> list[dict[str, Any]]:
    deadline = time.monotonic() + 120
    items: list[dict[str, Any]] = []
    while time.monotonic() < deadline:
        try:
            items = httpx.get(f"{url}/worklist", trust_env=False).json()["items"]
        except (httpx.HTTPError, ValueError):
            items = []
        if sum(item["state"] == "reported" for item in items) == count:
            return items
        time.sleep(0.3)
    pytest.fail(f"not reported in time: {items}")
