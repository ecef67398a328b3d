"""A report as `firstread report` prints it, for a person and for a machine."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pydicom
import pytest

from dicom_sr.parse import parse
from firstread.read_back import print_report, report_json
from tests.sr_films import (
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    EFFUSION,
    POLICY,
    analysis,
    build,
    build_failure,
    stored,
    two_images,
)
from worklist.finding import Region
from worklist.triage import TriagePolicy, assess


def printed(report: pydicom.Dataset, capsys: pytest.CaptureFixture[str]) -> str:
    """What a person sees."""
    print_report(parse(stored(report)), as_json=False)
    return capsys.readouterr().out


def test_a_person_sees_the_flag_first(capsys: pytest.CaptureFixture[str]) -> None:
    """The flag and the words come first, then what was looked for, and what is not shown to people is not there."""
    said = printed(build(analysis(EFFUSION, CONSOLIDATION, EDEMA), unscored=1).triage_report, capsys)
    lines = said.splitlines()
    assert lines[1] == "Urgent finding suspected. The lung edge is displaced."
    assert lines[2] == "1 of 2 images could not be scored."
    assert lines[3].startswith("Looked for: Pneumothorax, Pleural effusion, ")
    assert "Not found reliably, not shown: Consolidation" in lines
    assert "Not looked for: masses, free air" in lines
    table = said[said.index("Finding") : said.index("Harm of waiting")]
    assert "Pleural effusion" in table
    assert "likely" in table
    assert "Consolidation" not in table
    assert "0.97" not in said
    assert f"SHA-256 {POLICY.digest}" in said
    assert said.endswith("Not a diagnosis. Research use. Unverified AI output.\n")


@pytest.mark.parametrize("words", ["No AI flag", "Not assessed"])
def test_the_absence_of_a_flag_is_no_negative(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither a study without flag nor a failed one has a class or category, or a word of comfort."""
    report = build(analysis(EDEMA)) if words == "No AI flag" else build_failure()
    said = printed(report.triage_report, capsys)
    assert said.splitlines()[1].startswith(words)
    assert "ACR" not in said
    assert "routine" not in said.lower()


def test_findings_of_several_images_say_which(capsys: pytest.CaptureFixture[str]) -> None:
    """With more than one image the table has a column for it, counted as the images are listed below."""
    found, headers = two_images()
    said = printed(build(found, sources=headers).triage_report, capsys)
    rows = {line.split()[1]: line.split()[-2] for line in said.splitlines() if line.startswith(("│ P", "│ C"))}
    assert rows == {"Pleural": "1", "Cardiomegaly": "2", "Pulmonary": "1"}
    assert [line for line in said.splitlines() if line.startswith("Image: ")] == [
        "Image: 1.2.3.6.7",
        "Image: 1.2.3.4.5",
    ]


def test_people_get_two_places_and_no_box_across_the_middle(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers are cut to two places, the score is called a score, and a box that may not be shown is not."""
    across = dataclasses.replace(EFFUSION, probability=0.7199999, region=Region(x=300, y=500, width=500, height=300))
    said = printed(build(analysis(across, CARDIOMEGALY, score=0.94284408356617)).triage_report, capsys)
    assert "Score for any urgent finding: 0.94 (" in said
    rows = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in said.splitlines() if line.startswith("│")}
    assert [cell.strip() for cell in rows["Pleural effusion"]] == ["likely", "0.71", "", ""]
    assert [cell.strip() for cell in rows["Cardiomegaly"]] == ["possible", "0.60", "", "300 500 500 300"]
    assert not re.search(r"\b0\.\d{3}", said)


def test_a_machine_gets_everything() -> None:
    """JSON has every finding with what people were shown of it, and the policy from which its digest follows."""
    found = analysis(EFFUSION, CONSOLIDATION, EDEMA)
    values = json.loads(json.dumps(report_json(parse(stored(build(found).triage_report)))))
    triage = assess(found, POLICY)
    assert (values["urgency"], values["flag"]) == ("urgent", "Urgent finding suspected")
    assert (values["harm"], values["head_start_s"]) == (triage.harm, triage.head_start.total_seconds())
    assert {one["key"]: (one["shown"], one["named"]) for one in values["findings"]} == {
        "pleural_effusion": (True, True),
        "consolidation": (False, False),
        "pulmonary_edema": (True, False),
    }
    assert TriagePolicy.from_json(values["policy"]).digest == values["policy_sha256"] == POLICY.digest
    assert values["acquisitions"]["1.2.3.4.5"]["view"] == "PA"
    assert values["findings"][0]["sop_instance_uid"] == values["source_sop_instance_uid"] == "1.2.3.4.5"


def test_a_report_of_the_first_format_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """What was called routine is printed as no flag, without the parts that format 1 did not have."""
    print_report(parse(pydicom.dcmread(Path(__file__).with_name("format_1") / "routine.dcm")), as_json=False)
    said = capsys.readouterr().out
    assert said.splitlines()[1] == "No AI flag. The lung edge is displaced."
    assert "Policy" not in said
