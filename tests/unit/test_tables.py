"""The reading list in a terminal."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from pydantic_core import from_json
from rich.console import Console

from firstread.tables import worklist_table
from gateway.list.items import page_json
from tests.lists import EFFUSION, NOTHING, PNEUMOTHORAX, FilledList, uid_of
from worklist.order import OrderPriority
from worklist.reading import ReadingState
from worklist.records import Database, Shown


@pytest.fixture
def listed(migrated_sqlite: bytes, tmp_path: Path) -> Iterator[FilledList]:
    """An empty list."""
    file = tmp_path / "firstread.db"
    file.write_bytes(migrated_sqlite)
    with closing(Database(f"sqlite:///{file}")) as database:
        yield FilledList(database)


def printed(listed: FilledList, shown: Shown = Shown.LIST, limit: int = 100, width: int = 240) -> str:
    """What is printed of the list, in a terminal of so many columns."""
    total, studies = listed.worklist.page(shown=shown, limit=limit)
    worklist = from_json(page_json(total, listed.worklist.counts(), studies))
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(worklist_table(worklist, console.width))
    return console.export_text()


def test_flags_readings_and_reasons_are_printed(listed: FilledList) -> None:
    """Each row has the words of the page, and the title counts what waits too long and what stands aside."""
    listed.add(1, "Okafor^Ngozi", minutes=10, findings=PNEUMOTHORAX)
    listed.add(2, "[red]Sato[/]^Yui", minutes=20, findings=NOTHING, order_priority=OrderPriority.STAT)
    listed.add(3, "Weber^Karl", minutes=26 * 60)
    listed.add(4, "Old^Film", days_old=400, findings=EFFUSION)
    listed.claim(1, "Dr. [b]N[/b]")
    text = printed(listed)
    assert "Reading list: 3 to be read, 1 waits beyond the target, 1 prior aside" in text
    rows = [line for line in text.splitlines() if "MRN" in line]
    assert [name in row for name, row in zip(("[red]Sato[/]", "Weber", "Okafor"), rows, strict=True)] == [True] * 3
    assert "STAT No AI flag" in rows[0]
    assert "Not assessed" in rows[1]
    assert "Critical finding suspected" in rows[2]
    assert "being read by Dr. [b]N[/b]" in rows[2]
    assert "Pneumothorax likely, right" in rows[2]
    assert "shown" not in text


def test_what_is_not_shown_is_counted(listed: FilledList) -> None:
    """A page that is not the whole says so, and what was read names its reader."""
    for number in range(3):
        listed.add(number, minutes=number)
    assert "2 of 3 are shown." in printed(listed, limit=2)
    listed.read(1, "Dr. A")
    assert "read by Dr. A" in printed(listed, Shown.READ)
    assert "Reading list: 2 to be read" in printed(listed, Shown.READ)


def test_sex_age_and_view_are_printed_where_there_is_room(listed: FilledList) -> None:
    """In a terminal of 120 columns or more; an age that is none of DICOM's is shown as it stands."""
    listed.add(1, "Okafor^Ngozi", patient_age="071Y", view="AP")
    listed.add(2, "Sato^Yui", minutes=1, patient_sex="", patient_age="about 40")
    wide = printed(listed, width=160)
    okafor, sato = (next(line for line in wide.splitlines() if name in line) for name in ("Okafor", "Sato"))
    assert "F 71 y" in okafor
    assert "│ AP " in okafor
    assert "about 40" in sato
    assert "Sex, age" not in printed(listed, width=119)
    assert "Sex, age" in printed(listed, width=120)


def test_no_cell_moves_the_cursor_or_turns_the_text_around(listed: FilledList) -> None:
    """C0 and C1 controls and bidi overrides are dropped from all that files and people say; a break is a space."""
    evil = "A\x1b[2JB\x9b31mC\u202eD\u2066E\x07\x7f\nF"
    listed.add(1, f"{evil}^X", patient_id=evil, study_description=evil, view=evil, patient_age=evil, patient_sex="\x1b")
    listed.change(uid_of(1), reason=evil, reader=evil, reading_state=ReadingState.READING)
    text = printed(listed)
    assert text.count("A[2JB31mCDE F") == 7  # name, ID, age, description, view, reader, reason
    assert not set(text) & set(evil) - set("A[2JB31mCDEF\n")
