"""The slow path's manners: a language model explains where it keeps up, and stops where nobody waits any more.

A report is never held up for words. A model that is slower than studies arrive, or behind which reports have piled up,
explains flagged and STAT studies alone; where even those pile up, none. Everything else gets the template's words at
once, with the reason beside them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from imaging.radiograph import Radiograph
from models import Explainer
from models.context import NO_CONTEXT, StudyContext
from models.steps import Steps
from worker.priors import Prior
from worklist.account import Change
from worklist.comparison import day_in_words
from worklist.finding import Analysis, ImageReference
from worklist.records import ExplanationRecords, Job, ReportLoad
from worklist.step import StepName, StepVerdict
from worklist.triage import Triage, Urgency
from worklist.words import counted

_NEWEST_SHARE: Final = 0.3  # of the newest film in the running mean of a model's time
_WITHIN_S: Final = 3600.0  # arrivals are counted over so long, ...
_AT_LEAST_S: Final = 600.0  # ... and over no less, so that a burst is no rush hour
_PILE_S: Final = 300.0  # of work before a study that is neither flagged nor STAT: beyond it, it is not explained ...
_PILE_FIRST_S: Final = 1800.0  # ... and before one that is


class Pace:
    """How fast a model explains and studies come to this worker, and which studies it can therefore take.

    Args:
        clock: seconds that only rise.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun_at = clock()
        self._arrived_at: deque[float] = deque()
        self._mean_s: float | None = None

    def arrive(self) -> None:
        """A study has come to be put into words."""
        now = self._clock()
        self._arrived_at.append(now)
        while self._arrived_at[0] < now - _WITHIN_S:
            self._arrived_at.popleft()

    def note(self, elapsed_s: float, *, has_explained: bool = True) -> None:
        """The model took so long for a film; a failure counts where it took longer than a film does."""
        mean = self._mean_s
        if not has_explained and mean is not None and elapsed_s < mean:
            return
        self._mean_s = elapsed_s if mean is None else mean + _NEWEST_SHARE * (elapsed_s - mean)

    def why_skip(self, load: ReportLoad, *, comes_first: bool) -> str:
        """Why a study is not to be explained by the model, in one line; "" where it may be.

        Args:
            load: what waits, this study included.
            comes_first: whether it is flagged or its order is STAT.
        """
        if self._mean_s is None:
            return ""  # nothing is known yet; the first film tells
        if comes_first:
            is_behind = (load.waiting_first - 1) * self._mean_s > _PILE_FIRST_S
            return "the model was busy, even with flagged and STAT studies alone" if is_behind else ""
        seen_s = min(max(self._clock() - self._begun_at, _AT_LEAST_S), _WITHIN_S)
        is_slower = len(self._arrived_at) * self._mean_s > seen_s
        is_behind = (load.waiting - 1) * self._mean_s > _PILE_S
        return "the model was busy: it explains flagged and STAT studies first" if is_slower or is_behind else ""


class Explaining:
    """Puts studies into words as fast as they come.

    Args:
        explainer: the template, or a language model behind its safety layers.
        records: what is known of studies and of the work that waits.
    """

    def __init__(self, explainer: Explainer, records: ExplanationRecords) -> None:
        self._explainer = explainer
        self._records = records
        self._pace = Pace()

    def explain(
        self,
        job: Job,
        analysis: Analysis,
        triaged: Callable[[Analysis], Triage],
        radiographs: Callable[[ImageReference], Radiograph],
        find_prior: Callable[[], Prior | None],
    ) -> Analysis:
        """The study of a job in words.

        Args:
            job: of the report.
            analysis: what was found.
            triaged: gives what the rule makes of it, once the earlier film is beside it.
            radiographs: gives an image of the study.
            find_prior: looks for the patient's newest earlier film and the report on it.
        """
        self._pace.arrive()
        steps = Steps()
        context = self._compare(self._find_priors(find_prior, steps), analysis, steps)
        facts = self._records.facts(job.study_orthanc_id)
        why_unwanted = partial(self._records.why_unwanted, job.study_orthanc_id, job.revision)
        triage = triaged(replace(analysis, prior=context.comparison))
        comes_first = facts.comes_first or triage.urgency is not Urgency.NONE
        skip = why_unwanted() or self._pace.why_skip(self._records.load(), comes_first=comes_first)
        explained = self._explainer.explain(
            analysis.after(steps.taken),
            triage,
            radiographs,
            replace(
                context,
                reason=facts.reason,
                identifiers=facts.identifiers,
                skip=skip,
                why_unwanted=why_unwanted,
            ),
        )
        account = explained.account
        if account and not skip:
            self._pace.note(account.elapsed_ms / 1000, has_explained=bool(account.prompt_sha256))
        return replace(explained, prior=context.comparison)

    def _find_priors(self, find_prior: Callable[[], Prior | None], steps: Steps) -> Prior | None:
        prior = None
        with steps.step(StepName.PRIORS, "the patient's earlier studies in the PACS") as outcome:
            prior = find_prior()
            if prior is None:
                outcome.end("no earlier frontal chest film", StepVerdict.NOTHING)
            elif prior.clash:
                outcome.end(prior.clash, StepVerdict.REFUSED)
            elif prior.film is None:
                outcome.end(prior.not_compared, StepVerdict.FAILED)
            else:
                report = f"with a report ({prior.report.kind})" if prior.report else "without a report"
                outcome.end(f"the film of {day_in_words(prior.study_date)}, {report}")
        return prior

    def _compare(self, prior: Prior | None, analysis: Analysis, steps: Steps) -> StudyContext:
        context = NO_CONTEXT
        given = f"the scores of two films by {analysis.scorer.name}" if prior and prior.film else "no earlier film"
        with steps.step(StepName.COMPARE, given) as outcome:
            context = prior.context(analysis) if prior else NO_CONTEXT
            comparison = context.comparison
            if comparison and comparison.compared:
                changed = sum(one.change is not Change.STABLE for one in comparison.compared)
                outcome.end(f"{counted(len(comparison.compared), 'finding')} compared, {changed} clearly changed")
            else:
                why = (comparison and comparison.not_compared) or "nothing to compare with"
                outcome.end(why, StepVerdict.LEFT_OUT)
        return context
