"""The composition root of a worker, and of whatever else runs the models: settings in, a running worker out."""

from __future__ import annotations

from celery import Celery

from firstread.compose import build_job_records
from firstread.settings import Settings
from models import Explainer, Scorer
from models.embedded.scorer import WEIGHTS, EmbeddedScorer
from models.gates.scorer import GatedScorer
from models.template import TemplateExplainer
from worker.pacs import Pacs
from worker.pipeline import Pipeline
from worker.predict import Predictor
from worker.tasks import TimeLimits, build_worker
from worklist.records import Database, PredictionRecords


def build_scorer(settings: Settings) -> Scorer:
    """The fast path's model, loaded, behind the gates."""
    return GatedScorer(EmbeddedScorer(settings.model_dir or WEIGHTS, threads=settings.scorer_threads))


def build_explainer(settings: Settings) -> Explainer:
    """What writes the explanation."""
    del settings
    return TemplateExplainer()


def build_pacs(settings: Settings) -> Pacs:
    """Orthanc's DICOMweb service."""
    root = f"{settings.orthanc_url.rstrip('/')}/{settings.orthanc_dicomweb_root.strip('/')}"
    return Pacs(root, auth=settings.orthanc_auth)


def build_predictor(settings: Settings) -> Predictor:
    """What judges a single file, with its models loaded."""
    return Predictor(
        scorer=build_scorer(settings),
        explainer=build_explainer(settings),
        urgency=settings.reading_policy.urgency,
        scope=settings.scope_rules,
    )


def build_pipeline(settings: Settings) -> Pipeline:
    """What a worker process does its jobs with."""
    database = Database(settings.database_url)
    predictor = build_predictor(settings)
    return Pipeline(
        jobs=build_job_records(settings, database),
        pacs=build_pacs(settings),
        scorer=predictor.scorer,
        explainer=predictor.explainer,
        policy=settings.reading_policy,
        predictions=PredictionRecords(database),
        predictor=predictor,
        write_overlay=settings.write_overlay,
        write_key_image=settings.write_key_image,
    )


def build_worker_app(settings: Settings) -> Celery:
    """The Celery application of a worker.

    Raises:
        ModelUnavailable: its model cannot be loaded; Celery would log that, take each job's message and do nothing.
    """
    build_scorer(settings)
    return build_worker(
        settings.broker_url,
        lambda: build_pipeline(settings),
        TimeLimits(score_s=settings.score_time_limit_s, report_s=settings.report_time_limit_s),
    )
