"""The conformance statement says what the code does, and the page on DIMSE names every setting."""

from __future__ import annotations

from firstread.settings import Settings
from tests.conformance import PAGE, TABLES, written


def test_its_tables_are_those_of_the_code() -> None:
    """What stands between the markers is what the code makes: python -m tests.conformance writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- table: {name} -->" in page for name in TABLES)
    assert written(page) == page


def test_the_page_names_every_setting_with_its_default() -> None:
    """Each setting of the DICOM server stands in the page, and numbers are the present defaults."""
    page = (PAGE.parent / "dimse.md").read_text(encoding="utf-8")
    for name, field in Settings.model_fields.items():
        if name.startswith("dimse"):
            assert f"`FIRSTREAD_{name.upper()}`" in page
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                assert f"`{field.default:g}`" in page or f"`{field.default}`" in page
