"""The explainer by a language model, behind the five safety layers; whatever fails, the template explains.

The model is asked, its answer is checked layer by layer, and where one refuses it the model is asked once more and told
why. A second refusal, a model that is away, too slow, out of memory or not to be asked at all gives the template's
words, with the reason beside them. Nothing that a language model says changes a score, a finding, the triage or the
place of a study: only words, statements and quotations are added.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from imaging.radiograph import Radiograph
from models.asked import answer_to, asked_first, findings_asked_of
from models.context import NO_CONTEXT, PriorFilm, StudyContext
from models.medgemma.answer import Answer, BadAnswer, read_answer
from models.medgemma.film import ShownFilm, show_film
from models.medgemma.prompt import PromptFile, load_prompt
from models.medgemma.question import LanguageModel, Patience, Question
from models.safety.confirmation import confirmable, confirmation_check, require_confirmation
from models.safety.consistency import faults_of_consistency, marked, own_findings_sentence, unfaithful
from models.safety.input_gate import REASON, Admitted, admit, film_refused
from models.safety.language import faults_of_language
from models.template import TemplateExplainer
from worklist.account import Account, Check, Comparison, Layer, Verdict
from worklist.errors import FirstreadError, ModelUnavailable, NoLongerWanted, UnusableImage
from worklist.finding import Algorithm, Analysis, ImageReference, Snippet
from worklist.step import Step, StepName, StepVerdict
from worklist.triage import Triage
from worklist.words import counted, in_a_sentence, two_places

log = structlog.get_logger()

_ATTEMPTS: Final = 2  # the second is the repair
_TRIES: Final = 2  # to reach the model for one attempt
_PAUSE_S: Final = 1.0  # before the second of them
_AWAY: Final = frozenset({"explainer_away", "explainer_error", "explainer_timeout", "gpu_out_of_memory"})
_REFUSED: Final = "explanation_refused"
_RETRIED: Final = frozenset({"explainer_away", "explainer_error", "gpu_out_of_memory"})


@dataclass(kw_only=True, slots=True)
class _Work:
    """One study in work: what is known of it, and the trace so far."""

    analysis: Analysis
    triage: Triage
    context: StudyContext
    admitted: Admitted
    started: float
    checks: list[Check] = field(default_factory=list)
    checking_s: float = 0.0
    is_checking: bool = False

    @contextmanager
    def checking(self) -> Iterator[None]:
        """While a layer works; what breaks in it leaves is_checking behind."""
        begun, self.is_checking = time.monotonic(), True
        yield
        self.checking_s += time.monotonic() - begun
        self.is_checking = False

    @property
    def elapsed_ms(self) -> float:
        return round((time.monotonic() - self.started) * 1000, 1)

    def steps(self, verdict: StepVerdict, output: str, model: Algorithm) -> tuple[Step, Step]:
        """What became of asking the model and of checking its answers."""
        context, answers = self.context, {one.attempt for one in self.checks if one.layer is Layer.SCHEMA}
        record = counted(len(self.admitted.lines), "sentence")
        is_refused = any(
            one.verdict is Verdict.REFUSED
            for one in self.checks
            if one.layer is Layer.INPUT or one.attempt == max(answers, default=0)
        )
        passed = StepVerdict.REFUSED if is_refused else StepVerdict.DONE if answers else StepVerdict.LEFT_OUT
        if self.is_checking:
            passed = StepVerdict.FAILED
        explained = Step(
            name=StepName.EXPLAIN,
            verdict=verdict,
            elapsed_ms=max(0.0, self.elapsed_ms - self.checking_s * 1000),
            input=f"film, scores, {record} of the record{', an earlier film' if context.prior_film else ''}",
            output=output,
        )
        checked = Step(
            name=StepName.CHECK,
            verdict=passed,
            elapsed_ms=self.checking_s * 1000,
            input=f"{record} of the record, {counted(len(answers), 'answer')} of {model.name}",
            output="; ".join(
                f"attempt {attempt}: "
                + ", ".join(f"{one.layer} {one.verdict}" for one in self.checks if one.attempt == attempt)
                for attempt in sorted({one.attempt for one in self.checks})
            ),
        )
        return explained, checked


@dataclass(frozen=True, kw_only=True, slots=True)
class _Accepted:
    """An answer that passed all layers."""

    answer: Answer
    text: str
    account: Account
    snippets: tuple[Snippet, ...]


class MedGemmaExplainer:
    """Explains by a language model, else by the template.

    Args:
        model: the language model.
        time_limit_s: for all attempts at one study together.
        rest_s: how long a model that did not answer is left alone, so that its absence costs other studies no time.
    """

    def __init__(self, model: LanguageModel, *, time_limit_s: float, rest_s: float = 60.0) -> None:
        self._model = model
        self._template = TemplateExplainer()
        self._prompt: PromptFile = load_prompt()
        self._time_limit_s = time_limit_s
        self._rest_s = rest_s
        self._rests_until = 0.0
        self._why_resting = ""

    @property
    def algorithm(self) -> Algorithm:
        """The language model's; what the template explained instead says so itself."""
        return self._model.algorithm

    def explain(
        self,
        analysis: Analysis,
        triage: Triage,
        radiographs: Callable[[ImageReference], Radiograph],
        context: StudyContext = NO_CONTEXT,
    ) -> Analysis:
        """The Analysis with the language model's words, or the template's and why.

        Args:
            analysis: what the scorer found; its leading image is the one that the model looks at.
            triage: which of it may be put into words.
            radiographs: gives that image.
            context: what else is known.
        """
        started = time.monotonic()
        admitted = admit(context.reason, context.prior_reports, context.identifiers)
        work = _Work(analysis=analysis, triage=triage, context=context, admitted=admitted, started=started)
        work.checking_s = time.monotonic() - started
        work.checks.append(admitted.check)
        try:
            self._require_askable(work)
            accepted = self._ask(work, show_film(radiographs(analysis.image), analysis.quality))
        except NoLongerWanted as error:
            return self._by_template(work, error.message, StepVerdict.LEFT_OUT)
        except ModelUnavailable as error:
            log.warning("the language model did not explain", code=error.code, why=error.message)
            verdict = StepVerdict.REFUSED if error.code == _REFUSED else StepVerdict.FAILED
            return self._by_template(work, error.message, verdict)
        except FirstreadError:
            raise  # the PACS, or the film itself: nothing of the language model's
        except Exception as error:  # noqa: BLE001 - a library's fault in the model must not cost the report
            place = "".join(traceback.format_tb(error.__traceback__))
            # without its message, which may quote what was asked
            log.error("the language model failed unexpectedly", error=type(error).__name__, place=place)  # noqa: TRY400
            where = "safety layers" if work.is_checking else "model"
            why = f"unexpected {type(error).__name__} in the {where}: see the worker's log"
            return self._by_template(work, why, StepVerdict.FAILED)
        model = self._model.algorithm
        return require_confirmation(
            analysis.after(work.steps(StepVerdict.DONE, f"words of {model.name}", model)).explained(
                accepted.text,
                explainer=model,
                prompt_version=self._prompt.version,
                snippets=accepted.snippets,
                account=accepted.account,
            )
        )

    def _require_askable(self, work: _Work) -> None:
        if work.context.skip:
            raise NoLongerWanted("not_asked", work.context.skip)
        if why := film_refused(work.analysis):
            work.checks.append(Check(layer=Layer.INPUT, attempt=1, verdict=Verdict.REFUSED, detail=why))
            raise NoLongerWanted("film_refused", why)
        if time.monotonic() < self._rests_until:
            raise ModelUnavailable("explainer_away", self._why_resting)

    def _ask(self, work: _Work, film: ShownFilm) -> _Accepted:
        before = _shown_prior(work.context.prior_film)
        if before is None:
            work.context = replace(work.context, prior_film=None)
        prior = work.context.prior_film
        images = (*([before.picture] if before else []), film.picture)
        patience = Patience(until=work.started + self._time_limit_s, why_unwanted=work.context.why_unwanted)
        faults: list[str] = []
        for attempt in range(1, _ATTEMPTS + 1):
            text = self._reach(
                Question(
                    system=self._prompt.system,
                    images=images,
                    text=self._prompt.question(
                        scores=_scores_in_words(work.triage, findings_asked_of(work.context)),
                        data=[line.shown for line in work.admitted.lines],
                        has_prior_film=prior is not None,
                        taken=prior.taken if prior else "",
                        faults="; ".join(faults),
                    ),
                    schema=self._prompt.schema,
                    max_tokens=self._prompt.max_tokens,
                ),
                patience,
            )
            with work.checking():
                accepted, faults = self._check(text, attempt, work, film)
            if accepted:
                return accepted
        raise ModelUnavailable(_REFUSED, f"its answer was refused twice: {'; '.join(faults)}")

    def _reach(self, question: Question, patience: Patience) -> str:
        for attempt in range(1, _TRIES + 1):
            try:
                return self._model.answer(question, patience)
            except ModelUnavailable as error:
                if attempt < _TRIES and error.code in _RETRIED and patience.left_s > _PAUSE_S:
                    time.sleep(_PAUSE_S)
                    continue
                if error.code in _AWAY:
                    self._rests_until = time.monotonic() + self._rest_s
                    self._why_resting = f"not asked, since a moment before {error.message}"
                raise
        raise AssertionError  # pragma: no cover - the loop returns or raises

    def _check(self, text: str, attempt: int, work: _Work, film: ShownFilm) -> tuple[_Accepted | None, list[str]]:
        """What passed all layers, or why not; each layer leaves its trace."""

        def trace(layer: Layer, faults: list[str], changed: str = "") -> bool:
            verdict = Verdict.REFUSED if faults else Verdict.CHANGED if changed else Verdict.PASSED
            detail = "; ".join(faults) or changed
            work.checks.append(Check(layer=layer, attempt=attempt, verdict=verdict, detail=detail))
            return not faults

        try:
            answer = read_answer(text, self._prompt, film)
        except BadAnswer as error:
            trace(Layer.SCHEMA, [str(error)])
            return None, [str(error)]
        trace(Layer.SCHEMA, [])
        triage = work.triage
        spoken = [answer.explanation, answer.uncertainty]
        faults = list(
            dict.fromkeys(
                fault
                for words in spoken
                for fault in faults_of_language(words, triage=triage, identifiers=work.context.identifiers)
            )
        )
        faults_d = faults_of_consistency(answer.explanation, answer.statements, analysis=work.analysis, triage=triage)
        snippets, unquotable = _quoted(answer, work)
        statements = marked(answer.statements, answer.explanation, triage=triage)
        own = own_findings_sentence(statements)
        changed = "; ".join(filter(None, (own and "findings marked as the language model's own", unquotable)))
        speaks_well = trace(Layer.LANGUAGE, faults)
        agrees = trace(Layer.CONSISTENCY, faults_d, changed)
        if not (speaks_well and agrees):
            return None, [*faults, *faults_d]
        work.checks.append(confirmation_check(attempt))
        account = Account(
            explained_at=datetime.now(UTC),
            elapsed_ms=work.elapsed_ms,
            sop_instance_uid=work.analysis.image.sop_instance_uid,
            prompt_sha256=self._prompt.sha256,
            statements=statements,
            comparison=_comparison(answer, work.context),
            uncertainty=answer.uncertainty,
            checks=tuple(work.checks),
            saw_film_alone=not work.admitted.lines and work.context.prior_film is None,
        )
        first = answer_to(findings_asked_of(work.context), triage)
        words = confirmable(" ".join(filter(None, (first, answer.explanation, own))))
        return _Accepted(answer=answer, text=words, account=account, snippets=snippets), []

    def _by_template(self, work: _Work, why: str, verdict: StepVerdict) -> Analysis:
        explained = self._template.explain(work.analysis, work.triage, _no_pixels, work.context)
        model = self._model.algorithm
        instead_of = f"{model.name}, version {model.version}"
        steps = work.steps(verdict, f"the template's words, in place of {instead_of}: {why}", model)
        account = Account(
            explained_at=datetime.now(UTC),
            elapsed_ms=work.elapsed_ms,
            instead_of=instead_of,
            why=why,
            checks=(*work.checks, confirmation_check(1)),
        )
        return require_confirmation(replace(explained, account=account, steps=work.analysis.after(steps).steps))


def _scores_in_words(triage: Triage, asked: Sequence[str]) -> list[str]:
    """What is named, with what the record asks about first, then what else reaches its threshold."""
    named = {one.finding.type.key for one in triage.named}
    words = [in_a_sentence(one.words) for one in asked_first(triage.named, asked)]
    others = [
        f"{in_a_sentence(finding.type.label)} {two_places(finding.probability)}"
        for finding in triage.shown
        if finding.type.key not in named and finding.is_positive
    ]
    return [*words, *others]


def _quoted(answer: Answer, work: _Work) -> tuple[tuple[Snippet, ...], str]:
    """The lines that an answer quotes, and what is to be said of quotations that are none."""
    lines = work.admitted.lines
    cited = [lines[number - 1].snippet for number in answer.quotes if number <= len(lines)]
    sources: dict[str, list[str]] = {REASON: [work.context.reason]}
    for source, text in work.context.prior_reports:
        sources.setdefault(source, []).append(text)
    wrong = unfaithful(cited, sources)
    kept = tuple(dict.fromkeys(one for one in cited if one not in wrong))
    lost = len(answer.quotes) - len(kept)
    return kept, f"{lost} quotations of lines that are none left out" if lost else ""


def _comparison(answer: Answer, context: StudyContext) -> Comparison | None:
    """The change with what it was seen against; none where there was nothing to compare with, whatever is answered."""
    prior = context.prior_film
    compared = ([f"film {prior.source}"] if prior else []) + [f"report {source}" for source, _ in context.prior_reports]
    if answer.change is None or not compared:
        return None
    return Comparison(change=answer.change, compared_with=tuple(compared))


def _shown_prior(prior: PriorFilm | None) -> ShownFilm | None:
    """The earlier film as the model sees it; None where there is none, or it cannot be decoded."""
    if prior is None:
        return None
    try:
        return show_film(prior.radiograph())
    except UnusableImage as error:
        log.warning("the prior film is not shown to the language model", code=error.code)
        return None


def _no_pixels(_: ImageReference) -> Radiograph:
    raise AssertionError  # pragma: no cover - the template needs none
