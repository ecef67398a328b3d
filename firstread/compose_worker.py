"""The composition root of a worker, and of whatever else runs the models: settings in, a running worker out."""

from __future__ import annotations

from celery import Celery

from firstread.compose import build_job_records
from firstread.settings import Settings
from models import Explainer, Scorer
from models.embedded import WEIGHTS, EmbeddedScorer
from models.template import TemplateExplainer
from worker.pacs import Pacs
from worker.pipeline import Pipeline
from worker.tasks import TimeLimits, build_worker
from worklist.records import Database


def build_scorer(settings: Settings) -> Scorer:
    """The fast path's model, loaded."""
    return EmbeddedScorer(settings.model_dir or WEIGHTS, threads=settings.scorer_threads)


def build_explainer(settings: Settings) -> Explainer:
    """What writes the explanation."""
    del settings
    return TemplateExplainer()


def build_pacs(settings: Settings) -> Pacs:
    """Orthanc's DICOMweb service."""
    root = f"{settings.orthanc_url.rstrip('/')}/{settings.orthanc_dicomweb_root.strip('/')}"
    return Pacs(root, auth=settings.orthanc_auth)


def build_pipeline(settings: Settings) -> Pipeline:
    """What a worker process does its jobs with."""
    return Pipeline(
        jobs=build_job_records(settings, Database(settings.database_url)),
        pacs=build_pacs(settings),
        scorer=build_scorer(settings),
        explainer=build_explainer(settings),
        policy=settings.reading_policy,
    )


def build_worker_app(settings: Settings) -> Celery:
    """The Celery application of a worker."""
    return build_worker(
        settings.broker_url,
        lambda: build_pipeline(settings),
        TimeLimits(score_s=settings.score_time_limit_s, report_s=settings.report_time_limit_s),
    )
