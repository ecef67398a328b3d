"""A patient's earlier studies for tests: films, and reports as structured documents and as PDF."""

from __future__ import annotations

import copy
import zlib

from pydicom import Dataset
from pydicom.uid import BasicTextSRStorage, EncapsulatedPDFStorage, generate_uid

from imaging.wrapping import complete_file_meta
from tests.bad_films import chest

PATIENT = {"PatientID": "4711", "PatientName": "Roe^Jane", "PatientBirthDate": "19500203", "PatientSex": "F"}
EARLIER, NOW = "20260303", "20261120"
_OF_A_FILM = ("PixelData", "Rows", "Columns", "BodyPartExamined", "ViewPosition", "PatientOrientation")


def film_of(study_date: str, seed: int = 5, **attributes: object) -> Dataset:
    """A frontal chest film of the patient in a study of its own."""
    film = chest(seed)
    for keyword, value in {**PATIENT, "StudyDate": study_date, **attributes}.items():
        setattr(film, keyword, value)
    complete_file_meta(film)
    return film


def text_report(film: Dataset, *sentences: str, **attributes: object) -> Dataset:
    """A verified Basic Text SR on a film: a request, and findings of these sentences."""
    report = _document(film, BasicTextSRStorage, "SR")
    report.CompletionFlag, report.VerificationFlag = "COMPLETE", "VERIFIED"
    report.ConceptNameCodeSequence = [_concept("18748-4", "LN", "Diagnostic imaging report")]
    asked = _item("TEXT", _concept("121062", "DCM", "Request"), TextValue="Pneumothorax?")
    found = _item("CONTAINER", _concept("121070", "DCM", "Findings"))
    found.ContentSequence = [
        _item("TEXT", _concept("121071", "DCM", "Finding"), TextValue=sentence) for sentence in sentences
    ]
    report.ContentSequence = [asked, found]
    return _with(report, attributes)


def pdf_report(film: Dataset, pdf: bytes, **attributes: object) -> Dataset:
    """An encapsulated PDF on a film."""
    report = _document(film, EncapsulatedPDFStorage, "DOC")
    report.DocumentTitle, report.MIMETypeOfEncapsulatedDocument = "Radiology Report", "application/pdf"
    report.BurnedInAnnotation = "YES"
    report.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return _with(report, attributes)


def pdf_of(*pages: str) -> bytes:
    """A small PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * place} 0 R" for place in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for place, text in enumerate(pages):
        content = zlib.compress(f"BT /F1 12 Tf 40 700 Td ({text}) Tj ET".encode("latin-1"))
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {5 + 2 * place} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>".encode(),
            f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode() + content + b"\nendstream",
        ]
    body, offsets = b"%PDF-1.4\n", []
    for number, value in enumerate(objects, start=1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n".encode() + value + b"\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    trailer = f"xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\n"
    return body + f"{trailer}startxref\n{len(body)}\n%%EOF\n".encode()


def _document(film: Dataset, sop_class_uid: str, modality: str) -> Dataset:
    report = copy.deepcopy(film)
    for keyword in _OF_A_FILM:
        if keyword in report:
            delattr(report, keyword)
    report.SOPClassUID, report.Modality, report.Manufacturer = sop_class_uid, modality, "Reports Inc"
    report.SeriesInstanceUID, report.SOPInstanceUID = generate_uid(), generate_uid()
    report.ContentDate, report.ContentTime = film.StudyDate, "120000"
    return report


def _with(report: Dataset, attributes: dict[str, object]) -> Dataset:
    for keyword, value in attributes.items():
        setattr(report, keyword, value)
    complete_file_meta(report)
    return report


def _concept(value: str, scheme: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    return code


def _item(value_type: str, name: Dataset, **attributes: str) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType, item.ConceptNameCodeSequence = "CONTAINS", value_type, [name]
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
