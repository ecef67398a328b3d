"""QA's table: the rows of one report, from which every decision can be followed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pydicom

from dicom_sr.parse import parse
from dicom_sr.table import COLUMNS, Row, rows_of
from tests.sr_films import (
    CARD,
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    EFFUSION,
    POLICY,
    analysis,
    build,
    build_failure,
    film,
    stored,
    two_images,
)
from worklist.finding import QualityNote, Region
from worklist.triage import assess


def table(report: pydicom.Dataset) -> dict[str, Row]:
    """The rows of a report by finding."""
    again = stored(report)
    rows = list(rows_of(again, parse(again), received="2026-11-22T12:00:00", stored="2026-11-22T12:00:09"))
    assert all(set(row) <= set(COLUMNS) for row in rows)
    return {row["finding"]: row for row in rows}


def test_every_finding_has_the_numbers_and_the_rule_behind_it() -> None:
    """A row has probability, weight and thresholds exactly, and says whether the finding was shown and named."""
    note = QualityNote(code="low_contrast", message="Flat.")
    found = analysis(EFFUSION, CONSOLIDATION, EDEMA, quality=(note,))
    rows = table(build(found, source=film(PatientAge="066Y"), unscored=1).triage_report)
    triage = assess(found, POLICY)
    effusion, hidden, edema = rows["Pleural effusion"], rows["Consolidation"], rows["Pulmonary edema"]
    assert [(row["shown"], row["named"]) for row in (effusion, hidden, edema)] == [
        ("yes", "yes"),
        ("no", "no"),
        ("yes", "no"),
    ]
    assert [effusion[name] for name in ("probability", "threshold", "side", "box")] == [
        "0.71",
        "0.5",
        "left",
        "600 800 400 400",
    ]
    assert [effusion[name] for name in ("weight", "named_from", "critical_from")] == ["0.8", "0.5", ""]
    for row in rows.values():
        assert float(row["harm"]) == triage.harm
        assert float(row["flag_from"]) == POLICY.flag_from
        assert float(row["head_start_s"]) == triage.head_start.total_seconds()
        assert row["policy_sha256"] == POLICY.digest
        assert (row["urgency"], row["state"], row["score_threshold"]) == ("urgent", "reported", "0.3")
        assert (row["images"], row["unscored_images"], row["quality"]) == ("1", "1", "low_contrast")
        assert (row["patient_sex"], row["patient_age"]) == ("F", "066Y")


def test_every_row_says_how_and_for_whom_its_image_was_made() -> None:
    """Patient, view, station, manufacturer, ward, order and explainer come out of the report alone."""
    found, headers = two_images()
    headers["1.2.3.4.5"].update(
        film(StationName="CR1", Manufacturer="Maker", RequestingService="ED", RequestedProcedurePriority="HIGH")
    )
    rows = table(build(found, sources=headers).triage_report)
    names = ("patient_id", "view", "station", "manufacturer", "ward", "order_priority", "explainer_version")
    assert [rows["Cardiomegaly"][name] for name in names] == ["P1", "PA", "CR1", "Maker", "ED", "HIGH", "template 2.0"]
    assert [rows["Pleural effusion"][name] for name in names] == ["P1", "AP", "", "", "", "", "template 2.0"]
    failed = table(build_failure(headers["1.2.3.4.5"]).triage_report)["Pneumonia"]
    assert [failed.get(name) for name in names] == ["P1", "PA", "CR1", "Maker", "ED", "HIGH", None]


def test_the_table_has_the_side_and_box_that_were_shown() -> None:
    """A region across the middle is no box of an effusion and bears out no side; its number stays."""
    across = dataclasses.replace(EFFUSION, region=Region(x=300, y=500, width=500, height=300))
    row = table(build(analysis(across, CARDIOMEGALY)).triage_report)["Pleural effusion"]
    assert (row["probability"], row["side"], row["box"]) == ("0.71", "", "")


def test_a_report_of_the_second_format_has_rows() -> None:
    """It has all that it knew, side and box as it told them that day; how the image was made it did not."""
    dataset = pydicom.dcmread(Path(__file__).with_name("format_2") / "critical.dcm")
    rows = {row["finding"]: row for row in rows_of(dataset, parse(dataset), received="", stored="")}
    assert {name: (row["named"], row["side"], row["patient_age"], row["view"]) for name, row in rows.items()} == {
        "Pneumothorax": ("yes", "right", "066Y", ""),
        "Pleural effusion": ("yes", "left", "066Y", ""),
        "Cardiomegaly": ("yes", "", "066Y", ""),
        "Pulmonary edema": ("no", "", "066Y", ""),
        "Consolidation": ("no", "left", "066Y", ""),
    }
    assert rows["Pleural effusion"]["box"] == "300 500 500 300"  # across the middle: today's rule would withhold it


def test_the_time_of_storing_stands_beside_the_fixed_one() -> None:
    """What the report says of itself is fixed by its inputs; when it was stored is the PACS's word."""
    row = table(build().triage_report)["Pneumothorax"]
    assert row["reported"] == "2026-11-22T12:00:05+00:00"
    assert (row["received"], row["stored"]) == ("2026-11-22T12:00:00", "2026-11-22T12:00:09")


def test_each_finding_names_its_own_image() -> None:
    """Of two images each row names the one that shows its finding."""
    found, headers = two_images()
    rows = table(build(found, sources=headers).triage_report)
    assert {name: row["source_sop_instance_uid"] for name, row in rows.items()} == {
        "Pleural effusion": "1.2.3.6.7",
        "Cardiomegaly": "1.2.3.4.5",
        "Pulmonary edema": "1.2.3.6.7",
    }
    single = table(build(analysis(CARDIOMEGALY)).triage_report)
    assert single["Cardiomegaly"]["source_sop_instance_uid"] == "1.2.3.4.5"


def test_a_failed_report_has_a_row_for_what_was_to_be_scored() -> None:
    """Without numbers, but with the rule that would have held, the reason and the image."""
    rows = table(build_failure().triage_report)
    assert set(rows) == {found.type.label for found in CARD.findings}
    for row in rows.values():
        assert (row["state"], row["failure_code"], row["urgency"]) == ("failed", "not_frontal", "")
        assert not {"probability", "harm", "policy_sha256", "shown"} & {name for name, value in row.items() if value}
        assert row["source_sop_instance_uid"] == "1.2.3.4.5"
    assert rows["Pleural effusion"]["weight"] == "0.8"


def test_a_report_of_the_first_format_has_rows() -> None:
    """It knew no policy, so those cells are empty; what reached its threshold was named."""
    dataset = pydicom.dcmread(Path(__file__).with_name("format_1") / "critical.dcm")
    rows = {row["finding"]: row for row in rows_of(dataset, parse(dataset), received="", stored="")}
    assert {name: row["named"] for name, row in rows.items()} == {
        "Pneumothorax": "yes",
        "Pleural effusion": "yes",
        "Pulmonary edema": "no",
    }
    assert all(row["urgency"] == "critical" for row in rows.values())
    assert not any(row.get("policy_sha256") or row.get("weight") for row in rows.values())
