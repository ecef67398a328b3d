"""The coded concepts that Firstread writes and reads: PS3.16 and its own, in one table."""

from __future__ import annotations

from typing import Final

from pydicom.sr.coding import Code

from worklist.finding import FindingType, Side
from worklist.order import OrderPriority
from worklist.triage import Urgency

FORMAT_VERSION: Final = 4  # of the triage report; a reader refuses what is newer
SCHEME: Final = "99FIRSTREAD"  # private designators begin with 99 (PS3.16 section 8)


def _dcm(value: str, meaning: str) -> Code:
    return Code(value, "DCM", meaning)


def _own(value: str, meaning: str) -> Code:  # at most 16 characters: many readers know no Long Code Value (0008,0119)
    return Code(value, SCHEME, meaning)


# Titles and headings (CID 7000, 7001, 7021; all extensible)
CHEST_CAD_REPORT = _dcm("112000", "Chest CAD Report")
SUMMARY = Code("55112-7", "LN", "Summary")
FINDINGS = Code("59776-5", "LN", "Findings")
PREVIOUS_FINDINGS = Code("18834-2", "LN", "Previous Findings")
IMAGE_QUALITY = _dcm("111101", "Image Quality")
EXPLANATION = _own("explanation", "Explanation")
SCOPE = _own("scope", "What was looked for, and what was not")
NUMBERS = _own("numbers", "Technical: numbers behind the findings")
POLICY = _own("policy", "Technical: triage policy of the site")
CARD = _own("card", "Technical: card of the scorer")
SCORER = _own("scorer", "Technical: origin of the score")
EXPLAINER = _own("explainer", "Technical: origin of the explanation")
STEPS = _own("steps", "Technical: how this came about")
PRIOR = _own("prior", "Technical: comparison with an earlier film")
PROCESSING = _own("processing", "Technical: processing")
DISCLAIMER = _own("disclaimer", "Disclaimer")
FAILURE = _own("failure", "Technical: failure")
OF_INTEREST = _dcm("113000", "Of Interest")  # CID 7010
QUALITATIVE_EVALUATIONS = Code("C0034375", "UMLS", "Qualitative Evaluations")

# Statements
PRIORITY = Code("260870009", "SCT", "Priority")
IMPRESSION = _dcm("121073", "Impression")
CAD_SUMMARY = _dcm("111017", "CAD Processing and Findings Summary")
WITH_FINDINGS = _dcm("111242", "All algorithms succeeded; with findings")
WITHOUT_FINDINGS = _dcm("111241", "All algorithms succeeded; without findings")
PARTLY_WITH_FINDINGS = _dcm("111244", "Not all algorithms succeeded; with findings")
PARTLY_WITHOUT_FINDINGS = _dcm("111243", "Not all algorithms succeeded; without findings")
NOTHING_SUCCEEDED = _dcm("111245", "No algorithms succeeded; without findings")
FINDING = _dcm("121071", "Finding")
NOT_NAMED = _own("not-named", "Looked for, not certain enough to name")
UNRELIABLE = _own("unreliable", "Not found reliably, neither shown nor counted")
BELOW_THRESHOLD = _own("below-threshold", "Looked for, below threshold")  # of format 1
NOT_LOOKED_FOR = _own("not-looked-for", "Not looked for")
FINDING_KEY = _own("finding-key", "Key of the finding before")
FINDING_LABEL = _own("finding-label", "Name of the finding before")
NAMED_FINDING = _own("named-finding", "Finding put into words, by its key")
LEADING_FINDING = _own("leading-finding", "Finding that the harm comes from, by its key")
WITHHELD = _own("withheld", "Not shown of the finding before: side; box x, y, width, height")
WEIGHED_FINDING = _own("weighed-finding", "Finding with its weight and thresholds")
PREVIOUS_FINDING = _dcm("121069", "Previous Finding")
QUOTED_FROM = _own("quoted-from", "Quoted from")
COMMENT = _dcm("121106", "Comment")
ADDED = _own("added", "Added by the explainer")
EXPLAINED_BY = _own("explained-by", "Explained by")
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
UNSCORED = _own("unscored", "Images that could not be scored")
REVISION = _own("revision", "Revision of the AI results of this study")
FORMAT = _own("format", "Format of this report")
PERCENT = Code("%", "UCUM", "Percent")
PROBABILITY_UNIT = Code("{probability}", "UCUM", "probability")  # an annotation: the unit 1, worded for people
NO_UNITS = Code("1", "UCUM", "no units")
MILLISECOND = Code("ms", "UCUM", "ms")
PIXELS = Code("{pixels}", "UCUM", "pixels")
IMAGES = Code("{images}", "UCUM", "images")
HOUR = Code("h", "UCUM", "hour")
HARM_UNIT = Code("{harm}", "UCUM", "harm, from 0 to 1")  # viewers print the unit and drop the name
SHARE = Code("{share}", "UCUM", "share, from 0 to 1")

# The triage rule: harm from 0 to 1, head starts in hours, shares from 0 to 1
HARM = _own("harm", "Harm of waiting")
HEAD_START = _own("head-start", "Head start in the reading list")
HORIZON = _own("horizon", "Longest head start (H)")
STEEPNESS = _own("steepness", "Steepness of the head start (k)")
LEAST_HEAD_START = _own("least-head-start", "Least head start that counts")
HIGH_HEAD_START = _own("high-head-start", "Head start of orders of priority HIGH")
ALERT_BUDGET = _own("alert-budget", "Largest share of studies that may be flagged")
BUDGET_BASIS = _own("budget-basis", "What the alert budget was computed on")
FLAG_FROM = _own("flag-from", "Harm from which a study is flagged")
SITE_FLAG_FROM = _own("site-flag-from", "Harm from which the site flags a study")
MAY_RAISE = _own("may-raise", "What a language model states may flag")
RAISED = _own("raised-by-words", "Flagged by the language model alone")
PRIOR_RAISES = _own("prior-raises", "A change for the worse since an earlier film may flag")
RAISED_BY_CHANGE = _own("raised-by-change", "Flagged by the change since an earlier film alone")
POLICY_SHA256 = _own("policy-sha256", "SHA-256 of the triage policy")

# The card of a scorer
WEIGHT = _own("weight", "Harm of waiting with this finding, of the card")
SITE_WEIGHT = _own("site-weight", "Harm of waiting with this finding, chosen by the site")
NAMED_FROM = _own("named-from", "Probability from which it is put into words")
NAMED_PRECISION = _own("named-share", "Share of films so named that had it")
CRITICAL_FROM = _own("critical-from", "Probability from which a study is critical")
SITE_NAMED_FROM = _own("site-named-from", "Probability from which the site puts it into words")
SITE_CRITICAL_FROM = _own("site-crit-from", "Probability from which the site calls a study critical")
CRITICAL_PRECISION = _own("critical-share", "Share of films so flagged that had it")
FILMS = _own("films", "Reference films that the share is of")
LOWER = _own("lower", "Lower end of the 95 % interval")
UPPER = _own("upper", "Upper end of the 95 % interval")
CARD_NAME = _own("card-name", "Scorer that the card is of")
CARD_VERSION = _own("card-version", "Version of that scorer")
CARD_SHA256 = _own("card-sha256", "SHA-256 of that scorer's weights")
CARD_FLAG_FROM = _own("card-flag-from", "Harm from which the card flags a study")
REFERENCE = _own("reference", "Films that the figures were found on")
REFERENCE_HARMS = _own("reference-harms", "Quantiles of the harm on those films")

# Provenance
ALGORITHM_NAME = _dcm("111001", "Algorithm Name")
ALGORITHM_VERSION = _dcm("111003", "Algorithm Version")
WEIGHTS_SHA256 = _own("weights-sha256", "SHA-256 of the weights")
DEVICE_UID = _own("device-uid", "Device UID")
PROMPT_VERSION = _own("prompt-version", "Version of the prompt or template")
PROMPT_SHA256 = _own("prompt-sha256", "SHA-256 of prompt and schema")
EXPLAINED_AT = _own("explained-at", "Explained at")
EXPLAINED_IN = _own("explained-in", "Time from question to words")
FILM_ALONE = _own("film-alone", "Shown the film and the scores alone")
LOOKED_AT = _own("looked-at", "Image that the language model looked at")
INSTEAD_OF = _own("instead-of", "In place of")
WHY_INSTEAD = _own("why-instead", "Why that did not explain")
CHECK = _own("check", "Safety layer, attempt, verdict, why")
CHANGE = _own("change", "Change stated")
COMPARED = _own("compared", "Compared with")
UNCERTAINTY = _own("uncertainty", "Uncertainty stated")
STATEMENT = _own("statement", "Stated by the explainer")
STATED = _own("stated", "How it is stated: certainty; sides; origin; box")
STEP = _own("step", "Step, verdict, time: input => output")
PRIOR_STUDY = _own("prior-study", "Earlier Study Instance UID")
PRIOR_DATE = _own("prior-date", "Study Date of that study")
REPORT_KIND = _own("report-kind", "Kind of the earlier report")
REPORT_LIMITS = _own("report-limits", "What of the earlier report was not read")
CHANGE_BY_SCORE = _own("score-change", "Change by the score")
NOT_COMPARED = _own("not-compared", "Why it was not compared")
CLASH = _own("clash", "Why an earlier study is not used")
SOURCE_IMAGE_UID = _own("source-image", "Source SOP Instance UID")
VIEW = _own("view", "View Position of that image")
STATION = _own("station", "Station Name of that image")
MAKER = _own("maker", "Manufacturer of that image")
WARD = _own("ward", "Where that image was asked for")
ORDER_PRIORITY = _own("order-priority", "Priority of the order for that image")
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

URGENCIES = {  # CID 7035; none where nothing is flagged
    Urgency.CRITICAL: Code("RID49480", "RADLEX", "ACR Category 1 Actionable Finding"),
    Urgency.URGENT: Code("RID49481", "RADLEX", "ACR Category 2 Actionable Finding"),
}
FORMERLY_ROUTINE = Code("RID49482", "RADLEX", "ACR Category 3 Actionable Finding")  # format 1, nothing flagged
ORDER_PRIORITIES = {
    priority: _own(f"order-{priority.lower()}", f"{priority} order")  # a viewer that drops names shows this alone
    for priority in OrderPriority
}
SIDES = {Side.RIGHT: Code("24028007", "SCT", "Right"), Side.LEFT: Code("7771000", "SCT", "Left")}  # CID 244


def kind_of(finding: FindingType) -> Code:
    """The concept of a finding."""
    return Code(finding.code.value, finding.code.scheme, finding.code.meaning)


def quality_note(code: str) -> Code:
    """The concept of a quality note: its stable code, worded for people."""
    return _own(code, code.replace("_", " ").capitalize()[:64])
