"""What is done to the site, step by step, each of which ends with a look at what was lost or doubled."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

import httpx

from bench.films import simulated_films
from tests.compose.engine import CommandFailed, attempt
from tests.compose.newer import VERSION
from tests.compose.site import PATIENCE_S, ComposeSite
from tests.faults.invariants import violations
from tests.servers import REPOSITORY
from worklist.job import ALWAYS_SERVED

_EVERY_S: Final = 0.5  # between two films
_MOST_FILMS, _MOST_MEMORY = 10_000, 0.9
_OUR_USER: Final = 10001  # of the image
OLDER, NEWER = f"{version('firstread')}-compose-test", f"{VERSION}-compose-test"


class PromiseBroken(Exception):
    """Something was lost, doubled or not as documented."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One run of all steps.

    Attributes:
        site: the project.
        folder: for backups and films.
        newer: the source of the next version.
        minutes: of traffic.
    """

    site: ComposeSite
    folder: Path
    newer: Path
    minutes: float


def require(*, is_so: bool, what: str) -> None:
    """Go on only where something is so."""
    if not is_so:
        raise PromiseBroken(what)


def build(run: Run) -> str:
    """Build the images of both versions, each with its bill of materials."""
    run.site.do("build")
    older, run.site.source = run.site.source, run.newer
    run.site.set(IMAGE_VERSION=NEWER)
    run.site.do("build")
    run.site.source = older
    run.site.set(IMAGE_VERSION=OLDER)
    image = ["docker", "run", "--rm", "--entrypoint"]
    for tag, number in ((OLDER, version("firstread")), (NEWER, VERSION)):
        said = attempt([*image, "sh", f"firstread:{tag}", "-c", "firstread --version; pg_dump --version"]).stdout
        require(is_so=f"firstread {number}" in said and "(PostgreSQL) 17" in said, what=f"firstread:{tag} says {said}")
    bill = attempt([*image, "cat", f"firstread:{OLDER}", "/opt/firstread/share/sbom.json"]).stdout
    require(is_so='"bomFormat": "CycloneDX"' in bill and '"pydicom"' in bill, what="the image has no bill of materials")
    return f"{OLDER} and {NEWER}"


def start(run: Run) -> str:
    """Start everything, as it ships: limits, accounts, read-only containers."""
    took_s = run.site.up()
    run.site.wait_until_healthy()
    for container in run.site.containers():
        host, name = container["HostConfig"], container["Name"]
        require(is_so=host["Memory"] > 0 and host["NanoCpus"] > 0, what=f"{name} has no limits")
        require(is_so=host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"], what=f"{name} may write or has rights")
        user = attempt(["docker", "exec", container["Id"], "id", "--user"]).stdout.strip()
        require(is_so=user not in {"", "0"}, what=f"{name} runs as {user}")
        shown = json.dumps(container) + attempt(["docker", "top", container["Id"], "-eo", "pid,args"]).stdout
        seen = [secret for secret, words in run.site.secrets.items() if words in shown]
        require(is_so=not seen, what=f"docker inspect or the list of processes shows {seen} of {name}")
    return f"ready after {took_s:.0f} s"


def examine(run: Run) -> str:
    """`firstread doctor` in each container of ours, with a film in the gateway's."""
    for service in ("gateway", *(f"worker-{queue}" for queue in ALWAYS_SERVED)):
        words = ["firstread", "doctor", *([] if service == "gateway" else ["--no-film"])]
        said = attempt(run.site.compose("exec", "-T", service, *words), folder=run.site.source)
        require(is_so=said.returncode == 0, what=f"doctor in {service} is not content:\n{said.stdout}")
    return "content everywhere"


def send(run: Run) -> str:
    """Films by `firstread send` from a container, and more of them from outside."""
    films = run.folder / "films"
    films.mkdir()
    images = run.site.stream.take(10)
    for number, image in enumerate(images):
        image.save_as(films / f"{number}.dcm", enforce_file_format=True)
    run.site.do("run", "--rm", "--no-deps", "--volume", f"{films}:/films:ro", "gateway", "send", "/films")
    run.site.stream.has_taken(images)
    run.site.stream.send(20)
    return check(run)


def check(run: Run) -> str:
    """Wait until all work is done; nothing is lost, doubled, missing or wrong.

    Raises:
        PromiseBroken: something is.
    """
    left = run.site.wait_for(None, PATIENCE_S)
    require(is_so=not left, what=f"not done: {sorted(left)}")
    items = run.site.items()
    broken = violations(run.site, items)
    require(is_so=not broken, what="\n".join(f"{one.kind}: {one.what}" for one in broken))
    return f"{len(items or {})} studies, none lost, doubled or wrong"


def crash(run: Run) -> str:
    """Each program ends by SIGKILL while films come, and its container comes back by itself."""
    return _each(run, run.site.crash, "worker-score worker-report worker-predict gateway dimse redis postgres orthanc")


def kill(run: Run) -> str:
    """`docker kill` of one container after the other while films come; `up` starts it again."""

    def kill_and_start(service: str) -> None:
        run.site.kill(service)
        run.site.up()

    return _each(run, kill_and_start, "worker-score worker-report gateway redis postgres orthanc")


def restart(run: Run) -> str:
    """Everything is started again while films come."""
    with _films(run, 20):
        run.site.do("restart")
        run.site.wait_until_ready()
    return check(run)


def traffic(run: Run) -> str:
    """Films of a detector's size, one after the other: what each container uses at most, of what it may."""
    most: dict[str, float] = {}
    ends, films = time.monotonic() + 60 * run.minutes, 0
    for film in simulated_films(_MOST_FILMS):
        if time.monotonic() > ends:
            break
        run.site.stream.send_these([film])
        films += 1
        for service, share in run.site.memory().items():
            most[service] = max(most.get(service, 0.0), share)
    said = check(run)
    short = {service: share for service, share in most.items() if share > _MOST_MEMORY}
    require(is_so=not short, what=f"near the end of their memory: {short}")
    shares = ", ".join(f"{service} {share:.0%}" for service, share in sorted(most.items()))
    return f"{films} films; of their memory at most: {shares}; {said}"


def scale(run: Run) -> str:
    """Two gateways and two workers of each queue; one gateway dies, and the other goes on; then one of each again."""
    run.site.up(*(word for name in ("gateway", "worker-score", "worker-report") for word in ("--scale", f"{name}=2")))
    for service in ("gateway", "worker-score", "worker-report"):
        require(is_so=len(run.site.containers(service)) == 2, what=f"there are not two of {service}")
    with _films(run, 30):
        first = run.site.containers("gateway")[0]
        attempt(["docker", "kill", first["Id"]])
        run.site.stream.send(5)
        left = run.site.wait_for(set(run.site.stream.studies), PATIENCE_S)
        require(is_so=not left, what=f"the other gateway did not go on: {sorted(left)}")
        run.site.up("--scale", "gateway=2")
    said = check(run)
    run.site.up("--scale", "gateway=1", "--scale", "worker-score=1", "--scale", "worker-report=1")
    return said


def back_up(run: Run) -> str:
    """One study is marked as read, and the database copied as documented."""
    uid = _unread(run.site)[0]
    _read(run.site, uid)
    folder = run.folder / "backups"
    folder.mkdir(mode=0o700)
    os.chown(folder, _OUR_USER, -1)
    said = run.site.do("run", "--rm", "--no-deps", "--volume", f"{folder}:/backups", "gateway", "backup", "/backups")
    require(is_so="checked" in said, what=said)
    return said.strip().splitlines()[-1]


def upgrade(run: Run) -> str:
    """The next version, while films come."""
    with _films(run, 20):
        run.site.source, before = run.newer, run.site.source
        run.site.set(IMAGE_VERSION=NEWER)
        took_s = run.site.up()
        run.site.source = before
    require(is_so=VERSION in run.site.ask("/metrics").text, what="another version answers")
    return f"after {took_s:.0f} s: {check(run)}"


def go_back(run: Run) -> str:
    """The version before names what is wrong with the newer database in one line, and goes on with the backup."""
    run.site.set(IMAGE_VERSION=OLDER)
    said = attempt(run.site.compose("run", "--rm", "--no-deps", "gateway", "db", "upgrade"), folder=run.site.source)
    lines = [line for line in said.stdout.splitlines() if "newer" in line]
    require(is_so=said.returncode != 0 and len(lines) == 1, what=f"the older version says of the database: {said}")
    (backup,) = (run.folder / "backups").iterdir()
    for words in _documented("Go back"):
        run.site.do(
            *(word.replace("FILE", backup.name).replace("/var/backups/firstread", str(backup.parent)) for word in words)
        )
        if words[0] == "stop":
            run.site.stream.send(5)
    run.site.wait_until_ready()
    require(is_so=VERSION not in run.site.ask("/metrics").text, what="the newer version still answers")
    outcome = check(run)
    require(is_so=len(_unread(run.site)) == len(run.site.items() or {}) - 1, what="what was read is not known any more")
    return f"{lines[0].strip()}; {outcome}"


def down_and_up(run: Run) -> str:
    """Taken down without its volumes, the site has everything when it is started again."""
    before = run.site.items() or {}
    run.site.do("down")
    require(is_so=not run.site.containers(is_running=False), what="down left containers")
    run.site.up()
    run.site.wait_until_healthy()
    after = run.site.items() or {}
    require(is_so=before.keys() == after.keys(), what=f"not there again: {before.keys() ^ after.keys()}")
    run.site.stream.send(5)
    return check(run)


def is_sound(run: Run) -> str:
    """No container ran out of memory, and no log holds a traceback."""
    for container in run.site.containers(is_running=False):
        require(is_so=not container["State"]["OOMKilled"], what=f"{container['Name']} ran out of memory")
    traces = [line for line in run.site.logs().splitlines() if "Traceback" in line]
    require(is_so=not traces, what="\n".join(traces[:5]))
    return "no container ran out of memory, no traceback in a log"


def take_down(run: Run) -> str:
    """With its volumes: nothing is left."""
    run.site.do("down", "--volumes")
    left = run.site.left()
    require(is_so=not left, what=f"left: {left}")
    return "nothing is left"


STEPS: Final[tuple[Callable[[Run], str], ...]] = (
    build,
    start,
    examine,
    send,
    crash,
    kill,
    restart,
    traffic,
    scale,
    is_sound,
    back_up,
    upgrade,
    go_back,
    down_and_up,
    is_sound,
    take_down,
)


@contextmanager
def _films(run: Run, count: int) -> Iterator[None]:
    with run.site.stream.flowing(count, _EVERY_S):
        yield


def _each(run: Run, what: Callable[[str], None], services: str) -> str:
    took = []
    for service in services.split():
        with _films(run, 8):
            began = time.monotonic()
            what(service)
            took.append(f"{service} {time.monotonic() - began:.0f} s")
        try:
            check(run)
        except PromiseBroken as broken:
            raise PromiseBroken(f"{service}: {broken}") from broken
    run.site.wait_until_healthy()
    return f"back after {', '.join(took)}; {check(run)}"


def _unread(site: ComposeSite) -> list[str]:
    return [item["study_instance_uid"] for item in site.ask("/worklist?limit=1000").json()["items"]]


def _read(site: ComposeSite, study_instance_uid: str) -> None:
    root = site.gateways[0]
    body = {"state": "read", "by": "Compose"}
    httpx.put(f"{root}/worklist/{study_instance_uid}/state", json=body, trust_env=False, timeout=60).raise_for_status()


def _documented(row: str) -> list[list[str]]:
    """The commands of docker-compose in a row of docs/operations.md, in their order."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    (line,) = re.findall(rf"^\| {row} \|(.*)\|$", page, flags=re.MULTILINE)
    commands = [words.split() for words in re.findall(r"`docker-compose ([^`]+)`", line)]
    if not commands:
        raise CommandFailed(f"docs/operations.md has no command under {row}")
    return commands
