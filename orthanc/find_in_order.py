"""C-FIND of Orthanc itself in reading order: what Orthanc finds, and first of it what the Firstread gateway lists.

Orthanc alone says which patients, studies, series and images meet a query, and what is told of them; the gateway is
asked for the order of the studies and for nothing else. Where it has not told it within 200 ms, or tells nonsense, the
answers come in Orthanc's own order. Either way nothing is missing.

Once a plug-in answers C-FIND, Orthanc's own code for it is out of use. What it does is done here: main attributes from
the index, counts, and anything else from the file of one instance. Unlike there, capital and small letters are the
same, sequences and private elements are left out, and the Lua function IncomingFindRequestFilter is not called.
"""

from __future__ import annotations

import http.client
import json
import re
import threading
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orthanc

_LIMIT_S = 0.2
_CREATOR = re.compile("[0-9a-f]{3}[13579bdf],00[1-9a-f][0-9a-f]")  # a private creator names elements, and is no key
_MOST_BYTES = 8 << 20
_LEVELS = {"PATIENT": "Patient", "STUDY": "Study", "SERIES": "Series", "IMAGE": "Instance", "INSTANCE": "Instance"}
_PARENTS = {"Instance": "ParentSeries", "Series": "ParentStudy", "Study": "ParentPatient"}
_PATHS = {"Patient": "/patients", "Study": "/studies", "Series": "/series"}
_NO_KEYS = {"QueryRetrieveLevel", "SpecificCharacterSet", "RetrieveAETitle"}
_COUNTED = {
    "Patient": {
        "NumberOfPatientRelatedStudies",
        "NumberOfPatientRelatedSeries",
        "NumberOfPatientRelatedInstances",
    },
    "Study": {
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "ModalitiesInStudy",
        "SOPClassesInStudy",
    },
    "Series": {"NumberOfSeriesRelatedInstances"},
    "Instance": set(),
}
# What Orthanc keeps of patients and studies in its index, whether or not a film has it: no file need be read for these.
_INDEXED = {
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "OtherPatientIDs"),
    *("StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "StudyInstanceUID"),
    *("RequestedProcedureDescription", "InstitutionName", "RequestingPhysician", "ReferringPhysicianName"),
}

Resource = Mapping[str, Any]


class ReadingOrder:
    """The order of the studies, as the gateway tells it.

    One thread asks, one question at a time, so that a gateway that hangs costs each caller its 200 ms and no more.

    Args:
        url: of the gateway's GET /worklist/order.
        secret: by which the gateway knows this plug-in, the doorbell's; empty for none.
    """

    def __init__(self, url: str, secret: str = "") -> None:
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        self._question = urllib.request.Request(url, headers=headers)  # noqa: S310 - the site's own configuration
        # No proxy: the gateway is this hospital's own machine.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._turn = threading.Condition()
        self._asked = self._answered = 0
        self._places: dict[str, int] | None = None
        threading.Thread(target=self._ask_for_ever, name="firstread-order", daemon=True).start()

    def places(self) -> dict[str, int]:
        """Place by Orthanc's identifier of a study; empty where the gateway has not told it in time."""
        with self._turn:
            self._asked += 1
            mine = self._asked
            self._turn.notify_all()
            self._turn.wait_for(lambda: self._answered >= mine, _LIMIT_S)
            return self._places or {} if self._answered >= mine else {}

    def _ask_for_ever(self) -> None:
        while True:
            with self._turn:
                self._turn.wait_for(lambda: self._asked > self._answered)
                question = self._asked
            places = self._ask()
            with self._turn:
                self._places, self._answered = places, question
                self._turn.notify_all()

    def _ask(self) -> dict[str, int] | None:
        try:
            with self._opener.open(self._question, timeout=_LIMIT_S) as answer:
                studies = json.loads(answer.read(_MOST_BYTES))["studies"]
                return {str(study): place for place, study in enumerate(studies)}
        except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError, RecursionError):
            return None  # it is away, or something else answers


class Finder:
    """Answers C-FIND.

    Args:
        order: of the studies.
        configuration: Orthanc's.
    """

    def __init__(self, order: ReadingOrder, configuration: Mapping[str, Any]) -> None:
        self._order = order
        self._aet = configuration.get("DicomAet", "ORTHANC")
        self._refused: set[str] = set()  # tags of which Orthanc makes no element
        self._limits = {
            level: configuration.get("LimitFindInstances" if level == "Instance" else "LimitFindResults", 0)
            for level in _LEVELS.values()
        }

    def find(self, answers: Any, query: Any, issuer: str, called: str) -> None:  # noqa: ANN401 - Orthanc's own types
        """The callback of orthanc.RegisterFindCallback."""
        del issuer, called
        asked: dict[str, str] = {}  # values and ...
        tags: dict[str, str] = {}  # ... tags by name: not every name that Orthanc tells it also takes
        for i in range(query.GetFindQuerySize()):
            tag = f"{query.GetFindQueryTagGroup(i):04x},{query.GetFindQueryTagElement(i):04x}"
            name = query.GetFindQueryTagName(i)
            if query.GetFindQueryTagGroup(i) % 2 or name.startswith("Unknown") or name in asked:
                name = tag
            if query.GetFindQueryTagElement(i):  # group lengths are no keys (PS3.5 section 7.2)
                asked[name], tags[name] = query.GetFindQueryValue(i), tag
        level = _LEVELS[asked["QueryRetrieveLevel"].strip().upper()]
        keys = {
            tags[name]: value
            for name, value in asked.items()
            if value and name not in _NO_KEYS and not _CREATOR.fullmatch(tags[name])
        }
        found = _post("/tools/find", {"Level": level, "Query": keys, "Expand": True, "CaseSensitive": False})
        found = self._in_order(level, found)
        if self._limits[level]:
            found = found[: self._limits[level]]
        for answer in self._answers(level, asked, found):
            answers.FindAddAnswer(self._dicom({tags.get(name, name): value for name, value in answer.items()}))

    def _dicom(self, answer: Mapping[str, str]) -> bytes:
        """An answer as a data set, without the elements that Orthanc cannot make, such as private ones."""
        try:
            return _made({tag: value for tag, value in answer.items() if tag not in self._refused})
        except ValueError:
            self._refused |= {tag for tag in answer if not _can_be_made(tag)}
            return _made({tag: value for tag, value in answer.items() if tag not in self._refused})

    def _in_order(self, level: str, found: list[Resource]) -> list[Resource]:
        if len(found) < 2:  # noqa: PLR2004 - there is nothing to order
            return found
        places = self._order.places()
        behind = len(places)

        def place(one: Resource) -> int:
            if level == "Patient":
                return min((places.get(study, behind) for study in one["Studies"]), default=behind)
            return places.get(one["ID"] if level == "Study" else one.get("ParentStudy", ""), behind)

        return sorted(found, key=place)  # a stable sort: what the list does not have keeps Orthanc's order

    def _answers(self, level: str, asked: Mapping[str, str], found: Sequence[Resource]) -> Iterable[dict[str, str]]:
        counted = _COUNTED[level] & asked.keys()
        below = _below(level, found) if counted else {}
        above = _above(level, found)
        for one in found:
            known = {**_tags(one), **above.get(one["ID"], {})}
            for name in counted:
                known[name] = _count(name, below.get(one["ID"], []))
            is_told = known.keys() | _NO_KEYS | _INDEXED
            if any(name not in is_told for name in asked):
                known = {**_file_of(level, one), **known}
            answer = {name: _text(known.get(name, "")) for name in asked if name not in _NO_KEYS}
            yield {
                **answer,
                "SpecificCharacterSet": "ISO_IR 192",
                "QueryRetrieveLevel": asked["QueryRetrieveLevel"],
                "RetrieveAETitle": self._aet,
            }


def _tags(one: Resource) -> dict[str, Any]:
    return {**one.get("PatientMainDicomTags", {}), **one["MainDicomTags"]}


def _above(level: str, found: Sequence[Resource]) -> dict[str, dict[str, Any]]:
    """The attributes of each resource's series, study and patient, by its identifier."""
    if level in {"Patient", "Study"}:
        return {}  # a study is told with its patient
    parent = _PARENTS[level]
    parents = {one["ID"]: one for one in _content({one[parent] for one in found})}
    higher = _above("Series", list(parents.values())) if level == "Instance" else {}
    return {
        one["ID"]: {**higher.get(one[parent], {}), **_tags(parents[one[parent]])}
        for one in found
        if one[parent] in parents
    }


def _below(level: str, found: Sequence[Resource]) -> dict[str, list[Resource]]:
    """The series of each patient or study, or each series itself, by identifier."""
    if level == "Series":
        return {one["ID"]: [one] for one in found}
    series: dict[str, list[Resource]] = {}
    for one in _content([one["ID"] for one in found], "Series"):
        series.setdefault(one["ParentStudy"], []).append(one)
    if level == "Study":
        return series
    return {one["ID"]: [each for study in one["Studies"] for each in series.get(study, [])] for one in found}


def _count(name: str, series: Sequence[Resource]) -> str:
    if name == "ModalitiesInStudy":
        return "\\".join(sorted({_text(one["MainDicomTags"].get("Modality", "")) for one in series} - {""}))
    if name == "SOPClassesInStudy":
        instances = [instance for one in series for instance in one["Instances"]]
        paths = [f"/instances/{instance}/metadata/SopClassUid" for instance in instances]
        told = (orthanc.RestApiGet(path) for path in paths)
        return "\\".join(sorted({one if isinstance(one, str) else one.decode() for one in told}))
    if name.endswith("RelatedInstances"):
        return str(sum(len(one["Instances"]) for one in series))
    if name.endswith("RelatedSeries"):
        return str(len(series))
    return str(len({one["ParentStudy"] for one in series}))


def _file_of(level: str, one: Resource) -> dict[str, Any]:
    """All attributes of one instance, by name and by tag."""
    instance = one["ID"]
    if level != "Instance":
        instance = json.loads(orthanc.RestApiGet(f"{_PATHS[level]}/{instance}/instances"))[0]["ID"]
    tags = json.loads(orthanc.RestApiGet(f"/instances/{instance}/tags"))
    told = {each["Name"]: each["Value"] for each in tags.values() if each["Type"] == "String"}
    return told | {tag: each["Value"] for tag, each in tags.items() if each["Type"] == "String"}


def _made(elements: Mapping[str, str]) -> bytes:
    return bytes(orthanc.CreateDicom(json.dumps(elements), None, orthanc.CreateDicomFlags.NONE))


def _can_be_made(tag: str) -> bool:
    try:
        _made({tag: ""})
    except ValueError:
        return False
    return True


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _content(orthanc_ids: Iterable[str], level: str = "") -> list[Resource]:
    asked = {"Resources": list(orthanc_ids), "Metadata": False}
    return list(_post("/tools/bulk-content", {**asked, "Level": level} if level else asked))


def _post(path: str, content: object) -> Any:  # noqa: ANN401 - JSON
    return json.loads(orthanc.RestApiPost(path, json.dumps(content)))
