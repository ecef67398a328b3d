"""A site's choices about studies and readings, beside those of the triage rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from worklist.triage import SiteChoices


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteRules:
    """What a site chooses.

    Attributes:
        triage: how far what may move a study.
        prior_after: age of the study date from which a study is taken for a prior; None takes none for one.
        target_wait: unread studies that wait longer stand in a strip of their own at the top.
        reading_lease: how long a claim holds unless it is renewed.
        quiet: a study is complete after this long without a new image, whether or not the PACS calls it stable.
        report_out_of_scope: whether a study of radiographs that are not scored is reported too.
    """

    triage: SiteChoices = field(default_factory=SiteChoices)
    prior_after: timedelta | None = timedelta(days=30)
    target_wait: timedelta = timedelta(hours=24)
    reading_lease: timedelta = timedelta(minutes=15)
    quiet: timedelta = timedelta(seconds=5)
    report_out_of_scope: bool = True
