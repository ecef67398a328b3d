"""The objects of a study and their content items, by what the checks ask for."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sr.coding import Code


def documents(study: Sequence[Dataset]) -> list[Dataset]:
    """The SRs of a study."""
    return [item for item in study if item.Modality == "SR"]


def trees(study: Sequence[Dataset]) -> list[Dataset]:
    """Its documents with a content tree: SRs and key image notes."""
    return [item for item in study if item.Modality in {"SR", "KO"}]


def crops_of(study: Sequence[Dataset]) -> list[Dataset]:
    """Its Secondary Captures."""
    return [item for item in study if item.Modality == "OT"]


def items(study: Sequence[Dataset], value_type: str, of: Container[str] | None = None) -> list[Dataset]:
    """The content items of a value type, of all documents or of those of some SOP classes."""
    documents = [item for item in trees(study) if of is None or item.SOPClassUID in of]
    return [item for document in documents for item in below(document) if item.ValueType == value_type]


def below(item: Dataset) -> Iterator[Dataset]:
    """Every content item below an item."""
    for child in item.get("ContentSequence") or ():
        yield child
        yield from below(child)


def values(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an attribute as text; none where it is absent or empty."""
    value = dataset.get(keyword)
    parts = value if isinstance(value, MultiValue) else [value]
    return [str(part) for part in parts if part is not None and str(part)]


def name_of(item: Dataset) -> Code:
    """The name of a content item."""
    concept = next(iter(item.get("ConceptNameCodeSequence") or [Dataset()]))
    return Code(*key_of(concept), str(concept.get("CodeMeaning", "")))


def key_of(code: Dataset) -> tuple[str, str]:
    """Value and scheme of a code."""
    return str(code.get("CodeValue") or code.get("LongCodeValue") or ""), str(code.get("CodingSchemeDesignator", ""))
