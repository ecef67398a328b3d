"""The JSON documents of an Analysis as revisions 0002 and 0003 keep them, and the way between the two.

The first version speaks of one image, and of six kinds of finding by their keys alone. The second speaks of one or more
images, says everything of each kind, and names the image of each finding where there is more than one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

_KINDS = {
    key: {"key": key, "code": {"value": value, "scheme": "SCT", "meaning": meaning}, "label": label}
    for key, value, meaning, label in (
        ("pneumothorax", "36118008", "Pneumothorax", "Pneumothorax"),
        ("pleural_effusion", "60046008", "Pleural effusion", "Pleural effusion"),
        ("consolidation", "95436008", "Consolidation of lung", "Consolidation"),
        ("pneumonia", "233604007", "Pneumonia", "Pneumonia"),
        ("cardiomegaly", "8186001", "Cardiomegaly", "Cardiomegaly"),
        ("pulmonary_edema", "19242006", "Pulmonary edema", "Pulmonary edema"),
    )
}
_WORDS = ("explanation", "explainer", "prompt_version", "snippets")
_NOT_THE_SCORERS = ("image", "images", "findings", "version")


def second_version(first: str, others: Sequence[str] = ()) -> str:
    """A document of the second version.

    Args:
        first: a document of the first version, whose words are kept.
        others: those of the study's other images: each finding is kept where it is most probable.
    """
    values, further = json.loads(first), [json.loads(other) for other in others]
    image = values["image"]["sop_instance_uid"]
    further = [other for other in further if other["image"]["sop_instance_uid"] != image]
    highest: dict[str, dict[str, Any]] = {}
    for part in (values, *further):
        for finding in part["findings"]:
            known = highest.get(finding["type"])
            if known is None or finding["probability"] > known["probability"]:
                seen_on = part["image"]["sop_instance_uid"] if further else ""
                highest[finding["type"]] = finding | {"sop_instance_uid": seen_on}
    findings = [finding | {"type": _kind(finding["type"])} for finding in highest.values()]
    if further:
        findings.sort(key=lambda finding: (-finding["probability"], finding["type"]["key"]))
    return _written(
        {key: value for key, value in values.items() if key not in _NOT_THE_SCORERS}
        | {"version": 2, "images": [part["image"] for part in (values, *further)], "findings": findings}
    )


def first_version(second: str, images: Mapping[str, str] | None = None) -> str:
    """A document of the first version: of the image with the highest score, without kinds that it does not know.

    Args:
        second: a document of the second version.
        images: documents of the second version of single images, by SOP Instance UID; where the leading image is among
            them, what it alone shows is taken from there, and the words from the other.
    """
    values = json.loads(second)
    if len(values["images"]) > 1:
        leading = (images or {}).get(values["images"][0]["sop_instance_uid"])
        if leading:
            values = json.loads(leading) | {name: values[name] for name in _WORDS}
    image = values["images"][0]
    findings = [
        {key: value for key, value in finding.items() if key != "sop_instance_uid"} | {"type": finding["type"]["key"]}
        for finding in values["findings"]
        if finding["type"]["key"] in _KINDS and finding["sop_instance_uid"] in {"", image["sop_instance_uid"]}
    ]
    rest = {key: value for key, value in values.items() if key not in _NOT_THE_SCORERS}
    return _written(rest | {"image": image, "findings": findings})


def _kind(key: str) -> dict[str, Any]:
    name = key.replace("_", " ").capitalize()
    return _KINDS.get(key) or {
        "key": key,
        "code": {"value": key, "scheme": "99FIRSTREAD", "meaning": name},
        "label": name,
    }


def _written(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, separators=(",", ":"))
