"""A film with its scores and triage, as a language model is asked to explain it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from imaging.radiograph import Radiograph
from models.context import NO_CONTEXT, StudyContext
from models.medgemma.explainer import MedGemmaExplainer
from models.medgemma.server import OpenAiServer
from tests.language_servers import MODEL
from tests.sr_films import CARDIOMEGALY, EDEMA, EFFUSION, POLICY, film, scored
from worklist.finding import Analysis, ImageReference, QualityNote
from worklist.triage import Triage, assess

GOOD_SENTENCE = "Probable left pleural effusion with a possible enlarged heart."
"""What a good model says of the study below."""


@dataclass(frozen=True, kw_only=True)
class LanguageStudy:
    """An effusion on the left that is likely, and a heart that may be large, on a film of 1000 x 1200 pixels."""

    analysis: Analysis = field(default_factory=lambda: scored(film(), EFFUSION, CARDIOMEGALY, EDEMA))

    def noted(self, *codes: str) -> LanguageStudy:
        """The same with quality notes."""
        notes = tuple(QualityNote(code=code, message=f"{code}.") for code in codes)
        return LanguageStudy(analysis=replace(self.analysis, quality=notes))

    @property
    def triage(self) -> Triage:
        """What the rule makes of it."""
        return assess(self.analysis, POLICY)

    def radiograph(self, image: ImageReference) -> Radiograph:
        """The film: a gradient, so that no two parts of it are the same."""
        rows = np.linspace(0, 1, image.rows, dtype=np.float32)[:, None]
        columns = np.linspace(0, 1, image.columns, dtype=np.float32)[None, :]
        return Radiograph(
            image=image, pixels=np.asarray((rows + columns) / 2, np.float32), quality=self.analysis.quality
        )

    def explained(self, explainer: MedGemmaExplainer, context: StudyContext = NO_CONTEXT) -> Analysis:
        """What an explainer makes of it."""
        return explainer.explain(self.analysis, self.triage, self.radiograph, context)


def explainer_at(url: str, *, model: str = MODEL, time_limit_s: float = 60.0, rest_s: float = 0.0) -> MedGemmaExplainer:
    """The explainer that asks a server."""
    return MedGemmaExplainer(OpenAiServer(url, model), time_limit_s=time_limit_s, rest_s=rest_s)
