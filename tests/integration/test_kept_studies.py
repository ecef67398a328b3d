"""What is kept of Orthanc's descriptions of studies, of a real one: never older than the question, and bounded."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from typing import Final

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from gateway.intake.orthanc import OrthancClient
from gateway.search.kept import KeptStudies, Texts
from gateway.search.pacs import PacsStudies
from gateway.search.studies import StudySearch
from tests.bad_films import chest
from tests.searched_films import FILMS, LISTED, fill
from tests.servers import OrthancServer
from worklist.errors import Conflict, PacsUnavailable
from worklist.reading import Actor, ActorSource
from worklist.records import Database, ReadingRecords, StudySearches
from worklist.site import SiteRules

_SECOND: Final = 1.0  # for which it may be kept that something is there


@pytest.fixture
def client(orthanc: OrthancServer) -> Iterator[OrthancClient]:
    """A connection."""
    with closing(OrthancClient(orthanc.url, auth=None)) as opened:
        yield opened


@pytest.fixture
def asked(client: OrthancClient) -> list[str]:
    """What that connection asks Orthanc for, as it goes on."""
    paths: list[str] = []

    def note(request: httpx.Request) -> None:
        paths.append(request.url.path)

    client.rest.event_hooks = {"request": [note], "response": []}
    return paths


@dataclass
class Standing:
    """A clock that a test moves, however slow the machine is."""

    now_s: float = 0.0

    def monotonic(self) -> float:
        """Seconds, as time.monotonic has them."""
        return self.now_s


@pytest.fixture
def standing(monkeypatch: pytest.MonkeyPatch) -> Standing:
    """The clock by which what is kept goes."""
    clock = Standing()
    monkeypatch.setattr("gateway.search.kept.time", clock)
    return clock


def further(film: Dataset, *, is_of_new_series: bool = False) -> Dataset:
    """Another instance of a film's study."""
    other = chest()
    other.PatientID, other.StudyInstanceUID = film.PatientID, film.StudyInstanceUID
    other.SeriesInstanceUID = generate_uid() if is_of_new_series else film.SeriesInstanceUID
    return other


def now(orthanc: OrthancServer, studies: Sequence[str]) -> dict[str, Texts]:
    """What somebody is told who has kept nothing."""
    with closing(OrthancClient(orthanc.url, auth=None)) as fresh:
        return PacsStudies(fresh).told(studies)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_told_is_what_orthanc_has_at_the_question(
    orthanc: OrthancServer, client: OrthancClient, standing: Standing, seed: int
) -> None:
    """Whatever is stored between two questions, two gateways that have asked before are told as a third that has not.

    What is deleted is told for a second at most.
    """
    chance = random.Random(seed)  # noqa: S311 - no secret
    films = [chest(1 + number) for number in range(4)]
    studies = [orthanc.study(film.StudyInstanceUID) for film in films if orthanc.post(film)]
    gone: set[str] = set()
    with closing(OrthancClient(orthanc.url, auth=None)) as another:
        gateways = [PacsStudies(client), PacsStudies(another)]
        for _ in range(25):
            standing.now_s += chance.choice([0.0, 0.0, 0.4])
            film = chance.choice(films)
            match chance.randrange(8):
                case 0:
                    films.append(chest(1))
                    orthanc.post(films[-1])
                    studies.append(orthanc.study(films[-1].StudyInstanceUID))
                case 1 if len(films) > 2:
                    films.remove(film)
                    study = orthanc.study(film.StudyInstanceUID)
                    orthanc.delete(f"/studies/{study}")
                    gone.add(study)
                case 2 | 3:
                    orthanc.post(further(film, is_of_new_series=chance.random() < 0.5))
                case _:  # nothing happens, as mostly
                    pass
            some = chance.sample(studies, chance.randint(1, len(studies)))
            for gateway in chance.sample(gateways, chance.randint(1, 2)):
                told = gateway.told(some)
                assert {one: texts for one, texts in told.items() if one not in gone} == now(orthanc, some)
        standing.now_s += _SECOND
        assert [gateway.told(studies) for gateway in gateways] == [now(orthanc, studies)] * 2


@pytest.mark.parametrize("seed", range(2))
def test_two_gateways_show_each_change_at_once(orthanc: OrthancServer, database: Database, seed: int) -> None:
    """Whatever is read, claimed, put back or stored, both find the list as one does that has never been asked."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    fill(orthanc, database)
    readings = ReadingRecords(database=database, rules=SiteRules(prior_after=None))
    reader = Actor(name="A reader", source=ActorSource.TYPED)
    with ExitStack() as stack:
        gateways = [a_search(orthanc, database, stack) for _ in range(2)]
        for _ in range(20):
            uid = chance.choice([FILMS[number].StudyInstanceUID for number in LISTED])
            with suppress(Conflict):  # what cannot be done changes nothing
                match chance.randrange(5):
                    case 0:
                        readings.claim(reader, uid)
                    case 1:
                        readings.complete(reader, uid)
                    case 2 | 3:
                        readings.put_back(reader, uid)
                    case _:
                        orthanc.post(further(next(film for film in FILMS.values() if film.StudyInstanceUID == uid)))
            offset, limit = chance.randrange(3), chance.randint(1, 7)
            with ExitStack() as once:
                expected = a_search(orthanc, database, once).page([], offset=offset, limit=limit)
            assert [one.page([], offset=offset, limit=limit) for one in gateways] == [expected] * 2


def a_search(orthanc: OrthancServer, database: Database, stack: ExitStack) -> StudySearch:
    """What a gateway has that has just started."""
    opened = stack.enter_context(closing(OrthancClient(orthanc.url, auth=None)))
    return StudySearch(StudySearches(database), PacsStudies(opened))


@pytest.mark.usefixtures("standing")
def test_nothing_is_described_twice_while_nothing_changes(
    orthanc: OrthancServer, client: OrthancClient, asked: list[str]
) -> None:
    """The second question is one look at the change log; one instance more, and its study alone is described anew."""
    films = [chest(1 + number) for number in range(3)]
    studies = [orthanc.study(film.StudyInstanceUID) for film in films if orthanc.post(film)]
    pacs = PacsStudies(client)
    first = pacs.told(studies)
    asked.clear()
    assert pacs.told(studies[::-1]) == first
    seen = list(asked)
    orthanc.post(further(films[1]))
    asked.clear()
    later = pacs.told(studies)
    assert seen == ["/changes"]
    assert asked == ["/changes", *["/tools/bulk-content"] * 3]  # whose instance it is; the study; its series
    assert later[studies[1]]["NumberOfStudyRelatedInstances"] == "2"
    assert {**later, studies[1]: first[studies[1]]} == first


def test_a_description_that_a_change_overtook_is_not_kept(orthanc: OrthancServer, client: OrthancClient) -> None:
    """Whoever asked before an instance came may be told without it; nobody who asks after is."""
    film = chest()
    orthanc.post(film)
    study = orthanc.study(film.StudyInstanceUID)
    delays: list[bool] = [True]
    between: list[dict[str, Texts]] = []

    def describe(studies: Sequence[str]) -> dict[str, Texts]:
        described = now(orthanc, studies)
        if delays.pop():  # what follows happens while the answer is on its way
            orthanc.post(further(film))
            delays.append(False)
            between.append(kept.told([study]))
            delays.append(False)
        return described

    kept = KeptStudies(client, describe, lambda _: [study])
    before, after = kept.told([study]), kept.told([study])
    counts = [told[study]["NumberOfStudyRelatedInstances"] for told in (before, *between, after)]
    assert counts == ["1", "2", "2"]


@pytest.mark.usefixtures("standing")
def test_a_burst_of_changes_has_everything_described_anew(orthanc: OrthancServer, client: OrthancClient) -> None:
    """More changes than are read one by one lose nothing."""
    film = chest()
    orthanc.post(film)
    study = orthanc.study(film.StudyInstanceUID)
    others = [further(film), *(chest() for _ in range(25))]  # each is an instance, a series, a study, a patient
    for number, other in enumerate(others[1:]):
        other.PatientID = f"BURST-{number}"
    kept = KeptStudies(client, lambda studies: now(orthanc, studies), lambda _: [])  # that finds no study of theirs
    sequence = client.last_sequence()
    assert kept.told([study])[study]["NumberOfStudyRelatedInstances"] == "1"
    for other in others:
        orthanc.post(other)
    assert client.last_sequence() >= sequence + 100
    told = kept.told([study])
    assert told[study]["NumberOfStudyRelatedInstances"] == "2"


@pytest.mark.usefixtures("standing")
def test_no_more_is_kept_than_has_room(client: OrthancClient) -> None:
    """Whoever asks for everything that a PACS has leaves no more than 2000 studies behind."""
    described: list[int] = []

    def describe(studies: Sequence[str]) -> dict[str, Texts]:
        described.append(len(studies))
        return {one: {"PatientID": one} for one in studies}

    kept = KeptStudies(client, describe, lambda _: [])
    whole = [str(number) for number in range(3000)]
    for start in range(0, 3000, 500):
        assert len(kept.told(whole[start : start + 500])) == 500
    assert len(kept.told(whole)) == 3000
    assert described == [500] * 6 + [1000]


def test_no_error_is_kept(orthanc: OrthancServer, client: OrthancClient) -> None:
    """While Orthanc is away nothing is told, not even what is kept; when it is back, everything."""
    film = chest()
    orthanc.post(film)
    studies = [orthanc.study(film.StudyInstanceUID)]
    pacs = PacsStudies(client)
    told = pacs.told(studies)
    orthanc.stop()
    with pytest.raises(PacsUnavailable):
        pacs.told(studies)
    orthanc.start()
    assert pacs.told(studies) == told


def test_another_orthanc_at_the_same_place_is_told_as_it_is(
    orthanc: OrthancServer, client: OrthancClient, standing: Standing
) -> None:
    """One that was replaced, and numbers its changes from 1, is followed within a second."""
    film = chest()
    for one in (film, further(film)):
        orthanc.post(one)
    study = orthanc.study(film.StudyInstanceUID)
    pacs = PacsStudies(client)
    pacs.told([study])
    orthanc.replace()
    orthanc.post(film)
    standing.now_s += _SECOND
    assert pacs.told([study]) == now(orthanc, [study])
    orthanc.post(further(film))
    assert pacs.told([study])[study]["NumberOfStudyRelatedInstances"] == "2"
