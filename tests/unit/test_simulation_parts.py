"""The parts of a simulated reading room: shifts, arrivals, films and what a model says of them, reading times."""

# ruff: noqa: S311 - seeded, so that a test gives the same each time

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import islice, pairwise
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worklist.errors import InvalidInput
from worklist.simulation.arrivals import RandomArrivals, read_arrivals
from worklist.simulation.department import ReadingTimes
from worklist.simulation.films import DrawnFilms, FindingModel, LabelledFilm, MadeUpFilms
from worklist.simulation.roc import CalibratedRoc, Roc
from worklist.simulation.staffing import DAY_S, HOUR_S, Staffing, read_staffing


@pytest.mark.parametrize(
    ("text", "hours", "at"),
    [
        ("daily 00-24 3", 7 * 24 * 3, {0: 3, 100: 3}),
        ("mon-fri 08-17 2, sat 09:30-12 1", 5 * 9 * 2 + 2.5, {0: 0, 8.5: 2, 17: 0, 5 * 24 + 10: 1}),
        ("sun 22-06 1", 8, {3: 1, 6: 0, 6 * 24 + 23: 1, 7 * 24 + 3: 1}),
        ("fri-mon 10-11 1\nmon 10-12 4", 12, {10.5: 5, 11.5: 4, 24 + 10.5: 0, 4 * 24 + 10.5: 1}),
    ],
)
def test_shifts_are_read_as_people_write_them(text: str, hours: float, at: dict[float, int]) -> None:
    """Days, hours and readers, overlapping or past midnight and the end of the week, in every week alike."""
    staffing = read_staffing(text)
    assert staffing.reader_seconds == hours * HOUR_S
    changes = list(islice(staffing.changes(), 40))
    for hour, readers in at.items():
        assert [count for since_s, count in changes if since_s <= hour * HOUR_S][-1] == readers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "always",
        "mon 8 1",
        "mon 08-25 1",
        "mon 08-09 0",
        "mon 08-09 101",
        "noday 08-09 1",
        "mon 08:61-09 1",
        "mon 24-3 1",
    ],
)
def test_what_is_no_shift_is_refused(text: str) -> None:
    """The message names the part and shows how to write one."""
    with pytest.raises(InvalidInput):
        read_staffing(text)


@given(st.integers(1, 60), st.lists(st.integers(0, 5), min_size=24, max_size=24).filter(any))
def test_arrivals_follow_the_hours(per_day: int, by_hour: list[int]) -> None:
    """Films come in order, within the days, and never in an hour without weight."""
    times = list(RandomArrivals(per_day=per_day, by_hour=tuple(map(float, by_hour))).times(random.Random(1), 3))
    assert times == sorted(times)
    assert all(0 <= at < 3 * DAY_S and by_hour[int(at % DAY_S // HOUR_S)] for at in times)


def test_as_many_films_arrive_as_asked_for() -> None:
    """On an average day it is the stated number, hour by hour as weighed."""
    times = list(RandomArrivals(per_day=100, by_hour=(3.0,) + (1.0,) * 23).times(random.Random(2), 1000))
    assert len(times) == pytest.approx(100_000, rel=0.02)
    assert sum(at % DAY_S < HOUR_S for at in times) == pytest.approx(100_000 * 3 / 26, rel=0.03)


@pytest.mark.parametrize(
    ("text", "hours"),
    [
        ("received_at\n2026-03-03T14:00\n2026-03-02 06:30:00\n", [6.5, 38]),
        ("accession,Received at\n1,2026-03-02T01:00:00Z\n2,2026-03-02T02:00:00+01:00\n", [1, 2]),
        ("2026-03-08T12:00\n", [6 * 24 + 12]),
        ("\ufefftime\r\n2026-03-02\r\n\r\n", [0]),
    ],
)
def test_times_of_arrival_are_read(text: str, hours: list[float]) -> None:
    """With or without a heading, in any order, counted from the Monday before on the wall's clock."""
    assert [at / HOUR_S for at in read_arrivals(text, "times.csv").at_s] == hours


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("received_at\n", "no times under its heading"),
        ("a,b\n1,2\n", "name it received_at"),
        ("received_at\n2026-03-02T06:30\nsoon\n", "line 3 has 'soon'"),
        ("received_at\n2026-02-30\n", "line 2 has '2026-02-30'"),
        ("x,received_at\n1\n", "line 2 has ''"),
        ("received_at\n2026-03-02\n2028-03-02\n", "a year is the most"),
        ('received_at\n"2026', "no CSV"),
    ],
)
def test_bad_times_of_arrival_are_told_by_line(text: str, said: str) -> None:
    """The message names the file, the line, and how to write it."""
    with pytest.raises(InvalidInput, match=said) as refused:
        read_arrivals(text, "times.csv")
    assert "times.csv" in refused.value.message
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(("roc", "auc"), [(Roc.of_auc(0.5), 0.5), (Roc.of_auc(0.85), 0.85), (Roc.at(0.9, 0.8), 0.85)])
def test_made_up_films_are_seen_as_well_as_stated_and_calibrated(roc: Roc, auc: float) -> None:
    """Drawn films have the area and the prevalence, and of films of one probability that share has the finding."""
    assert roc.auc == pytest.approx(auc, abs=0.005)
    films = MadeUpFilms(models=(FindingModel(key="mass", prevalence=0.2, roc=roc),))
    drawn = list(islice(films.draw(random.Random(5)), 40_000))
    said: dict[bool, list[float]] = {True: [], False: []}
    for film in drawn:
        said["mass" in film.present].append(film.probabilities[0][1])
    assert len(said[True]) / len(drawn) == pytest.approx(0.2, abs=0.01)
    pairs = list(zip(said[True], random.Random(6).sample(said[False], len(said[True])), strict=True))
    better = fmean(0.5 if sick == well else sick > well for sick, well in pairs)
    assert better == pytest.approx(auc, abs=0.015)
    high = [film for film in drawn if film.probabilities[0][1] >= 0.2]
    assert fmean("mass" in film.present for film in high) == pytest.approx(
        fmean(film.probabilities[0][1] for film in high), abs=0.02
    )


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999999])
def test_a_higher_place_on_the_curve_is_a_higher_probability(share: float) -> None:
    """The probability falls along the curve and is one, at both ends too."""
    curve = CalibratedRoc(Roc.of_auc(0.8), 0.1)
    said = [curve.probability(each, is_present=True) for each in (share / 2, share)]
    assert 1 > said[0] >= said[1] > 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: Roc(points=((0.0, 0.0), (0.5, 0.2), (1.0, 1.0))),
        lambda: Roc(points=((0.0, 0.0), (0.5, 0.6))),
        lambda: Roc.of_auc(0.4),
        lambda: Roc.at(0.3, 0.3),
        lambda: Roc.at(1, 0.5),
    ],
)
def test_what_is_no_roc_curve_is_refused(make: Callable[[], Roc]) -> None:
    """One below chance, one that bends the other way, and one that does not reach its end."""
    with pytest.raises(ValueError, match=r"ROC|AUC|sensitivity"):
        make()


LABELLED = tuple(
    LabelledFilm(
        present=frozenset({"mass"} if number % 4 == 0 else {"nodule"} if number % 4 == 1 else ()),
        probabilities=(("mass", number / 100), ("nodule", 0.5)),
        patient=f"{number // 2}",
    )
    for number in range(100)
)


def test_films_are_drawn_at_the_stated_prevalence() -> None:
    """Films are drawn whole, as often as their findings are stated to be, and patients weigh otherwise each time."""
    films = DrawnFilms(films=LABELLED, prevalence={"mass": 0.05, "nodule": 0.5})
    assert films.sick_share == pytest.approx(0.55, abs=1e-3)
    drawn = list(islice(films.draw(random.Random(1)), 20_000))
    assert fmean("mass" in film.present for film in drawn) == pytest.approx(0.05, abs=0.01)
    assert fmean("nodule" in film.present for film in drawn) == pytest.approx(0.5, abs=0.02)
    assert {film.probabilities for film in drawn} <= {film.probabilities for film in LABELLED}
    others = [film.probabilities[0][1] for film in islice(films.draw(random.Random(2)), 20_000)]
    assert fmean(film.probabilities[0][1] for film in drawn) != pytest.approx(fmean(others), abs=1e-4)


def test_without_labels_the_model_is_taken_at_its_word() -> None:
    """A finding is there as often as the model says, and a prevalence cannot be stated."""
    unlabelled = tuple(replace(film, present=None) for film in LABELLED)
    drawn = list(islice(DrawnFilms(films=unlabelled, prevalence={}).draw(random.Random(1)), 20_000))
    assert fmean("nodule" in film.present for film in drawn) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(InvalidInput, match="needs labels"):
        DrawnFilms(films=unlabelled, prevalence={"mass": 0.1})


@pytest.mark.parametrize("prevalence", [{"hernia": 0.1}, {"mass": 0.7, "nodule": 0.7}])
def test_a_prevalence_that_no_choice_of_films_has_is_refused(prevalence: dict[str, float]) -> None:
    """Of a finding that no film has, and of two that exclude each other and are stated for more than all films."""
    with pytest.raises(InvalidInput, match="films"):
        next(iter(DrawnFilms(films=LABELLED, prevalence=prevalence).draw(random.Random(1))))


@pytest.mark.parametrize("variation", [0.0, 0.5, 1.0, 2.0])
def test_reading_times_have_their_mean_and_spread(variation: float) -> None:
    """Sick and other films have their own mean, and the standard deviation is so many times it."""
    times, rng = ReadingTimes(mean_min=2, sick_min=6, variation=variation), random.Random(3)
    drawn = [times.draw_s(rng, is_sick=True) / 60 for _ in range(40_000)]
    assert fmean(drawn) == pytest.approx(6, rel=0.04)
    assert fmean((each - 6) ** 2 for each in drawn) ** 0.5 == pytest.approx(6 * variation, rel=0.06)
    assert times.draw_s(rng, is_sick=False) >= 0


def test_staffing_around_the_clock_never_changes() -> None:
    """One change says all."""
    assert list(Staffing.always(2).changes()) == [(0.0, 2)]
    changes = list(islice(read_staffing("mon 08-09 1").changes(), 7))
    assert all(before < after for (before, _), (after, _) in pairwise(changes))
