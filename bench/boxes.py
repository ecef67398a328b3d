"""Sides and boxes of named findings on labelled films, by itself with `python -m bench.boxes`, as Markdown.

What the network outlines beside what Analysis.side_of and box_of let be told and drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from bench.embedded import UNMEASURED
from bench.order import judged_films
from models.card import load_card
from models.embedded.scorer import WEIGHTS
from models.training.judge import Judged
from worklist.finding import IN_A_LUNG, Analysis, Finding
from worklist.triage import SiteChoices, TriagePolicy, assess


def _crosses(analysis: Analysis, finding: Finding) -> bool:
    region = finding.region
    return region is not None and region.x < analysis.image_of(finding).columns / 2 < region.x + region.width


_ROWS: dict[str, Callable[[Analysis, Finding], bool]] = {
    "Outlined by the network": lambda _, finding: finding.region is not None,
    "Of the outlined, across the middle": _crosses,
    "Side told": lambda analysis, finding: analysis.side_of(finding) is not None,
    "Box drawn": lambda analysis, finding: analysis.box_of(finding) is not None,
    "Of the drawn, across the middle": lambda analysis, finding: (
        analysis.box_of(finding) is not None and _crosses(analysis, finding)
    ),
}


def named_findings(films: Sequence[Judged]) -> list[tuple[Analysis, Finding]]:
    """What the shipped card lets be put into words, with the Analysis that it stands in."""
    policy = TriagePolicy.of(load_card(WEIGHTS, sha256=films[0].analysis.scorer.sha256), SiteChoices(alert_budget=1))
    return [(film.analysis, named.finding) for film in films for named in assess(film.analysis, policy).named]


def markdown(films: Sequence[Judged]) -> str:
    """A table for documentation."""
    named = named_findings(films)
    groups = {
        "of one lung": [pair for pair in named if pair[1].type in IN_A_LUNG],
        "others": [pair for pair in named if pair[1].type not in IN_A_LUNG],
    }
    lines = [f"| Named findings | {' | '.join(groups)} |", "|---" * (len(groups) + 1) + "|"]
    counts: dict[str, Callable[[Analysis, Finding], bool]] = {"All": lambda *_: True, **_ROWS}
    for name, holds in counts.items():
        cells = (str(sum(holds(*pair) for pair in group)) for group in groups.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the tables of docs/evaluation.md."""
    films = judged_films()
    if not films:
        sys.exit(UNMEASURED)
    for is_sharp in (True, False):
        chosen = [film for film in films if film.is_sharp is is_sharp]
        print(f"\n{len(chosen)} films, {'sharp' if is_sharp else 'of the least resolution'}\n\n{markdown(chosen)}")


if __name__ == "__main__":
    main()
