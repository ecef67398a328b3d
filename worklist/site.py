"""A site's choices about studies and readings; those of the triage rule and the scope as they are at the start."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from worklist.choices import Choices
from worklist.scope import ScopeRules
from worklist.triage import SiteChoices


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRules:
    """What a site chooses.

    Attributes:
        triage: how far what may move a study, until somebody chooses otherwise (worklist/choices.py).
        scope: which images are looked at, until then.
        prior_after: age of the study date from which a study is taken for a prior; None takes none for one.
        target_wait: unread studies that wait longer stand in a strip of their own at the top.
        reading_lease: how long a claim holds unless it is renewed.
        quiet: a study is complete after this long without a new image, whether or not the PACS calls it stable.
        keep_for: so long what is read and what is a prior stays in the database; None keeps all.
        report_out_of_scope: whether a study of radiographs that are not scored is reported too.
    """

    triage: SiteChoices = field(default_factory=SiteChoices)
    scope: ScopeRules = field(default_factory=ScopeRules)
    prior_after: timedelta | None = timedelta(days=30)
    target_wait: timedelta = timedelta(hours=24)
    reading_lease: timedelta = timedelta(minutes=15)
    quiet: timedelta = timedelta(seconds=5)
    keep_for: timedelta | None = None
    report_out_of_scope: bool = True

    @property
    def start(self) -> Choices:
        """What holds until the first choice at run time."""
        return Choices(triage=self.triage, scope=self.scope)
