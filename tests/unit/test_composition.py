"""What each process loads, and what it must not."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import ValidationError

from firstread.compose import open_database
from firstread.compose_worker import build_explainer, build_predictor, build_scorer, build_worker_app
from firstread.settings import Settings
from tests.licensed import models_needed
from worker.pacs import TIMEOUT_S
from worker.tasks import Service, build_worker
from worklist.errors import InvalidInput, ModelUnavailable, PermanentError
from worklist.job import Queue
from worklist.records import Database, JobRecords


@pytest.fixture
def database_url(tmp_path: Path, migrated_sqlite: bytes) -> str:
    """A database with all tables."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    return f"sqlite:///{file}"


def _loaded_by(statement: str) -> set[str]:
    """The names of the modules that a statement loads, in a fresh interpreter."""
    program = f"{statement}; import sys; print(*sys.modules)"
    return set(subprocess.check_output([sys.executable, "-c", program], text=True).split())


def test_gateway_process_loads_no_model() -> None:
    """A gateway's process holds neither a model runtime nor the SR builder, whoever composes it."""
    loaded = _loaded_by("import firstread.compose_gateway")
    assert "gateway.app" in loaded
    assert not loaded & {"onnxruntime", "highdicom", "torch", "models", "worker", "dicom_sr"}


def test_protocols_need_no_runtime() -> None:
    """Whoever names a scorer or an explainer loads neither arrays nor a model runtime for it."""
    assert not _loaded_by("import models") & {"numpy", "onnxruntime", "pydicom"}


def test_help_needs_next_to_nothing() -> None:
    """`firstread --help` answers without loading a database, a server or a model."""
    assert not _loaded_by("import firstread.cli") & {"sqlalchemy", "fastapi", "onnxruntime", "pydicom"}


@pytest.mark.parametrize(
    "statement",
    ["import models.embedded.scorer", "import firstread.compose_worker as c; c.build_scorer(c.Settings())"],
)
def test_onnx_runtime_is_told_to_stay_silent(statement: str) -> None:
    """ONNX Runtime's reports to its maker are off before it is loaded, on a machine that says nothing about them."""
    program = (
        "import os, sys, importlib.abc\n"
        "class Watch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        f"{statement}\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    assert subprocess.check_output([sys.executable, "-c", program], text=True, env=environment).split() == ["1"]


@models_needed
def test_openvino_reports_nothing() -> None:
    """OpenVINO tells its maker of every import through a package of its own; that one is never loaded."""
    loaded = _loaded_by("from models.medsiglip.backends import import_openvino; import_openvino().Core()")
    assert "openvino.tools.ovc.telemetry_stub" in loaded
    assert not [name for name in loaded if name.startswith("openvino_telemetry.")]


def test_a_silent_pacs_is_told_before_the_task_is_killed() -> None:
    """No allowed time limit kills a worker that waits for Orthanc: the job would fail as lost, not wait for an hour."""
    shortest_s = int(sum(TIMEOUT_S))
    for field in ("score_time_limit_s", "report_time_limit_s"):
        assert Settings.model_fields[field].default > shortest_s
        with pytest.raises(ValidationError):
            Settings.model_validate({field: shortest_s})


_RUNTIMES = {"onnxruntime", "highdicom"}


@pytest.mark.parametrize(
    ("queue", "loads"),
    [(Queue.SCORE, {"onnxruntime"}), (Queue.REPORT, {"highdicom"}), (Queue.PREDICT, set())],
)
def test_a_worker_loads_what_its_queue_needs(database_url: str, queue: Queue, loads: set[str]) -> None:
    """Who scores has no SR builder, who reports or awaits uploads no model runtime, none has parts of the gateway."""
    build = f"s = c.Settings(database_url={database_url!r}); c.build_{queue}(s, lambda: c.build_scorer(s))"
    loaded = _loaded_by(f"import firstread.compose_worker as c; {build}")
    assert loaded & _RUNTIMES == loads
    assert "worklist.records" in loaded
    assert not loaded & {"fastapi", "alembic", "pyorthanc", "httpx", "psycopg", "torch", "typer"}


def test_a_report_worker_asks_a_language_server_without_a_model_runtime(database_url: str) -> None:
    """It starts, also while that server is away, and needs none of the libraries of a model in the process."""
    values = f"database_url={database_url!r}, explainer='openai', explainer_url='http://127.0.0.1:9'"
    loaded = _loaded_by(f"import firstread.compose_worker as c; c.build_report(c.Settings({values}), c.build_scorer)")
    assert "models.medgemma.explainer" in loaded
    assert not loaded & {"torch", "transformers", "onnxruntime", "llguidance"}


def test_uploads_are_explained_at_once() -> None:
    """Whoever uploads a film waits for the answer, so the template explains it whatever explains reports."""
    settings = Settings(explainer="openai", explainer_url="http://127.0.0.1:9")
    assert build_predictor(settings, build_scorer(settings)).explainer.algorithm.name == "Firstread template"
    assert build_explainer(settings).algorithm.name == "medgemma"


@models_needed
def test_a_worker_with_medsiglip_on_a_cpu_loads_no_torch(database_url: str, exported_stand_ins: Path) -> None:
    """What was exported runs in ONNX Runtime or OpenVINO alone: no torch, no transformers, nothing of the gateway."""
    settings = f"database_url={database_url!r}, scorer='medsiglip', model_dir={str(exported_stand_ins)!r}"
    loaded = _loaded_by(
        f"import firstread.compose_worker as c; s = c.Settings({settings}); c.build_score(s, lambda: c.build_scorer(s))"
    )
    assert "models.medsiglip.scorer" in loaded
    assert not loaded & {"torch", "transformers", "sentencepiece", "fastapi", "httpx", "typer"}


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    """FIRSTREAD_MODEL_DIR that is no folder, or holds weights themselves, is told; shipped weights never stand in."""
    for folder in (tmp_path / "typo", tmp_path):
        (tmp_path / "embedded.onnx").touch()
        with pytest.raises(ModelUnavailable, match="is no folder of models") as refused:
            build_scorer(Settings(model_dir=folder))
        assert refused.value.code == "model_folder_missing"


@models_needed
def test_the_shipped_weights_serve_beside_licensed_models(stand_ins: Path) -> None:
    """A folder of models without embedded/ leaves the shipped network in place."""
    assert build_scorer(Settings(model_dir=stand_ins)).algorithm == build_scorer(Settings()).algorithm


def test_the_main_process_of_a_worker_loads_none_of_it(database_url: str) -> None:
    """Celery's main process, which only takes messages, holds no image library, no records and no model."""
    settings = f"c.Settings(database_url={database_url!r})"
    loaded = _loaded_by(
        f"import firstread.cli, firstread.compose_worker as c; s = {settings}; c.build_worker_app(s, s.queues)"
    )
    assert "celery" in loaded
    assert not loaded & {*_RUNTIMES, "sqlalchemy", "pydicom", "numpy", "PIL", "httpx", "alembic"}


def test_speech_is_heard_only_where_the_site_says_so(database_url: str) -> None:
    """Its queue is none of the site's unless it is set up, and a worker that is to serve it says what to set."""
    settings = Settings(database_url=database_url)
    assert Queue.DICTATE not in settings.queues
    assert Queue.DICTATE in settings.model_copy(update={"dictation": "medasr"}).queues
    with pytest.raises(InvalidInput, match="set it to medasr"):
        build_worker_app(settings, [Queue.DICTATE])


def test_a_worker_that_scores_brings_its_policy_into_force(database_url: str) -> None:
    """Once it has started, the records know card and choices, without any image; a second start changes nothing."""
    settings = Settings(database_url=database_url)
    with closing(Database(database_url)) as database:
        jobs = JobRecords(database, settings.site_rules, settings.job_limits)
        assert jobs.policy() is None
        build_worker_app(settings, [Queue.SCORE])
        policy = jobs.policy()
        assert policy is not None
        assert policy.card == build_scorer(settings).card
        assert policy.site == settings.site_rules.triage
        build_worker_app(settings, [Queue.SCORE])
        assert jobs.policy() == policy


def test_a_process_may_load_for_minutes() -> None:
    """Celery's own limit of 4 s would kill a process that loads a large model, each time that one is replaced."""
    service = Service(build=lambda: print, time_limit_s=60)
    worker = build_worker("memory://", {Queue.REPORT: service}, build_heartbeat=pytest.fail)
    assert worker.conf.worker_proc_alive_timeout >= 120
    assert [name for name in worker.tasks if name.startswith("firstread")] == [Queue.REPORT.task]


def test_a_worker_without_its_model_does_not_start(tmp_path: Path, database_url: str) -> None:
    """Missing weights end a worker at once, with the reason; running, it would leave every study waiting for ever."""
    (tmp_path / "embedded").mkdir()
    with pytest.raises(ModelUnavailable) as refused:
        build_worker_app(Settings(model_dir=tmp_path, database_url=database_url), [Queue.SCORE])
    assert refused.value.code == "model_missing"


def test_a_worker_on_old_tables_does_not_start(tmp_path: Path) -> None:
    """A database that was not upgraded ends a worker at once, with what to run."""
    with pytest.raises(PermanentError, match="firstread db upgrade") as refused:
        build_worker_app(Settings(database_url=f"sqlite:///{tmp_path / 'empty.db'}"), [Queue.REPORT])
    assert refused.value.code == "database_outdated"


def test_choices_that_contradict_the_card_end_a_worker(database_url: str) -> None:
    """A weight for a finding that the scorer does not know is refused at the start, by name."""
    settings = Settings(database_url=database_url, weights={"hiccups": 1.0})
    with pytest.raises(InvalidInput, match="hiccups"):
        build_worker_app(settings, [Queue.SCORE])


@pytest.mark.parametrize("url", ["", "nonsense", "cloud://x", "mysql://user@host/name"])
def test_a_database_that_cannot_be_is_told(url: str) -> None:
    """A URL of no database, of an unknown one, or of one whose driver is not installed, is refused as what it is."""
    with pytest.raises(InvalidInput) as told:
        open_database(Settings(database_url=url))
    assert told.value.code == "bad_database_url"
