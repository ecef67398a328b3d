"""What the AI triage report says to a reader, in which order, and what every object says of itself."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from dicom_sr import codes
from dicom_sr.build import Results
from dicom_sr.parse import parse
from firstread.read_back import print_report
from tests.sr_films import (
    CARD,
    CARDIOMEGALY,
    CONSOLIDATION,
    EDEMA,
    EFFUSION,
    EXPLAINER,
    PNEUMOTHORAX,
    SCORER,
    analysis,
    build,
    build_failure,
    meaning,
    second_film,
    section,
    sentences,
    tree,
    two_images,
)
from worklist.finding import QualityNote, Region, Snippet
from worklist.triage import SiteChoices, TriagePolicy


def test_every_object_says_what_it_is() -> None:
    """Objects are marked for research, name their maker and, as IHE AIR wants, the device of each algorithm."""
    for item in build().objects:
        assert item.ContentQualification == "RESEARCH"
        assert (item.Manufacturer, item.ManufacturerModelName) == ("Firstread", "Firstread")
        assert item.SoftwareVersions
        assert item.DeviceSerialNumber == SCORER.device_uid
        assert "not a diagnosis" in item.SeriesDescription
        scored_by, explained_by = item.ContributingEquipmentSequence
        assert scored_by.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
        assert (scored_by.Manufacturer, scored_by.ManufacturerModelName) == ("Firstread", "embedded")
        assert (scored_by.SoftwareVersions, scored_by.DeviceUID) == ("1.0.0", "2.25.7")
        assert SCORER.sha256 in scored_by.ContributionDescription
        assert explained_by.DeviceUID == EXPLAINER.device_uid


def test_reports_are_unverified_and_preliminary() -> None:
    """No SR passes for a finished reading."""
    for item in build().objects[-2:]:
        assert (item.VerificationFlag, item.PreliminaryFlag, item.CompletionFlag) == (
            "UNVERIFIED",
            "PRELIMINARY",
            "COMPLETE",
        )


def test_the_observer_matches_the_contributing_equipment() -> None:
    """Device observer and algorithm in both SRs are the ones of the equipment item (IHE AIR 6.5.3.1)."""
    for report in build().objects[-2:]:
        values = {
            meaning(item): item.get("TextValue") or item.get("UID")
            for item in tree(report)
            if item.ValueType in {"TEXT", "UIDREF"} and item.RelationshipType == "HAS OBS CONTEXT"
        }
        assert values["Device Observer UID"] == SCORER.device_uid
        assert values["Device Observer Manufacturer"] == "Firstread"
        assert values["Device Observer Model Name"] == SCORER.name
        versions = {str(item.TextValue) for item in tree(report) if meaning(item) == "Algorithm Version"}
        assert SCORER.version in versions


def headings(report: Dataset) -> list[str]:
    """The sections in reading order."""
    return [meaning(item) for item in report.ContentSequence if item.ValueType == "CONTAINER"]


def summary_codes(report: Dataset) -> list[str]:
    """CAD Processing and Findings Summary (CID 6047)."""
    return [
        item.ConceptCodeSequence[0].CodeValue
        for item in tree(report)
        if meaning(item) == "CAD Processing and Findings Summary"
    ]


def test_the_flag_and_the_findings_in_words_come_first() -> None:
    """A reader in a hurry sees flag and findings in words, the most harmful first, then what the words are worth."""
    report = build().triage_report
    impression, priority, evidence = section(report, "Summary").ContentSequence
    assert priority.ConceptCodeSequence[0].CodeValue == "RID49480"
    assert impression.TextValue == (
        "Critical finding suspected. Pneumothorax likely, right; Pleural effusion likely, left; Cardiomegaly possible. "
        "Not a diagnosis."
    )
    assert evidence.TextValue == (
        "Boxed on the image: pneumothorax, pleural effusion and cardiomegaly (series 9012; crops: series 9011)."
    )
    assert sentences(section(report, "Findings")) == [
        "Pneumothorax likely, right: probability 0.93; such words were correct on 8 of 10 reference films.",
        "Pleural effusion likely, left: probability 0.71; such words were correct on 14 of 19 reference films.",
        "Cardiomegaly possible: probability 0.60; such words were correct on 5 of 9 reference films.",
        (
            "Probabilities, from 0 to 1: pneumothorax 0.93, pleural effusion 0.71, cardiomegaly 0.60 and pulmonary "
            "edema 0.12. None is excluded."
        ),
        "Score for any urgent finding, from 0 to 1: 0.95.",
        "These numbers were calibrated on the model's reference films, not at this site.",
    ]
    assert summary_codes(report) == ["111242"]


def test_the_reader_comes_first_and_the_archive_last() -> None:
    """What a reader needs stands first and the numbers after it; what is technical is last, and is called so."""
    note = QualityNote(code="low_contrast", message="Flat.")
    snippet = Snippet(source="1.2.3.9", snippet="No pneumothorax.")
    assert headings(build(analysis(EFFUSION, quality=(note,), snippets=(snippet,))).triage_report) == [
        "Summary",
        "What was looked for, and what was not",
        "Image Quality",
        "Disclaimer",
        "Findings",
        "Explanation",
        "Previous Findings",
        "Technical: numbers behind the findings",
        "Technical: triage policy of the site",
        "Technical: card of the scorer",
        "Technical: origin of the score",
        "Technical: origin of the explanation",
        "Technical: processing",
    ]
    assert headings(build_failure().triage_report) == [
        "Summary",
        "What was looked for, and what was not",
        "Disclaimer",
        "Technical: failure",
        "Technical: card of the scorer",
        "Technical: origin of the score",
        "Technical: processing",
    ]


@pytest.mark.parametrize("name", ["flagged", "no flag", "not assessed", "two images"])
def test_nothing_technical_stands_before_the_technical_sections(name: str) -> None:
    """Above them there is no digest or UID, no number with more than two places, and no coded number at all."""
    found, headers = two_images()
    builders: dict[str, Callable[[], Results]] = {
        "flagged": build,
        "no flag": lambda: build(analysis(dataclasses.replace(EDEMA, probability=0.1234567), score=0.0987654)),
        "not assessed": build_failure,
        "two images": lambda: build(found, sources=headers),
    }
    report = builders[name]().triage_report
    above = [item for item in report.ContentSequence if item.ValueType == "CONTAINER"]
    above = [item for item in above if not meaning(item).startswith("Technical: ")]
    assert not [item for part in above for item in tree(part) if item.ValueType == "NUM"]
    said = "\n".join(text for part in above for text in sentences(part))
    assert not re.search(r"[0-9a-f]{64}|\d\.\d{3}|\d+(\.\d+){3}|\d %", said), said


def test_what_was_looked_for_and_what_was_not() -> None:
    """The report says what the model looks for, what it does not find reliably, and what nobody looked for."""
    said = sentences(section(build().triage_report, "What was looked for, and what was not"))
    assert said == [
        "Looked for: pneumothorax, pleural effusion, cardiomegaly, pneumonia and pulmonary edema.",
        "Not found reliably by this model, so neither shown nor counted: consolidation.",
        "Not looked for: masses, free air.",
    ]
    tame = dataclasses.replace(CARD.findings[0], critical_from=None)
    policy = TriagePolicy.of(dataclasses.replace(CARD, findings=(tame, *CARD.findings[1:])), SiteChoices())
    said = sentences(section(build(policy=policy).triage_report, "What was looked for, and what was not"))
    assert said[-1] == "This model flags no study as critical."


def test_a_finding_of_several_images_says_on_which_it_is() -> None:
    """The image is named as viewers show it, and counted where the headers do not tell the images apart."""
    found, headers = two_images()
    impression = sentences(build(found, sources=headers).triage_report)[0:6]
    assert (
        "Urgent finding suspected. Pleural effusion likely, left (AP, series 2, image 1); Cardiomegaly possible (PA, "
        "series 1, image 1). Not a diagnosis."
    ) in impression
    alike = headers | {"1.2.3.6.7": second_film(SeriesNumber=1, ViewPosition="PA")}
    said = "\n".join(sentences(build(found, sources=alike).triage_report))
    assert "Pleural effusion likely, left (image 1 of 2); Cardiomegaly possible (image 2 of 2)" in said


@pytest.mark.parametrize(("unscored", "code"), [(0, "111242"), (2, "111244")])
def test_images_that_could_not_be_scored_are_counted(unscored: int, code: str) -> None:
    """A score speaks for the images behind it alone, and the summary says where one is missing."""
    report = build(unscored=unscored).triage_report
    said = "2 of 3 images could not be scored: nothing is said of what they show." in sentences(report)
    assert said is bool(unscored)
    assert summary_codes(report) == [code]


def test_no_flag_is_no_negative() -> None:
    """Without a flag there is neither priority nor category, and no word that could be taken for a negative."""
    found = analysis(
        dataclasses.replace(EDEMA, probability=0.4), dataclasses.replace(PNEUMOTHORAX, probability=0.02), score=0.1
    )
    report = build(found).triage_report
    assert sentences(section(report, "Summary")) == [
        "No AI flag. No finding is certain enough to name. This is not a negative report. Not a diagnosis."
    ]
    assert sentences(section(report, "Findings")) == [
        "Probabilities, from 0 to 1: pulmonary edema 0.40 and pneumothorax 0.02. None is excluded.",
        "Score for any urgent finding, from 0 to 1: 0.10.",
        "These numbers were calibrated on the model's reference films, not at this site.",
    ]
    said = "\n".join(sentences(report)).lower()
    assert not {"normal", "routine", "unremarkable"} & set(said.replace(".", " ").split())
    assert "Priority" not in {meaning(item) for item in tree(report)}
    assert "ACR" not in str(report)
    assert summary_codes(report) == ["111241"]
    assert not [item for item in tree(report) if meaning(item) == "Finding"]


def test_numbers_without_films_behind_them_are_not_called_calibrated(capsys: pytest.CaptureFixture[str]) -> None:
    """A zero-shot model's card knows of no reference films, and report and command say what that means."""
    card = dataclasses.replace(CARD, reference="no films", reference_harms=(1.0,))
    report = build(policy=TriagePolicy.of(card, SiteChoices())).triage_report
    assert sentences(section(report, "Findings"))[-1] == (
        "These numbers are not calibrated: how often they are right was measured on no films."
    )
    print_report(parse(report), as_json=False)
    assert "0.95 (not calibrated)" in capsys.readouterr().out


def test_a_finding_may_be_named_without_a_flag() -> None:
    """A likely finding that may wait is put into words, and the study is not flagged for it."""
    report = build(analysis(CARDIOMEGALY, score=0.6)).triage_report
    assert sentences(report)[3] == (
        "No AI flag. Cardiomegaly possible. This is not a negative report. Not a diagnosis."
    )
    assert summary_codes(report) == ["111242"]


def test_a_finding_without_a_box_says_so() -> None:
    """A box that would cross the middle is not drawn, its side is not told, and the summary says that there is none."""
    across = dataclasses.replace(EFFUSION, region=Region(x=300, y=500, width=500, height=300))
    report = build(analysis(PNEUMOTHORAX, across)).triage_report
    assert sentences(section(report, "Summary")) == [
        "Critical finding suspected. Pneumothorax likely, right; Pleural effusion likely. Not a diagnosis.",
        "Boxed on the image: pneumothorax (series 9012; crops: series 9011). Without a box: pleural effusion.",
    ]
    (drawn,) = (item for item in tree(report) if item.ValueType == "SCOORD")
    assert min(drawn.GraphicData[::2]) == 100
    sides = [item.ConceptCodeSequence[0].CodeMeaning for item in tree(report) if meaning(item) == "Laterality"]
    assert sides == ["Right"]


def test_a_flag_without_a_name_says_so() -> None:
    """Where a study is flagged for what may not be put into words, the summary names nothing."""
    report = build(analysis(dataclasses.replace(EDEMA, probability=0.8))).triage_report
    assert sentences(section(report, "Summary")) == [
        "Urgent finding suspected, none certain enough to name. Not a diagnosis."
    ]


def test_what_is_not_found_reliably_is_not_shown() -> None:
    """An output that is no better than chance is in no sentence on the findings, however probable."""
    report = build(analysis(CONSOLIDATION, EDEMA, score=0.2)).triage_report
    shown = sentences(section(report, "Summary")) + sentences(section(report, "Findings"))
    assert "consolidation" not in " ".join(shown).lower()
    coded = [
        item
        for item in section(report, "Technical: numbers behind the findings").ContentSequence
        if item.ValueType == "CODE"
    ]
    assert [meaning(item) for item in coded] == [
        "Not found reliably, neither shown nor counted",
        "Looked for, not certain enough to name",
    ]


def test_the_policy_in_force_stands_in_the_report() -> None:
    """A person reads what the rule did with the study and on what it depends; the digest stands last."""
    policy = TriagePolicy.of(CARD, SiteChoices(weights={"pleural_effusion": 0.9}))
    report = build(analysis(EFFUSION), policy=policy).triage_report
    *said, digest = sentences(section(report, "Technical: triage policy of the site"))
    assert said[:3] == [
        "Harm of waiting 0.63, flagged from 0.40 on: the AI places the study as if it had arrived 10 h 17 min earlier.",
        (
            "A study is placed at most 16 h earlier (H), at least 30 min, with steepness k = 1.5; an order of priority "
            "HIGH counts as 4 h."
        ),
        "At most 20 % of studies are to be flagged, by the card: 265 films.",
    ]
    assert digest == policy.digest
    card = sentences(section(report, "Technical: card of the scorer"))
    assert card[:4] == [
        "Weights and thresholds of embedded 1.0.0, from 265 films:",
        (
            "Pneumothorax: weight 1.00; likely from 0.50 on (correct on 8 of 10 reference films); critical from 0.90 "
            "on (correct on 18 of 20 reference films)."
        ),
        "Pleural effusion: weight 0.90; likely from 0.50 on (correct on 14 of 19 reference films).",
        "Cardiomegaly: weight 0.20; possible from 0.50 on (correct on 5 of 9 reference films).",
    ]
    assert "Consolidation: not found reliably, not counted." in card
    assert "Pulmonary edema: weight 0.90; never named." in card


def test_a_site_that_moves_nothing_says_so() -> None:
    """With H at 0 a flagged study keeps its place, and the report does not promise another."""
    still = SiteChoices(horizon=SiteChoices().horizon * 0, high_head_start=SiteChoices().high_head_start * 0)
    policy = TriagePolicy.of(CARD, still)
    said = sentences(section(build(policy=policy).triage_report, "Technical: triage policy of the site"))
    assert said[0].endswith("the AI does not move the study.")
    assert said[1] == "At this site the AI moves no study (H is 0)."


def test_a_list_of_names_says_what_it_lists() -> None:
    """Where a viewer drops numbers and names of items, a sentence before each bare list keeps it from misleading."""
    first = section(build().triage_report, "Technical: numbers behind the findings").ContentSequence[0]
    assert first.TextValue.startswith("Everything that was scored, suspected or not")


def test_our_own_codes_are_short() -> None:
    """A value of more than 16 characters would be a Long Code Value, which many readers do not know."""
    own = [code for code in vars(codes).values() if isinstance(code, Code) and code.scheme_designator == codes.SCHEME]
    assert len(own) > 40
    assert len({code.value for code in own}) == len(own)
    assert max(len(code.value) for code in own) <= 16


def test_a_failure_says_so_first() -> None:
    """A failed study is reported as not assessed, with its reason, and without an urgency."""
    report = build_failure(message="This is a lateral film.").triage_report
    assert sentences(section(report, "Summary")) == [
        "Not assessed. Nothing is known of the study's urgency; it keeps its place on the list.",
        "This is a lateral film.",
    ]
    assert sentences(section(report, "What was looked for, and what was not")) == [
        "Not looked for because of this: pneumothorax, pleural effusion, cardiomegaly, pneumonia and pulmonary edema.",
        "Not looked for in any study: masses, free air.",
    ]
    assert headings(report)[0] == "Summary"
    assert "Priority" not in {meaning(item) for item in tree(report)}
    assert summary_codes(report) == ["111245"]


def test_a_probability_just_below_a_threshold_never_shows_as_reaching_it() -> None:
    """Numbers for people are cut, not rounded, so 0.49999 reads 0.49 beside 0.50, and what is small is not 0."""
    near = dataclasses.replace(EDEMA, probability=0.49999)
    found = analysis(near, dataclasses.replace(PNEUMOTHORAX, probability=0.004), score=0.99999)
    said = "\n".join(sentences(build(found).triage_report))
    assert "pulmonary edema 0.49 and pneumothorax below 0.01" in said
    assert "Score for any urgent finding 0.99" in said
    certainties = [item for item in tree(build(found).triage_report) if meaning(item) == "Certainty of Finding"]
    assert [item.MeasuredValueSequence[0].NumericValue for item in certainties] == [49.9, 0.4]


def test_reading_a_report_back_needs_no_builder() -> None:
    """Parsing does not import highdicom, so the gateway can read reports."""
    script = "import sys, dicom_sr.parse; print('highdicom' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
