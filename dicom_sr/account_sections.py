"""The explanation, who wrote it and how it was checked: sentences for a reader, and the whole account for machines."""

from __future__ import annotations

from highdicom.sr import ContentItem

from dicom_sr import codes
from dicom_sr.content import CONTAINS, code, number, section, text
from dicom_sr.policy_sections import kind_items
from worklist.account import Account, Check, Statement, explained_by
from worklist.finding import Algorithm, Analysis


def explanation_section(analysis: Analysis) -> list[ContentItem]:
    """The words, and beside them always who wrote them, when, and that a radiologist has to confirm them."""
    account = analysis.account
    if account is None or analysis.explainer is None:
        return section(codes.EXPLANATION, text(codes.COMMENT, analysis.explanation))
    return section(
        codes.EXPLANATION,
        text(codes.COMMENT, analysis.explanation),
        *(text(codes.ADDED, sentence) for sentence in account.sentences),
        text(codes.EXPLAINED_BY, explained_by(analysis.explainer, account)),
    )


def explainer_section(analysis: Analysis) -> list[ContentItem]:
    """What wrote the explanation, and its account."""
    explainer = analysis.explainer
    return section(
        codes.EXPLAINER,
        text(codes.COMMENT, f"Explained by {identity(explainer)}." if explainer else ""),
        algorithm_items(explainer),
        text(codes.PROMPT_VERSION, analysis.prompt_version),
        _account(analysis.account) if analysis.account else [],
    )


def identity(algorithm: Algorithm) -> str:
    """An algorithm in a sentence."""
    return f"{algorithm.name}, version {algorithm.version}"


def algorithm_items(algorithm: Algorithm | None) -> list[ContentItem]:
    """The identity of an algorithm (IHE AIR 6.5.3.1); none of none."""
    if algorithm is None:
        return []
    return [
        *text(codes.ALGORITHM_NAME, algorithm.name),
        *text(codes.ALGORITHM_VERSION, algorithm.version),
        *text(codes.WEIGHTS_SHA256, algorithm.sha256),
        *text(codes.DEVICE_UID, algorithm.device_uid),
    ]


def _account(account: Account) -> list[ContentItem]:
    comparison = account.comparison
    return [
        *text(codes.EXPLAINED_AT, account.explained_at.isoformat()),
        number(codes.EXPLAINED_IN, account.elapsed_ms, codes.MILLISECOND, relationship=CONTAINS),
        *text(codes.PROMPT_SHA256, account.prompt_sha256),
        *text(codes.FILM_ALONE, "yes" if account.saw_film_alone else ""),
        *text(codes.LOOKED_AT, account.sop_instance_uid),
        *text(codes.INSTEAD_OF, account.instead_of),
        *text(codes.WHY_INSTEAD, account.why),
        *(item for one in account.checks for item in text(codes.CHECK, _check(one))),
        *text(codes.CHANGE, comparison.change if comparison else ""),
        *(item for source in (comparison.compared_with if comparison else ()) for item in text(codes.COMPARED, source)),
        *text(codes.UNCERTAINTY, account.uncertainty),
        *(item for one in account.statements for item in _statement(one)),
    ]


def _check(one: Check) -> str:
    """One check in one line, such as: language; 2; refused; why."""
    return "; ".join(filter(None, (one.layer, str(one.attempt), one.verdict, one.detail)))


def _statement(one: Statement) -> list[ContentItem]:
    """A finding as a CODE, and behind it how it is stated: possible; left; own; 3 5 20 30."""
    box = one.region
    parts = (
        one.certainty,
        " ".join(one.sides) or "no side",
        "supported" if one.is_supported else "own",
        f"{box.x} {box.y} {box.width} {box.height}" if box else "no box",
    )
    return [
        code(codes.STATEMENT, codes.kind_of(one.type)),
        *kind_items(one.type),
        *text(codes.STATED, "; ".join(parts)),
    ]
