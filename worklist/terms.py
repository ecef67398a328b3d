"""What radiologists write for each finding, and where a sentence ends: how foreign and own texts are read."""

from __future__ import annotations

import re
from typing import Final

from worklist.finding import FindingType

SENTENCE_END: Final = re.compile(r"(?<=[.!?])\s+|\n\s*(?=\n|[A-Z]|[-*•]\s|\d+[.)]\s)")

# Effusions and edema of other places are none of ours.
TERMS: Final = {
    FindingType.PNEUMOTHORAX.key: r"(?:hydro|h(?:a)?emo)?pneumothora(?:x|ces)|ptx",
    FindingType.PLEURAL_EFFUSION.key: r"(?<!pericardial )(?<!joint )effusions?|pleural fluid|(?:hydro|h(?:a)?emo)thorax"
    r"|costophrenic (?:angles?|sulc(?:us|i))",
    FindingType.CONSOLIDATION.key: r"consolidat(?:ions?|ed|ive)|air ?space (?:disease|opacit(?:y|ies))"
    r"|infiltrat(?:es?|ions?)",
    FindingType.PNEUMONIA.key: r"(?:broncho)?pneumonias?|pneumonic",
    FindingType.CARDIOMEGALY.key: r"cardiomegaly|enlarged (?:heart|cardi\w+ silhouette)"
    r"|(?:heart|cardi\w+)(?: \w+){0,2} (?:is|are|appears?)(?: \w+){0,2} enlarged|cardiac enlargement"
    r"|(?:heart|cardi\w+)(?: silhouette)?(?: size)? enlarge(?:d|ment)",
    FindingType.PULMONARY_EDEMA.key: r"(?<!subcutaneous )(?<!soft tissue )(?<!soft-tissue )o?edema"
    r"|vascular congestion|congestive heart failure|chf",
    FindingType.MASS.key: r"mass(?:es)?",
    FindingType.NODULE.key: r"nodul(?:es?|ar)",
    FindingType.ATELECTASIS.key: r"atelecta(?:sis|ses|tic)",
    FindingType.LUNG_OPACITY.key: r"(?<!airspace )(?<!air space )opaci(?:ty|ties|fications?)",
}
MENTIONS: Final = {key: re.compile(rf"\b(?:{terms})\b", re.IGNORECASE) for key, terms in TERMS.items()}
