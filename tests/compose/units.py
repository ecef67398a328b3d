"""`make units-test`: docs/operations.md without Docker, word for word, on a machine with systemd; exit 1 if it fails.

The machine is a container whose first process is systemd. It is made as compose-test makes its base images: as root,
with debootstrap.
"""

from __future__ import annotations

import re
import secrets
import sys
import tempfile
import time
from pathlib import Path

from tests.compose.bases import BASES, debian
from tests.compose.engine import CommandFailed, attempt, do
from tests.compose.newer import make_clean
from tests.compose.site import wait_until
from tests.servers import REPOSITORY

_IMAGE = "firstread-test-machine"
_UNITS = ("firstread@gateway", "firstread@worker", "firstread@dimse")
_DOCTOR = "cd /var/lib/firstread && runuser --user firstread -- /opt/firstread/bin/firstread doctor"
_ON_SYSTEMD = [
    "--cap-add",
    "SYS_ADMIN",
    "--security-opt",
    "seccomp=unconfined",
    "--security-opt",
    "apparmor=unconfined",
]
_CGROUPS = [
    "--cgroupns=host",
    "--volume",
    "/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs",
    "/run",
    "--tmpfs",
    "/run/lock",
]


class Machine:
    """A container with systemd.

    Args:
        name: its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        do(["docker", "run", "--detach", "--name", name, *_ON_SYSTEMD, *_CGROUPS, _IMAGE])

    def do(self, script: str) -> str:
        """Run a shell script as root; what it says.

        Raises:
            CommandFailed: it ended with an error.
        """
        return do(["docker", "exec", self.name, "sh", "-e", "-c", script])

    def is_so(self, script: str) -> bool:
        """Whether a shell script succeeds."""
        return attempt(["docker", "exec", self.name, "sh", "-e", "-c", script]).returncode == 0

    def write(self, path: str, text: str) -> None:
        """Write a file; one that is there keeps owner and mode."""
        self.do(f"mkdir -p {Path(path).parent}\ncat > {path} <<'END'\n{text}END\n")

    def end(self) -> None:
        """Remove it."""
        do(["docker", "rm", "--force", "--volumes", self.name])


def main() -> None:
    """Install, start, examine, kill, boot again, back up."""
    install, *blocks = _blocks()
    began = time.monotonic()
    _build(install)
    _say(f"ok   installed ({time.monotonic() - began:.0f} s)")
    machine = Machine(f"firstread-test-{secrets.token_hex(3)}")
    try:
        wait_until(lambda: machine.is_so("systemctl is-active multi-user.target"), lambda: "systemd does not start")
        secret = secrets.token_hex(24)
        for block in blocks:
            path = re.match(r"# (/\S+)\n", block)
            if path:
                machine.write(path[1], block.replace("=...", f"={secret}"))
            else:
                machine.do(block)
        _examine(machine, "set up")
        _kill(machine)
        _examine(machine, "killed")
        do(["docker", "restart", "--time", "120", machine.name])
        _examine(machine, "booted again")
        _back_up(machine)
    except CommandFailed as failed:
        _say(f"FAIL {failed}")
        _say(attempt(["docker", "exec", machine.name, "journalctl", "--no-pager", "--lines", "100"]).stdout)
        sys.exit(1)
    finally:
        machine.end()
    _say(f"all done in {(time.monotonic() - began) / 60:.1f} minutes")


def _blocks() -> list[str]:
    """The blocks of the chapter, in their order: shell scripts, and files that begin with their path."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    chapter = page.partition("## Without Docker\n")[2].partition("\n## ")[0]
    return [text for _, text in re.findall(r"^```(sh|ini)\n(.*?)^```$", chapter, flags=re.MULTILINE | re.DOTALL)]


def _build(install: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_clean(folder / "source")
        (folder / "install.sh").write_text(install, encoding="utf-8")
        (folder / "Dockerfile").write_text((BASES / "machine.Dockerfile").read_text(encoding="utf-8"), encoding="utf-8")
        base = ["--build-arg", f"DEBIAN={debian('bookworm')}"]
        do(["docker", "build", "--network", "host", "--tag", _IMAGE, *base, str(folder)])


def _examine(machine: Machine, when: str) -> None:
    began = time.monotonic()
    wait_until(
        lambda: machine.is_so(f"systemctl is-active {' '.join(_UNITS)}"), lambda: machine.do("systemctl --failed")
    )
    wait_until(
        lambda: machine.is_so(_DOCTOR), lambda: attempt(["docker", "exec", machine.name, "sh", "-c", _DOCTOR]).stdout
    )
    account = machine.do("ps -o user= -p $(systemctl show --property MainPID --value firstread@gateway)").strip()
    if account != "firstread":
        raise CommandFailed(f"the gateway runs as {account}")
    _say(f"ok   {when}: the units run, and doctor is content ({time.monotonic() - began:.0f} s)")


def _kill(machine: Machine) -> None:
    for unit in _UNITS:
        before = machine.do(f"systemctl show --property NRestarts --value {unit}")
        machine.do(f"systemctl kill --signal SIGKILL {unit}")
        after = f"test $(systemctl show --property NRestarts --value {unit}) -gt {before}"
        wait_until(lambda after=after: machine.is_so(after), lambda unit=unit: f"{unit} did not come back")  # type: ignore[misc]


def _back_up(machine: Machine) -> None:
    """By the line of the documented crontab, as cron runs it: with nothing of anybody's environment."""
    page = (REPOSITORY / "docs" / "operations.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"^30 2 \* \* \*  firstread  (.*)$", page, flags=re.MULTILINE)
    machine.do("install --directory --owner firstread --mode 0700 /var/backups/firstread")
    said = machine.do(f"runuser --user firstread -- env -i PATH=/usr/bin:/bin sh -c '{line}'")
    if "checked" not in said:
        raise CommandFailed(said)
    _say(f"ok   {said.strip()}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
