"""Every part checked in turn, each with what to do; then one simulated film all the way, timed and removed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from pydicom import Dataset
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # made at import
from rich.console import Console
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

import migrations
from firstread.compose import build_job_records, build_orthanc_client, open_database
from firstread.compose_worker import build_language_server, build_scorer, build_template
from firstread.settings import Settings
from firstread.tables import print_json
from gateway.dimse.send import send
from gateway.intake.dispatch import build_sender, check_broker, connected
from gateway.intake.orthanc import OrthancClient
from imaging.simulated.samples import build_samples
from models.checkpoints.known import MEDGEMMA, folder_of
from models.checkpoints.manifest import verified
from worklist.errors import FirstreadError, PermanentError
from worklist.job import Queue
from worklist.records import Database, Worklist
from worklist.triage import TriagePolicy

_PLUGINS = {"dicom-web": "orthanc-dicomweb", "python": "orthanc-python"}
_MARGIN_S = 60.0
_PAGE = 1000  # the most that GET /worklist gives at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check: what was looked at, whether it is well, and what was seen or is to be done."""

    check: str
    ok: bool
    detail: str


def examine(settings: Settings) -> Iterator[Finding]:
    """Check after check, as each is done."""
    orthanc = build_orthanc_client(settings)
    checks: dict[str, Callable[[], str]] = {
        "Database": lambda: _database(settings),
        "Model": lambda: _model(settings),
        "Explainer": lambda: _explainer(settings),
        "Triage policy": lambda: _policy(settings),
        "Reading list": lambda: _reading_list(settings),
        "Broker": lambda: _broker(settings),
        "Queues": lambda: _queues(settings),
        "Orthanc": lambda: _orthanc(orthanc),
        "Orthanc's plug-ins": lambda: _plugins(orthanc),
        "DICOMweb": lambda: _dicomweb(orthanc),
        "AE title and C-ECHO": lambda: _echo(settings, orthanc),
        "Gateway and feed": lambda: _gateway(settings),
        "Uploads": lambda: _uploads(settings),
    }
    causes: dict[str, str] = {}
    for check, look in checks.items():
        finding = _looked(check, look)
        if not finding.ok:
            first = causes.setdefault(finding.detail, check)
            yield finding if first == check else replace(finding, detail=f"unknown, see {first}")
        else:
            yield finding
    if not causes:
        yield _looked("Simulated film", lambda: _simulated_film(settings, orthanc))
    else:
        yield Finding(check="Simulated film", ok=False, detail="not sent: mend the above first")
    orthanc.close()


def print_findings(findings: Iterator[Finding], *, as_json: bool) -> bool:
    """Print each finding as it comes; whether all are well."""
    if as_json:
        listed = list(findings)
        print_json([asdict(finding) for finding in listed])
        return all(finding.ok for finding in listed)
    console = Console(highlight=False, soft_wrap=True)
    is_well = True
    for finding in findings:
        mark = "[green]ok  [/]" if finding.ok else "[bold red]FAIL[/]"
        console.print(mark, end=" ")
        console.print(f"{finding.check}: {finding.detail}", markup=False)
        is_well = is_well and finding.ok
    console.print("All is well." if is_well else "Something is to be done, see FAIL above.")
    return is_well


def _looked(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check=check, ok=True, detail=look())
    except FirstreadError as error:
        return Finding(check=check, ok=False, detail=" ".join(error.message.split()))


def _database(settings: Settings) -> str:
    with _current_database(settings) as database:
        with database.write() as session:
            session.execute(text("DELETE FROM studies WHERE 1 = 0"))  # asks for the right to write, and changes nothing
        return f"{database.url} at revision {migrations.revisions(database)[0]}, can be written"


@contextmanager
def _current_database(settings: Settings) -> Iterator[Database]:
    file = make_url(settings.database_url).database
    if settings.database_url.startswith("sqlite") and file and not Path(file).parent.is_dir():
        raise _wrong(f"the folder {Path(file).parent} does not exist: make it, or set FIRSTREAD_DATABASE_URL")
    database = open_database(settings)
    try:
        current, newest = migrations.revisions(database)
        if current != newest:
            raise _wrong(f"{database.url} is at revision {current or 'none'}, not {newest}: run firstread db upgrade")
        yield database
    except DBAPIError as error:
        raise _wrong(
            f"{database.url} does not do it ({error.orig}): check FIRSTREAD_DATABASE_URL, and that it can be written"
        ) from error
    finally:
        database.close()


def _model(settings: Settings) -> str:
    algorithm = build_scorer(settings).algorithm
    return f"{algorithm.name} {algorithm.version}, SHA-256 {algorithm.sha256[:12]}"


def _explainer(settings: Settings) -> str:
    if settings.explainer == "openai":
        return build_language_server(settings).check()
    if settings.explainer == "medgemma":  # verified and not loaded: whoever examines a site does not wait for gigabytes
        manifest = verified(folder_of(MEDGEMMA, settings.model_dir), MEDGEMMA)
        return f"{manifest.repository} {manifest.short_revision}, SHA-256 {manifest.sha256[:12]}, files verified"
    algorithm = build_template().algorithm
    return f"{algorithm.name} {algorithm.version}, SHA-256 {algorithm.sha256[:12]}"


def _policy(settings: Settings) -> str:
    with _current_database(settings) as database:
        policy = build_job_records(settings, database).policy()
    if policy is None:
        raise _wrong("none is in force yet: run firstread worker, which brings the card of its model")
    if policy.site != settings.site_rules.triage:
        raise _wrong(
            "the workers run under other choices than this environment's: start them again with these settings"
        )
    return _describe(policy)


def _describe(policy: TriagePolicy) -> str:
    card = policy.card
    looked_for = ", ".join(kind.label for kind in card.looked_for)
    unreliable = ", ".join(kind.label for kind in card.unreliable)
    return (
        f"{policy.digest[:12]} in force: {card.name} {card.version} looks for {looked_for}; "
        f"{f'not shown to find {unreliable} reliably; ' if unreliable else ''}"
        f"not looked for: {', '.join(card.not_looked_for)}; "
        f"{'can' if card.can_be_critical else 'cannot'} call a study critical; "
        f"flags from a harm of {policy.flag_from:.2f}, at most {policy.site.alert_budget:.0%} by {policy.budget_basis}"
    )


def _reading_list(settings: Settings) -> str:
    with _current_database(settings) as database:
        counts = Worklist(database, settings.site_rules).counts()
    waiting = f"{counts.overdue} of them wait longer than {settings.target_wait_h:g} h"
    return f"{counts.listed} studies to be read, {waiting}; {counts.priors} taken for priors"


def _broker(settings: Settings) -> str:
    return f"{check_broker(build_sender(settings.broker_url))} answers"


def _queues(settings: Settings) -> str:
    sender = build_sender(settings.broker_url)
    with connected(sender):
        served = sender.control.inspect(timeout=2).active_queues() or {}
    by_queue = {
        path: [name for name, queues in served.items() if any(queue["name"] == path.task for queue in queues)]
        for path in Queue
    }
    missing = [str(path) for path, workers in by_queue.items() if not workers]
    if missing:
        raise _wrong(f"nobody serves {' and '.join(missing)}: run firstread worker --queues {','.join(missing)}")
    return ", ".join(f"{path} served by {' '.join(workers)}" for path, workers in by_queue.items())


def _orthanc(orthanc: OrthancClient) -> str:
    system = orthanc.system()
    return f"{system.get('Name', '')} {system.get('Version', '')} at {orthanc.url}"


def _plugins(orthanc: OrthancClient) -> str:
    present = orthanc.plugins()
    missing = [package for plugin, package in _PLUGINS.items() if plugin not in present]
    if missing:
        raise _wrong(f"install {' '.join(missing)} (apt), and name the folder of plug-ins in Orthanc's configuration")
    return ", ".join(plugin for plugin in present if plugin in _PLUGINS)


def _dicomweb(orthanc: OrthancClient) -> str:
    if orthanc.dicomweb_get("studies?limit=1", "application/dicom+json") is None:
        raise _wrong('no DICOMweb below Orthanc: set "DicomWeb": {"Enable": true} and FIRSTREAD_ORTHANC_DICOMWEB_ROOT')
    return "QIDO-RS answers"


def _echo(settings: Settings, orthanc: OrthancClient) -> str:
    actual = orthanc.system().get("DicomAet", settings.orthanc_aet)
    if actual != settings.orthanc_aet:
        raise _wrong(f"Orthanc calls itself {actual}, not {settings.orthanc_aet}: set FIRSTREAD_ORTHANC_AET={actual}")
    where = f"{settings.orthanc_aet} at {settings.orthanc_dicom_host}:{settings.orthanc_dicom_port}"
    for name, title in (("FIRSTREAD_AET", settings.aet), ("FIRSTREAD_ORTHANC_AET", settings.orthanc_aet)):
        if not title.isascii():
            raise _wrong(f"{name}={title} is no AE title: set 1 to 16 characters of ASCII")
    caller = AE(ae_title=settings.aet)
    caller.add_requested_context(Verification)
    caller.connection_timeout = caller.acse_timeout = caller.dimse_timeout = 5
    association = caller.associate(
        settings.orthanc_dicom_host, settings.orthanc_dicom_port, ae_title=settings.orthanc_aet
    )
    if not association.is_established:
        raise _wrong(f"{where} takes no association: check FIRSTREAD_ORTHANC_DICOM_HOST and _PORT, and the firewall")
    status = association.send_c_echo()
    association.release()
    if status.get("Status") != 0:
        raise _wrong(f"{where} does not answer C-ECHO: see Orthanc's log")
    return f"{where} answers C-ECHO"


def _gateway(settings: Settings) -> str:
    ready = _get(settings, "/ready", statuses={200, 503})
    wrong = [f"{name}: {check['detail']}" for name, check in ready["checks"].items() if not check["ok"]]
    if wrong:
        raise _wrong("; ".join(wrong))
    feed, *others = (str(ready["checks"][name]["detail"]) for name in ("feed", "work", "disk", "pacs_disk"))
    if "never rang" in feed and ready["changes_behind"]:
        raise _wrong(f"{feed}: install orthanc/plugin.py as Orthanc's PythonScript and set its DoorbellUrl")
    return "; ".join((feed, *others))


def _uploads(settings: Settings) -> str:
    _get(settings, "/ready", statuses={200, 503})
    film = BytesIO()
    _a_film().save_as(film, enforce_file_format=True)
    url, patience_s = f"{settings.gateway_url}/predict", 2 * settings.predict_wait_s + _MARGIN_S
    files = {"file": ("simulated.dcm", film.getvalue())}
    try:
        answer = httpx.post(url, files=files, trust_env=False, timeout=patience_s)
        told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise _wrong(f"{url} does not judge a film ({type(error).__name__}): see the gateway's log") from error
    if answer.is_error:
        raise _wrong(f"{url} does not judge a film: {told.get('detail', answer.status_code)}")
    return f"a film sent to {url} is judged: gateway and worker share FIRSTREAD_UPLOAD_DIR"


def _simulated_film(settings: Settings, orthanc: OrthancClient) -> str:
    film = _a_film()
    study_instance_uid = str(film.StudyInstanceUID)
    patience_s = settings.quiet_s + _MARGIN_S
    try:
        started = time.monotonic()
        result = send(
            [film],
            host=settings.orthanc_dicom_host,
            port=settings.orthanc_dicom_port,
            called_aet=settings.orthanc_aet,
            calling_aet=settings.aet,
        )
        if result.failed:
            raise _wrong(f"Orthanc does not store it: {result.failed[0].reason}")
        stored = time.monotonic()
        _wait_for(settings, study_instance_uid, {"scored", "reported"}, patience_s)
        scored = time.monotonic()
        _wait_for(settings, study_instance_uid, {"reported"}, patience_s)
        reported = time.monotonic()
        _require_overwriting(orthanc, film)
    finally:
        for resource in orthanc.lookup(study_instance_uid):
            if resource["Type"] == "Study":
                orthanc.ask(orthanc.rest.delete_studies_id, str(resource["ID"]))
    rung = "never rang" not in str(_get(settings, "/ready", statuses={200, 503})["checks"]["feed"]["detail"])
    if not rung:
        raise _wrong("it came through, but the doorbell is silent: install orthanc/plugin.py as Orthanc's PythonScript")
    return (
        f"stored in {stored - started:.1f} s, in its place after another {scored - stored:.1f} s, "
        f"reported after {reported - stored:.1f} s ({settings.quiet_s:g} s of quiet included), removed again"
    )


def _a_film() -> Dataset:
    return next(sample for sample in build_samples() if "SIMULATED" in str(sample.PatientName))


def _require_overwriting(orthanc: OrthancClient, film: Dataset) -> None:
    again = BytesIO()
    film.save_as(again, enforce_file_format=True)
    stored = orthanc.ask(orthanc.rest.post_instances, again.getvalue()).json()
    if stored["Status"] == "AlreadyStored":
        raise _wrong('set "OverwriteInstances": true in Orthanc\'s configuration, so that results can be written again')


def _wait_for(settings: Settings, study_instance_uid: str, states: set[str], patience_s: float) -> None:
    deadline = time.monotonic() + patience_s
    state = "not on the list"
    while time.monotonic() < deadline:
        item = next((entry for entry in _items(settings) if entry["study_instance_uid"] == study_instance_uid), None)
        if item:
            state = item["state"]
            if state in states:
                return
            if item["failure"]:
                raise _wrong(f"{state}: {item['failure']['message']}")
        time.sleep(0.1)
    raise _wrong(f"still {state} after {patience_s:.0f} s: see the logs of the gateway and the workers")


def _items(settings: Settings) -> Iterator[dict[str, Any]]:
    """The whole reading list, page by page: a simulated film has no urgency to stand in the first."""
    seen = 0
    while page := _get(settings, f"/worklist?limit={_PAGE}&offset={seen}", statuses={200})["items"]:
        yield from page
        seen += len(page)


def _get(settings: Settings, path: str, *, statuses: set[int]) -> dict[str, Any]:
    url = f"{settings.gateway_url}{path}"
    try:
        answer = httpx.get(url, trust_env=False, timeout=10)
        if answer.is_server_error and answer.status_code not in statuses:
            raise _wrong(f"{url} answers {answer.status_code}: see the gateway's log")
        if answer.status_code in statuses:
            return dict(answer.json())
    except httpx.HTTPError as error:
        raise _wrong(f"no answer at {url}: run firstread gateway, or set FIRSTREAD_HTTP_PORT") from error
    except ValueError:
        pass  # no JSON: it is something else
    raise _wrong(f"what answers at {url} is no gateway of Firstread: set FIRSTREAD_HTTP_PORT")


def _wrong(detail: str) -> PermanentError:
    return PermanentError("check_failed", detail)
