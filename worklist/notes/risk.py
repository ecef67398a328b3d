"""The risk rules, exactly as they are published: tables of limits, points and bands, and nothing of judgement.

CURB-65 and CRB-65: Lim WS et al., Defining community acquired pneumonia severity on presentation to hospital, Thorax
2003;58:377-382: a point each for new confusion, urea above 7 mmol/L, respiratory rate of 30 /min or more, systolic
pressure below 90 or diastolic of 60 mmHg or less, and age of 65 years or more; CRB-65 leaves urea out. Bands: CURB-65
0 to 1, 2, 3 and more; CRB-65 0, 1 to 2, 3 and more.

NEWS2: Royal College of Physicians, National Early Warning Score (NEWS) 2, London 2017: seven parameters with 0 to 3
points each (oxygen 0 or 2). Bands: 0 to 4 low, a single parameter of 3 low-medium, 5 to 6 medium, 7 and more high.

What is missing is never taken for normal. A rule then knows the least and the most points that there can be, and names
a class only where both lie in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final


class RiskClass(StrEnum):
    """A class of risk. UNKNOWN says that too little is known to name one, and is never a low one."""

    LOW = "low"
    MODERATE = "moderate"
    HIGH = "high"
    UNKNOWN = "unknown"


class Rule(StrEnum):
    """A published rule."""

    CURB65 = "CURB-65"
    CRB65 = "CRB-65"
    NEWS2 = "NEWS2"


_ONE: Final = Decimal(1)
_TENTH: Final = Decimal("0.1")

# From each value on, so many points; in the table's own steps, to which a value is rounded first.
_Steps = tuple[tuple[str, int], ...]
NEWS2_POINTS: Final[Mapping[str, _Steps]] = {
    "respiratory rate": (("0", 3), ("9", 1), ("12", 0), ("21", 2), ("25", 3)),
    "oxygen saturation": (("0", 3), ("92", 2), ("94", 1), ("96", 0)),
    "systolic blood pressure": (("0", 3), ("91", 2), ("101", 1), ("111", 0), ("220", 3)),
    "pulse": (("0", 3), ("41", 1), ("51", 0), ("91", 1), ("111", 2), ("131", 3)),
    "temperature": (("0", 3), ("35.1", 1), ("36.1", 0), ("38.1", 1), ("39.1", 2)),
}
RESOLUTIONS: Final = {"temperature": _TENTH}
"""The steps of the table where they are not whole numbers."""
SCALE_2_ON_AIR: Final[_Steps] = (("0", 3), ("84", 2), ("86", 1), ("88", 0))
"""Saturation for a target of 88 to 92 %, without oxygen."""
SCALE_2_ON_OXYGEN: Final[_Steps] = (*SCALE_2_ON_AIR, ("93", 1), ("95", 2), ("97", 3))
OXYGEN_POINTS: Final = 2
NOT_ALERT_POINTS: Final = 3
_MOST: Final = 3
_NEWS2_HIGH, _NEWS2_MEDIUM, _RED = 7, 5, 3
_UREA_ABOVE, _NITROGEN_ABOVE = Decimal(7), Decimal(19)  # mmol/L; mg/dL, as the rule is given for that unit
_BREATHS_FROM, _SYSTOLIC_BELOW, _DIASTOLIC_TO, _AGE_FROM = 30, 90, 60, 65
NEWS2_FROM_AGE: Final = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known of a patient for the rules; None where it is not.

    Attributes:
        age: in years.
        respiratory_rate: breaths a minute.
        saturation: percent.
        has_target_88_to_92: whether a target saturation of 88 to 92 % is stated, so that NEWS2's scale 2 counts.
        is_on_oxygen: whether the patient breathes oxygen; False where air is stated.
        systolic: mmHg.
        diastolic: mmHg.
        pulse: beats a minute.
        temperature: degrees Celsius.
        is_alert: whether the patient is alert and not newly confused.
        is_confused: whether there is new confusion.
        urea: mmol/L.
        urea_nitrogen: mg/dL.
    """

    age: Decimal | None = None
    respiratory_rate: Decimal | None = None
    saturation: Decimal | None = None
    has_target_88_to_92: bool = False
    is_on_oxygen: bool | None = None
    systolic: Decimal | None = None
    diastolic: Decimal | None = None
    pulse: Decimal | None = None
    temperature: Decimal | None = None
    is_alert: bool | None = None
    is_confused: bool | None = None
    urea: Decimal | None = None
    urea_nitrogen: Decimal | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One input of a rule.

    Attributes:
        name: of the input.
        value: for a reader; "" where nothing of it is known.
        points: None where it is missing, or known in part.
        most: the points that it may have.
    """

    name: str
    value: str
    points: int | None
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """What a rule says.

    Attributes:
        least: points of what is known.
        most: points that there would be at most, if what is missing were at its worst.
        at_least: the class that is certain already; UNKNOWN where even low is not.
        risk: the class; UNKNOWN while what is missing may change it.
    """

    rule: Rule
    items: tuple[Item, ...]
    least: int
    most: int
    at_least: RiskClass
    risk: RiskClass

    @property
    def missing(self) -> tuple[str, ...]:
        """The inputs that are not known."""
        return tuple(one.name for one in self.items if one.points is None)


_ORDER: Final = (RiskClass.LOW, RiskClass.MODERATE, RiskClass.HIGH)


def points_at(value: Decimal, steps: _Steps, resolution: Decimal = _ONE) -> int:
    """The points of a value, rounded half up to the steps of the table."""
    rounded = value.quantize(resolution, ROUND_HALF_UP)
    return next(points for limit, points in reversed(steps) if rounded >= Decimal(limit))


def news2(known: Known) -> Score:
    """The National Early Warning Score 2."""
    items = (
        _stepped("respiratory rate", known.respiratory_rate, "/min"),
        Item(
            name=f"oxygen saturation (scale {2 if known.has_target_88_to_92 else 1})",
            value=_words(known.saturation, "%"),
            points=_saturation_points(known),
            most=_MOST,
        ),
        Item(
            name="air or oxygen",
            value="" if known.is_on_oxygen is None else "oxygen" if known.is_on_oxygen else "air",
            points=None if known.is_on_oxygen is None else OXYGEN_POINTS * known.is_on_oxygen,
            most=OXYGEN_POINTS,
        ),
        _stepped("systolic blood pressure", known.systolic, "mmHg"),
        _stepped("pulse", known.pulse, "/min"),
        Item(
            name="consciousness",
            value="" if known.is_alert is None else "alert" if known.is_alert else "confused or not alert",
            points=None if known.is_alert is None else NOT_ALERT_POINTS * (not known.is_alert),
            most=NOT_ALERT_POINTS,
        ),
        _stepped("temperature", known.temperature, "°C"),
    )
    return _scored(Rule.NEWS2, items, _news2_class)


def curb65(known: Known) -> Score:
    """CURB-65 where urea is known, else CRB-65."""
    has_urea = known.urea is not None or known.urea_nitrogen is not None
    is_high = known.urea > _UREA_ABOVE if known.urea is not None else (known.urea_nitrogen or 0) > _NITROGEN_ABOVE
    urea = _words(known.urea, "mmol/L") or _words(known.urea_nitrogen, "mg/dL urea nitrogen")
    items = (
        _yes_or_no("confusion", known.is_confused, {True: "new confusion", False: "no confusion"}),
        *([Item(name="urea", value=urea, points=int(is_high), most=1)] if has_urea else []),
        _from("respiratory rate", known.respiratory_rate, "/min", _BREATHS_FROM),
        _pressure(known),
        _from("age", known.age, "years", _AGE_FROM),
    )
    rule = Rule.CURB65 if has_urea else Rule.CRB65
    return _scored(rule, items, _curb65_class if has_urea else _crb65_class)


def highest(scores: Sequence[Score]) -> tuple[RiskClass, Rule | None]:
    """The class of several rules together and whose it is: low only where every one of them is certain of it."""
    certain = [(one.at_least, one.rule) for one in scores if one.at_least not in {RiskClass.UNKNOWN, RiskClass.LOW}]
    if certain:
        return max(certain, key=lambda pair: _ORDER.index(pair[0]))
    if scores and all(one.risk is RiskClass.LOW for one in scores):
        return RiskClass.LOW, scores[0].rule
    return RiskClass.UNKNOWN, None


def _saturation_points(known: Known) -> int | None:
    if known.saturation is None:
        return None
    if not known.has_target_88_to_92:
        return points_at(known.saturation, NEWS2_POINTS["oxygen saturation"])
    on_air, on_oxygen = (points_at(known.saturation, steps) for steps in (SCALE_2_ON_AIR, SCALE_2_ON_OXYGEN))
    if known.is_on_oxygen is None:
        return on_air if on_air == on_oxygen else None
    return on_oxygen if known.is_on_oxygen else on_air


def _news2_class(points: int, highest_item: int) -> RiskClass:
    if points >= _NEWS2_HIGH:
        return RiskClass.HIGH
    return RiskClass.MODERATE if points >= _NEWS2_MEDIUM or highest_item >= _RED else RiskClass.LOW


def _curb65_class(points: int, _: int) -> RiskClass:
    return RiskClass.HIGH if points >= 3 else RiskClass.MODERATE if points == 2 else RiskClass.LOW  # noqa: PLR2004


def _crb65_class(points: int, _: int) -> RiskClass:
    return RiskClass.HIGH if points >= 3 else RiskClass.MODERATE if points else RiskClass.LOW  # noqa: PLR2004


def _scored(rule: Rule, items: tuple[Item, ...], classed: Callable[[int, int], RiskClass]) -> Score:
    known = [one.points for one in items if one.points is not None]
    open_items = [one.most for one in items if one.points is None]
    least, most = sum(known), sum(known) + sum(open_items)
    lowest = classed(least, max(known, default=0))
    worst = classed(most, max([*known, *open_items], default=0))
    is_certain = lowest is worst
    return Score(
        rule=rule,
        items=items,
        least=least,
        most=most,
        at_least=lowest if is_certain or lowest is not RiskClass.LOW else RiskClass.UNKNOWN,
        risk=lowest if is_certain else RiskClass.UNKNOWN,
    )


def _words(value: Decimal | None, unit: str) -> str:
    return "" if value is None else f"{value.normalize():f} {unit}"


def _stepped(name: str, value: Decimal | None, unit: str) -> Item:
    points = None if value is None else points_at(value, NEWS2_POINTS[name], RESOLUTIONS.get(name, _ONE))
    return Item(name=name, value=_words(value, unit), points=points, most=_MOST)


def _from(name: str, value: Decimal | None, unit: str, limit: int) -> Item:
    return Item(name=name, value=_words(value, unit), points=None if value is None else int(value >= limit), most=1)


def _yes_or_no(name: str, is_so: bool | None, words: Mapping[bool, str]) -> Item:  # noqa: FBT001
    known = is_so is not None
    return Item(
        name=name, value=words[bool(is_so)] if known else "", points=int(bool(is_so)) if known else None, most=1
    )


def _pressure(known: Known) -> Item:
    """A point for either; none only where both are known and neither is low."""
    systolic, diastolic = known.systolic, known.diastolic
    is_low = (systolic is not None and systolic < _SYSTOLIC_BELOW) or (
        diastolic is not None and diastolic <= _DIASTOLIC_TO
    )
    is_known = is_low or (systolic is not None and diastolic is not None)
    both = [f"{one.normalize():f}" if one is not None else "not stated" for one in (systolic, diastolic)]
    value = f"{' / '.join(both)} mmHg" if systolic is not None or diastolic is not None else ""
    return Item(name="blood pressure", value=value, points=int(is_low) if is_known else None, most=1)
