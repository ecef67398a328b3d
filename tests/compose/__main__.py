"""`make compose-test`: a site in containers from its build to its end; exit 1 where a promise is broken.

COMPOSE_TEST="--own-bases" makes the base images on this machine, as root, where no registry of images is reached.
"""

from __future__ import annotations

import argparse
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

from tests.compose.bases import make_bases
from tests.compose.engine import CommandFailed, attempt
from tests.compose.newer import make_clean, make_newer
from tests.compose.site import ComposeSite
from tests.compose.steps import OLDER, STEPS, PromiseBroken, Run


def main() -> None:
    """Take step after step, and the project down at the end."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--own-bases", action="store_true", help="make the base images here, with debootstrap")
    parser.add_argument("--keep", action="store_true", help="leave the project as it is where a step fails")
    parser.add_argument("--minutes", type=float, default=1.0, help="of traffic, in which memory is measured")
    names = [step.__name__ for step in STEPS]
    parser.add_argument("--skip", nargs="*", default=[], choices=names, metavar="STEP", help=f"of {' '.join(names)}")
    arguments = parser.parse_args()
    bases = make_bases() if arguments.own_bases else {}
    folder = Path(tempfile.mkdtemp())
    site = ComposeSite(
        make_clean(folder / "source"),
        folder,
        f"firstread-test-{secrets.token_hex(3)}",
        more={"IMAGE_VERSION": OLDER, **bases},
        host_network=arguments.own_bases,
    )
    run = Run(site=site, folder=folder, newer=make_newer(folder / "newer"), minutes=arguments.minutes)
    failed = True
    try:
        failed = _take(run, set(arguments.skip))
    finally:
        if failed:
            logs = folder.with_suffix(".log")
            logs.write_text(site.logs(), encoding="utf-8")
            _say(f"the containers' logs: {logs}")
        if failed and arguments.keep:
            _say(f"left as it is: {' '.join(site.compose())}")
        else:
            attempt(site.compose("down", "--volumes", "--remove-orphans"))
            shutil.rmtree(folder)
    sys.exit(failed)


def _take(run: Run, skipped: Collection[str]) -> bool:
    """Whether a step failed."""
    began = time.monotonic()
    for step in STEPS:
        if step.__name__ in skipped:
            continue
        started = time.monotonic()
        try:
            outcome = step(run)
        except (PromiseBroken, CommandFailed, AssertionError) as error:
            _say(f"FAIL {step.__name__}: {error}")
            return True
        _say(f"ok   {step.__name__} ({time.monotonic() - started:.0f} s): {outcome}")
    _say(f"all done in {(time.monotonic() - began) / 60:.1f} minutes")
    return False


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
