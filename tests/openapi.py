"""`make openapi`: schemathesis on every operation of the HTTP interface, before a whole site with some studies.

Nothing may be answered 5xx but 503, and every answer must be one that /openapi.json names, of the media type and
in the form that it gives. The stream of events is left out: it does not end.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import httpx

from bench.films import simulated_films
from bench.large_pacs import films
from firstread.demo import Site, running_site, wait_until_done
from gateway.dimse.send import send

SCHEMATHESIS: Final = (
    Path(sys.prefix) / "share" / "schemathesis" / "bin" / "schemathesis"
)  # where schemathesis.sh puts it
_PORT_BASE: Final = 19_280
_SMALL, _WHOLE = 6, 2  # films
_ENDLESS: Final = "/worklist/events"
_CHECKS: Final = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance"),
    "unsupported_method",
)


def main() -> None:
    """Ask for so many minutes; exit with what schemathesis says."""
    parser = argparse.ArgumentParser(prog="python -m tests.openapi", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        site = Site(state=Path(folder), port_base=_PORT_BASE, has_priors=False)
        with running_site(site):
            _fill(site)
            sys.exit(subprocess.run(_command(site, asked), cwd=folder, check=False).returncode)


def _fill(site: Site) -> None:
    with httpx.Client(base_url=site.orthanc_url, trust_env=False, timeout=60) as http, ThreadPoolExecutor(2) as senders:
        for answer in senders.map(lambda film: http.post("/instances", content=film), films(_SMALL)):
            answer.raise_for_status()
    send(simulated_films(_WHOLE), host="127.0.0.1", port=site.orthanc_dicom_port, called_aet="ORTHANC")
    wait_until_done(site, _SMALL + _WHOLE)


def _command(site: Site, asked: argparse.Namespace) -> list[str]:
    limits = ["--max-time", str(int(60 * asked.minutes)), "--request-timeout", "60"]
    seed = ["--seed", str(asked.seed)] if asked.seed is not None else []
    how = ["--checks", ",".join(_CHECKS), "--suppress-health-check", "all", "--continue-on-failure"]
    return [
        str(SCHEMATHESIS),
        "run",
        f"{site.gateway_url}/openapi.json",
        "--exclude-path",
        _ENDLESS,
        *how,
        *limits,
        *seed,
    ]


if __name__ == "__main__":
    main()
