"""Layer (e): every explanation says that it is unverified and that a radiologist has to confirm it."""

from __future__ import annotations

from worklist.account import CONFIRM, Check, Layer, Verdict
from worklist.errors import PermanentError
from worklist.finding import Analysis


def confirmable(text: str) -> str:
    """A language model's words with the sentence that asks for confirmation behind them, once."""
    return text if text.endswith(CONFIRM) else f"{text} {CONFIRM}"


def confirmation_check(attempt: int) -> Check:
    """The layer's trace."""
    return Check(layer=Layer.CONFIRMATION, attempt=attempt, verdict=Verdict.PASSED, detail=CONFIRM)


def require_confirmation(explained: Analysis) -> Analysis:
    """The Analysis, which must ask for confirmation where a language model wrote its words, and say who wrote them.

    Raises:
        PermanentError: unconfirmed_explanation, it does not.
    """
    account = explained.account
    if account is None or explained.explainer is None or not explained.explanation:
        raise PermanentError("unconfirmed_explanation", "an explanation does not say who wrote it: report this fault")
    if account.prompt_sha256 and not explained.explanation.endswith(CONFIRM):
        raise PermanentError(
            "unconfirmed_explanation", "an explanation does not ask for confirmation: report this fault"
        )
    return explained
