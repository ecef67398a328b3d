"""The table of reports without patients' identifiers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from dicom_sr.table import COLUMNS
from firstread.pseudonyms import Pseudonyms
from worklist.errors import InvalidInput

KEY = b"k" * 32
ROW = dict.fromkeys(COLUMNS, "") | {
    "study_instance_uid": "1.2.826.1",
    "source_sop_instance_uid": "1.2.826.1.1",
    "report_sop_instance_uid": "2.25.77",
    "patient_id": "4711",
    "accession_number": "A26-0815",
    "patient_sex": "F",
    "patient_age": "093Y",
    "study_date": "2026-11-22",
    "received": "2026-11-22T06:00:00+00:00",
    "reported": "2026-11-22T06:00:07.500000+00:00",
    "station": "CR1",
    "ward": "5 B",
    "finding": "Pneumothorax",
    "probability": "0.93",
    "model_sha256": "ab" * 32,
}


def test_nothing_that_names_a_patient_is_left() -> None:
    """Identifiers, dates, station, ward and a rare age; the result is as it was."""
    told = Pseudonyms(KEY).row(ROW)
    assert set(told) == set(ROW)
    changed = {name for name, text in ROW.items() if told[name] != text}
    assert changed == {
        *("study_instance_uid", "source_sop_instance_uid", "report_sop_instance_uid", "patient_id"),
        *("accession_number", "patient_age", "study_date", "received", "reported", "station", "ward"),
    }
    assert (told["patient_age"], told["station"], told["ward"]) == ("090Y", "", "")
    for uid in ("study_instance_uid", "source_sop_instance_uid", "report_sop_instance_uid"):
        assert told[uid].startswith("2.25.")
        assert len(told[uid]) <= 64


def test_one_key_makes_one_pseudonym() -> None:
    """Films of a patient stay together, and the time between two moments of a patient is what it was."""
    first, second = Pseudonyms(KEY).row(ROW), Pseudonyms(KEY).row(ROW | {"study_instance_uid": "1.2.826.2"})
    assert first["patient_id"] == second["patient_id"]
    assert first["study_instance_uid"] != second["study_instance_uid"]
    assert first["study_date"] == second["study_date"] < ROW["study_date"]
    moments = [datetime.fromisoformat(first[name]) for name in ("received", "reported")]
    assert (moments[1] - moments[0]).total_seconds() == 7.5
    other = Pseudonyms(b"j" * 32).row(ROW)
    assert other["patient_id"] != first["patient_id"]
    assert Pseudonyms(KEY).row(ROW | {"patient_id": "4712"})["patient_id"] != first["patient_id"]


def test_what_is_no_date_is_left_out() -> None:
    """A Study Date of letters may be a name, and so may an age or a sex."""
    odd = {"study_date": "Roe^Jane", "patient_age": "Jane", "patient_sex": "Jane"}
    told = Pseudonyms(KEY).row(ROW | odd)
    assert [told[name] for name in odd] == ["", "", ""]
    assert Pseudonyms(KEY).row(dict.fromkeys(COLUMNS, "") | {"study_instance_uid": "1"})["patient_id"] == ""


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    """One that can be guessed, or a file that is not there; the line says how to make one."""
    (tmp_path / "short").write_bytes(b"secret")
    for path in (tmp_path / "short", tmp_path / "none"):
        with pytest.raises(InvalidInput, match="openssl rand -hex 32"):
            Pseudonyms.of_file(path)
    (tmp_path / "key").write_bytes(b"0a" * 32 + b"\n")
    assert Pseudonyms.of_file(tmp_path / "key").row(ROW) == Pseudonyms(b"0a" * 32).row(ROW)
