"""Person names (VR PN) as people read them."""

from __future__ import annotations


def person_name(value: str) -> tuple[str, str]:
    """A person name (VR PN, PS3.5 section 6.2.1) as people read it.

    Args:
        value: up to three component groups 'alphabetic=ideographic=phonetic', each
            'family^given^middle^prefix^suffix'.

    Returns:
        The first group that says anything, and the ideographic group where it is another one, else "". The
        alphabetic group reads 'Family, Given Middle, Prefix Suffix', the others have spaces alone. A value without
        a name gives ("No name", "").
    """
    groups = [_name_group(group, " " if place else ", ") for place, group in enumerate(value.split("=")[:3])]
    shown = next((group for group in groups if group), "No name")
    ideographic = groups[1] if len(groups) > 1 else ""
    return shown, "" if ideographic == shown else ideographic


def _name_group(group: str, separator: str) -> str:
    family, given, middle, prefix, suffix = [*(part.strip() for part in group.split("^")), "", "", "", "", ""][:5]
    parts = (family, " ".join(filter(None, (given, middle))), " ".join(filter(None, (prefix, suffix))))
    return separator.join(filter(None, parts))
