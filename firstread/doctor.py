"""Every part checked in turn, each with what to do; then one simulated film all the way, timed and removed."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
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
from gateway.dimse.associate import associate
from gateway.dimse.send import send
from gateway.intake.dispatch import build_sender, check_broker, connected
from gateway.intake.orthanc import OrthancClient
from imaging.simulated.samples import build_film
from models.checkpoints.known import MEDGEMMA, folder_of
from models.checkpoints.manifest import verified
from worklist.errors import FirstreadError, PermanentError
from worklist.records import ChoiceRecords, Database, Worklist
from worklist.triage import TriagePolicy

_NEEDED = ("dicom-web", "orthanc-dicomweb")  # a plug-in and its package
_DOORBELL = "install orthanc/plugin.py as Orthanc's PythonScript and set its DoorbellUrl, else films wait for the poll"
_MARGIN_S = 60.0
_SLOW_S = 30.0  # for a film to its place: it works, and not as it should
_CLOCKS_S = 5.0  # by which clocks may differ
_PAGE = 1000  # the most that GET /worklist gives at once
_MARKS = {"ok": "[green]ok  [/]", "warn": "[bold yellow]WARN[/]", "fail": "[bold red]FAIL[/]"}


class State(StrEnum):
    """How a check ended; a warning is something to be mended while the site does its work."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One check: what was looked at, how it ended, and what was seen or is to be done."""

    check: str
    state: State
    detail: str

    @property
    def ok(self) -> bool:
        """Whether the site does its work."""
        return self.state is not State.FAIL


class _Doubtful(PermanentError):
    """What works, and should be mended."""


def examine(settings: Settings, *, with_film: bool = True) -> Iterator[Finding]:
    """Check after check, as each is done.

    Args:
        settings: of the site.
        with_film: whether a simulated film is sent to the PACS at last, and removed again.
    """
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
        "Clocks": lambda: _clocks(settings, orthanc),
        "DICOMweb": lambda: _dicomweb(orthanc),
        "AE title and C-ECHO": lambda: _echo(settings, orthanc),
        "Firstread by DICOM": lambda: _own_echo(settings),
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
    if with_film and not causes:
        yield _looked("Simulated film", lambda: _simulated_film(settings, orthanc))
    elif with_film:
        yield Finding(check="Simulated film", state=State.FAIL, detail="not sent: mend the above first")
    orthanc.close()


def print_findings(findings: Iterator[Finding], *, as_json: bool) -> bool:
    """Print each finding as it comes; whether all are well."""
    if as_json:
        listed = list(findings)
        print_json([asdict(finding) | {"ok": finding.ok} for finding in listed])
        return all(finding.ok for finding in listed)
    console = Console(highlight=False, soft_wrap=True)
    seen: set[State] = set()
    for finding in findings:
        console.print(_MARKS[finding.state], end=" ")
        console.print(f"{finding.check}: {finding.detail}", markup=False)
        seen.add(finding.state)
    if State.FAIL in seen:
        console.print("Something is to be done, see FAIL above.")
    else:
        console.print("It works; see WARN above." if State.WARN in seen else "All is well.")
    return State.FAIL not in seen


def _looked(check: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(check=check, state=State.OK, detail=look())
    except FirstreadError as error:
        state = State.WARN if isinstance(error, _Doubtful) else State.FAIL
        return Finding(check=check, state=state, detail=" ".join(error.message.split()))


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
            raise _wrong(f"{database.url} {migrations.what_to_do(current, newest)}")
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
        choice = ChoiceRecords(database=database, rules=settings.site_rules).in_force().choice
    if policy is None:
        raise _wrong("none is in force yet: run firstread worker, which brings the card of its model")
    if choice.number:
        return f"{_describe(policy)}; chosen by {choice.by.name} (choice {choice.number}: {choice.why})"
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
        for path in settings.queues
    }
    missing = [str(path) for path, workers in by_queue.items() if not workers]
    if missing:
        raise _wrong(f"nobody serves {' and '.join(missing)}: run firstread worker --queues {','.join(missing)}")
    return ", ".join(f"{path} served by {' '.join(workers)}" for path, workers in by_queue.items())


def _orthanc(orthanc: OrthancClient) -> str:
    system = orthanc.system()
    return f"{system.get('Name', '')} {system.get('Version', '')} at {orthanc.url}"


def _plugins(orthanc: OrthancClient) -> str:
    present, (needed, package) = orthanc.plugins(), _NEEDED
    if needed not in present:
        raise _wrong(f"install {package} (apt), and name the folder of plug-ins in Orthanc's configuration")
    if "python" not in present:
        raise _doubtful(f"{needed}; without orthanc-python (apt) there is no doorbell: {_DOORBELL}")
    return f"{needed}, python"


def _clocks(settings: Settings, orthanc: OrthancClient) -> str:
    asked = datetime.now(UTC)
    told = orthanc.ask(orthanc.rest.get, "/tools/now").text
    answered = datetime.now(UTC)
    try:
        of_orthanc = datetime.strptime(told, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError as error:
        raise _wrong(f"Orthanc says {told[:40]!r} when it is asked for the time: see its log") from error
    ahead_s = {"Orthanc": _ahead_s(of_orthanc, asked, answered)}
    with _current_database(settings) as database, database.read() as session:
        asked, of_database = datetime.now(UTC), database.now(session)
        ahead_s["the database"] = _ahead_s(of_database, asked, datetime.now(UTC))
    wrong = [
        f"{name} is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} this machine"
        for name, off_s in ahead_s.items()
        if abs(off_s) > _CLOCKS_S
    ]
    if wrong:
        raise _wrong(f"{' and '.join(wrong)}, so films would be listed as older or newer than they are: set up NTP")
    return f"Orthanc, the database and this machine agree within {_CLOCKS_S:.0f} s"


def _ahead_s(told: datetime, asked: datetime, answered: datetime) -> float:
    """How far a clock is ahead of ours, in seconds: 0 where it told a moment between the question and the answer."""
    return (told - min(max(told, asked), answered)).total_seconds()


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
    _require_echo(settings, (settings.orthanc_dicom_host, settings.orthanc_dicom_port), settings.orthanc_aet)
    return f"{where} answers C-ECHO"


def _own_echo(settings: Settings) -> str:
    if not settings.dimse:
        return "not asked: set FIRSTREAD_DIMSE=true where firstread dimse runs"
    host = "127.0.0.1" if settings.dimse_host in {"0.0.0.0", "::"} else settings.dimse_host  # noqa: S104 - compared
    tls = None
    if settings.dimse_tls_certificate and settings.dimse_tls_key:
        tls = ssl.create_default_context(cafile=settings.dimse_tls_certificate)
        tls.check_hostname = False  # it is asked by its address, and is trusted by its very certificate
        tls.load_cert_chain(settings.dimse_tls_certificate, settings.dimse_tls_key)
    _require_echo(settings, (host, settings.dimse_port), settings.aet, tls)
    return f"{settings.aet} at {host}:{settings.dimse_port} answers C-ECHO"


def _require_echo(settings: Settings, address: tuple[str, int], called: str, tls: ssl.SSLContext | None = None) -> None:
    where = f"{called} at {address[0]}:{address[1]}"
    caller = AE(ae_title=settings.aet)
    caller.add_requested_context(Verification)
    caller.connection_timeout = caller.acse_timeout = caller.dimse_timeout = 5
    association, _ = associate(caller, *address, ae_title=called, tls_args=(tls, "") if tls else None)
    if not association.is_established:
        raise _wrong(f"{where} takes no association: check that it runs, its host, port and peers, and the firewall")
    status = association.send_c_echo()
    association.release()
    if status.get("Status") != 0:
        raise _wrong(f"{where} does not answer C-ECHO: see its log")


def _gateway(settings: Settings) -> str:
    ready = _get(settings, "/ready", statuses={200, 503})
    wrong = [f"{name}: {check['detail']}" for name, check in ready["checks"].items() if not check["ok"]]
    if wrong:
        raise _wrong("; ".join(wrong))
    feed, *others = (str(ready["checks"][name]["detail"]) for name in ("feed", "work", "disk", "pacs_disk"))
    return "; ".join((feed, *others))


def _uploads(settings: Settings) -> str:
    _get(settings, "/ready", statuses={200, 503})
    film = BytesIO()
    build_film().save_as(film, enforce_file_format=True)
    url, patience_s = f"{settings.gateway_url}/predict", 2 * settings.predict_wait_s + _MARGIN_S
    files = {"file": ("simulated.dcm", film.getvalue())}
    try:
        answer = httpx.post(url, files=files, headers=settings.bearer, trust_env=False, timeout=patience_s)
        told = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise _wrong(f"{url} does not judge a film ({type(error).__name__}): see the gateway's log") from error
    _require_login(answer)
    if answer.is_error:
        raise _wrong(f"{url} does not judge a film: {told.get('detail', answer.status_code)}")
    return f"a film sent to {url} is judged: gateway and worker share FIRSTREAD_UPLOAD_DIR"


def _simulated_film(settings: Settings, orthanc: OrthancClient) -> str:
    film = build_film()
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
    rung_s = _get(settings, "/ready", statuses={200, 503}).get("doorbell_rang_s")
    told = (
        f"stored in {stored - started:.1f} s, in its place after another {scored - stored:.1f} s, "
        f"reported after {reported - stored:.1f} s ({settings.quiet_s:g} s of quiet included), removed again"
    )
    if scored - stored > _SLOW_S:
        raise _doubtful(f"{told}; a film should be in its place within seconds: see the workers' logs")
    if rung_s is None or rung_s > time.monotonic() - started:
        raise _doubtful(f"{told}; the doorbell did not ring for it: {_DOORBELL}")
    return told


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
        answer = httpx.get(url, headers=settings.bearer, trust_env=False, timeout=10)
        _require_login(answer)
        if answer.is_server_error and answer.status_code not in statuses:
            raise _wrong(f"{url} answers {answer.status_code}: see the gateway's log")
        if answer.status_code in statuses:
            return dict(answer.json())
    except httpx.HTTPError as error:
        raise _wrong(f"no answer at {url}: run firstread gateway, or set FIRSTREAD_HTTP_PORT") from error
    except ValueError:
        pass  # no JSON: it is something else
    raise _wrong(f"what answers at {url} is no gateway of Firstread: set FIRSTREAD_HTTP_PORT")


def _require_login(answer: httpx.Response) -> None:
    if answer.status_code in {401, 403, 429}:
        why = answer.json()["detail"]
        raise _wrong(f"{answer.url}: {why}; FIRSTREAD_API_KEY needs a key of the role service")


def _wrong(detail: str) -> PermanentError:
    return PermanentError("check_failed", detail)


def _doubtful(detail: str) -> PermanentError:
    return _Doubtful("check_doubtful", detail)
