"""QA's table: every AI triage report in the PACS, one row a finding, as CSV.

The rows come from the reports themselves, and two times of reception from the PACS, so the table can be made again
years later on another machine. Files are UTF-8 with a byte order mark, without which Excel takes them for the local
code page; stdout has none, because programs read it. Cells that a spreadsheet would take for a formula begin with an
apostrophe.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import TextIO

from pydicom import Dataset

from dicom_sr.parse import TriageReport, parse
from dicom_sr.revision import InstanceReference
from dicom_sr.table import COLUMNS, Row, rows_of
from firstread.compose import build_orthanc_client
from firstread.compose_worker import build_pacs
from firstread.pseudonyms import Pseudonyms
from firstread.settings import Settings
from gateway.intake.orthanc import OrthancClient
from worker.pacs import Pacs
from worklist.csv_cells import defused
from worklist.errors import FirstreadError, InvalidInput, PacsUnavailable


def write_report_table(
    settings: Settings, *, since: date | None, until: date | None, path: Path | None, key_file: Path | None = None
) -> None:
    """Write the table of every report of some days to a file, or to stdout.

    A report that cannot be read is named on stderr and left out; a file appears only once it is complete.

    Args:
        settings: where the PACS is.
        since: the first Series Date, the day on which a report was written; None for the earliest.
        until: the last one; None for the latest.
        path: the file; None for stdout.
        key_file: holds the key of the pseudonyms that stand for patients' identifiers; None leaves these as they are.

    Raises:
        PacsUnavailable: Orthanc does not answer.
        InvalidInput: the file cannot be written, until lies before since, or the key is none.
    """
    if since and until and until < since:
        raise InvalidInput("bad_usage", f"--until {until} lies before --since {since}: exchange them")
    if path is not None and (not path.name or _is_folder(path)):
        raise InvalidInput("unwritable_file", f"{path} is a folder: name a file for --csv")
    pseudonyms = Pseudonyms.of_file(key_file) if key_file else None
    rows = _rows(build_pacs(settings), build_orthanc_client(settings), since, until)
    if pseudonyms:
        rows = map(pseudonyms.row, rows)
    if path is None:
        _write(rows, sys.stdout)
        return
    partial = path.with_name(f"{path.name}.part")
    try:
        with partial.open("w", encoding="utf-8-sig", newline="") as file:
            _write(rows, file)
        partial.replace(path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        with suppress(OSError):  # where the folder is not to be written
            partial.unlink(missing_ok=True)


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> InvalidInput:
    return InvalidInput("unwritable_file", f"{path} cannot be written: {error.strerror or error}")


def _write(rows: Iterator[Row], stream: TextIO) -> None:
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n" if stream is sys.stdout else "\r\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({column: defused(text) for column, text in row.items()})


def _rows(pacs: Pacs, orthanc: OrthancClient, since: date | None, until: date | None) -> Iterator[Row]:
    references, unreadable = pacs.find_triage_reports(since, until)
    if unreadable:
        sys.stderr.write(f"firstread: the PACS cannot read {unreadable} of its SRs: see Orthanc's log\n")
    taken, passed_over = 0, unreadable
    for reference in references:
        try:
            dataset, report = _fetch(pacs, reference)
            received, stored = (
                _reception(orthanc, uid) for uid in (report.source.sop_instance_uid, report.sop_instance_uid)
            )
        except PacsUnavailable as error:
            if error.code == "pacs_unavailable":
                raise  # nobody answers any more: what was found so far is not all
            passed_over += _pass_over(reference, error.message)
        except FirstreadError as error:
            passed_over += _pass_over(reference, error.message)
        except Exception as error:  # noqa: BLE001 - whatever a broken file makes a reader stumble over
            passed_over += _pass_over(reference, f"unreadable ({type(error).__name__})")
        else:
            taken += 1
            yield from rows_of(dataset, report, received=received, stored=stored)
    if passed_over:
        sys.stderr.write(f"firstread: {taken} reports in the table, {passed_over} passed over, see above\n")


def _fetch(pacs: Pacs, reference: InstanceReference) -> tuple[Dataset, TriageReport]:
    dataset = pacs.fetch_instance(
        reference.study_instance_uid, reference.series_instance_uid, reference.sop_instance_uid
    )
    return dataset, parse(dataset)


def _pass_over(reference: InstanceReference, reason: str) -> int:
    line = " ".join(reason.split())
    sys.stderr.write(
        f"firstread: passed over SR {reference.sop_instance_uid} of study {reference.study_instance_uid}: {line}\n"
    )
    return 1


def _reception(orthanc: OrthancClient, sop_instance_uid: str) -> str:
    """When the PACS received an instance, by its own clock; "" where it is no longer there."""
    for found in orthanc.lookup(sop_instance_uid):
        if found["Type"] == "Instance" and (moment := orthanc.reception_date(found["ID"])):
            return moment.isoformat()
    return ""
