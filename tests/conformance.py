"""The tables of docs/conformance.md, from the code; `python -m tests.conformance` writes them anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pydicom.uid import UID
from pynetdicom.sop_class import UnifiedProcedureStepEvent  # type: ignore[attr-defined] # made at import

from firstread.settings import Settings
from gateway.dicomweb.searches import MOST_RESULTS
from gateway.dimse import question
from gateway.dimse.association import LONGEST_REQUEST
from gateway.dimse.server import CIPHERS, IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from gateway.dimse.services import RELATIONAL, SERVICES, STORED_SYNTAXES, TRANSFER_SYNTAXES, storage_contexts
from gateway.dimse.statuses import STATUSES
from gateway.dimse.workitems import ACTION_NAMES, ACTIONS, OFFERED
from worklist.attributes import ATTRIBUTES, PRIVATE_ATTRIBUTES, PRIVATE_CREATOR, PRIVATE_CREATOR_TAG, Attribute, Level

PAGE: Final = Path(__file__).parents[1] / "docs" / "conformance.md"
_MARKED: Final = re.compile(r"(<!-- table: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def written(page: str) -> str:
    """A page with what stands between its markers made anew."""
    return _MARKED.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}\n{found[4]}", page)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |".replace("| --- ", "|---").replace("|--- |", "|---|") for line in lines)


def _services() -> str:
    rows = [
        [one.name, one.sop_class, one.operation, ", ".join(one.levels), "yes" if one.sop_class in RELATIONAL else ""]
        for one in SERVICES
    ]
    return _table(["SOP class", "UID", "SCP of", "Levels", "Relational queries"], rows)


def _ups() -> str:
    rows = [
        [
            sop_class.name,
            sop_class,
            ", ".join(one.__name__.replace("_", "-") for one in operations),
            ", ".join(f"{action} {ACTION_NAMES[action]}" for action in sorted(ACTIONS.get(sop_class, ()))),
        ]
        for sop_class, operations in OFFERED.items()
    ]
    rows.append(
        [UnifiedProcedureStepEvent.name, UnifiedProcedureStepEvent, "N-EVENT-REPORT, by an association of ours", ""]
    )
    return _table(["SOP class", "UID", "SCP of", "N-ACTION"], rows)


def _transfer_syntaxes() -> str:
    rows = [[UID(one).name, one, "requests and answers; C-STORE of a C-GET"] for one in TRANSFER_SYNTAXES]
    rows += [[UID(one).name, one, "C-STORE of a C-GET"] for one in STORED_SYNTAXES if one not in TRANSFER_SYNTAXES]
    return _table(["Transfer syntax", "UID", "For"], rows)


def _storage() -> str:
    rows = sorted([UID(one.abstract_syntax or "").name, str(one.abstract_syntax)] for one in storage_contexts())
    return _table(["SOP class", "UID"], rows)


def _keys() -> str:
    rows = [
        [one.keyword, _tag(one.tag), one.vr, str(one.level), *(_at(one, level) for level in question.LEVELS)]
        for one in ATTRIBUTES
        if any(_at(one, level) for level in question.LEVELS)
    ]
    return _table(["Key", "Tag", "VR", "Of", *(f"At {level}" for level in question.LEVELS)], rows)


def _at(one: Attribute, level: Level) -> str:
    """What a key does at a level of C-FIND."""
    if not question.is_of(one, level):
        return ""
    unique = "unique; " if question.UNIQUE_KEYS[one.level] == one.keyword else ""
    if one.keyword in question.NOT_TOLD:
        return f"{one.matching}; not returned" if one.is_key else ""
    return f"{unique}{one.matching}"


def _private() -> str:
    rows = [[_tag(PRIVATE_CREATOR_TAG), "LO", f"private creator, `{PRIVATE_CREATOR}`"]]
    rows += [[_tag(one.tag), one.vr, one.meaning] for one in PRIVATE_ATTRIBUTES]
    return _table(["Tag", "VR", "Says"], rows)


def _statuses() -> str:
    rows = [[f"{one.code:04X}", ", ".join(one.of), one.meaning] for one in sorted(STATUSES, key=lambda one: one.code)]
    return _table(["Status", "Of", "When"], rows)


def _association() -> str:
    chosen = Settings.model_construct()
    rows = [
        ["Application context", "1.2.840.10008.3.1.1.1"],
        ["Implementation class UID", IMPLEMENTATION_CLASS_UID],
        ["Implementation version name", IMPLEMENTATION_VERSION],
        ["AE title", f"{chosen.aet}, by which it must be called"],
        ["Port", str(chosen.dimse_port)],
        ["Longest PDU received", f"{chosen.dimse_pdu_bytes} bytes"],
        ["Longest message received", f"{LONGEST_REQUEST} bytes"],
        ["Associations", f"{chosen.dimse_associations}, {chosen.dimse_associations_of_one} from one address"],
        ["Asynchronous operations", "none"],
        ["Idle, stalled", f"{chosen.dimse_idle_s:g} s, {chosen.dimse_stall_s:g} s"],
        ["TLS", f"1.2 and later; of 1.2 `{CIPHERS}`"],
    ]
    return _table(["", "By default"], rows)


def _web_keys() -> str:
    rows = [
        [one.keyword, _tag(one.tag), one.vr, str(one.matching), "always" if one.is_returned else "on request"]
        for one in ATTRIBUTES
        if one.is_of_studies
    ]
    table = _table(["Attribute", "Tag", "VR", "Matching", "Returned"], rows)
    return f"{table}\n\nAn answer has {MOST_RESULTS} studies at most; a Warning tells of more."


def _tag(tag: str) -> str:
    return f"({tag[:4]},{tag[4:]})"


TABLES: Final[Mapping[str, Callable[[], str]]] = {
    "association": _association,
    "services": _services,
    "ups": _ups,
    "transfer-syntaxes": _transfer_syntaxes,
    "storage": _storage,
    "keys": _keys,
    "private": _private,
    "statuses": _statuses,
    "web-keys": _web_keys,
}


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
