"""How Orthanc is reached by HTTPS under a hospital's own certificate authority, and why it gives no answer."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

from worklist.errors import InvalidInput, PacsUnavailable

# Of X509_V_ERR_..., as OpenSSL numbers them in x509_vfy.h.
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_SELF_MADE: Final = 18
_FOREIGN: Final = (2, 19, 20, 21)
_OF_ANOTHER_HOST: Final = (62, 64)
_NAME_THE_AUTHORITY: Final = "name the file of the right one in FIRSTREAD_ORTHANC_CA_FILE"


def trusting(ca_file: Path | None, setting: str = "FIRSTREAD_ORTHANC_CA_FILE") -> ssl.SSLContext | None:
    """What trusts a hospital's own authority beside nobody else; None for what this machine trusts.

    Args:
        ca_file: its certificates, PEM.
        setting: that names the file.

    Raises:
        InvalidInput: ca_file_unusable.
    """
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # an ssl.SSLError is one
        raise InvalidInput(
            "ca_file_unusable",
            f"{setting}={ca_file} cannot be used ({error.strerror or 'it holds no certificate'}): "
            "it must be a file of certificates in PEM that this account may read",
        ) from error


def no_answer(url: str, error: BaseException) -> PacsUnavailable:
    """What an HTTP client raised where no answer came, with what to do: a certificate is named by what is wrong."""
    refused = _refused_certificate(error)
    if refused is None:
        why = f"no answer from Orthanc at {url} ({type(error).__name__}): start it or set FIRSTREAD_ORTHANC_URL"
        return PacsUnavailable("pacs_unavailable", why)
    return PacsUnavailable("pacs_certificate_refused", f"Orthanc's certificate at {url} {_fault(refused)}")


def _fault(refused: ssl.SSLCertVerificationError) -> str:
    match refused.verify_code:
        case code if code == _EXPIRED:
            return "has expired: renew it"
        case code if code == _NOT_YET_VALID:
            return "is not yet valid: set the clocks right"
        case code if code == _SELF_MADE:
            return (
                "is made by itself, and no authority vouches for it: install one of the hospital's authority, or name "
                "that very certificate in FIRSTREAD_ORTHANC_CA_FILE"
            )
        case code if code in _FOREIGN:
            return f"comes from an authority that is not trusted: {_NAME_THE_AUTHORITY}"
        case code if code in _OF_ANOTHER_HOST:
            return "is for another host: set FIRSTREAD_ORTHANC_URL to the name that it bears"
    return f"is refused ({refused.verify_message}): {_NAME_THE_AUTHORITY}, or renew it"


def _refused_certificate(error: BaseException) -> ssl.SSLCertVerificationError | None:
    """The verification's own error, which the libraries wrap in theirs."""
    seen: list[BaseException] = []
    left: list[BaseException] = [error]
    while left:
        one = left.pop()
        if isinstance(one, ssl.SSLCertVerificationError):
            return one
        if one not in seen:
            seen.append(one)
            inner = (one.__cause__, one.__context__, *one.args)
            left += [wrapped for wrapped in inner if isinstance(wrapped, BaseException)]
    return None
