"""Rows of the table of reports without patients' identifiers, after the Basic Profile of PS3.15 Annex E.

Identifiers become keyed digests: the same key makes the same pseudonym, so that films of a patient stay together and
tables of several years can be joined, and nobody without the key can guess which patient it is.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from dicom_sr.table import Row
from worklist.errors import InvalidInput

LEAST_KEY_BYTES: Final = 32
_OLDEST: Final = 89  # years; above it an age is told as 090Y, since few people have one
_LONGEST_SHIFT_D: Final = 365
_AGE: Final = re.compile(r"(\d{3})[DWMY]")  # AS, PS3.5 section 6.2
_SEXES: Final = frozenset({"M", "F", "O"})
_UIDS: Final = ("study_instance_uid", "source_sop_instance_uid", "report_sop_instance_uid")
_MOMENTS: Final = ("study_date", "received", "reported", "stored")
_LEFT_OUT: Final = ("station", "ward")


class Pseudonyms:
    """Replaces what says who a patient is.

    Args:
        key: of at least 32 bytes, which stays in the hospital.

    Raises:
        InvalidInput: bad_key.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < LEAST_KEY_BYTES:
            raise InvalidInput(
                "bad_key", f"a key has at least {LEAST_KEY_BYTES} bytes: make a file by openssl rand -hex 32 > FILE"
            )
        self._key = key

    @classmethod
    def of_file(cls, path: Path) -> Pseudonyms:
        """By the key in a file, without the white space around it.

        Raises:
            InvalidInput: bad_key.
        """
        try:
            return cls(path.read_bytes().strip())
        except OSError as error:
            raise InvalidInput(
                "bad_key", f"{path} cannot be read ({error.strerror}): make it by openssl rand -hex 32 > FILE"
            ) from error

    def row(self, row: Row) -> Row:
        """A row in which pseudonyms stand for UIDs, Patient ID and accession number.

        Its moments are moved back by whole days, the same number for all of a patient; ages above 89 are told as 90,
        and station and ward are left out. All else is as it was.
        """
        patient = row.get("patient_id", "") or row["study_instance_uid"]
        back = timedelta(days=1 + self._number("days", patient) % _LONGEST_SHIFT_D)
        changes: dict[str, Callable[[str], str]] = {
            "patient_id": lambda text: f"P{self._digest('patient', text)}",
            "accession_number": lambda text: f"A{self._digest('accession', text)}",
            "patient_age": _rounded_age,
            "patient_sex": lambda text: text if text in _SEXES else "",
            **dict.fromkeys(_UIDS, lambda text: f"2.25.{self._number('uid', text)}"),
            **dict.fromkeys(_MOMENTS, lambda text: _moved(text, back)),
            **dict.fromkeys(_LEFT_OUT, lambda _: ""),
        }
        return {name: changes[name](text) if text and name in changes else text for name, text in row.items()}

    def _number(self, kind: str, text: str) -> int:
        return int.from_bytes(self._hmac(kind, text)[:16], "big")

    def _digest(self, kind: str, text: str) -> str:
        return self._hmac(kind, text)[:8].hex().upper()

    def _hmac(self, kind: str, text: str) -> bytes:
        return hmac.digest(self._key, f"{kind}\0{text}".encode(), "sha256")


def _moved(text: str, back: timedelta) -> str:
    try:
        moment = datetime.fromisoformat(text) - back
    except (ValueError, OverflowError):
        return ""  # what is no date may be anything
    return moment.date().isoformat() if len(text) == len("YYYY-MM-DD") else moment.isoformat()


def _rounded_age(text: str) -> str:
    age = _AGE.fullmatch(text)
    if not age:
        return ""  # what is no age may be anything
    return "090Y" if text.endswith("Y") and int(age[1]) > _OLDEST else text
