"""Our own objects as DICOM files (PS3.10): to the byte as pydicom writes them, in a fraction of its time.

A triage report has more than a thousand elements, and pydicom opens a stream for each of them. Here a data set is put
together from its leaves: a sequence is the joined bytes of its items, every length is defined, and the encoding is
Explicit VR Little Endian (PS3.5 section 7.1.2), the only one that our objects have.
"""

from __future__ import annotations

import copy
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final

from pydicom import Dataset
from pydicom.charset import encode_string
from pydicom.dataelem import DataElement
from pydicom.dataset import validate_file_meta
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element, write_file_meta_info
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from imaging.characters import encodings_of

_CHARACTER_SET: Final = 0x00080005
_DEFAULT_ENCODINGS: Final = ["iso8859"]
_ITEM: Final = b"\xfe\xff\x00\xe0"
_WITH_LONG_LENGTHS: Final = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
_MOST_SHORT: Final = 0xFFFF
_NUMBERS: Final = {"FD": "<%dd", "FL": "<%df", "SL": "<%di", "SS": "<%dh", "UL": "<%dI", "US": "<%dH"}
_short_header: Final = struct.Struct("<HH2sH").pack
_long_header: Final = struct.Struct("<HH2sxxI").pack
_item_length: Final = struct.Struct("<I").pack


def encode(dataset: Dataset) -> bytes:
    """An object of ours as a file.

    Raises:
        ValueError: its transfer syntax is not Explicit VR Little Endian, or a value is too long for its VR.
    """
    meta = copy.deepcopy(dataset.file_meta)
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = dataset.SOPClassUID, dataset.SOPInstanceUID
    if meta.get("TransferSyntaxUID") != ExplicitVRLittleEndian:
        raise ValueError(f"objects are written in Explicit VR Little Endian, not {meta.get('TransferSyntaxUID')}")
    validate_file_meta(meta, enforce_standard=True)
    head = DicomBytesIO()
    write_file_meta_info(head, meta, enforce_standard=True)
    return b"".join((bytes(128), b"DICM", head.getvalue(), _data_set(dataset, _DEFAULT_ENCODINGS)))


def _data_set(dataset: Dataset, encodings: list[str]) -> bytes:
    parts: list[bytes] = []
    for found in sorted(dataset.values(), key=_tag):
        element = found if isinstance(found, DataElement) else _read(dataset, found.tag)
        if element.tag == _CHARACTER_SET:
            encodings = encodings_of(_terms(element.value))
        parts.extend(_element(dataset, element, encodings))
    return b"".join(parts)


def _terms(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _read(dataset: Dataset, tag: BaseTag) -> DataElement:
    return dataset[tag]  # of a file, and not looked at since


def _tag(element: Any) -> int:  # noqa: ANN401 - DataElement or RawDataElement
    return int(element.tag)  # compared as plain numbers, which is ten times faster


def _element(dataset: Dataset, element: DataElement, encodings: list[str]) -> tuple[bytes, ...]:
    vr = element.VR
    if len(vr) > 2:  # noqa: PLR2004 - "OB or OW": it depends on others which it is
        element = copy.copy(element)
        correct_ambiguous_vr_element(element, dataset, is_little_endian=True)
        vr = element.VR
    value = element.value
    tag = int(element.tag)
    if vr == "SQ":
        items = [_data_set(item, encodings) for item in value]
        content = b"".join(part for item in items for part in (_ITEM, _item_length(len(item)), item))
    elif value is None or (isinstance(value, str | bytes | list | MultiValue) and not value):
        content = b""
    elif (write := _WRITERS.get(vr)) is None:
        return (_as_pydicom(element, encodings),)
    else:
        content = write(value, vr, encodings)
    if len(content) % 2:
        content += b"\0" if vr in {"UI", "OB", "UN"} else b" "
    if vr in _WITH_LONG_LENGTHS:
        return _long_header(tag >> 16, tag & _MOST_SHORT, vr.encode(), len(content)), content
    if len(content) > _MOST_SHORT:
        raise ValueError(f"{element.keyword} has {len(content)} bytes, more than its VR holds")
    return _short_header(tag >> 16, tag & _MOST_SHORT, vr.encode(), len(content)), content


def _text(value: Any, vr: str, encodings: list[str]) -> bytes:  # noqa: ANN401
    del vr
    if isinstance(value, bytes):
        return value  # a Patient ID as it stands in the source
    if isinstance(value, str):
        return value.encode("ascii") if value.isascii() else encode_string(value, encodings)
    return b"\\".join(part if isinstance(part, bytes) else encode_string(part, encodings) for part in value)


def _ascii(value: Any, vr: str, encodings: list[str]) -> bytes:  # noqa: ANN401
    del vr, encodings
    return (value if isinstance(value, str) else "\\".join(value)).encode("iso8859")


def _decimal(value: Any, vr: str, encodings: list[str]) -> bytes:  # noqa: ANN401
    del vr, encodings
    numbers = value if isinstance(value, MultiValue | list) else [value]
    return "\\".join(getattr(number, "original_string", None) or str(number) for number in numbers).encode("ascii")


def _number(value: Any, vr: str, encodings: list[str]) -> bytes:  # noqa: ANN401
    del encodings
    numbers = value if isinstance(value, MultiValue | list) else [value]
    return struct.pack(_NUMBERS[vr] % len(numbers), *numbers)


def _octets(value: Any, vr: str, encodings: list[str]) -> bytes:  # noqa: ANN401
    del vr, encodings
    return bytes(value)


def _as_pydicom(element: DataElement, encodings: list[str]) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = False, True
    write_data_element(stream, element, encodings)
    return stream.getvalue()


_WRITERS: Final[dict[str, Callable[[Any, str, list[str]], bytes]]] = {
    **dict.fromkeys(("LO", "LT", "SH", "ST", "UC", "UT"), _text),
    **dict.fromkeys(("AE", "AS", "CS", "UI", "UR"), _ascii),
    **dict.fromkeys(("DS", "IS"), _decimal),
    **dict.fromkeys(_NUMBERS, _number),
    **dict.fromkeys(("OB", "OW"), _octets),
}
