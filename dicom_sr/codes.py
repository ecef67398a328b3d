"""The coded concepts that Firstread writes and reads: PS3.16 and its own, in one table."""

from __future__ import annotations

from typing import Final

from pydicom.sr.coding import Code

from worklist.finding import FindingType, Side
from worklist.urgency import Urgency

FORMAT_VERSION: Final = 1  # of the triage report; a reader refuses what is newer
SCHEME: Final = "99FIRSTREAD"  # private designators begin with 99 (PS3.16 section 8)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


# Titles and headings (CID 7000, 7001, 7021; all extensible)
CHEST_CAD_REPORT = _dcm("112000", "Chest CAD Report")
SUMMARY = Code("55112-7", "LN", "Summary")
FINDINGS = Code("59776-5", "LN", "Findings")
PREVIOUS_FINDINGS = Code("18834-2", "LN", "Previous Findings")
IMAGE_QUALITY = _dcm("111101", "Image Quality")
EXPLANATION = _own("explanation", "Explanation")
NUMBERS = _own("numbers", "Numbers behind the findings")
SCORER = _own("scorer", "Origin of the score")
EXPLAINER = _own("explainer", "Origin of the explanation")
PROCESSING = _own("processing", "Processing")
DISCLAIMER = _own("disclaimer", "Disclaimer")
FAILURE = _own("failure", "Failure")
OF_INTEREST = _dcm("113000", "Of Interest")  # CID 7010
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")

# Statements
PRIORITY = Code("260870009", "SCT", "Priority")
IMPRESSION = _dcm("121073", "Impression")
CAD_SUMMARY = _dcm("111017", "CAD Processing and Findings Summary")
WITH_FINDINGS = _dcm("111242", "All algorithms succeeded; with findings")
WITHOUT_FINDINGS = _dcm("111241", "All algorithms succeeded; without findings")
NOTHING_SUCCEEDED = _dcm("111245", "No algorithms succeeded; without findings")
FINDING = _dcm("121071", "Finding")
BELOW_THRESHOLD = _own("below-threshold", "Looked for, below threshold")
NOT_LOOKED_FOR = _own("not-looked-for", "Not looked for")
PREVIOUS_FINDING = _dcm("121069", "Previous Finding")
QUOTED_FROM = _own("quoted-from", "Quoted from")
COMMENT = _dcm("121106", "Comment")
FAILURE_CODE = _own("failure-code", "Failure code")
FAILURE_MESSAGE = _own("failure-message", "Reason")

# Numbers
CERTAINTY_OF_FINDING = _dcm("111012", "Certainty of Finding")
CERTAINTY_OF_IMPRESSION = _dcm("111013", "Certainty of Impression")
PROBABILITY = _dcm("122157", "Probability")
THRESHOLD = _dcm("122411", "Threshold Value")
ROWS = _dcm("110910", "Pixel Data Rows")
COLUMNS = _dcm("110911", "Pixel Data Columns")
ELAPSED = _own("elapsed", "Time from pixels to score")
REVISION = _own("revision", "Revision of the AI results of this study")
FORMAT = _own("format", "Format of this report")
PERCENT = Code("%", "UCUM", "Percent")
PROBABILITY_UNIT = Code("{probability}", "UCUM", "probability")  # an annotation: the unit 1, worded for people
NO_UNITS = Code("1", "UCUM", "no units")
MILLISECOND = Code("ms", "UCUM", "ms")
PIXELS = Code("{pixels}", "UCUM", "pixels")

# Provenance
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
WEIGHTS_SHA256 = _own("weights-sha256", "SHA-256 of the weights")
DEVICE_UID = _own("device-uid", "Device UID")
PROMPT_VERSION = _own("prompt-version", "Version of the prompt or template")
SOURCE_IMAGE_UID = _own("source-image", "Source SOP Instance UID")
FETCHED_AT = _own("fetched-at", "Image fetched at")
COMPLETED_AT = _own("completed-at", "Score computed at")
SCORED_AT = _own("scored-at", "Score recorded at")
REPORTED_AT = _own("reported-at", "Report written at")
PROCESSING_EQUIPMENT = _dcm("109102", "Processing Equipment")

# Images and regions
SOURCE_OF_MEASUREMENT = _dcm("121112", "Source of Measurement")
SOURCE_IMAGE_FOR_PROCESSING = _dcm("121322", "Source image for image processing operation")
SOURCE_REPORT = _dcm("128225", "Source report")
IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
LATERALITY = Code("272741003", "SCT", "Laterality")
LUNG = Code("39607008", "SCT", "Lung")

LANGUAGE = _dcm("121049", "Language of Content Item and Descendants")
ENGLISH = Code("en", "RFC5646", "English")
OBSERVER_TYPE = _dcm("121005", "Observer Type")
DEVICE = _dcm("121007", "Device")
OBSERVER_UID = _dcm("121012", "Device Observer UID")
OBSERVER_NAME = _dcm("121013", "Device Observer Name")
OBSERVER_MANUFACTURER = _dcm("121014", "Device Observer Manufacturer")
OBSERVER_MODEL = _dcm("121015", "Device Observer Model Name")

URGENCIES = {  # CID 7035
    Urgency.CRITICAL: Code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding"),
    Urgency.URGENT: Code("RID49481", "RADLEX", "ACR Category 2 Actionable Finding"),
    Urgency.ROUTINE: Code("RID49482", "RADLEX", "ACR Category 3 Actionable Finding"),
}
SIDES = {Side.RIGHT: Code("24028007", "SCT", "Right"), Side.LEFT: Code("7771000", "SCT", "Left")}  # CID 244
FINDING_TYPES = {kind: Code(kind.code.value, kind.code.scheme, kind.code.meaning) for kind in FindingType}


def quality_note(code: str) -> Code:
    """The concept of a quality note: its stable code, worded for people."""
    return _own(code, code.replace("_", " ").capitalize()[:64])
