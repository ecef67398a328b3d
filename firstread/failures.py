"""What failed, for a terminal or a script, and how it is tried again; both work while no gateway runs."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from firstread.compose import build_job_records, open_database
from firstread.schema import require_current_database
from firstread.settings import Settings
from firstread.tables import cell, print_json
from gateway.list.failures import failures_answer
from worklist.reading import Actor, ActorSource
from worklist.records import JobRecords
from worklist.roles import Role

_MOST = 1000


def read_failures(settings: Settings) -> dict[str, Any]:
    """What failed and may be tried again, as GET /worklist/failures answers."""
    with _jobs(settings) as jobs:
        return failures_answer(*jobs.failed(_MOST))


def retry_failures(settings: Settings, study_instance_uids: Sequence[str]) -> int:
    """Schedule failed work again, in the name of whoever calls; how much."""
    with _jobs(settings) as jobs:
        return jobs.retry(study_instance_uids, caller())


def print_failures(failures: dict[str, Any], *, as_json: bool) -> None:
    """The answer, as JSON or as a table."""
    if as_json:
        print_json(failures)
        return
    console = Console()
    if not failures["total"]:
        console.print("Nothing has failed.")
        return
    table = Table(title=_title(failures), title_justify="left")
    for heading in ("Since", "Study", "What", "Tries", "Reason", "What to do"):
        table.add_column(heading, overflow="fold")
    for item in failures["items"]:
        since = datetime.fromisoformat(item["since"]).astimezone()
        table.add_row(
            f"{since:%Y-%m-%d %H:%M}",
            cell(" ".join(filter(None, (item["accession_number"], item["study_instance_uid"])))),
            cell(item["what"]),
            str(item["tries"]),
            cell(f"{item['failure']['message']} ({item['failure']['code']})"),
            cell(item["to_do"]),
        )
    console.print(table)
    console.print("Try again: firstread retry [STUDY_INSTANCE_UID...]", markup=False)


def _title(failures: dict[str, Any]) -> str:
    shown, total = len(failures["items"]), failures["total"]
    return f"{total} failed" if shown == total else f"{total} failed, the last {shown} are shown"


def caller() -> Actor:
    """Whoever runs the command: on this machine, with its settings, that is both who runs it and who answers for it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as containers have
        name = "the command line"
    return Actor(name=name, source=ActorSource.COMMAND_LINE, roles=frozenset({Role.IT, Role.QA}))


@contextmanager
def _jobs(settings: Settings) -> Iterator[JobRecords]:
    require_current_database(settings)
    with closing(open_database(settings)) as database:
        yield build_job_records(settings, database)
