"""The composition roots of the workers, and of whatever else runs the models: settings in, running parts out.

A worker's process loads what its queue needs and no more, and Celery's main process loads none of it: each function
imports its own parts when it is called.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

from celery import Celery

from firstread.settings import Settings
from worker.tasks import Service, build_worker
from worklist.job import Queue

if TYPE_CHECKING:
    from models import Explainer, Scorer
    from models.medgemma.notes import NoteSummarizer
    from models.medgemma.question import LanguageModel
    from models.medgemma.server import OpenAiServer
    from worker.heartbeat import Heartbeat
    from worker.pacs import Pacs
    from worker.predict import Predictor
    from worklist.records import Database

# ruff: noqa: PLC0415 - see above

_SHARE_OF_WAITING = 0.8
"""Of the time that whoever uploads waits: in it the language model answers, or the rules' reading goes out alone."""

Work = Callable[[str], None]
"""Does the work of a job's or an upload's identifier."""


def build_scorer(settings: Settings) -> Scorer:
    """The fast path's model, loaded, behind the gates.

    Raises:
        ModelUnavailable: it is not there, not whole, or not what it should be.
    """
    from models.gates.scorer import GatedScorer

    return GatedScorer(_SCORERS[settings.scorer](settings))


def _build_embedded(settings: Settings) -> Scorer:
    from models.embedded.scorer import WEIGHTS, EmbeddedScorer
    from worklist.errors import ModelUnavailable

    if (models := settings.model_dir) and ((models / "embedded.onnx").exists() or not models.is_dir()):
        raise ModelUnavailable(
            "model_folder_missing",
            f"FIRSTREAD_MODEL_DIR={models} is no folder of models: it holds embedded/, medsiglip/ or medgemma/, each "
            "with its files",
        )
    own = models / "embedded" if models else WEIGHTS
    return EmbeddedScorer(own if own.is_dir() else WEIGHTS, threads=settings.scorer_threads)


def _build_medsiglip(settings: Settings) -> Scorer:
    from models.checkpoints.known import MEDSIGLIP, folder_of
    from models.medsiglip.scorer import MedSiglipScorer

    folder = folder_of(MEDSIGLIP, settings.model_dir)
    return MedSiglipScorer(folder, threads=settings.scorer_threads, device=settings.scorer_device)


_SCORERS: dict[str, Callable[[Settings], Scorer]] = {"embedded": _build_embedded, "medsiglip": _build_medsiglip}


def build_explainer(settings: Settings) -> Explainer:
    """What writes the explanation on the slow path.

    Raises:
        ModelUnavailable: MedGemma cannot be loaded. A server that is away raises nothing: it may come back.
    """
    if settings.explainer == "template":
        return build_template()
    from models.medgemma.explainer import MedGemmaExplainer

    return MedGemmaExplainer(build_language_model(settings), time_limit_s=settings.explainer_time_limit_s)


def build_template() -> Explainer:
    """What explains at once and without a model."""
    from models.template import TemplateExplainer

    return TemplateExplainer()


def build_language_model(settings: Settings) -> LanguageModel:
    """The language model of the slow path: a server's, or the checkpoint below model_dir, verified and loaded.

    Raises:
        ModelUnavailable: it cannot be loaded.
    """
    if settings.explainer == "openai":
        return build_language_server(settings)
    from models.checkpoints.known import MEDGEMMA, folder_of
    from models.medgemma.in_process import InProcessModel

    return InProcessModel(
        folder_of(MEDGEMMA, settings.model_dir),
        precision=settings.explainer_precision,
        threads=settings.explainer_threads,
    )


def build_language_server(settings: Settings) -> OpenAiServer:
    """The language model's server."""
    from models.medgemma.server import OpenAiServer

    return OpenAiServer(
        settings.explainer_url or "", settings.explainer_model, settings.explainer_api_key.get_secret_value()
    )


def build_pacs(settings: Settings) -> Pacs:
    """Where images come from and results go."""
    from worker.pacs import Pacs
    from worklist.pacs_connection import trusting

    return Pacs(
        settings.orthanc_url,
        dicomweb_root=settings.orthanc_dicomweb_root,
        auth=settings.orthanc_auth,
        tls=trusting(settings.orthanc_ca_file),
    )


def build_predictor(settings: Settings, scorer: Scorer) -> Predictor:
    """What judges a single file."""
    from worker.predict import Predictor

    # Whoever uploads a film waits for the answer, which a language model would hold up.
    return Predictor(scorer=scorer, explainer=build_template(), scope=settings.scope_rules)


def build_score(settings: Settings, load_scorer: Callable[[], Scorer]) -> Work:
    """What scores images; it brings the scorer's triage policy into force."""
    from firstread.compose import build_job_records
    from worker.score import ScorePipeline
    from worklist.triage import TriagePolicy

    jobs = build_job_records(settings, _answering_database(settings))
    scorer = load_scorer()
    jobs.adopt_policy(TriagePolicy.of(scorer.card, settings.site_rules.triage))
    return ScorePipeline(jobs=jobs, pacs=build_pacs(settings), scorer=scorer).run


def build_report(settings: Settings, load_scorer: Callable[[], Scorer]) -> Work:
    """What reports studies; the scorer is loaded with the first earlier film that it has not judged."""
    from firstread.compose import build_job_records
    from worker.explaining import Explaining
    from worker.priors import PriorFinder
    from worker.report import ReportPipeline
    from worklist.records import ExplanationRecords

    database, pacs = _answering_database(settings), build_pacs(settings)
    records = ExplanationRecords(database)
    jobs = build_job_records(settings, database)
    return ReportPipeline(
        jobs=jobs,
        pacs=pacs,
        explaining=Explaining(build_explainer(settings), records),
        priors=PriorFinder(
            pacs,
            records,
            scope=lambda: jobs.choices().scope,
            report_titles=settings.report_titles,
            sites=settings.shared_by,
            # The small model costs this process little; MedSigLIP would cost seconds and gigabytes a second time.
            load_scorer=load_scorer if settings.scorer == "embedded" else None,
        ),
        write_overlay=settings.write_overlay,
        write_key_image=settings.write_key_image,
    ).run


def build_predict(settings: Settings, load_scorer: Callable[[], Scorer]) -> Work:
    """What judges uploads; the embedded model, which loads in a second, is loaded with the first of them."""
    from firstread.compose import build_job_records
    from worker.predict import PredictPipeline
    from worklist.records import PredictionRecords, UploadFiles

    database = _answering_database(settings)
    load_predictor = cache(lambda: build_predictor(settings, load_scorer()))
    if settings.scorer != "embedded":
        load_predictor()
    return PredictPipeline(
        jobs=build_job_records(settings, database),
        predictions=PredictionRecords(database, UploadFiles(settings.upload_dir)),
        load_predictor=load_predictor,
        summarizer=build_summarizer(settings),
    ).run


def build_dictate(settings: Settings, load_scorer: Callable[[], Scorer]) -> Work:
    """What hears speech, with its model loaded; it needs no scorer.

    Raises:
        InvalidInput: dictation_off.
        ModelUnavailable: MedASR cannot be loaded.
    """
    from models.checkpoints.known import MEDASR, folder_of
    from models.medasr.recognizer import SpeechRecognizer
    from worker.dictate import DictatePipeline
    from worklist.errors import InvalidInput
    from worklist.records import PredictionRecords, UploadFiles

    del load_scorer
    if settings.dictation == "off":
        raise InvalidInput("dictation_off", "FIRSTREAD_DICTATION=off: set it to medasr, here and for the gateway")
    recognizer = SpeechRecognizer(folder_of(MEDASR, settings.model_dir), threads=settings.dictation_threads)
    speeches = PredictionRecords(_answering_database(settings), UploadFiles(settings.upload_dir))
    return DictatePipeline(speeches=speeches, recognizer=recognizer).run


def build_summarizer(settings: Settings) -> NoteSummarizer | None:
    """What asks a language model about notes: one behind a server; None where there is none.

    One in this process would be loaded a second time beside the report's, while whoever uploads waits.
    """
    from models.medgemma.notes import NoteSummarizer

    if settings.explainer != "openai":
        return None
    limit_s = min(float(settings.explainer_time_limit_s), settings.predict_wait_s * _SHARE_OF_WAITING)
    return NoteSummarizer(build_language_server(settings), time_limit_s=limit_s)


def _answering_database(settings: Settings) -> Database:
    """The database, which has answered: no model is loaded in vain."""
    from firstread.compose import open_database

    database = open_database(settings)
    with database.read() as session:
        session.connection()
    return database


def build_heartbeat(settings: Settings, queues: Sequence[Queue]) -> Heartbeat:
    """The heart of a worker process that serves some queues."""
    from firstread.compose import build_job_records, open_database
    from worker.heartbeat import Heartbeat, broker_answers

    jobs = build_job_records(settings, open_database(settings))
    return Heartbeat(jobs, queues, partial(broker_answers, settings.broker_url))


_BUILDERS: dict[Queue, Callable[[Settings, Callable[[], Scorer]], Work]] = {
    Queue.SCORE: build_score,
    Queue.REPORT: build_report,
    Queue.PREDICT: build_predict,
    Queue.DICTATE: build_dictate,
}
_DICTATE_S = 30  # a minute of speech takes a tenth of it


def build_worker_app(settings: Settings, queues: Sequence[Queue]) -> Celery:
    """The Celery application of the worker that serves these queues.

    Everything is built once before, in a process of its own that ends: Celery would only log that a model is missing,
    take each job's message and do nothing.

    Raises:
        ModelUnavailable: a model cannot be loaded.
        InvalidInput: the site's choices contradict the model's card.
        PermanentError: the tables are not those of this version.
        TransientError: the database does not answer.
    """
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as trial:
        trial.submit(_try, settings, queues).result()
    limits = {
        Queue.SCORE: settings.score_time_limit_s,
        Queue.REPORT: settings.report_time_limit_s,
        Queue.PREDICT: settings.score_time_limit_s,
        Queue.DICTATE: _DICTATE_S,
    }
    load_scorer = cache(partial(build_scorer, settings))  # once in each process that Celery starts
    builders = {queue: partial(_BUILDERS[queue], settings, load_scorer) for queue in queues}
    return build_worker(
        settings.broker_url,
        {queue: Service(build=build, time_limit_s=limits[queue]) for queue, build in builders.items()},
        partial(build_heartbeat, settings, queues),
    )


def _try(settings: Settings, queues: Sequence[Queue]) -> None:
    from firstread.schema import require_current_database

    require_current_database(settings)
    load_scorer = cache(partial(build_scorer, settings))
    for queue in queues:
        _BUILDERS[queue](settings, load_scorer)
    if Queue.PREDICT in queues:
        load_scorer()
