"""The reading list on labelled films, by itself with `python -m bench.order [--baseline]`, as Markdown with intervals.

Of the rule that orders the list: how many films it moves, how far up sick films come, and how often its words are
right; with --baseline beside the rule of the earlier commit, on the same films and the same network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.baseline import COMMIT, baseline_list
from bench.embedded import FILMS, UNMEASURED
from bench.figures import Figure
from models.card import load_card
from models.embedded.scorer import WEIGHTS
from models.evaluation.films import FINDINGS, URGENT
from models.evaluation.intervals import Estimate, Indices, proportion
from models.evaluation.order import Naming, Order, flagged_without_reason, judge_order, judge_words
from models.evaluation.triage import Triaged, Words, sort_keys
from models.training.judge import Judged, judge, read_manifest
from worklist.finding import FindingType
from worklist.triage import SiteChoices, TriagePolicy, Urgency, assess

TABLE = "The reading list on validation films"
LOWER = (0.2, 0.1)  # harms from which a study might be flagged instead

_HEART = FindingType.CARDIOMEGALY.key
_ILL: Mapping[str, Callable[[Mapping[str, bool]], bool]] = {
    "any of the six": lambda truth: truth[URGENT],
    "any of the six, an enlarged heart alone not counted": lambda truth: any(
        truth[kind.key] for kind in FINDINGS if kind.key != _HEART
    ),
    "pneumothorax": lambda truth: truth[FindingType.PNEUMOTHORAX.key],
    "pleural effusion": lambda truth: truth[FindingType.PLEURAL_EFFUSION.key],
}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Listed:
    """What one rule does with labelled films.

    Attributes:
        films: urgency, place and words of each.
        truths: what the labels say of each film.
        patient: int64, shape (N,).
    """

    films: Sequence[Triaged]
    truths: Sequence[Mapping[str, bool]]
    patient: Indices

    @property
    def moved(self) -> Estimate:
        """The share of the films that move up."""
        return proportion(sort_keys(self.films) > 0, self.patient, note="no film")

    @property
    def flagged(self) -> Estimate:
        """The share of the films that bear a flag."""
        return proportion(np.array([film.is_flagged for film in self.films]), self.patient, note="no film")

    @property
    def flags(self) -> int:
        """How many films bear a flag."""
        return sum(film.is_flagged for film in self.films)

    @property
    def without_reason(self) -> Estimate:
        """The share of the flagged films of which nothing is named that flags them."""
        return flagged_without_reason(self.films, self.patient)

    @property
    def naming(self) -> dict[str, Naming]:
        """How often the findings that are put into words are there: all together, and by finding."""
        named = [film.words.named if film.words else frozenset() for film in self.films]
        return judge_words(named, self.truths, self.patient)

    def order(self, ill: Callable[[Mapping[str, bool]], bool]) -> Order:
        """The order held against what makes a film sick."""
        truth = np.array([ill(truth) for truth in self.truths], np.bool_)
        return judge_order(sort_keys(self.films), truth, self.patient)


def by_rule(films: Sequence[Judged], flag_from: float | None = None) -> Listed:
    """The films as the triage rule lists them, from the card's threshold or from another harm on."""
    card = load_card(WEIGHTS, sha256=films[0].analysis.scorer.sha256)
    policy = TriagePolicy.of(replace(card, flag_from=flag_from or card.flag_from), SiteChoices(alert_budget=1))
    return _listed(films, [Triaged.of(assess(film.analysis, policy)) for film in films])


def by_baseline(films: Sequence[Judged]) -> Listed:
    """The films as the earlier commit lists them, where any finding in words was the reason of a flag."""
    found = [baseline_list(FILMS)[film.listed.label.file] for film in films]
    return _listed(
        films,
        [
            Triaged(
                urgency=Urgency.URGENT if film["is_flagged"] else Urgency.NONE,
                harm=0.0,
                head_start_s=film["head_start_s"],
                words=Words(named=frozenset(film["named"]), reasons=frozenset(film["named"])),
            )
            for film in found
        ],
    )


def _listed(films: Sequence[Judged], triaged: Sequence[Triaged]) -> Listed:
    patients = [film.listed.label.patient or "" for film in films]
    return Listed(
        films=triaged,
        truths=[film.listed.label.truth for film in films],
        patient=np.unique(patients, return_inverse=True)[1],
    )


def judged_films() -> list[Judged]:
    """The validation films in FILMS as the product scores them; none where they are not there."""
    if not (FILMS / "manifest.csv").is_file():
        return []
    return judge(WEIGHTS, FILMS, [film for film in read_manifest(FILMS / "manifest.csv") if film.split == "val"])


def measure_order(*, baseline: bool = False) -> list[Figure]:
    """Figures of the list on the sharp validation films in FILMS; nothing where they are not there."""
    films = [film for film in judged_films() if film.is_sharp]
    if not films:
        return []
    before = dict(_figures(by_baseline(films))) if baseline else {}
    return [
        Figure(name=name, value=value, unit="", baseline=before.get(name)) for name, value in _figures(by_rule(films))
    ]


def _figures(listed: Listed) -> Iterator[tuple[str, float]]:
    ill = listed.order(_ILL["any of the six"])
    shown = {
        "Films moved up, share": listed.moved,
        "Urgent films moved up, share (sensitivity)": ill.moved,
        "Films moved up that are urgent, share": ill.right,
        "Order: AUC, urgent": ill.auc,
        "Order: lift of the top quarter, urgent": ill.lift,
        "Findings in words that are right, share": listed.naming["all"].right,
        "Flagged films without a reason, share": listed.without_reason,
    }
    yield from ((name, each.value) for name, each in shown.items() if each.value is not None)


def markdown(rules: Mapping[str, Listed]) -> str:
    """A table for documentation, a column a rule."""
    rows: list[tuple[str, list[str]]] = [
        ("Films moved up", [_share(rule.moved) for rule in rules.values()]),
        ("Films that bear a flag", [_share(rule.flagged) for rule in rules.values()]),
        ("Flagged films without a reason in words", [_of(rule.without_reason, rule.flags) for rule in rules.values()]),
    ]
    words = [rule.naming["all"] for rule in rules.values()]
    rows.append(("Findings in words", [str(each.n) for each in words]))
    rows.append(("Of these, right", [_share(each.right) for each in words]))
    for name, ill in _ILL.items():
        orders = [rule.order(ill) for rule in rules.values()]
        rows += [
            (f"**{name[0].upper()}{name[1:]}** ({orders[0].positives} of {orders[0].n}): of them moved up", []),
            ("Of the films moved up, share that has it", []),
            ("AUC of the order", []),
            ("Share of them in the top quarter", []),
            ("Lift of the top quarter", []),
        ]
        for row, pick in zip(rows[-5:], ("moved", "right", "auc", "top_quarter", "lift"), strict=True):
            written = _number if pick in {"auc", "lift"} else _share
            row[1].extend(written(getattr(order, pick)) for order in orders)
    return _table(rules, rows)


def words_markdown(rules: Mapping[str, Listed]) -> str:
    """How many of the findings in words are right, of how many that a rule names, a row a finding."""
    naming = [rule.naming for rule in rules.values()]
    rows = [
        (kind.label, [_named(each.get(kind.key)) for each in naming])
        for kind in FINDINGS
        if any(kind.key in each for each in naming)
    ]
    return _table(rules, [*rows, ("**All**", [_named(each["all"]) for each in naming])])


def _named(naming: Naming | None) -> str:
    """How many of the named ones are right; nothing where none is."""
    if naming is None or naming.right.value is None:
        return "never named"
    return _of(naming.right, naming.n)


def _table(rules: Mapping[str, Listed], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    lines = [f"| | {' | '.join(rules)} |", "|---" * (len(rules) + 1) + "|"]
    return "\n".join([*lines, *(f"| {name} | {' | '.join(cells)} |" for name, cells in rows)])


def _of(share: Estimate, films: int) -> str:
    """A share of so many, and how many that is."""
    return f"{round(films * (share.value or 0))} of {films}, {_share(share)}"


def _share(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    low_high = "" if estimate.low is None else f" ({100 * estimate.low:.0f} to {100 * (estimate.high or 0):.0f})"
    return f"{100 * estimate.value:.0f} %{low_high}"


def _number(estimate: Estimate) -> str:
    if estimate.value is None:
        return "-"
    low_high = "" if estimate.low is None else f" ({estimate.low:.2f} to {estimate.high:.2f})"
    return f"{estimate.value:.2f}{low_high}"


def main() -> None:
    """Print the tables of docs/evaluation.md."""
    parser = argparse.ArgumentParser(prog="python -m bench.order", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--baseline", action="store_true", help=f"the rule of {COMMIT} beside it")
    with_baseline = parser.parse_args().baseline
    films = judged_films()
    if not films:
        sys.exit(UNMEASURED)
    for is_sharp in (True, False):
        chosen = [film for film in films if film.is_sharp is is_sharp]
        rules = {f"Rule of {COMMIT}": by_baseline(chosen)} if with_baseline else {}
        rules |= {"One rule, as shipped": by_rule(chosen)}
        words = words_markdown(rules)  # a lower harm changes none
        rules |= {f"The same, flagged from a harm of {harm:g}": by_rule(chosen, harm) for harm in LOWER}
        resolution = "sharp" if is_sharp else "of the least resolution"
        print(f"\n{len(chosen)} films, {resolution}\n\n{words}\n\n{markdown(rules)}")


if __name__ == "__main__":
    main()
