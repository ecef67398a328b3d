"""Every setting, read from the environment (FIRSTREAD_...) and from a file named .env."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, SecretStr
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worklist.finding import FindingType
from worklist.order import OrderPolicy
from worklist.records import JobLimits
from worklist.scope import ScopeRules
from worklist.study import ReadingPolicy
from worklist.urgency import UrgencyPolicy


def _starting(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        if not url.startswith(schemes) or url in schemes:
            # Without the value, which may hold a password.
            raise PydanticCustomError("scheme", "must be an address that starts with {s}", {"s": " or ".join(schemes)})
        return url

    return AfterValidator(check)


class Settings(BaseSettings):
    """What a site can choose; each field is the environment variable FIRSTREAD_<FIELD>."""

    model_config = SettingsConfigDict(
        env_prefix="FIRSTREAD_", env_file=".env", extra="ignore", use_attribute_docstrings=True
    )

    database_url: str = "sqlite:///firstread.db"
    """SQLAlchemy URL of the database: SQLite on one machine, postgresql://... for more."""
    broker_url: Annotated[
        str, _starting("redis://", "rediss://", "redis+socket://", "sentinel://", "amqp://", "amqps://")
    ] = "redis://127.0.0.1:6379/0"
    """Celery broker: Redis, or amqp://... for RabbitMQ."""
    orthanc_url: Annotated[str, _starting("http://", "https://")] = "http://127.0.0.1:8042"
    """Root of Orthanc's REST interface; its DICOMweb root is found below it."""
    orthanc_username: str = ""
    """User name for Orthanc, empty where it asks for none."""
    orthanc_password: SecretStr = SecretStr("")
    """Password for Orthanc."""
    orthanc_dicomweb_root: str = "dicom-web"
    """Path of the DICOMweb plug-in below orthanc_url."""
    orthanc_aet: str = "ORTHANC"
    """Orthanc's AE title, as the modalities call it."""
    orthanc_dicom_host: str = "127.0.0.1"
    """Where Orthanc listens for C-STORE."""
    orthanc_dicom_port: int = 4242
    """Orthanc's DICOM port."""

    scorer: Literal["embedded"] = "embedded"
    """The model of the fast path."""
    explainer: Literal["template"] = "template"
    """What writes the explanation on the slow path."""
    model_dir: Path | None = None
    """Folder of the scorer's weights; the ones shipped with Firstread where unset."""
    scorer_threads: int = Field(default=1, ge=1)
    """Processor threads of one scoring."""
    report_out_of_scope: bool = True
    """Whether a radiograph that is not looked at (body part, view, child) gets a triage report that says so."""
    write_overlay: bool = False
    """Whether boxes and labels also go into the PACS as a presentation state (GSPS), for viewers without SR."""
    write_key_image: bool = False
    """Whether a film with a suspected finding also gets a key image note (KOS)."""

    http_host: str = "127.0.0.1"
    """Where the gateway listens; 0.0.0.0 only behind a hospital's own access control."""
    http_port: int = 8080
    """The gateway's port."""
    viewer_dir: Path | None = None
    """Folder of OHIF for the address /viewer/, as make setup puts into .venv/share/ohif; no viewer where unset."""
    aet: str = "FIRSTREAD"
    """Firstread's own AE title, used when it sends."""

    order_horizon_h: float = Field(default=16.0, ge=0)
    """H: nobody is overtaken by a study that arrived more than this many hours later (STAT orders aside)."""
    order_steepness: float = Field(default=1.5, gt=0)
    """k: how fast the head start grows with the log odds of the score."""
    prevalence: float = Field(default=0.35, gt=0, lt=1)
    """Rate of urgent studies in the population on which the score is calibrated; at or below it nothing moves."""
    urgent_threshold: float | None = Field(default=None, ge=0, le=1)
    """Score from which a study is urgent; the model's own operating point where unset."""
    critical_threshold: float = Field(default=0.8, ge=0, le=1)
    """Score from which a study is critical."""
    critical_findings: frozenset[FindingType] = frozenset({FindingType.PNEUMOTHORAX})
    """Findings that make a study critical by themselves ..."""
    critical_finding_threshold: float = Field(default=0.6, ge=0, le=1)
    """... from this probability on."""

    modalities: frozenset[str] = frozenset({"CR", "DX", "DR", "RG"})
    """Modalities that are radiographs."""
    chest_words: frozenset[str] = frozenset()
    """Further words by which this hospital's descriptions name the chest."""
    accept_secondary_capture: bool = True
    """Whether a film wrapped as Secondary Capture is looked at."""

    lookback_h: float = Field(default=168.0, ge=0)
    """On the first start, and when Orthanc was replaced: how old an image may be and still be listed."""
    quiet_s: float = Field(default=90.0, gt=0)
    """Where Orthanc never called a study stable (it was restarted): ask it after this long without new images."""
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
    predict_upload_mb: int = Field(default=64, ge=1, le=1000)
    """Largest file that POST /predict takes, in megabytes (10^6 bytes)."""
    predict_wait_s: float = Field(default=30.0, gt=0)
    """How long POST /predict waits for a worker before it answers 503."""
    prediction_keep_s: int = Field(default=3600, ge=60)
    """After this long a prediction and its pictures are erased; its upload is erased once it is judged."""
    log_json: bool = False
    """One JSON object a line instead of readable logs."""

    @property
    def reading_policy(self) -> ReadingPolicy:
        """How scores become urgency and order."""
        return ReadingPolicy(
            order=OrderPolicy(
                horizon=timedelta(hours=self.order_horizon_h),
                steepness=self.order_steepness,
                prevalence=self.prevalence,
            ),
            urgency=UrgencyPolicy(
                urgent_threshold=self.urgent_threshold,
                critical_threshold=self.critical_threshold,
                critical_findings=self.critical_findings,
                critical_finding_threshold=self.critical_finding_threshold,
            ),
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
