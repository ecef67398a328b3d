"""Patients, series and instances, as the other levels of a C-FIND ask for them (PS3.4 section C.6).

Patients come in the order in which their studies are to be read; series and instances as Orthanc has them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gateway.search.studies import StudySearch, parts
from worklist.attributes import ATTRIBUTES, Level
from worklist.matching import Key
from worklist.sight import sight

_OF_PATIENTS = frozenset(one.keyword for one in ATTRIBUTES if one.level is Level.PATIENT)


def patients(search: StudySearch, keys: Sequence[Key]) -> Iterator[Mapping[str, str]]:
    """Text values by keyword of each patient who meets the keys: first those with a study on the list, in its order.

    A patient is told to somebody who sees some sites alone as a study of these tells of them.

    Raises:
        InvalidInput: bad_key, Orthanc does not know an attribute.
        PacsUnavailable: Orthanc does not answer.
    """
    told = set()
    sees_all = sight() is None
    for found in search.every(keys, is_listed_only=sees_all):
        if found.texts["PatientID"] not in told:
            told.add(found.texts["PatientID"])
            yield {keyword: text for keyword, text in found.texts.items() if keyword in _OF_PATIENTS}
    for part in parts(search.pacs.matched(keys, Level.PATIENT)) if sees_all else ():
        for texts in search.pacs.patients(part):
            if texts.get("PatientID", "") not in told:
                yield texts


def below(search: StudySearch, keys: Sequence[Key], level: Level) -> Iterator[Mapping[str, str]]:
    """Text values by keyword of each series or instance that meets the keys, those of its study included.

    Raises:
        InvalidInput: bad_key, Orthanc does not know an attribute.
        PacsUnavailable: Orthanc does not answer.
    """
    pacs = search.pacs
    describe = pacs.series if level is Level.SERIES else pacs.instances
    for part in parts(pacs.matched(keys, level)):
        described = describe(part)
        studies = search.told(sorted({study for study, _ in described}))
        for study, texts in described:
            if study in studies:
                yield {**studies[study].texts, **texts}
