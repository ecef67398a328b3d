"""Everything that Firstread raises on purpose, in one tree.

FirstreadError
|- PermanentError        trying again cannot help
|  |- UnusableImage      the film itself cannot be read or judged
|  |  |- OutOfScope      it is none that may be judged
|  |- InvalidInput       a person or another system gave something unusable
|  |- Conflict           somebody else was first
|  |- NotPermitted       who asks may not
|  |- NoLongerWanted     the work lost its purpose while it was done
|- TransientError        trying again may help: bounded retry
   |- PacsUnavailable
   |- BrokerUnavailable
   |- ModelUnavailable

Errors know nothing of HTTP or of exit codes; the gateway and the command line map them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

PACS_FULL: Final = "pacs_full"  # the code where Orthanc stores nothing more, which fails the site and no single study


class FirstreadError(Exception):
    """An error with a stable code for machines and one clear line for people.

    Args:
        code: lower-case words joined by underscores, stable across versions.
        message: what is wrong and what to do, in one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[FirstreadError], tuple[str, str], dict[str, str]]:
        """Survive pickling between the processes of a worker."""
        return (type(self), (self.code, self.message), self.__dict__)


class PermanentError(FirstreadError):
    """Trying again cannot help."""


class UnusableImage(PermanentError):
    """The film itself cannot be read or judged."""


class OutOfScope(UnusableImage):
    """The image is none that may be judged: another modality, body part or view."""


class InvalidInput(PermanentError):
    """A person or another system gave something unusable."""


class Conflict(PermanentError):
    """Somebody else was first; status is the code of PS3.4 Annex CC for it."""

    def __init__(self, code: str, message: str, *, status: str = "") -> None:
        super().__init__(code, message)
        self.status = status


class FilmArrived(Conflict):
    """A film came after the reader began, and the study is not read yet; at says when."""

    def __init__(self, at: datetime) -> None:
        super().__init__(
            "film_arrived", "a film came after the reading began: look at it, then say again that all is read"
        )
        self.at = at


class NotPermitted(PermanentError):
    """Who asks may not."""


class NoLongerWanted(PermanentError):
    """The work lost its purpose while it was done."""


class TransientError(FirstreadError):
    """Trying again may help."""


class PacsUnavailable(TransientError):
    """Orthanc did not answer, or answered with a server error."""


class BrokerUnavailable(TransientError):
    """The Celery broker did not take a message."""


class ModelUnavailable(TransientError):
    """The model could not be loaded or run."""
