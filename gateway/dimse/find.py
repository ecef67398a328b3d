"""C-FIND of both Query/Retrieve models (PS3.4 section C.4.1): what is to be read first comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.dimse.operations import Operation
from gateway.dimse.question import LEVEL_TAG, RETRIEVE_AE_TITLE_TAG, Question, read_identifier, read_question
from gateway.dimse.statuses import CANCELLED, PARTLY_SUPPORTED, PENDING, SUCCESS
from gateway.dimse.text import CHARACTER_SET_TAG, encoded
from gateway.search.levels import below, patients
from gateway.search.studies import StudySearch
from worklist.attributes import PRIVATE_ATTRIBUTES, PRIVATE_CREATOR, Level

_PRIVATE_VRS = {one.tag: one.vr for one in PRIVATE_ATTRIBUTES} | {"": "LO"}

_Found = tuple[Mapping[str, str], Mapping[str, str]]
"""Texts by keyword, and texts of our own elements by tag, the creator's by ""."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finder:
    """Answers C-FIND.

    Attributes:
        search: for what.
        ae_title: ours, from which what is found can be retrieved.
    """

    search: StudySearch
    ae_title: str

    def serve(self, operation: Operation, levels: Sequence[Level]) -> None:
        """Answer one request, a match an answer, until all are told, or nobody wants to hear more.

        Args:
            operation: the request.
            levels: that its information model has.

        Raises:
            Refusal: the identifier cannot be meant.
            PacsUnavailable: Orthanc does not answer.
            InvalidInput: a key that Orthanc does not know.
        """
        identifier = read_identifier(operation.identifier, levels, is_implicit=operation.is_implicit)
        question = read_question(identifier, is_relational=operation.is_relational)
        status = PENDING if question.is_supported else PARTLY_SUPPORTED
        for found in self._found(question):
            if operation.is_abandoned:
                return
            if operation.is_cancelled:
                operation.answer(CANCELLED)
                return
            operation.tell(status, self._told(question, found, is_implicit=operation.is_implicit))
        operation.answer(CANCELLED if operation.is_cancelled else SUCCESS)

    def _found(self, question: Question) -> Iterator[_Found]:
        level, keys = question.identifier.level, question.keys
        if level is Level.STUDY:
            for study in self.search.every(keys):
                yield study.texts, {**study.private_texts, "": PRIVATE_CREATOR}
        else:
            others = patients(self.search, keys) if level is Level.PATIENT else below(self.search, keys, level)
            for texts in others:
                yield texts, {}

    def _told(self, question: Question, found: _Found, *, is_implicit: bool) -> bytes:
        texts, private = found
        values = {tag: (known.vr, texts.get(known.keyword, "")) for tag, known in question.told.items()}
        values |= {tag: (_PRIVATE_VRS[own], private.get(own, "")) for tag, own in question.private.items()}
        values[LEVEL_TAG] = ("CS", question.identifier.level)
        values[RETRIEVE_AE_TITLE_TAG] = ("AE", self.ae_title)
        values.pop(CHARACTER_SET_TAG, None)
        return encoded(values, question.identifier.sets, is_implicit=is_implicit)
