"""CURB-65, CRB-65 and NEWS2 at every boundary of their published tables, and what is missing."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.notes.reading import read_note
from worklist.notes.risk import Known, RiskClass, Rule, curb65, highest, news2

LOW, MODERATE, HIGH, UNKNOWN = RiskClass.LOW, RiskClass.MODERATE, RiskClass.HIGH, RiskClass.UNKNOWN


def number(value: float | str) -> Decimal:
    """As a note states it."""
    return Decimal(str(value))


# Every input known, and none with a point in any rule.
WELL = Known(
    age=number(40),
    respiratory_rate=number(16),
    saturation=number(97),
    is_on_oxygen=False,
    systolic=number(120),
    diastolic=number(80),
    pulse=number(70),
    temperature=number(37),
    is_alert=True,
    is_confused=False,
    urea=number(5),
)

# The published table of NEWS2: each value beside a limit, with its points.
NEWS2 = {
    "respiratory_rate": "0:3 8:3 9:1 11:1 12:0 20:0 21:2 24:2 25:3 60:3",
    "saturation": "50:3 91:3 92:2 93:2 94:1 95:1 96:0 100:0",
    "systolic": "50:3 90:3 91:2 100:2 101:1 110:1 111:0 219:0 220:3 300:3",
    "pulse": "20:3 40:3 41:1 50:1 51:0 90:0 91:1 110:1 111:2 130:2 131:3 250:3",
    "temperature": "30.0:3 35.0:3 35.1:1 36.0:1 36.1:0 38.0:0 38.1:1 39.0:1 39.1:2 42.0:2",
}
SCALE_2 = {
    False: "70:3 83:3 84:2 85:2 86:1 87:1 88:0 92:0 93:0 97:0 100:0",
    True: "70:3 83:3 84:2 85:2 86:1 87:1 88:0 92:0 93:1 94:1 95:2 96:2 97:3 100:3",
}


def table(row: str) -> list[tuple[Decimal, int]]:
    """Values and points of a row."""
    return [(number(value), int(points)) for value, points in (pair.split(":") for pair in row.split())]


@pytest.mark.parametrize("name", NEWS2)
def test_news2_scores_each_value_as_published(name: str) -> None:
    """Both sides of every limit have the points of the table, all else being without any."""
    for value, points in table(NEWS2[name]):
        score = news2(replace(WELL, **{name: value}))  # type: ignore[arg-type]
        assert (value, score.least, score.most) == (value, points, points)


@pytest.mark.parametrize("is_on_oxygen", [False, True])
def test_news2_scores_saturation_on_scale_2(is_on_oxygen: bool) -> None:  # noqa: FBT001 - pytest's
    """For a target of 88 to 92 %, both sides of every limit, on air and on oxygen, which has two points of its own."""
    for value, points in table(SCALE_2[is_on_oxygen]):
        known = replace(WELL, saturation=value, has_target_88_to_92=True, is_on_oxygen=is_on_oxygen)
        assert (value, news2(known).least) == (value, points + 2 * is_on_oxygen)


def test_news2_scores_oxygen_and_consciousness() -> None:
    """Oxygen has two points; confusion and whatever else is not alert have three."""
    assert news2(WELL).least == 0
    assert news2(replace(WELL, is_on_oxygen=True)).least == 2
    assert news2(replace(WELL, is_alert=False)).least == 3


@pytest.mark.parametrize(
    ("known", "points", "risk"),
    [
        (WELL, 0, LOW),
        (replace(WELL, pulse=number(111), is_on_oxygen=True), 4, LOW),
        (replace(WELL, pulse=number(111), is_on_oxygen=True, temperature=number("38.1")), 5, MODERATE),
        (replace(WELL, pulse=number(111), is_on_oxygen=True, temperature=number("39.1")), 6, MODERATE),
        (
            replace(WELL, pulse=number(111), is_on_oxygen=True, temperature=number("39.1"), saturation=number(95)),
            7,
            HIGH,
        ),
        (replace(WELL, respiratory_rate=number(25)), 3, MODERATE),  # a single parameter of three
        (replace(WELL, pulse=number(91), saturation=number(93)), 3, LOW),  # three by two parameters
    ],
)
def test_news2_has_the_published_bands(known: Known, points: int, risk: RiskClass) -> None:
    """0 to 4 low, one parameter of 3 or 5 to 6 moderate, 7 and more high."""
    score = news2(known)
    assert (score.least, score.risk) == (points, risk)


@pytest.mark.parametrize(
    ("change", "points"),
    [
        ({"is_confused": True}, 1),
        ({"urea": number(7)}, 0),
        ({"urea": number("7.1")}, 1),
        ({"urea": None, "urea_nitrogen": number(19)}, 0),
        ({"urea": None, "urea_nitrogen": number("19.1")}, 1),
        ({"respiratory_rate": number(29)}, 0),
        ({"respiratory_rate": number(30)}, 1),
        ({"systolic": number(90)}, 0),
        ({"systolic": number(89)}, 1),
        ({"diastolic": number(61)}, 0),
        ({"diastolic": number(60)}, 1),
        ({"systolic": number(89), "diastolic": number(60)}, 1),
        ({"age": number(64)}, 0),
        ({"age": number(65)}, 1),
    ],
)
def test_curb65_scores_each_limit_as_published(change: dict[str, Decimal | bool | None], points: int) -> None:
    """Both sides of each limit of Lim 2003; low systolic and low diastolic together are one point."""
    score = curb65(replace(WELL, **change))  # type: ignore[arg-type]
    assert (score.rule, score.least, score.most) == (Rule.CURB65, points, points)


def test_curb65_and_crb65_have_the_published_bands() -> None:
    """CURB-65: 0 and 1 low, 2 moderate, 3 to 5 high; without urea CRB-65: 0 low, 1 and 2 moderate, 3 and 4 high."""
    worse: list[dict[str, Decimal | bool]] = [
        {"is_confused": True},
        {"respiratory_rate": number(30)},
        {"systolic": number(80)},
        {"age": number(65)},
    ]
    known, curb, crb = WELL, [], []
    for change in [{}, *worse]:
        known = replace(known, **change)  # type: ignore[arg-type]
        curb.append(curb65(known).risk)
        crb.append(curb65(replace(known, urea=None)).risk)
    assert curb == [LOW, LOW, MODERATE, HIGH, HIGH]
    assert crb == [LOW, MODERATE, MODERATE, HIGH, HIGH]
    assert curb65(replace(known, urea=number(8))).least == 5
    assert curb65(replace(WELL, urea=None)).rule is Rule.CRB65


@pytest.mark.parametrize(
    "missing", ["respiratory_rate", "saturation", "is_on_oxygen", "systolic", "pulse", "is_alert", "temperature"]
)
def test_what_is_missing_is_never_taken_for_normal(missing: str) -> None:
    """NEWS2 without any one of its inputs is not low, says which is missing, and how many points it may still have."""
    score = news2(replace(WELL, **{missing: None}))  # type: ignore[arg-type]
    assert score.risk is (LOW if missing == "is_on_oxygen" else UNKNOWN)  # oxygen alone cannot lead out of low
    assert score.most == (2 if missing == "is_on_oxygen" else 3)
    assert len(score.missing) == 1


def test_a_class_that_nothing_missing_can_change_is_named() -> None:
    """Seven points are high whatever else is missing; five are at least moderate, which is no class yet."""
    ill = Known(respiratory_rate=number(30), saturation=number(85), pulse=number(95))
    assert (news2(ill).least, news2(ill).risk) == (7, HIGH)
    less = Known(respiratory_rate=number(30), saturation=number(92))
    assert (news2(less).least, news2(less).risk, news2(less).at_least) == (5, UNKNOWN, MODERATE)
    assert news2(Known()).risk is UNKNOWN


def test_half_a_blood_pressure_is_missing_unless_it_is_low() -> None:
    """A normal systolic pressure alone does not say that the diastolic one is not low."""
    assert curb65(replace(WELL, diastolic=None)).missing == ("blood pressure",)
    assert curb65(replace(WELL, systolic=number(89), diastolic=None)).missing == ()


def test_several_rules_give_the_highest_and_low_only_together() -> None:
    """A low CURB-65 beside a NEWS2 that is not certain is unknown; any that is moderate or high counts."""
    low, open_one = curb65(WELL), news2(replace(WELL, pulse=None))
    assert highest([low, news2(WELL)]) == (LOW, Rule.CURB65)
    assert highest([low, open_one]) == (UNKNOWN, None)
    assert highest([low, news2(replace(WELL, respiratory_rate=number(25)))]) == (MODERATE, Rule.NEWS2)


_NUMBERS = st.decimals(min_value=0, max_value=300, places=1)
_KNOWN = st.builds(
    Known,
    **{
        one.name: st.booleans()
        if one.name == "has_target_88_to_92"
        else st.none() | (st.booleans() if one.name.startswith("is_") else _NUMBERS)
        for one in fields(Known)
    },
)


@given(_KNOWN, _KNOWN)
def test_a_class_stands_whatever_the_missing_turns_out_to_be(known: Known, more: Known) -> None:
    """Filling in what is missing never changes a class that was named, nor goes below what was certain."""
    filled = replace(
        known,
        **{
            one.name: getattr(more, one.name)
            for one in fields(Known)
            if getattr(known, one.name) is None and one.name not in {"urea", "urea_nitrogen"}
        },
    )
    order = [UNKNOWN, LOW, MODERATE, HIGH]
    for rule in (news2, curb65):
        before, after = rule(known), rule(filled)
        assert before.least <= after.least <= after.most <= before.most
        assert before.risk in {UNKNOWN, after.risk}
        assert order.index(before.at_least) <= order.index(after.at_least)


# ---- From a note to the rules ----


@pytest.mark.parametrize(
    ("text", "name", "points"),
    [
        ("RR 25", "respiratory rate", 3),
        ("Respiratory rate of 24 breaths per minute", "respiratory rate", 2),
        ("28 breaths/min", "respiratory rate", 3),
        ("SpO2 95% on air", "oxygen saturation (scale 1)", 1),
        ("Sats 91% RA", "oxygen saturation (scale 1)", 3),
        ("saturating at 93 % on 2 L", "oxygen saturation (scale 1)", 2),
        ("BP 90/60", "systolic blood pressure", 3),
        ("BP: 101/70 mmHg", "systolic blood pressure", 1),
        ("HR 131", "pulse", 3),
        ("pulse 50 regular", "pulse", 1),
        ("T 39.1", "temperature", 2),
        ("temp 101.4 F", "temperature", 1),
        ("fever of 38.0 °C", "temperature", 0),
        ("on room air", "air or oxygen", 0),
        ("on 4 L via nasal cannula", "air or oxygen", 2),
        ("Alert and oriented.", "consciousness", 0),
        ("Newly confused.", "consciousness", 3),
        ("GCS 14/15", "consciousness", 3),
        ("drowsy", "consciousness", 3),
    ],
)
def test_numbers_are_read_with_their_units(text: str, name: str, points: int) -> None:
    """Each of the usual ways to write an input has its points, and the words it comes from are kept."""
    reading = read_note(text)
    assert reading.inputs is not None
    found = {one.name: one.points for one in reading.risk.scores[-1].items}
    assert found[name] == points
    assert any(words in text for words in reading.inputs.evidence.values())


@pytest.mark.parametrize(
    "text",
    [
        "Call if RR > 30.",
        "Target saturation 88-92%.",
        "Previous BP 80/50.",
        "His father's pulse was 140.",
        "SpO2 < 90%",
        "RR 300",
        "BP 4/5",
        "Temp 12",
        "Urea 9",
        "T12 fracture",
        "Fever for 3 days",
        "Takes bisoprolol 2.5 mg and ramipril 10 mg",
        "Walked 500 m at 40 years",
        "No fever, no cough.",
        "DOB 12/03/1950",
        "Family history: mother had a temperature of 41.",
    ],
)
def test_what_is_not_measured_now_and_exactly_does_not_count(text: str) -> None:
    """Targets, bounds, old and impossible values, those of others and those without a unit give no input a point."""
    items = [one for score in read_note(text).risk.scores for one in score.items]
    assert [one for one in items if one.points and one.name != "age"] == []


def test_of_several_values_the_worst_counts_and_that_is_said() -> None:
    """Nothing tells which value is the newest, so the one with more points counts, beside a remark."""
    reading = read_note("RR 32 on arrival, later RR 18. SpO2 88% on air, 96% on 2 L.")
    items = {one.name: one for one in reading.risk.scores[-1].items}
    assert items["respiratory rate"].points == 3
    assert items["oxygen saturation (scale 1)"].points == 3
    assert items["air or oxygen"].points == 2
    assert any("2 values of respiratory rate" in one for one in reading.remarks)


@pytest.mark.parametrize(
    ("text", "name", "points"),
    [
        ("BP 150/90 on admission, now 85/40.", "systolic blood pressure", 3),
        ("RR 18, now 32", "respiratory rate", 3),
        ("HR 90 to 135", "pulse", 3),
        ("T 38.2 → 39.4", "temperature", 2),
        ("SpO2 95% now 88%", "oxygen saturation (scale 1)", 3),
    ],
)
def test_a_change_for_the_worse_is_not_missed(text: str, name: str, points: int) -> None:
    """The value that follows a first one counts, however it is written."""
    items = {one.name: one.points for one in read_note(text).risk.scores[-1].items}
    assert items[name] == points


def test_scale_2_counts_only_where_its_target_is_stated() -> None:
    """Hypercapnia alone changes no scale; a target of 88 to 92 % does."""
    usual = read_note("Known hypercapnic respiratory failure. SpO2 90% on air.")
    target = read_note("Target saturation 88-92%. SpO2 90% on air.")
    assert [one.risk.scores[-1].items[1].points for one in (usual, target)] == [3, 0]


def test_lasting_confusion_is_not_new() -> None:
    """Confusion that is stated as chronic has no point, and is told; denied confusion is known to be absent."""
    lasting = read_note("Chronic confusion. ?pneumonia")
    assert lasting.inputs is not None
    assert lasting.inputs.known.is_confused is None
    assert any("lasting" in one for one in lasting.remarks)
    denied = read_note("Not confused. ?pneumonia")
    assert denied.inputs is not None
    assert denied.inputs.known.is_confused is False


def test_the_rules_apply_to_whom_they_are_made_for() -> None:
    """CURB-65 where pneumonia is raised, NEWS2 neither for children nor in pregnancy; both is said."""
    assert [one.rule for one in read_note("Cough, RR 20").risk.scores] == [Rule.NEWS2]
    assert [one.rule for one in read_note("?pneumonia, RR 20").risk.scores] == [Rule.CRB65, Rule.NEWS2]
    child = read_note("8-year-old boy, ?pneumonia, RR 40, T 39.5")
    assert (child.risk.scores, child.risk.risk) == ((), UNKNOWN)
    assert any("16 years" in one for one in child.risk.reasons)
    pregnant = read_note("30-year-old woman, pregnant, RR 26").risk
    assert pregnant.scores == ()
    assert any("pregnant" in one for one in pregnant.reasons)


def test_the_age_that_is_given_counts_before_the_one_in_the_note() -> None:
    """And a difference is said."""
    reading = read_note("40-year-old man, ?pneumonia", age=70)
    assert reading.risk.scores[0].items[-1].points == 1
    assert any("age given" in one for one in reading.remarks)
