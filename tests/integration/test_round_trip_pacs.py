"""Films and AI results by C-MOVE from one PACS to another and back: nothing is lost on the way, twice over.

The second PACS is another Orthanc, or DCMTK's dcmqrscp, which shares no code with it.
"""

from __future__ import annotations

import io
import shutil
import socket
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID
from pynetdicom import AE

from dicom_sr.build import Results, Revision, build_results
from dicom_sr.parse import parse
from gateway.dimse.associate import associate
from tests.bad_films import chest
from tests.servers import OrthancServer, Server, find_program, free_ports, running
from tests.sr_films import POLICY, SCORER
from tests.validators import check_definition, check_encoding, saved
from worker.encoding import encode
from worker.pacs import Pacs
from worklist.finding import Analysis, Finding, FindingType, ImageReference, Region, Side
from worklist.triage import assess

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
THIRD = 1 / 3  # no finite decimal: it survives only in Floating Point Value
_LOOPBACK, _OWN_AET = "127.0.0.1", "FIRSTREAD"


class QueryRetrieveServer(Server):
    """DCMTK's image archive, which sends to one other PACS."""

    def __init__(self, folder: Path, other: OrthancServer) -> None:
        self.dicom_port, self.aet = free_ports(1)[0], "DCMQRSCP"
        self.storage = folder / "storage"
        self.storage.mkdir(parents=True)
        configuration = folder / "dcmqrscp.cfg"
        configuration.write_text(
            f"NetworkTCPPort = {self.dicom_port}\nMaxPDUSize = 16384\nMaxAssociations = 8\n"
            f"HostTable BEGIN\nother = ({other.aet}, {_LOOPBACK}, {other.dicom_port})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{self.aet} {self.storage} RW (200, 1024mb) ANY\nAETable END\n",
            encoding="ascii",
        )
        super().__init__(
            "dcmqrscp",
            [find_program("dcmqrscp"), "-c", str(configuration)],
            self._answers,
            log=folder / "dcmqrscp.log",
        )

    def _answers(self) -> bool:
        try:
            socket.create_connection((_LOOPBACK, self.dicom_port), timeout=60).close()
        except OSError:
            return False
        return True


@pytest.fixture(scope="module")
def second(server_folder: Path) -> Iterator[OrthancServer]:
    """Another Orthanc."""
    folder = server_folder / "second"
    folder.mkdir()
    with running(OrthancServer(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def film() -> Dataset:
    """A chest film."""
    return chest(21)


@pytest.fixture(scope="module")
def results(film: Dataset) -> Results:
    """Its AI results, with two boxes and numbers that no decimal holds."""
    findings = (
        Finding(
            type=FindingType.PNEUMOTHORAX,
            probability=1 - THIRD / 7,
            threshold=THIRD,
            side=Side.RIGHT,
            region=Region(x=31, y=40, width=150, height=201),
        ),
        Finding(
            type=FindingType.CARDIOMEGALY,
            probability=2 * THIRD,
            threshold=0.5,
            region=Region(x=200, y=260, width=170, height=120),
        ),
        Finding(type=FindingType.PNEUMONIA, probability=THIRD / 100, threshold=0.4),
    )
    analysis = Analysis(
        images=(
            ImageReference(
                study_instance_uid=film.StudyInstanceUID,
                series_instance_uid=film.SeriesInstanceUID,
                sop_class_uid=film.SOPClassUID,
                sop_instance_uid=film.SOPInstanceUID,
                rows=film.Rows,
                columns=film.Columns,
            ),
        ),
        scorer=SCORER,
        findings=findings,
        score=1 - THIRD / 9,
        threshold=THIRD,
        completed_at=NOON,
        elapsed_ms=100 * THIRD,
    )
    revision = Revision(number=1, fetched_at=NOON, scored_at=NOON, reported_at=NOON + timedelta(seconds=2))
    pixels = (np.frombuffer(film.PixelData, np.uint16).reshape(film.Rows, film.Columns) >> 4).astype(np.uint8)
    return build_results(
        analysis,
        triage=assess(analysis, POLICY),
        policy=POLICY,
        sources={film.SOPInstanceUID: film},
        pixels=lambda _: pixels,
        revision=revision,
    )


@pytest.fixture
def sent(orthanc: OrthancServer, film: Dataset, results: Results) -> list[Dataset]:
    """The film and its results, as the first Orthanc took them by C-STORE's equal and by STOW-RS."""
    orthanc.post(film)
    Pacs(orthanc.url, auth=None).store(results.objects)
    return [film, *results.objects]


def test_the_pacs_holds_what_was_built_to_the_byte(
    orthanc: OrthancServer, film: Dataset, sent: Sequence[Dataset], results: Results, tmp_path: Path
) -> None:
    """Each object comes back from Orthanc as the file that was encoded; validators find nothing new in that file."""
    inherited = check_definition(saved(film, tmp_path))
    held = {one["MainDicomTags"]["SOPInstanceUID"]: one["ID"] for one in orthanc.get("/instances?expand")}
    assert held.keys() == {one.SOPInstanceUID for one in sent}
    for item in results.objects:
        file = tmp_path / f"{item.SOPInstanceUID}.dcm"
        taken = httpx.get(f"{orthanc.url}/instances/{held[item.SOPInstanceUID]}/file", trust_env=False, timeout=60)
        file.write_bytes(taken.raise_for_status().content)
        assert file.read_bytes() == encode(item)
        assert not set(check_definition(file)) - set(inherited)
        assert not check_encoding(file)


def test_results_survive_another_orthanc(
    orthanc: OrthancServer, second: OrthancServer, sent: Sequence[Dataset], results: Results
) -> None:
    """C-MOVE to a second Orthanc and back leaves every element of film, reports and crops as it was."""
    know(orthanc, second)
    know(second, orthanc)
    move(orthanc, second.aet, sent[0], count=len(sent))
    require_same(held_by(second), sent)
    orthanc.delete_everything()
    move(second, orthanc.aet, sent[0], count=len(sent))
    require_same(held_by(orthanc), sent)
    require_same_numbers(held_by(orthanc), results)


def test_results_survive_another_makers_archive(
    orthanc: OrthancServer, server_folder: Path, sent: Sequence[Dataset], results: Results
) -> None:
    """C-MOVE to DCMTK's archive and back leaves every element of film, reports and crops as it was."""
    folder = server_folder / "dcmqrscp"
    archive = QueryRetrieveServer(folder, orthanc)
    try:
        with running(archive):
            know(orthanc, archive)
            move(orthanc, archive.aet, sent[0], count=len(sent))
            orthanc.delete_everything()
            require_same([dcmread(path) for path in archive.storage.glob("*.dcm")], sent)
            move(archive, orthanc.aet, sent[0], count=len(sent))
        require_same(held_by(orthanc), sent)
        require_same_numbers(held_by(orthanc), results)
    finally:
        shutil.rmtree(folder)


def know(orthanc: OrthancServer, other: OrthancServer | QueryRetrieveServer) -> None:
    """Have an Orthanc know another PACS by its AE title, and obey us."""
    for name, aet, port in (("other", other.aet, other.dicom_port), ("we", _OWN_AET, 104)):
        entry = {"AET": aet, "Host": _LOOPBACK, "Port": port}
        httpx.put(f"{orthanc.url}/modalities/{name}", json=entry, trust_env=False, timeout=60).raise_for_status()


def move(source: OrthancServer | QueryRetrieveServer, destination: str, film: Dataset, *, count: int) -> None:
    """C-MOVE a study (PS3.4 C.4.2); every one of its instances must arrive."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", film.StudyInstanceUID
    model = UID("1.2.840.10008.5.1.4.1.2.2.2")  # Study Root Query/Retrieve Information Model - MOVE
    entity = AE(ae_title=_OWN_AET)
    entity.add_requested_context(model)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    association, _ = associate(entity, _LOOPBACK, source.dicom_port, ae_title=source.aet)
    assert association.is_established
    answers = [status for status, _ in association.send_c_move(wanted, destination, model)]
    association.release()
    last = answers[-1]
    assert (last.Status, last.get("NumberOfFailedSuboperations", 0)) == (0x0000, 0), last
    assert last.NumberOfCompletedSuboperations == count


def held_by(orthanc: OrthancServer) -> list[Dataset]:
    """Every object of an Orthanc, from its very files."""
    files = [
        httpx.get(f"{orthanc.url}/instances/{instance}/file", trust_env=False, timeout=60).raise_for_status().content
        for instance in orthanc.get("/instances")
    ]
    return [dcmread(io.BytesIO(file)) for file in files]


def require_same(found: Sequence[Dataset], sent: Sequence[Dataset]) -> None:
    """The same objects, each with the same elements and values."""
    by_uid = {item.SOPInstanceUID: item for item in found}
    assert sorted(by_uid) == sorted(item.SOPInstanceUID for item in sent)
    for item in sent:
        part10 = io.BytesIO()
        item.save_as(part10, enforce_file_format=True)
        part10.seek(0)
        was, now = (each.to_json_dict() for each in (dcmread(part10), by_uid[item.SOPInstanceUID]))
        assert now == was, item.SeriesDescription


def require_same_numbers(found: Sequence[Dataset], results: Results) -> None:
    """The triage report gives back every number to the last bit."""
    uid = results.triage_report.SOPInstanceUID
    (report,) = (parse(item) for item in found if item.SOPInstanceUID == uid)
    assert report.analysis == parse(results.triage_report).analysis
    assert report.analysis is not None
    assert [finding.threshold for finding in report.analysis.findings] == [THIRD, 0.5, 0.4]
