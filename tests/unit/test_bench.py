"""What a benchmark prints: figures beside their targets, and beside an earlier commit where that was measured."""

from __future__ import annotations

import pytest

from bench.figures import Figure, as_markdown, as_table, beside

FIGURES = [
    Figure(name="List, p95", value=12.34, unit="ms", at_most=20),
    Figure(name="Films a second", value=3.8, unit="films/s", at_least=5),
    Figure(name="AUC", value=0.6, unit="", baseline=0.7),
]


@pytest.mark.parametrize(
    ("figure", "is_met", "target"),
    [(FIGURES[0], True, "<= 20"), (FIGURES[1], False, ">= 5"), (FIGURES[2], None, "")],
)
def test_a_figure_knows_whether_it_meets_its_target(figure: Figure, *, is_met: bool | None, target: str) -> None:
    """At most, at least, or no target at all."""
    assert (figure.is_met, figure.target_text) == (is_met, target)


def test_a_baseline_stands_beside_the_figure_of_its_name() -> None:
    """What an earlier commit measured is found by name; what a figure knows of its own baseline stays."""
    found = beside(FIGURES, {"List, p95": 512.0, "AUC": 0.1, "Gone": 1.0})
    assert [figure.baseline for figure in found] == [512.0, None, 0.7]
    assert [figure.value for figure in found] == [figure.value for figure in FIGURES]


def test_tables_have_a_column_of_the_baseline_only_where_it_was_measured() -> None:
    """On the terminal and in Markdown the same cells, with the baseline's column between name and value."""
    found = beside(FIGURES, {"List, p95": 512.0})
    assert as_markdown("Lists", found, "31f01ca").splitlines() == [
        "## Lists",
        "",
        "| Figure | 31f01ca | Value | Target | Met |",
        "|---|---|---|---|---|",
        "| List, p95 | 512 ms | 12.3 ms | <= 20 | yes |",
        "| Films a second |  | 3.8 films/s | >= 5 | no |",
        "| AUC | 0.7 | 0.6 |  |  |",
    ]
    assert "31f01ca" not in as_markdown("Lists", FIGURES)
    with_baseline, without = as_table("Lists", found, "31f01ca"), as_table("Lists", FIGURES)
    assert [str(column.header) for column in with_baseline.columns] == ["Figure", "31f01ca", "Value", "Target", "Met"]
    assert list(with_baseline.columns[1].cells) == ["512 ms", "", "0.7"]
    assert [str(column.header) for column in without.columns] == ["Figure", "Value", "Target", "Met"]
