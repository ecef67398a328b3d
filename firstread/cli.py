"""The command `firstread`."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from contextlib import suppress
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException

from firstread.cli_audit import audit
from firstread.cli_keys import keys
from firstread.cli_models import models
from firstread.cli_options import Films, Json, cli_settings
from firstread.cli_settings import site_settings
from firstread.cli_upkeep import upkeep
from worklist.errors import FirstreadError, InvalidInput, PermanentError, TransientError
from worklist.job import Queue
from worklist.words import printable

if TYPE_CHECKING:
    from firstread.settings import Settings

# Each command imports what it needs when it runs, so that `firstread --help` answers at once
# and a gateway never loads a model.
# ruff: noqa: PLC0415

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(upkeep)
app.add_typer(keys, name="keys", help="The API keys of machines, in FIRSTREAD_API_KEYS_FILE.")
app.add_typer(audit, name="audit", help="Who did what with whom: see docs/security.md.")
app.add_typer(site_settings, name="settings", help="The triage rule and the scope: show, preview and change.")
app.add_typer(models, name="models", help="The licensed models, below FIRSTREAD_MODEL_DIR: see models/README.md.")


class ReadingChoice(StrEnum):
    """Which studies `worklist` shows."""

    UNREAD = "unread"
    READ = "read"
    PRIOR = "prior"
    ALL = "all"


def _print_version(asked: bool) -> None:  # noqa: FBT001 - Typer's own signature
    if asked:
        from importlib.metadata import version

        typer.echo(f"firstread {version('firstread')}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Put the sickest patient's chest film at the top of the reading list, beside an Orthanc PACS.

    Settings come from the environment (FIRSTREAD_...) or from a file .env in the working directory.
    """
    del version


@app.command()
def demo(
    *,
    once: Annotated[bool, typer.Option("--once", help="Wait until every study is done, print, stop.")] = False,
    as_json: Json = False,
    studies: Annotated[Path | None, typer.Option(help="Send these DICOM, PNG or JPEG files.")] = None,
    state: Annotated[Path, typer.Option(help="Where Orthanc, Redis, database and logs live.")] = Path(".firstread"),
    port_base: Annotated[int, typer.Option(min=1024, max=65530, help="First of five ports.")] = 8080,
) -> None:
    """Start everything on this machine and send sample studies."""
    from firstread.demo import Site, run_demo

    site = Site(state=state, port_base=port_base, has_priors=studies is None)
    run_demo(site, studies=studies, once=once, as_json=as_json)


@app.command()
def gateway() -> None:
    """Serve the reading list, and take in what Orthanc receives."""
    from importlib.metadata import version

    import structlog
    import uvicorn

    from firstread.compose_gateway import build_gateway
    from firstread.logs import set_up_logging
    from firstread.processes import require_free_port
    from firstread.schema import require_current_database
    from gateway.access.connections import IDLE_S, PatientProtocol, listening_socket

    settings = cli_settings()
    set_up_logging(settings)
    require_current_database(settings)
    require_free_port(settings.http_host, settings.http_port, "the gateway", "set FIRSTREAD_HTTP_HOST and _PORT")
    structlog.get_logger().info("gateway starts", version=version("firstread"), url=settings.gateway_url)
    config = uvicorn.Config(
        build_gateway(settings),
        host=settings.http_host,
        port=settings.http_port,
        log_level="warning",
        timeout_graceful_shutdown=3,
        http=PatientProtocol,
        limit_concurrency=settings.max_connections,
        timeout_keep_alive=IDLE_S,
        ws_max_size=65_536,  # subscribers say nothing
        proxy_headers=False,  # they would hide which proxy asks; gateway.access believes those that the site trusts
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=[listening_socket(config)])
    if not server.started:
        raise typer.Exit(1)


@app.command()
def dimse() -> None:
    """Answer workstations by DIMSE: C-ECHO, C-FIND in reading order, C-MOVE, C-GET and UPS."""
    from importlib.metadata import version

    import structlog

    from firstread.compose_dimse import running_dimse
    from firstread.logs import set_up_logging
    from firstread.schema import require_current_database

    settings = cli_settings()
    set_up_logging(settings)
    require_current_database(settings)
    with running_dimse(settings) as port:
        structlog.get_logger().info("dimse starts", version=version("firstread"), ae_title=settings.aet, port=port)
        _wait_for_ever()


@app.command()
def worker(
    *,
    queues: Annotated[
        str, typer.Option(help="Which queues to serve, each in a process of its own; the site's if left out.")
    ] = "",
    together: Annotated[
        bool, typer.Option("--together", help="One process for these queues: less memory, but one waits for another.")
    ] = False,
) -> None:
    """Score, report and judge what the gateway hands out."""
    from firstread.compose_worker import build_worker_app
    from firstread.logs import set_up_logging
    from firstread.processes import Program, Supervisor

    settings = cli_settings()
    chosen = queues or ",".join(settings.queues)
    names = list(dict.fromkeys(name.strip() for name in chosen.split(",") if name.strip()))
    if not names or set(names) - set(Queue):
        raise InvalidInput("bad_queue", f"unknown queue in {queues!r}: choose from {','.join(Queue)}")
    set_up_logging(settings)
    if together or len(names) == 1:
        served_queues = ",".join(Queue(name).task for name in names)
        arguments = ["--queues", served_queues, "--hostname", f"{'-'.join(names)}@%h", "--loglevel", "WARNING"]
        served = build_worker_app(settings, tuple(map(Queue, names)))
        # Quiet: its banner is no log.
        served.worker_main(["--quiet", "worker", *arguments, "--without-gossip", "--without-mingle"])
        return
    supervisor = Supervisor()
    try:
        for name in names:
            command = [sys.executable, "-m", "firstread", "worker", "--queues", name]
            supervisor.start(Program(name=name, command=command))
        _wait_for_ever()
    finally:
        supervisor.stop()


@app.command()
def send(
    paths: Films,
    host: Annotated[str | None, typer.Option(help="The PACS; the configured Orthanc where left out.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    aet: Annotated[str | None, typer.Option(help="The PACS's AE title.")] = None,
) -> None:
    """Send images to the PACS by C-STORE."""
    from gateway.dimse.send import progress_bar
    from gateway.dimse.send import send as c_store
    from imaging.files import open_study_files

    settings = cli_settings()
    files = list(open_study_files(paths))
    if not files:
        raise InvalidInput("nothing_to_send", "there is nothing to send: name DICOM, PNG or JPEG files")
    with progress_bar() as on_progress:
        result = c_store(
            files,
            host=host or settings.orthanc_dicom_host,
            port=port or settings.orthanc_dicom_port,
            called_aet=aet or settings.orthanc_aet,
            calling_aet=settings.aet,
            on_progress=on_progress,
        )
    if result.failed:
        raise PermanentError(
            "not_sent", f"{len(result.failed)} of {len(result.outcomes)} images were not sent, see above"
        )


@app.command()
def worklist(
    *,
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Draw it again every second until Ctrl-C.")] = False,
    reading: Annotated[
        ReadingChoice | None, typer.Option(help="Which studies; those unread or being read where left out.")
    ] = None,
) -> None:
    """Show the reading list of the running gateway."""
    from rich.live import Live

    from firstread.tables import print_worklist, worklist_table

    settings = cli_settings()
    if not watch:
        print_worklist(_get_worklist(settings, reading), as_json=as_json)
        return
    with Live(screen=True) as live:
        while True:
            live.update(worklist_table(_get_worklist(settings, reading), live.console.width), refresh=True)
            time.sleep(1)


@app.command()
def triage(
    paths: Films,
    *,
    prior: Annotated[Path | None, typer.Option(help="A text file with an earlier report.")] = None,
    as_json: Json = False,
) -> None:
    """Score films without any PACS."""
    from firstread.triage import print_triage, triage_files

    results = triage_files(paths, prior=prior, settings=cli_settings())
    print_triage(results, as_json=as_json)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Option(help="What triage --json or report --all wrote, or CSV.")],
    labels: Annotated[Path, typer.Option(help="What is true of these films: CSV or JSON lines.")],
    *,
    plots: Annotated[Path | None, typer.Option(help="A folder for pictures of the curves.")] = None,
    prevalence: Annotated[
        list[str] | None, typer.Option(metavar="[FINDING=]SHARE", help="For PPV and NPV; see docs/evaluation.md.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold predictions against labels."""
    from firstread.evaluate import print_evaluation
    from models.evaluation.figures import evaluate_files
    from models.evaluation.prevalence import read_prevalences

    stated = read_prevalences(prevalence or ())
    print_evaluation(evaluate_files(predictions, labels, prevalence=stated, plots=plots), as_json=as_json)


@app.command()
def simulate(  # noqa: PLR0913 - what a user may choose
    *,
    arrivals: Annotated[Path | None, typer.Option(metavar="CSV", help="When films come: a column received_at.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Draw films from what evaluate reads.")] = None,
    labels: Annotated[Path | None, typer.Option(help="What is true of the films of --predictions.")] = None,
    prevalence: Annotated[list[str] | None, typer.Option(metavar="FINDING=SHARE")] = None,
    roc: Annotated[
        list[str] | None, typer.Option(metavar="FINDING=AUC", help="Or FINDING=SENSITIVITY/SPECIFICITY.")
    ] = None,
    readers: Annotated[str | None, typer.Option(help="Shifts, as in: mon-fri 08-17 2, daily 22-06 1.")] = None,
    films_per_day: Annotated[float | None, typer.Option(help="At random, by the hour of the day.")] = None,
    reading_min: Annotated[float | None, typer.Option(help="Mean time of a reading, minutes.")] = None,
    stat_percent: Annotated[float | None, typer.Option(help="Orders that say STAT.")] = None,
    flag_from: Annotated[float | None, typer.Option(help="Harm from which a study is flagged.")] = None,
    longest_wait_h: Annotated[
        float | None, typer.Option(min=0.01, max=8760, help="Of the order by score with a longest wait.")
    ] = None,
    days: Annotated[int | None, typer.Option(help="Days that count, after a week to warm up.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Runs, at least 5.")] = None,
    plots: Annotated[Path | None, typer.Option(help="A folder for pictures of the waits.")] = None,
    as_json: Json = False,
) -> None:
    """Simulate a reading room: how long studies wait under this order and under others."""
    from firstread.simulate import Wishes, print_simulation
    from firstread.simulate import simulate as run

    wishes = Wishes(
        arrivals=arrivals,
        predictions=predictions,
        labels=labels,
        prevalence=prevalence or (),
        roc=roc or (),
        readers=readers,
        films_per_day=films_per_day,
        reading_min=reading_min,
        stat_percent=stat_percent,
        days=days,
        seeds=seeds,
        longest_wait_h=longest_wait_h,
        flag_from=flag_from,
    )
    print_simulation(run(wishes, cli_settings(), plots), as_json=as_json)


@app.command()
def report(  # noqa: PLR0913 - what a user may choose
    source: Annotated[
        str,
        typer.Argument(
            help="An SR file, or a Study Instance UID in the PACS; Orthanc's identifier where two patients share it."
        ),
    ] = "",
    *,
    as_json: Json = False,
    every: Annotated[bool, typer.Option("--all", help="All reports in the PACS as CSV, a row a finding.")] = False,
    since: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Reports of this day and later.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="And of no day after this.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", help="The file of --all; stdout where left out.")] = None,
    deidentified: Annotated[
        Path | None,
        typer.Option("--deidentified", metavar="KEY_FILE", help="With --all: pseudonyms for patients, by this key."),
    ] = None,
) -> None:
    """Read an AI result back, or all of them."""
    if every:
        if source or as_json:
            raise InvalidInput("bad_usage", "--all takes neither a file, a study nor --json: it prints CSV")
        from firstread.report_table import write_report_table

        first, last = (day.date() if day else None for day in (since, until))
        write_report_table(cli_settings(), since=first, until=last, path=csv, key_file=deidentified)
        return
    if not source or since or until or csv or deidentified:
        wanted = "name an SR file or a Study Instance UID, or --all, --since, --until, --csv and --deidentified"
        raise InvalidInput("bad_usage", wanted)
    from firstread.read_back import print_report, read_report

    print_report(read_report(source, cli_settings()), as_json=as_json)


@app.command()
def doctor(
    *,
    as_json: Json = False,
    film: Annotated[
        bool, typer.Option("--film/--no-film", help="Whether a simulated film goes into the PACS, and out of it again.")
    ] = True,
) -> None:
    """Check every part, then time a simulated film from C-STORE to report, and remove it.

    A line each: ok, WARN for what should be mended while the site does its work, FAIL otherwise; exit 1 for a FAIL.
    """
    from firstread.doctor import examine, print_findings

    if not print_findings(examine(cli_settings(), with_film=film), as_json=as_json):
        raise typer.Exit(1)


def main() -> None:
    """Run the command; every expected failure is one line on stderr."""
    # pydicom's quote the headers of patients' images.
    warnings.filterwarnings("ignore", category=UserWarning, module="pydicom")
    if "models" not in sys.argv[1:2]:  # weights are for whichever account the workers have
        os.umask(0o077)  # what holds patients' names or films is its owner's alone
    for stop in (signal.SIGINT, signal.SIGTERM):  # SIGINT too: a script's background job starts with it ignored
        signal.signal(stop, signal.default_int_handler)
    try:
        code = app(standalone_mode=False)
    except TyperException as error:
        if not error.format_message():  # no command was named: the help is on the screen
            sys.exit(2)
        _fail(error.format_message(), 2, hint="see: firstread --help")
    except FirstreadError as error:
        _fail(error.message, 2 if isinstance(error, InvalidInput) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from sqlalchemy.exc import DBAPIError

        if not isinstance(error, DBAPIError):
            raise
        _fail(
            f"the database does not do it ({error.orig}): check FIRSTREAD_DATABASE_URL, and that it can be written", 1
        )
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int, *, hint: str = "") -> None:
    line = printable(" ".join(message.split()))
    sys.stderr.write(f"firstread: {line}{f' ({hint})' if hint else ''}\n")
    sys.exit(code)


def _get_worklist(settings: Settings, reading: ReadingChoice | None) -> dict[str, object]:
    import httpx

    url = settings.gateway_url
    wanted = {"limit": 1000} | ({"reading": reading} if reading else {})
    try:
        answer = httpx.get(f"{url}/worklist", params=wanted, headers=settings.bearer, trust_env=False)
        if answer.status_code in {401, 403}:
            raise PermanentError("login_refused", f"{answer.json()['detail']}: set FIRSTREAD_API_KEY")
        answer.raise_for_status()
        return dict(answer.json())
    except (httpx.HTTPError, ValueError) as error:
        raise TransientError(
            "gateway_unavailable",
            f"no reading list at {url} ({type(error).__name__}): run firstread gateway or set FIRSTREAD_HTTP_PORT",
        ) from error


def _wait_for_ever() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
