"""The intake against a real Orthanc, PostgreSQL and Redis: nothing is lost, doubled, or listed for ever."""

from __future__ import annotations

import json
import re
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import redis
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid
from sqlalchemy import text
from structlog.testing import capture_logs

from gateway.intake.feed import FEED, Intake
from gateway.intake.orthanc import OrthancClient
from tests.charsets import DECLARED, MISLABELLED, UNDECLARED, Writing
from tests.hospitals import (
    Site,
    analysis_of,
    answering,
    film,
    look_until,
    own_report,
    running_intake,
    wait_until,
)
from tests.proxies import proxied
from tests.servers import OrthancServer, RedisServer, running
from worklist.job import Queue
from worklist.order import OrderPriority
from worklist.reading import Actor, ActorSource
from worklist.records import Database, IntakeRecords, Shown, leases
from worklist.scope import ScopeRules
from worklist.study import StudyState

ANOTHER_FEED = "the change log is another one: Orthanc was emptied, replaced or restored; looking again"

ANN = Actor(name="Ann", source=ActorSource.TYPED)

pytestmark = pytest.mark.parametrize("database", ["postgresql"], indirect=True)


@pytest.fixture
def site(orthanc: OrthancServer, database: Database, redis_url: str) -> Iterator[Site]:
    """A hospital with an empty Orthanc, list and broker."""
    with ExitStack() as stack:
        yield Site(orthanc, database, redis_url, stack)


# ---- What comes in ----


def test_a_film_is_listed_and_handed_out_within_a_poll(site: Site) -> None:
    """Without any doorbell a film is on the list, and its job in the broker, shortly after it was stored."""
    with running_intake(site.intake(poll=timedelta(seconds=0.1))):
        wait_until(lambda: IntakeRecords(site.database, site.rules).cursor(FEED) is not None)
        before = datetime.now(UTC).replace(microsecond=0)  # Orthanc tells whole seconds
        (study,) = site.send(film(PatientName="Müller^Zoë", RequestedProcedurePriority="STAT"))
        wait_until(lambda: study in site.listed())
        wait_until(lambda: bool(site.messages(Queue.SCORE)))
    line = site.listed()[study]
    assert (line.patient_name, line.patient_id, line.accession_number, line.study_description, line.modality) == (
        "Müller^Zoë",
        "4711",
        "A1",
        "Chest PA",
        "DX",
    )
    assert (line.state, line.order_priority) == (StudyState.WAITING, OrderPriority.STAT)
    assert before <= line.received_at <= datetime.now(UTC)
    (message,) = site.messages(Queue.SCORE)
    job = site.jobs.claim(message[1], "w")
    assert job is not None
    assert (message[0], job.study_instance_uid) == ("firstread.score", study)


def test_the_doorbell_wakes_the_intake(site: Site) -> None:
    """Orthanc's plug-in rings, and the film is listed long before the next poll; a deletion is told as well."""
    intake = site.intake(poll=timedelta(hours=1))
    rung = []

    def hear(body: bytes) -> None:
        rung.append(json.loads(body))
        intake.ring(rung[-1]["deleted_studies"])

    with answering(site.orthanc.doorbell_port, b"", hear), running_intake(intake):
        (study,) = site.send(film())
        wait_until(lambda: study in site.listed())
        orthanc_id = site.delete(study)
        wait_until(lambda: study not in site.listed())
    assert {"deleted_studies": [orthanc_id]} in rung


def test_the_doorbell_survives_a_neighbour_that_speaks_no_http(site: Site) -> None:
    """Whatever answers at the gateway's port while it restarts, the next ring is heard again."""
    with socket.create_server(("127.0.0.1", site.orthanc.doorbell_port)) as stranger:
        site.send(film())
        caller, _ = stranger.accept()
        with caller:
            caller.recv(65_536)
            caller.sendall(b"SSH-2.0-stranger\r\n")
    rung: list[bytes] = []
    with answering(site.orthanc.doorbell_port, b"", rung.append):
        site.send(film())
        wait_until(lambda: bool(rung))


def test_nothing_is_lost_while_the_gateway_is_away(site: Site) -> None:
    """Films that came meanwhile are listed by the next process."""
    site.intake().look()
    site.gateways.close()
    studies = site.send(*[film() for _ in range(3)])
    site.intake().look()
    assert set(site.listed()) == set(studies)
    assert len(site.jobs_due(Queue.SCORE)) == 3


def test_a_burst_longer_than_a_stretch_is_read_in_one_round(site: Site) -> None:
    """A change log that grew by several stretches is read to its end."""
    intake = site.intake()
    intake.look()
    studies = site.send(*[film() for _ in range(20)])
    assert site.changes("NewInstance") + site.changes("NewSeries") + site.changes("NewStudy") == 60
    intake.look()
    assert set(site.listed()) == set(studies)
    assert len(site.jobs_due(Queue.SCORE)) == 20


def test_the_same_film_again_changes_nothing_and_other_pixels_do(site: Site) -> None:
    """Orthanc's own digest tells a repetition from a correction under the same UID."""
    intake = site.intake()
    sent = film()
    (study,) = site.send(sent)
    intake.look()
    site.work()
    scored = site.listed()[study]
    assert scored.score == 0.9
    site.send(sent)
    intake.look()
    assert site.listed()[study] == scored
    sent.PixelData = bytes(256)
    site.send(sent)
    intake.look()
    assert (site.listed()[study].state, site.listed()[study].score) == (StudyState.WAITING, None)
    assert site.due(Queue.SCORE) == [study]


def test_our_own_objects_make_no_work(site: Site) -> None:
    """Neither a report nor a crop of ours is listed, scored, or opens a revision, alone or in a study of films."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    site.wait_until_stable(study)
    intake.look()
    site.work()
    crop = film(study, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT", Manufacturer="Firstread")
    site.send(crop, own_report(study), own_report(generate_uid()))
    intake.look()
    assert list(site.listed()) == [study]
    assert site.listed()[study].state is StudyState.REPORTED
    assert site.due(Queue.SCORE) == site.due(Queue.REPORT) == []


def test_the_first_start_looks_back_so_far(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Films older than the site wants are left out, also where Orthanc's change log was deleted."""
    site.send(film())
    old = datetime.now(UTC)
    time.sleep(3)  # Orthanc tells whole seconds
    (new,) = site.send(film())
    clock = SimpleNamespace(now=lambda _: old + timedelta(hours=1))
    monkeypatch.setattr("gateway.intake.lookback.datetime", clock)  # so that it looks back so far, however slow it is

    def start_for_the_first_time() -> list[str]:
        with site.database.write() as session:
            session.execute(text("TRUNCATE feeds, studies CASCADE"))
        site.intake(lookback=timedelta(hours=1, seconds=-1.5)).look()
        site.gateways.close()
        return list(site.listed())

    assert start_for_the_first_time() == [new]
    site.orthanc.delete("/changes")
    assert start_for_the_first_time() == [new]
    (later,) = site.send(film())
    site.intake().look()
    assert set(site.listed()) == {new, later}


def test_under_a_wider_scope_the_last_films_are_looked_at_again(site: Site) -> None:
    """A secondary capture that was passed over is scored once the site accepts them, after a restart too."""
    narrow = replace(site.rules, scope=ScopeRules(accept_secondary_capture=False))
    site.rules, wide = narrow, site.rules
    intake = site.intake()
    intake.look()
    (study,) = site.send(film(SOPClassUID=SecondaryCaptureImageStorage, Modality="OT"))
    intake.look()
    assert site.listed()[study].state is StudyState.OUT_OF_SCOPE
    assert not site.jobs_due(Queue.SCORE)
    site.gateways.close()
    site.rules = wide
    look_until(site.intake(), lambda: bool(site.jobs_due(Queue.SCORE)))
    assert site.listed()[study].state is StudyState.WAITING


def test_the_list_tells_sex_age_and_when_the_film_was_taken(site: Site) -> None:
    """What a reader needs of the patient and the acquisition comes with the film."""
    taken = {"AcquisitionDateTime": "20260304083015+0100", "StudyDate": "20260304"}
    site.send(film(PatientAge="071Y", RequestingService="ED", ReasonForStudy="Fall, rib fracture?", **taken))
    site.intake().look()
    (line,) = site.listed().values()
    assert (line.ward, line.question) == ("ED", "Fall, rib fracture?")
    assert (line.patient_sex, line.patient_age) == ("F", "071Y")
    assert line.acquired_at == datetime(2026, 3, 4, 7, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    "writing", [*DECLARED, *UNDECLARED, *MISLABELLED], ids=lambda writing: f"{writing.character_set}-{writing.codec}"
)
def test_names_in_any_script_are_listed(site: Site, writing: Writing) -> None:
    """Name and description are listed as the film has them, also where it names no character set, or a wrong one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pydicom, about the wrong ones, as it writes the file
        site.send(writing.on(film()))
    site.intake().look()
    (line,) = site.listed().values()
    assert (line.patient_name, line.study_description) == (writing.name, writing.description)


def test_a_name_in_three_japanese_scripts_is_listed(site: Site) -> None:
    """Half-width katakana, kanji and hiragana in one value, as PS3.5 section H.3.2 has it."""
    octets = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J"
    tag, sent = Tag("PatientName"), film(SpecificCharacterSet=["ISO 2022 IR 13", "ISO 2022 IR 87"])
    sent[tag] = RawDataElement(tag, "PN", len(octets), octets, 0, False, True)  # noqa: FBT003 - pydicom's own
    site.send(sent)
    site.intake().look()
    (line,) = site.listed().values()
    assert line.patient_name == "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"


def test_a_film_of_long_ago_is_taken_for_a_prior(site: Site) -> None:
    """A study date beyond the site's limit puts a study among the priors, and none where the site takes none."""
    site.rules = replace(site.rules, prior_after=timedelta(days=30))
    long_ago = f"{datetime.now(UTC) - timedelta(days=40):%Y%m%d}"
    old, new, undated = site.send(film(StudyDate=long_ago), film(StudyDate=f"{datetime.now(UTC):%Y%m%d}"), film())
    site.intake().look()
    assert set(site.listed()) == {new, undated}
    assert list(site.listed(Shown.PRIOR)) == [old]


def take_next(site: Site, intake: Intake) -> str:
    """The study that a worker scores next, by the messages in the broker; the intake ticks between them."""
    for _ in range(100):
        intake.tick()
        waiting = site.messages(Queue.SCORE)
        with redis.Redis.from_url(site.redis_url) as client:
            client.rpop(Queue.SCORE.task)
        job = site.jobs.claim(waiting[-1][1], "w") if waiting else None
        if job:  # else it is a message that was sent twice
            assert site.jobs.complete_score(job.job_id, "w", analysis_of(job))
            return job.study_instance_uid
    raise AssertionError("nothing is handed out")


def received(site: Site) -> dict[str, datetime]:
    """When each study on the list came, by Study Instance UID."""
    with site.database.read() as session:
        rows = session.execute(text("SELECT study_instance_uid, received_at FROM studies"))
        return {str(row[0]): row[1] for row in rows}


def test_the_past_is_scored_behind_what_arrives(site: Site) -> None:
    """Of 200 films that lay in the PACS the newest comes first, and what arrives meanwhile comes before them."""
    old = site.send(*[film() for _ in range(100)])
    time.sleep(1)  # Orthanc tells whole seconds
    old = [*old, *site.send(*[film() for _ in range(100)])]
    intake = site.intake()
    for _ in range(len(old)):  # each round takes some in, however slow the machine is
        intake.look()
        if len(came := received(site)) == len(old):
            break
    assert set(came) == set(old)
    look_until(intake, lambda: bool(site.messages(Queue.SCORE)))
    taken = [take_next(site, intake) for _ in range(20)]
    new = set(site.send(film(), film(RequestedProcedurePriority="STAT")))
    look_until(intake, lambda: new <= set(received(site)))
    in_broker = len(site.messages(Queue.SCORE))
    assert in_broker <= 16
    taken += [take_next(site, intake) for _ in range(len(old) + len(new) - 20)]
    assert set(taken) == {*old, *new}
    assert new <= set(taken[20 : 22 + in_broker])
    moments = [came[uid] for uid in taken if uid in came]
    assert moments == sorted(moments, reverse=True)
    assert moments[0] > moments[-1]


def test_few_messages_wait_so_that_the_most_urgent_is_next(site: Site) -> None:
    """One for each worker where work takes long, more only where all were taken since the last round."""
    intake = site.intake()
    intake.look()
    site.send(*[film() for _ in range(30)])
    look_until(intake, lambda: len(received(site)) == 30)
    for _ in range(3):
        intake.tick()
        assert len(site.messages(Queue.SCORE)) == 1
    (stat,) = site.send(film(RequestedProcedurePriority="STAT"))
    look_until(intake, lambda: stat in received(site))
    assert stat in [take_next(site, intake) for _ in range(2)]
    waiting = []
    for _ in range(3):
        with redis.Redis.from_url(site.redis_url) as client:
            client.delete(Queue.SCORE.task)  # workers that are fast take all of it
        intake.tick()
        waiting.append(len(site.messages(Queue.SCORE)))
    assert waiting[0] < waiting[1] < waiting[2] <= 16


# ---- What is refused ----


@pytest.mark.parametrize(("is_first", "state"), [(True, "23514"), (False, "23514"), (False, "54000")])
def test_what_the_database_refuses_blocks_nothing_else(
    site: Site,
    is_first: bool,  # noqa: FBT001 - pytest's
    state: str,
) -> None:
    """A film that cannot be written, or is too large for an index, is passed over, loudly; those around are listed."""
    intake = site.intake()
    if not is_first:
        intake.look()
    refusing = f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN
            IF NEW.patient_name = 'Poison' THEN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END IF; RETURN NEW;
        END$$;
        CREATE TRIGGER refusal BEFORE INSERT OR UPDATE ON studies FOR EACH ROW EXECUTE FUNCTION refuse()"""
    with site.database.write() as session:
        session.execute(text(refusing))
    try:
        studies = site.send(film(), film(PatientName="Poison"), film())
        with capture_logs() as logs:
            look_until(intake, lambda: set(site.listed()) == {studies[0], studies[2]})
        assert {log["event"] for log in logs} == {"passed over: the database refuses what this change brings"}
        assert "Poison" not in str(logs)
        (later,) = site.send(film())
        intake.look()
        assert later in site.listed()
        assert intake.is_reading
    finally:
        with site.database.write() as session:
            session.execute(text("DROP FUNCTION refuse CASCADE"))


@pytest.mark.parametrize("damage", ["truncated", "absent"])
def test_a_file_that_orthanc_cannot_read_blocks_nothing_else(site: Site, damage: str) -> None:
    """It is listed by what Orthanc's index holds, and its job made, so that its failure shows; others go on."""
    intake = site.intake()
    intake.look()
    (broken,) = site.send(film())
    site.orthanc.spoil(broken, is_absent=damage == "absent")
    with capture_logs() as logs:
        (later,) = site.send(film())
        intake.look()
    assert logs == []
    assert set(site.listed()) == {broken, later}
    line = site.listed()[broken]
    assert (line.patient_name, line.modality, line.state) == ("Doe^Jane", "DX", StudyState.WAITING)
    assert set(site.due(Queue.SCORE)) == {broken, later}


def test_a_database_without_its_tables_loses_nothing(site: Site) -> None:
    """A fault of the database itself is no refusal: the feed waits until it is mended."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    with site.database.write() as session:
        session.execute(text("ALTER TABLE instances RENAME TO mislaid"))
    try:
        intake.look()
        assert not intake.is_reading
    finally:
        with site.database.write() as session:
            session.execute(text("ALTER TABLE mislaid RENAME TO instances"))
    intake.look()
    assert intake.is_reading
    assert list(site.listed()) == [study]


# ---- What goes away ----


def test_an_emptied_orthanc_is_noticed(site: Site) -> None:
    """What was deleted leaves the list, and what came afterwards is on it."""
    intake = site.intake()
    site.send(film(), film())
    intake.look()
    site.orthanc.delete_everything()
    (new,) = site.send(film())
    with capture_logs() as logs:
        intake.look()
    assert ANOTHER_FEED in [log["event"] for log in logs]
    assert list(site.listed()) == [new]
    with capture_logs() as logs:
        intake.look()
    assert logs == []


@pytest.mark.parametrize("is_overtaken", [False, True])
def test_a_replaced_orthanc_is_noticed(site: Site, is_overtaken: bool) -> None:  # noqa: FBT001
    """Changes that are numbered from 1 again are read from the first, also when they have overtaken the cursor."""
    intake = site.intake()
    kept = film()
    studies = site.send(kept, film())
    intake.look()
    site.work()
    cursor = IntakeRecords(site.database, site.rules).cursor(FEED)
    assert cursor is not None

    site.orthanc.replace()
    new = site.send(kept)
    while is_overtaken and site.orthanc.get("/changes?last")["Last"] <= cursor.sequence:
        new += site.send(film())
    assert (site.orthanc.get("/changes?last")["Last"] > cursor.sequence) is is_overtaken
    intake.look()
    assert set(site.listed()) == set(new)
    assert studies[1] not in site.listed()
    new += site.send(film())
    intake.look()
    assert set(site.listed()) == set(new)


def test_films_that_arrive_during_the_first_look_are_listed(site: Site) -> None:
    """Whatever Orthanc has just answered, a film that comes before the answer arrives is on the list soon after."""
    early = site.send(film(), film())
    late: list[str] = []
    seen: set[str] = set()

    def send_another(request: str, answer: httpx.Response) -> httpx.Response:
        kind = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{8}){4}|\d+", "*", request)
        if kind not in seen:
            seen.add(kind)
            late.extend(site.send(film()))
        return answer

    with proxied(site.orthanc.url, send_another) as url:
        intake = site.intake(orthanc_url=url)
        look_until(intake, lambda: len(late) >= 5 and set(site.listed()) == {*early, *late})


def test_a_large_past_is_taken_in_step_by_step(site: Site) -> None:
    """The newest study comes first, and another process goes on where the first one stopped."""
    studies = site.send(*[film() for _ in range(24)])
    asked = 0

    def fail_later(request: str, answer: httpx.Response) -> httpx.Response:
        nonlocal asked
        asked += "/modify" in request
        return httpx.Response(500) if asked > 18 else answer  # after the first sixteen, which are taken in together

    with proxied(site.orthanc.url, fail_later) as url, capture_logs():
        look_until(site.intake(orthanc_url=url), lambda: bool(site.listed()))
    first = set(site.listed())
    assert first < set(studies)
    assert first == set(studies[-len(first) :])
    site.gateways.close()
    (new,) = site.send(film())
    look_until(site.intake(), lambda: set(site.listed()) == {*studies, new})


def test_studies_of_which_the_log_tells_nothing_are_listed(site: Site) -> None:
    """Where somebody deleted the change log, all that Orthanc holds is listed nevertheless."""
    studies = site.send(film(), film())
    site.orthanc.delete("/changes")
    look_until(site.intake(), lambda: set(site.listed()) == set(studies))


@pytest.mark.parametrize("later", [1, 12])
def test_a_restored_orthanc_is_noticed(site: Site, later: int) -> None:
    """A copy of an earlier day is read to its end, also when its log has outgrown the cursor; lost films leave."""
    intake = site.intake()
    kept = site.send(film())
    intake.look()
    backup = site.orthanc.back_up()
    lost = site.send(*[film() for _ in range(3)])
    intake.look()
    assert set(site.listed()) == {*kept, *lost}
    site.orthanc.restore(backup)
    new = site.send(*[film() for _ in range(later)])
    with capture_logs() as logs:
        look_until(intake, lambda: set(site.listed()) == {*kept, *new})
    assert ANOTHER_FEED in [log["event"] for log in logs]


def test_results_that_a_restored_orthanc_lacks_are_written_again(site: Site) -> None:
    """Its films were reported after the copy was made: the patrol finds that the reports are missing."""
    intake = site.intake()
    intake.look()
    (study,) = site.send(film())
    site.wait_until_stable(study)
    backup = site.orthanc.back_up()
    intake.look()
    site.work()
    assert site.listed()[study].state is StudyState.REPORTED
    site.send(film())
    intake.look()
    site.orthanc.restore(backup)
    look_until(intake, lambda: site.listed()[study].state is StudyState.SCORED)


def test_results_that_a_replaced_orthanc_lacks_are_written_again(site: Site) -> None:
    """A study that was restored from its modality is reported anew, and not scored anew."""
    intake = site.intake(quiet=timedelta(seconds=1))
    intake.look()
    sent = film()
    (study,) = site.send(sent)
    site.wait_until_stable(study)
    intake.look()
    site.work()
    assert site.listed()[study].state is StudyState.REPORTED
    site.orthanc.replace()
    site.send(sent)
    look_until(intake, lambda: site.listed()[study].state is StudyState.SCORED)
    assert site.listed()[study].score == 0.9
    look_until(intake, lambda: site.due(Queue.REPORT) == [study])
    assert site.due(Queue.SCORE) == []


def test_deleting_the_newest_study_is_no_other_feed(site: Site) -> None:
    """Its changes are deleted with it, however many they were, and the feed is still known by older ones."""
    intake = site.intake()
    (old,) = site.send(film())
    intake.look()
    (newest,) = site.send(film())
    for _ in range(25):
        site.send(film(newest))
        intake.look()
    orthanc_id = site.delete(newest)
    with capture_logs() as logs:
        intake.look()
        intake.ring([orthanc_id])
        (new,) = site.send(film())
        intake.look()
    assert logs == []
    assert set(site.listed()) == {old, new}


def test_a_hint_of_a_deletion_is_checked(site: Site) -> None:
    """A study that still lies in Orthanc stays on the list, whoever says that it was deleted."""
    intake = site.intake()
    gone, kept = site.send(film(), film())
    intake.look()
    hints = [site.delete(gone), site.orthanc_id(kept), "nothing that Orthanc knows"]
    intake.ring(hints)
    intake.look()
    assert list(site.listed()) == [kept]


def test_hints_without_end_delay_nothing(site: Site) -> None:
    """Of a thousand hints at studies that nobody lists none costs a request, and a film is listed in the same round."""
    requests: list[str] = []

    def note(request: str, answer: httpx.Response) -> httpx.Response:
        requests.append(request)
        return answer

    with proxied(site.orthanc.url, note) as url:
        intake = site.intake(orthanc_url=url)
        intake.look()
        for _ in range(60):
            intake.ring(generate_uid() for _ in range(1000))
        (study,) = site.send(film())
        requests.clear()
        intake.look()
        assert study in site.listed()
    assert len(requests) < 20


def test_an_image_that_leaves_a_study_takes_its_score_with_it(site: Site) -> None:
    """Deleted from Orthanc or split off, it speaks for the study no longer, and another report is due."""
    intake = site.intake()
    intake.look()
    first = film()
    study = str(first.StudyInstanceUID)
    wrong = film(study)
    site.send(first, wrong)
    site.wait_until_stable(study)
    intake.look()
    site.work()
    before = site.listed()[study].analysis
    assert before is not None
    assert len(before.images) == 2
    (found,) = [
        one["ID"]
        for one in site.orthanc.get(f"/studies/{site.orthanc_id(study)}/instances")
        if one["MainDicomTags"]["SOPInstanceUID"] == wrong.SOPInstanceUID
    ]
    site.orthanc.delete(f"/instances/{found}")
    with site.database.write() as session:
        session.execute(text("UPDATE studies SET checked_at = checked_at - interval '61 seconds'"))
    look_until(intake, lambda: site.listed()[study].state is StudyState.SCORED)
    after = site.listed()[study].analysis
    assert after is not None
    assert [image.sop_instance_uid for image in after.images] == [first.SOPInstanceUID]


def test_a_device_of_our_name_is_listed(site: Site) -> None:
    """A radiograph whose Manufacturer is Firstread is a radiograph like any other."""
    intake = site.intake()
    studies = site.send(film(Manufacturer="Firstread"), film(Manufacturer="Firstread", Modality="CR"))
    intake.look()
    assert set(site.listed()) == set(studies)


def test_a_header_that_never_comes_holds_up_nobody(site: Site) -> None:
    """Where Orthanc answers for all but one file, that one is listed by what the index knows of it."""
    (slow,) = site.send(film())
    others = site.send(film(), film())
    slow_path = f"/instances/{site.orthanc.find(slow)}/modify"

    def garble(request: str, answer: httpx.Response) -> httpx.Response:
        return httpx.Response(200, text="{" + "x" * 10) if request == f"POST {slow_path}" else answer

    with proxied(site.orthanc.url, garble) as url:
        look_until(site.intake(orthanc_url=url), lambda: set(site.listed()) == {slow, *others})


def test_a_hint_outlives_an_absent_orthanc(site: Site) -> None:
    """Where Orthanc cannot be asked, it is asked in the next round."""
    intake = site.intake()
    kept, gone = site.send(film(), film())
    intake.look()
    intake.ring([site.delete(gone)])
    site.orthanc.stop()
    intake.look()
    assert set(site.listed()) == {kept, gone}
    site.orthanc.start()
    intake.look()
    assert list(site.listed()) == [kept]


def test_patrol_finds_what_no_doorbell_told(site: Site) -> None:
    """A study that was not checked for a minute is looked up, and leaves the list where Orthanc has it no more."""
    intake = site.intake()
    gone, kept = site.send(film(), film())
    intake.look()
    site.delete(gone)
    intake.look()
    assert set(site.listed()) == {gone, kept}
    with site.database.write() as session:
        session.execute(text("UPDATE studies SET checked_at = checked_at - interval '61 seconds'"))
    look_until(intake, lambda: list(site.listed()) == [kept])


def test_a_study_deleted_and_sent_again_is_reported_again(site: Site) -> None:
    """Whether its absence was noticed or not."""
    intake = site.intake()
    intake.look()
    seen, unseen = film(), film()
    site.wait_until_stable(*site.send(film(), seen, unseen))
    intake.look()
    site.work()
    assert {study.state for study in site.listed().values()} == {StudyState.REPORTED}

    site.delete(unseen.StudyInstanceUID)
    intake.ring([site.delete(seen.StudyInstanceUID)])
    site.send(unseen)
    with capture_logs() as logs:
        intake.look()
        assert seen.StudyInstanceUID not in site.listed()
        assert site.listed()[unseen.StudyInstanceUID].state is StudyState.SCORED
        site.send(seen)
        intake.look()
    assert logs == []
    assert site.listed()[seen.StudyInstanceUID].state is StudyState.WAITING
    site.work(Queue.SCORE)
    look_until(intake, lambda: len(site.due(Queue.REPORT)) == 2)
    site.work()
    assert {study.state for study in site.listed().values()} == {StudyState.REPORTED}


# ---- Neighbours that fail ----


def test_an_absent_orthanc_is_waited_for(site: Site) -> None:
    """It is logged once, told by is_reading, and over when Orthanc is back."""
    intake = site.intake()
    intake.look()
    site.orthanc.stop()
    with capture_logs() as logs:
        for _ in range(3):
            intake.look()
        assert not intake.is_reading
        site.orthanc.start()
        (study,) = site.send(film())
        intake.look()
    assert [(log["event"], log["step"]) for log in logs] == [
        ("will be tried again", "read_feed"),
        ("works again", "read_feed"),
    ]
    assert intake.is_reading
    assert list(site.listed()) == [study]


@pytest.mark.parametrize("answer", [b"<h1>Maintenance</h1>", b"{}"])
def test_something_that_is_not_orthanc_does_not_end_the_intake(site: Site, answer: bytes) -> None:
    """A proxy's friendly page instead of Orthanc's answers is a trouble like any other, and logged once."""
    with answering(0, answer, lambda _: None) as port, capture_logs() as logs:
        intake = site.intake(orthanc_url=f"http://127.0.0.1:{port}")
        intake.look()
        intake.look()
    assert not intake.is_reading
    assert [(log["event"], log["step"]) for log in logs] == [("will be tried again", "read_feed")]


def test_an_absent_broker_keeps_no_film_off_the_list(site: Site, redis_server: RedisServer) -> None:
    """All films are listed at once, and their jobs are handed out when the broker is back, though it forgot all."""
    intake = site.intake()
    intake.look()
    (first,) = site.send(film())
    intake.look()
    redis_server.stop()
    try:
        studies = site.send(*[film() for _ in range(20)])
        intake.look()
        assert set(site.listed()) == {first, *studies}
        assert intake.is_reading
    finally:
        redis_server.start()
    handed_out: set[str] = set()

    def are_handed_out() -> bool:
        handed_out.update(site.take(Queue.SCORE))
        return len(handed_out) == 21

    look_until(intake, are_handed_out)
    assert intake.is_reading


def test_a_broker_that_takes_no_write_is_told_in_a_line(site: Site, redis_server: RedisServer) -> None:
    """A read-only replica is no broker; the films are listed, and handed out once it takes them."""
    intake = site.intake()
    intake.look()
    with redis.Redis.from_url(redis_server.url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            (study,) = site.send(film())
            with capture_logs() as logs:
                intake.look()
        finally:
            client.replicaof("NO", "ONE")
    assert study in site.listed()
    (log,) = logs
    assert (log["step"], log["exc_info"]) == ("dispatch", None)
    assert "is a read-only replica: promote it" in log["error"]
    intake.look()
    assert len(site.messages(Queue.SCORE)) == 1


def test_a_message_that_was_lost_is_sent_again(site: Site) -> None:
    """Who took it died before it claimed the job: where none waits any more, another one is sent soon."""
    intake = site.intake()
    intake.look()
    site.send(film())
    look_until(intake, lambda: bool(site.messages(Queue.SCORE)))
    site.ahead = timedelta(seconds=3)
    intake.tick()
    assert len(site.messages(Queue.SCORE)) == 1
    with redis.Redis.from_url(site.redis_url) as client:
        client.delete(Queue.SCORE.task)
    intake.tick()
    assert len(site.messages(Queue.SCORE)) == 1


def test_an_intake_that_is_stuck_does_not_count_as_reading(site: Site) -> None:
    """A round that never ends, say behind another session's lock, raises no error: its silence tells."""
    intake = site.intake()
    intake.look()
    assert intake.is_reading
    assert intake.last_read_at is not None
    intake.last_read_at -= timedelta(minutes=2)
    assert not intake.is_reading
    intake.look()
    assert intake.is_reading


@pytest.mark.usefixtures("long_leases")
def test_one_intake_reads_at_a_time(site: Site) -> None:
    """The second of two gateways waits until the first one has not been heard of for long enough."""
    first, second = site.intake(), site.intake()
    first.look()
    second.look()
    assert (first.is_reading, second.is_reading, second.last_read_at) == (True, False, None)
    assert (first.is_standing_by, second.is_standing_by) == (False, True)
    (study,) = site.send(film())
    second.look()
    assert site.listed() == {}
    first.look()
    assert list(site.listed()) == [study]

    site.ahead = leases.LENGTH
    second.look()
    first.look()
    assert (first.is_reading, second.is_reading) == (False, True)
    (later,) = site.send(film())
    second.look()
    assert later in site.listed()


def test_an_orthanc_without_digests_is_read(site: Site, tmp_path: Path) -> None:
    """Where a hospital has turned Orthanc's digests off, films are listed all the same."""
    with running(OrthancServer(tmp_path, configuration={"StoreMD5ForAttachments": False})) as orthanc:
        sent = film()
        orthanc.post(sent)
        site.intake(orthanc_url=orthanc.url).look()
    assert list(site.listed()) == [sent.StudyInstanceUID]
    assert site.due(Queue.SCORE) == [sent.StudyInstanceUID]


def test_orthanc_counts_in_utc(site: Site, tmp_path: Path) -> None:
    """Where Orthanc's machine is in Tokyo, films are still received now, and not nine hours from now."""
    with running(OrthancServer(tmp_path, environment={"TZ": "Asia/Tokyo"})) as orthanc:
        before = datetime.now(UTC).replace(microsecond=0)
        instance = orthanc.post(film())
        site.intake(orthanc_url=orthanc.url).look()
        with closing(OrthancClient(orthanc.url, auth=None)) as client:
            moments: list[Any] = [client.reception_date(instance), *(change.date for change in client.changes(0))]
    moments += [study.received_at for study in site.listed().values()]
    assert len(moments) > 3
    assert all(before <= moment <= datetime.now(UTC) for moment in moments)


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_hostile_uid_is_a_study_like_any_other(site: Site) -> None:
    """Paths, markup and questions in a Study Instance UID are listed as they stand, and lead nowhere else."""
    uids = ["../../system", "1.2<script>", "1.2?a=b&c", "1.2';DROPTABLEstudies;--", "9" * 64]
    site.send(*[film(uid) for uid in uids], film("1.2.3"))
    intake = site.intake()
    look_until(intake, lambda: len(site.listed()) == len(uids) + 1)
    assert site.listed().keys() == {*uids, "1.2.3"}


def test_what_retention_removed_stays_in_the_pacs_and_does_not_come_back(site: Site) -> None:
    """Not by the patrol, and not by a look back at a PACS whose change log is another one; what is unread stays."""
    site.rules = replace(site.rules, keep_for=timedelta(days=30))
    read, unread = site.send(film(), film())
    intake = site.intake()
    intake.look()
    assert site.listed().keys() == {read, unread}
    site.jobs.forget_enqueued()
    for job_id, _ in site.jobs.due(10):
        job = site.jobs.claim(job_id, "w")
        assert job
        assert site.jobs.complete_score(job_id, "w", analysis_of(job))
    site.readings.complete(ANN, read)
    with site.database.write() as session:
        session.execute(text("UPDATE studies SET incomplete_since = NULL"))
    site.ahead = timedelta(days=31)
    intake.stop()
    site.gateways.close()
    later = site.intake()
    later.look()
    assert site.listed(Shown.ALL).keys() == {unread}
    assert len(site.orthanc.get("/studies")) == 2
    with site.database.write() as session:
        session.execute(text("DELETE FROM feeds"))
    site.gateways.close()
    again = site.intake()
    for _ in range(3):
        again.look()
    assert again.is_reading
    assert site.listed(Shown.ALL).keys() == {unread}
