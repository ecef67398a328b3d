"""Every setting, read from the environment (FIRSTREAD_...) and from a file named .env."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from firstread.access_settings import AccessSettings
from firstread.secret_files import SecretFiles
from firstread.viewer_url import check_viewer_url
from worklist.errors import InvalidInput
from worklist.job import ALWAYS_SERVED, JobLimits, Queue
from worklist.scope import ScopeRules
from worklist.site import SiteRules
from worklist.triage import SiteChoices

_PREFIX = "FIRSTREAD_"
_A_YEAR_H = 24 * 366
_A_CENTURY_D = 36_525
_REPORT_S = 60  # for everything of a report but its words
_BY_CARD = "the scorer's card says from where on which finding is critical, FIRSTREAD_WEIGHTS what a finding weighs"
_GONE: Final = {
    "prevalence": "FIRSTREAD_ALERT_BUDGET_PERCENT says how many studies may be flagged",
    "urgent_threshold": "FIRSTREAD_ALERT_BUDGET_PERCENT says how many studies may be flagged",
    "critical_threshold": _BY_CARD,
    "critical_findings": _BY_CARD,
    "critical_finding_threshold": _BY_CARD,
}
"""Settings of earlier versions, and what stands in their place."""


def _check_no_login(url: str) -> str:
    if "@" in url.partition("://")[2].partition("/")[0]:
        # It would be shown wherever the address is: by GET /ready, doctor, and the messages of failures.
        raise PydanticCustomError(
            "login_in_address", "must hold no login: set FIRSTREAD_ORTHANC_USERNAME and FIRSTREAD_ORTHANC_PASSWORD"
        )
    return url


def _starting(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(schemes) or url in schemes:
            # Without the value, which may hold a password.
            raise PydanticCustomError("scheme", "must be an address that starts with {s}", {"s": " or ".join(schemes)})
        return url

    return AfterValidator(check)


_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Settings(AccessSettings):
    """What a site can choose; each field is the environment variable FIRSTREAD_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_file=".env", extra="ignore", use_attribute_docstrings=True
    )

    database_url: str = "sqlite:///firstread.db"
    """SQLAlchemy URL of the database: SQLite on one machine, postgresql://... for more."""
    broker_url: Annotated[
        str, _starting("redis://", "rediss://", "redis+socket://", "sentinel://", "amqp://", "amqps://")
    ] = "redis://127.0.0.1:6379/0"
    """Celery broker: Redis, or amqp://... for RabbitMQ."""
    orthanc_url: Annotated[str, _starting("http://", "https://"), AfterValidator(_check_no_login)] = (
        "http://127.0.0.1:8042"
    )
    """Root of Orthanc's REST interface; its DICOMweb root is found below it."""
    orthanc_username: str = ""
    """User name for Orthanc, empty where it asks for none."""
    orthanc_password: SecretStr = SecretStr("")
    """Password for Orthanc."""
    orthanc_ca_file: Path | None = None
    """PEM file of the authority that Orthanc's certificate comes from, where it is the hospital's own; with https."""
    orthanc_dicomweb_root: str = "dicom-web"
    """Path of the DICOMweb plug-in below orthanc_url."""
    orthanc_aet: str = "ORTHANC"
    """Orthanc's AE title, as the modalities call it."""
    orthanc_dicom_host: str = "127.0.0.1"
    """Where Orthanc listens for C-STORE."""
    orthanc_dicom_port: int = 4242
    """Orthanc's DICOM port."""
    shown_dicom_host: str = ""
    """Where modalities reach Orthanc, as the page shows it; empty where that is orthanc_dicom_host."""
    shown_dicom_port: int = 0
    """The same of its port; 0 where that is orthanc_dicom_port."""
    doorbell_secret: SecretStr = SecretStr("")
    """What Orthanc's plug-in must know to ring, its DoorbellSecret; where empty, only this machine may ring."""

    scorer: Literal["embedded", "medsiglip"] = "embedded"
    """The model of the fast path: the small network that is shipped, or MedSigLIP from model_dir."""
    explainer: Literal["template", "medgemma", "openai"] = "template"
    """What writes the explanation on the slow path: sentences from the scores, MedGemma from model_dir in the worker's
    own process, or a language model behind an OpenAI-compatible server (vLLM, llama.cpp)."""
    explainer_url: Annotated[str, _starting("http://", "https://")] | None = None
    """Root of that server."""
    explainer_model: str = "medgemma"
    """The model's name there."""
    explainer_api_key: SecretStr = SecretStr("")
    """Sent to that server as a bearer token; empty where it asks for none."""
    explainer_precision: Literal["bfloat16", "4bit"] = "bfloat16"
    """Of MedGemma's weights in the worker's own process; 4bit needs bitsandbytes."""
    explainer_threads: int = Field(default=2, ge=1)
    """Processor threads of MedGemma in the worker's own process, where there is no graphics card."""
    explainer_time_limit_s: int = Field(default=300, ge=5)
    """A language model that takes longer for a study is given up, and the template explains."""
    model_dir: Path | None = None
    """Folder of models, each in a folder of its name: medsiglip/, medgemma/, and embedded/ for other weights than the
    shipped ones. `firstread models` says what is in it."""
    scorer_threads: int = Field(default=1, ge=1)
    """Processor threads of one scoring."""
    scorer_device: Literal["cpu", "cuda"] = "cpu"
    """Where MedSigLIP runs: cpu is what `firstread models export medsiglip` made, cuda the checkpoint on a GPU."""
    dictation: Literal["off", "medasr"] = "off"
    """Whether speech is heard by POST /dictate, and by what: MedASR from model_dir, in a worker of its own. What is
    typed there is understood without it."""
    dictation_threads: int = Field(default=1, ge=1)
    """Processor threads of MedASR; two that wait for one another are slower than one where others work, too."""
    report_out_of_scope: bool = True
    """Whether a radiograph that is not looked at (body part, view, child) gets a triage report that says so."""
    write_overlay: bool = False
    """Whether boxes and labels also go into the PACS as a presentation state (GSPS), for viewers without SR."""
    write_key_image: bool = False
    """Whether a film with a suspected finding also gets a key image note (KOS)."""
    mark_studies: bool = False
    """Whether order and flag also go into Orthanc as metadata and labels of the studies on the list."""

    http_port: int = 8080
    """The gateway's port."""
    viewer_dir: Path | None = None
    """Folder of OHIF for the address /viewer/, as make setup puts into .venv/share/ohif; no viewer where unset."""
    viewer_url: Annotated[str, AfterValidator(check_viewer_url)] | None = None
    """Where the hospital's own viewer opens a study: an address of http, https or of the viewer's own scheme that holds
    {study_instance_uid}, such as https://viewer.hospital/open?study={study_instance_uid}."""
    aet: str = "FIRSTREAD"
    """Firstread's own AE title, used when it sends."""

    order_horizon_h: float = Field(default=16.0, ge=0, le=_A_YEAR_H)
    """H, hours: STAT orders aside, nobody is overtaken by a study that arrived more than this later; 0 is arrival."""
    order_steepness: float = Field(default=1.5, gt=0, le=100)
    """k: how fast the head start grows with the log odds of the harm."""
    least_head_start_min: float = Field(default=30.0, ge=0, le=60 * _A_YEAR_H)
    """The least head start, minutes, that a flagged study gets; shorter ones would be noise with a sentence."""
    high_head_start_h: float = Field(default=4.0, ge=0, le=_A_YEAR_H)
    """Head start, hours, of an order of priority HIGH, whatever the AI says; STAT orders come first anyway."""
    alert_budget_percent: float = Field(default=20.0, gt=0, le=100)
    """At most so many of a hundred studies are flagged: by the card at first, by the site's own last 1,000 later."""
    weights: dict[str, _Share] | None = None
    """Harm of waiting by finding, 0 to 1, instead of the card's, as JSON: {"cardiomegaly": 0.1}."""
    language_model_may_raise: bool = False
    """Whether a finding that a language model states on a film may flag a study that the scores do not flag: never as
    critical, never beyond the least head start, and only where the model was shown no text of the record."""
    prior_raises: bool = False
    """Whether a finding that is new or worsened by its score since the patient's earlier film may flag a study that the
    scores alone do not flag: never as critical, and never beyond the least head start."""

    prior_after_days: int = Field(default=30, ge=0, le=_A_CENTURY_D)
    """Age of the study date, days, from which a study is taken for a prior and stands aside; 0 takes none for one."""
    retention_days: int = Field(default=0, ge=0, le=_A_CENTURY_D)
    """After so many days a study that is read, or a prior, leaves the database, and never the PACS; 0 keeps all."""
    target_wait_h: float = Field(default=24.0, gt=0, le=_A_YEAR_H)
    """Unread studies that wait longer, hours, stand in a strip of their own at the top of the page."""
    reading_lease_min: float = Field(default=15.0, gt=0, le=60 * 24)
    """How long a claim holds, minutes, unless the page of the one who reads renews it."""
    report_titles: frozenset[str] = frozenset()
    """Titles, code values or meanings of this hospital's own reports in the PACS, which complete a reading even where
    they are not VERIFIED, as JSON: ["Radiology Report", "18748-4"]."""

    dimse: bool = False
    """Whether `firstread dimse` runs at this site, so that doctor asks for it."""
    dimse_host: str = "127.0.0.1"
    """Where `firstread dimse` listens."""
    dimse_port: int = Field(default=11112, ge=0, le=65_535)
    """Its port."""
    dimse_peers: frozenset[str] = frozenset()
    """Who may open an association, as JSON: ["WS1@10.1.2.3", "WS2@10.1.0.0/16", "WS3", "*@10.2.0.0/16"], each an AE
    title or * for any, at an address, in a network, or anywhere. Where there are none, this machine alone may."""
    dimse_subscribers: frozenset[str] = frozenset()
    """Who may be sent event reports of workitems, and where they listen, as JSON: ["WS1@10.1.2.3:104"]."""
    dimse_associations: int = Field(default=20, ge=1, le=200)
    """Associations at one time."""
    dimse_associations_of_one: int = Field(default=8, ge=1, le=200)
    """Of these, from one address."""
    dimse_pdu_bytes: int = Field(default=16_384, ge=4096, le=131_072)
    """The longest PDU that a peer may send."""
    dimse_idle_s: float = Field(default=60.0, ge=1)
    """An association is ended after so long without a message, and an answer to a C-STORE is waited for so long."""
    dimse_stall_s: float = Field(default=20.0, ge=1)
    """How long a peer may take to read what it is sent, or to finish what it sends."""
    dimse_tls_certificate: Path | None = None
    """PEM file of the certificate with its chain; with it associations are taken by TLS alone."""
    dimse_tls_key: Path | None = None
    """PEM file of its private key."""
    dimse_tls_client_ca: Path | None = None
    """PEM file of the authority from which peers must have a certificate; none where they need none."""

    modalities: frozenset[str] = frozenset({"CR", "DX", "DR", "RG"})
    """Modalities that are radiographs."""
    chest_words: frozenset[str] = frozenset()
    """Further words by which this hospital's descriptions name the chest."""
    accept_secondary_capture: bool = True
    """Whether a film wrapped as Secondary Capture is looked at."""

    lookback_h: float = Field(default=168.0, ge=0, le=24 * _A_CENTURY_D)
    """On the first start, and when Orthanc was replaced: how old an image may be and still be listed."""
    quiet_s: float = Field(default=5.0, gt=0, le=3600)
    """A study is complete, and its report begun, after this long without a new image, or once Orthanc says stable."""
    poll_s: float = Field(default=1.0, gt=0)
    """How often the change feed is read when the doorbell is silent."""
    lease_s: float = Field(default=15.0, gt=1)
    """How long a dead worker's job waits before another may take it."""
    max_attempts: int = Field(default=5, ge=1)
    """Tries after which a job fails, visibly."""
    score_time_limit_s: int = Field(default=60, ge=30)
    """A film that takes longer to score is given up for this attempt; above the wait for a silent PACS."""
    report_time_limit_s: int = Field(default=600, ge=30)
    """The same for a report."""
    upload_dir: Path = Path("firstread-uploads")
    """Folder of what is sent to POST /predict, until it is judged; gateways and workers share it."""
    predict_upload_mb: int = Field(default=64, ge=1, le=1000)
    """Largest file that POST /predict takes, in megabytes (10^6 bytes)."""
    predict_in_hand_mb: int = Field(default=256, ge=1)
    """So much of uploads, in megabytes, is received or judged at one time; more wait their turn."""
    predict_wait_s: float = Field(default=30.0, gt=0)
    """How long POST /predict waits for a worker before it answers 503."""
    prediction_keep_s: int = Field(default=3600, ge=60)
    """After this long a prediction and its pictures are erased; its upload is erased once it is judged."""
    accept_stow: bool = False
    """Whether images may be stored through /dicom-web (STOW-RS); modalities send to Orthanc itself."""
    stow_mb: int = Field(default=256, ge=1)
    """Largest request that is stored through /dicom-web, in megabytes (10^6 bytes); Orthanc holds it twice."""
    least_free_mb: int = Field(default=1000, ge=0)
    """Megabytes that should be free on each disk, also Orthanc's; with less, GET /ready, page and doctor say so."""
    log_json: bool = False
    """One JSON object a line instead of readable logs."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What a program says comes before the environment, that before .env; secrets may lie in files of their own."""
        del file_secret_settings
        return init_settings, env_settings, dotenv_settings, SecretFiles(settings_cls)

    @model_validator(mode="after")
    def _require_consistent_explainer(self) -> Self:
        if self.explainer == "openai" and not self.explainer_url:
            raise PydanticCustomError("contradiction", "FIRSTREAD_EXPLAINER=openai needs FIRSTREAD_EXPLAINER_URL")
        if self.explainer != "template" and self.explainer_time_limit_s > self.report_time_limit_s - _REPORT_S:
            raise PydanticCustomError(
                "contradiction",
                "FIRSTREAD_EXPLAINER_TIME_LIMIT_S must be {margin} below FIRSTREAD_REPORT_TIME_LIMIT_S, in which the "
                "report is written too",
                {"margin": _REPORT_S},
            )
        return self

    @model_validator(mode="after")
    def _require_consistent_tls(self) -> Self:
        if (self.dimse_tls_certificate is None) != (self.dimse_tls_key is None) or (
            self.dimse_tls_client_ca and not self.dimse_tls_certificate
        ):
            raise PydanticCustomError(
                "contradiction",
                "FIRSTREAD_DIMSE_TLS_CERTIFICATE and FIRSTREAD_DIMSE_TLS_KEY belong together, and _CLIENT_CA to both",
            )
        return self

    @model_validator(mode="after")
    def _require_consistent_retention(self) -> Self:
        least = max(self.prior_after_days, self.lookback_h / 24)
        if 0 < self.retention_days < least:  # what was removed would come back as new work
            raise PydanticCustomError(
                "contradiction",
                "FIRSTREAD_RETENTION_DAYS must be 0, or at least {least}: no less than FIRSTREAD_PRIOR_AFTER_DAYS and "
                "FIRSTREAD_LOOKBACK_H",
                {"least": math.ceil(least)},
            )
        return self

    @model_validator(mode="after")
    def _require_consistent_order(self) -> Self:
        try:
            self._site_choices()
        except ValueError as error:
            named = {
                "FIRSTREAD_ORDER_HORIZON_H": self.order_horizon_h,
                "FIRSTREAD_LEAST_HEAD_START_MIN": self.least_head_start_min,
                "FIRSTREAD_HIGH_HEAD_START_H": self.high_head_start_h,
            }
            settings = ", ".join(f"{name}={value:g}" for name, value in named.items())
            raise PydanticCustomError(
                "contradiction", "{settings}: {error}", {"settings": settings, "error": str(error)}
            ) from error
        return self

    @property
    def site_rules(self) -> SiteRules:
        """What the site chooses of readings, of the triage rule and of the scope."""
        return SiteRules(
            triage=self._site_choices(),
            prior_after=timedelta(days=self.prior_after_days) if self.prior_after_days else None,
            target_wait=timedelta(hours=self.target_wait_h),
            keep_for=timedelta(days=self.retention_days) if self.retention_days else None,
            reading_lease=timedelta(minutes=self.reading_lease_min),
            quiet=timedelta(seconds=self.quiet_s),
            report_out_of_scope=self.report_out_of_scope,
            scope=self.scope_rules,
        )

    def _site_choices(self) -> SiteChoices:
        return SiteChoices(
            horizon=timedelta(hours=self.order_horizon_h),
            steepness=self.order_steepness,
            least_head_start=timedelta(minutes=self.least_head_start_min),
            high_head_start=timedelta(hours=self.high_head_start_h),
            alert_budget=self.alert_budget_percent / 100,
            weights=self.weights or None,
            language_model_may_raise=self.language_model_may_raise,
            prior_raises=self.prior_raises,
        )

    @property
    def scope_rules(self) -> ScopeRules:
        """Which images are looked at."""
        return ScopeRules(
            modalities=self.modalities,
            chest_words=self.chest_words,
            accept_secondary_capture=self.accept_secondary_capture,
        )

    @property
    def job_limits(self) -> JobLimits:
        """How patient the work is."""
        return JobLimits(lease=timedelta(seconds=self.lease_s), max_attempts=self.max_attempts)

    @property
    def queues(self) -> tuple[Queue, ...]:
        """Which queues this site has."""
        return ALWAYS_SERVED if self.dictation == "off" else (*ALWAYS_SERVED, Queue.DICTATE)

    @property
    def gateway_url(self) -> str:
        """Where this machine reaches the gateway."""
        host = "127.0.0.1" if self.http_host in {"0.0.0.0", "::"} else self.http_host  # noqa: S104 - compared, not bound
        return f"http://{host}:{self.http_port}"

    @property
    def orthanc_auth(self) -> tuple[str, str] | None:
        """User name and password for Orthanc, or None."""
        if not self.orthanc_username:
            return None
        return (self.orthanc_username, self.orthanc_password.get_secret_value())


def read_settings() -> tuple[Settings, list[str]]:
    """The settings of this process, and one line for each variable of an earlier version that is still set.

    Raises:
        InvalidInput: a value is wrong, or some contradict each other.
    """
    try:
        settings = Settings()
    except ValidationError as error:
        faults = "; ".join(
            ": ".join(filter(None, (_variable(fault["loc"]), fault["msg"])))
            for fault in error.errors(include_url=False, include_input=False)
        )
        raise InvalidInput("bad_settings", f"{faults}: mend the environment or .env") from error
    except SettingsError as error:
        raise InvalidInput(
            "bad_settings", f'{error}: write it as JSON, a list such as ["CR", "DX"], weights such as {{"mass": 0.5}}'
        ) from error
    still_set = {**DotEnvSettingsSource(Settings).env_vars, **EnvSettingsSource(Settings).env_vars}
    return settings, [
        f"{_PREFIX}{name.upper()} is no longer read: {replacement}"
        for name, replacement in _GONE.items()
        if f"{_PREFIX}{name}".lower() in still_set
    ]


def _variable(place: tuple[int | str, ...]) -> str:
    """The environment variable at fault, and the entry of it; empty where several are together."""
    name, entries = (f"{_PREFIX}{place[0]}".upper(), place[1:]) if place else ("", ())
    return f"{name} ({', '.join(map(str, entries))})" if entries else name
