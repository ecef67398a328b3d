"""Names and descriptions as modalities write them, in many character sets, for films of any kind."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag


@dataclass(frozen=True, kw_only=True, slots=True)
class Writing:
    """A patient's name and a study's description, and the octets in which a film has them.

    Attributes:
        character_set: Specific Character Set (0008,0005); None leaves it out.
        codec: Python's name of the codec that makes the octets.
        name: Patient's Name, as people read it.
        description: Study Description, as people read it.
    """

    character_set: str | None
    codec: str
    name: str
    description: str

    def on(self, film: Dataset) -> Dataset:
        """The same film, with these octets."""
        film.pop("SpecificCharacterSet", None)
        if self.character_set is not None:
            film.SpecificCharacterSet = self.character_set.split("\\")
        for keyword, vr, text in (("PatientName", "PN", self.name), ("StudyDescription", "LO", self.description)):
            octets = text.encode(self.codec)
            octets += b" " * (len(octets) % 2)
            tag = Tag(keyword)
            film[tag] = RawDataElement(tag, vr, len(octets), octets, 0, False, True)  # noqa: FBT003 - pydicom's own
        return film


DECLARED = (
    Writing(character_set="ISO_IR 144", codec="iso8859_5", name="Соколова^Вера", description="Рентгенография ОГК"),
    Writing(
        character_set="\\ISO 2022 IR 87",
        codec="iso2022_jp",
        name="Oda^Mio=小田^澪=おだ^みお",
        description="胸部正面",
    ),
    Writing(character_set="GB18030", codec="gb18030", name="Wang^XiaoDong=王^小东", description="胸部正位"),
    Writing(character_set="ISO_IR 192", codec="utf-8", name="Nguyễn^Thị Lan", description="X-quang ngực"),
    Writing(character_set="ISO_IR 100", codec="latin-1", name="Müller^Jörg", description="Thorax, übersichtlich"),
    Writing(character_set="ISO_IR 13", codec="shift_jis", name="ﾔﾏﾀﾞ^ﾀﾛｳ", description="ｷｮｳﾌﾞ"),
)
"""Right by PS3.3 section C.12.1.1.2."""

UNDECLARED = (
    Writing(character_set=None, codec="latin-1", name="Müller^Jörg", description="Thorax, übersichtlich"),
    Writing(character_set=None, codec="utf-8", name="Müller^Jörg", description="Thorax, übersichtlich"),
    Writing(character_set="", codec="latin-1", name="Åström^Örjan", description="Lungröntgen"),
)
"""Wrong, since a film that names no character set may hold ASCII alone, and common."""

MISLABELLED = (
    Writing(character_set="ISO IR 100", codec="latin-1", name="Müller^Jörg", description="Thorax, übersichtlich"),
    Writing(character_set="ISO-8859-1", codec="latin-1", name="Müller^Jörg", description="Thorax, übersichtlich"),
    Writing(character_set="ISO_IR 100", codec="utf-8", name="Müller^Jörg=王^小东", description="胸部正位"),
    Writing(character_set="GBK", codec="gbk", name="Wang^XiaoDong=王^小东", description="胸部正位"),
    Writing(character_set="ISO 2022 IR 6", codec="latin-1", name="Müller^Jörg", description="Thorax, übersichtlich"),
)
"""Wrong as well: a term that the standard does not have, or another one's octets."""
