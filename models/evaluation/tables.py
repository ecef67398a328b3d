"""Tables of films: CSV, a JSON array or JSON lines, a row a film; or CSV with a row a finding, which is folded."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from models.evaluation.reports import fold, is_long
from worklist.csv_cells import plain
from worklist.errors import InvalidInput

Row = Mapping[str, Any]

IDENTIFIERS = ("study instance uid", "accession number", "source sop instance uid", "sop instance uid")
FILM_COLUMNS = "file, study_instance_uid, accession_number or source_sop_instance_uid"

_FILE = ("file", "image", *IDENTIFIERS)


def read_rows(path: Path, names: Mapping[str, str]) -> list[tuple[str, Row]]:
    """Each row of a CSV file, a JSON array or JSON lines: where it stands, and its cells.

    Cells are found by `file` (or image, or the first of IDENTIFIERS that is stated), by what `names` makes of the
    column's name in lower case with spaces for underscores, or by that name itself. A name that ends in `_threshold`
    is found with ` threshold` at its end.

    Raises:
        InvalidInput: the file cannot be read, is empty, names no film or a film twice, or states a thing twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("unreadable_file", f"{path} is no readable text file ({error}): choose another") from error
    if not text.strip():
        raise InvalidInput("empty_file", f"{path} is empty: choose another")
    raw = _json_rows(path, text) if text.lstrip()[0] in "[{" else _csv_rows(path, text)
    if not raw:
        raise InvalidInput("empty_file", f"{path} has no films: choose another")
    if is_long([row for _, row in raw]):
        raw = fold(raw)
    rows = [(where, _canonical(where, row, names)) for where, row in raw]
    for file, count in Counter(row["file"] for _, row in rows).items():
        if count > 1:
            raise InvalidInput("duplicate_film", f"{path} names {file} {count} times: leave one row a film")
    return rows


def _json_rows(path: Path, text: str) -> list[tuple[str, Row]]:
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    try:
        if text.lstrip()[0] == "[" or len(lines) == 1:
            document = json.loads(text)
            rows = list(enumerate(document if isinstance(document, list) else [document], 1))
            kind = "item"
        else:
            rows = [(number, json.loads(line)) for number, line in lines]
            kind = "line"
    except (ValueError, RecursionError) as error:
        raise InvalidInput("bad_json", f"{path} is neither a JSON array nor JSON lines ({error}): mend it") from error
    for number, row in rows:
        if not isinstance(row, dict):
            raise InvalidInput("bad_json", f"{path} {kind} {number} is no JSON object: one object a film")
    return [(f"{path} {kind} {number}", row) for number, row in rows]


def _csv_rows(path: Path, text: str) -> list[tuple[str, Row]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows = []
    try:
        heading = next(reader)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(heading):
                raise InvalidInput(
                    "bad_csv", f"{path} line {reader.line_num} has {len(cells)} cells and not {len(heading)}: mend it"
                )
            rows.append((f"{path} line {reader.line_num}", list(zip(heading, map(plain, cells), strict=True))))
    except csv.Error as error:
        raise InvalidInput("bad_csv", f"{path} line {reader.line_num} is no CSV ({error}): mend it") from error
    for name, count in Counter(heading).items():
        if name and count > 1:
            raise InvalidInput("two_columns", f"{path} has {count} columns named {name}: leave one")
    return [(where, dict(cells)) for where, cells in rows]


def _canonical(where: str, row: Row, names: Mapping[str, str]) -> Row:
    cells: dict[str, Any] = {}
    for name, value in row.items():
        plain = name.strip().lower().replace("_", " ")
        if not plain:
            continue
        base = plain.removesuffix(" threshold")
        key = names.get(base, base) + plain[len(base) :]
        if key in cells:
            raise InvalidInput("two_columns", f"{where} states {key} twice, once as {name}: leave one column")
        cells[key] = value.strip() if isinstance(value, str) else value
    file = next((cells[key] for key in _FILE if cells.get(key)), None)
    if not isinstance(file, str):
        raise InvalidInput("missing_column", f"{where} names no film: fill its {FILM_COLUMNS}")
    return cells | {"file": str(PurePosixPath(file.replace("\\", "/")))}
