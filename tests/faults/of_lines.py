"""Lines between the programs that are slow, cut, or silent."""

from __future__ import annotations

from tests.faults.fault import BOTH, Moment, fault
from tests.faults.films import is_scored, second_film
from tests.faults.hospital import Plan
from tests.relays import Manner

_STORE = b"POST /dicom-web/studies"


@fault(
    "every open connection to Redis goes silent; new ones work",
    tells=("work",),
    tells_within_s=90,
)
def redis_half_open(moment: Moment) -> None:
    """Nothing ends this fault but a program that notices it."""
    moment.hospital.to_redis.go_silent()
    moment.last(15)


@fault("no byte passes between any two programs for 30 s", databases=BOTH, tells=("orthanc", "broker", "answer"))
def network_hangs(moment: Moment) -> None:
    """As where a switch starts anew; no connection ends by it."""
    hospital = moment.hospital
    lines = [hospital.to_redis, hospital.to_orthanc, *hospital.to_postgres]
    for line in lines:
        line.freeze()
    moment.last(30)
    for line in lines:
        line.thaw()


@fault("a link of 200 ms and 300 kB/s to Orthanc for a minute")
def slow_link(moment: Moment) -> None:
    """A film takes seconds."""
    line = moment.hospital.to_orthanc
    line.manner = Manner(delay_s=0.2, bytes_per_s=300_000)
    moment.last(60)
    line.manner = Manner()


@fault("each store of a report is cut after 30 kB, for 20 s")
def store_cut(moment: Moment) -> None:
    """The PACS takes nothing of it."""
    line = moment.hospital.to_orthanc
    line.manner = Manner(to=_STORE, cuts_after=30_000)
    moment.last(20)
    line.manner = Manner()


@fault(
    "the answer to each store of a report is lost, and a second film arrives",
    databases=BOTH,
    is_quick=True,
)
def store_answer_lost(moment: Moment) -> None:
    """The PACS holds the report, and nobody knows; the study's next revision is of two films."""
    hospital = moment.hospital
    hospital.to_orthanc.manner = Manner(to=_STORE, loses_answer=True)
    firsts = list(hospital.stream.studies.values())
    hospital.stream.send(moment.count(6))
    moment.last(4)
    new = [films[0] for films in hospital.stream.studies.values() if films not in firsts and len(films) == 1]
    hospital.stream.send_these([second_film(first) for first in new if is_scored(first)])
    moment.last(4)
    hospital.to_orthanc.manner = Manner()


@fault(
    "films arrive while the first look at Orthanc takes its time",
    plan=Plan(starts_gateways=False, starts_workers=False),
    is_quick=True,
)
def first_look_is_slow(moment: Moment) -> None:
    """Each answer of Orthanc is held for a second while the gateway starts on a new database."""
    hospital = moment.hospital
    hospital.to_orthanc.manner = Manner(delay_s=0.5)
    hospital.start_gateways()
    hospital.start_workers()
    moment.last(10)
    hospital.to_orthanc.manner = Manner()


@fault("Orthanc never answers what is asked of one film, for 40 s")
def one_header_never_comes(moment: Moment) -> None:
    """The films behind it are listed all the same."""
    hospital = moment.hospital
    hospital.freeze("gateway-0")
    hospital.stream.send(1)
    (newest,) = list(hospital.stream.studies.values())[-1][-1:]
    (orthanc_id,) = hospital.orthanc.lookup(str(newest.SOPInstanceUID), "Instance")
    hospital.to_orthanc.manner = Manner(to=orthanc_id.encode(), swallows=True)
    hospital.resume("gateway-0")
    moment.last(40)
    hospital.to_orthanc.manner = Manner()
