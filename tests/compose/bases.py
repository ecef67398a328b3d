"""Base images made on this machine, for one that reaches package mirrors and no registry of images.

They hold this machine's certificate authorities, since its mirrors may need them; nothing else of it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.compose.engine import attempt, do

_MIRROR = "http://deb.debian.org/debian"
_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_PREFIX = "firstread-test-"
_OF = {"python": "trixie", "postgres": "trixie", "redis": "bookworm"}  # each on which Debian
BASES = Path(__file__).parent / "bases"


def make_bases() -> dict[str, str]:
    """Make what is not there yet; the variables of .env that name them. As root, with debootstrap."""
    for name, release in _OF.items():
        base = ["--build-arg", f"DEBIAN={debian(release)}", "--file", str(BASES / f"{name}.Dockerfile")]
        do(["docker", "build", "--network", "host", "--tag", f"{_PREFIX}{name}", *base, str(BASES)])
    return {
        "PYTHON_IMAGE": f"{_PREFIX}python",
        "DEBIAN_IMAGE": debian("bookworm"),
        "POSTGRES_IMAGE": f"{_PREFIX}postgres",
        "REDIS_IMAGE": f"{_PREFIX}redis",
    }


def debian(release: str) -> str:
    """The image of a release of Debian, made where it is not there yet."""
    image = f"{_PREFIX}debian:{release}"
    if attempt(["docker", "image", "inspect", image]).returncode:
        _make_debian(release, image)
    return image


def _make_debian(release: str, image: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        root = Path(folder) / "root"
        do(["debootstrap", "--variant=minbase", "--include=ca-certificates", release, str(root), _MIRROR])
        for authority in _AUTHORITIES.glob("*.crt"):
            shutil.copy(authority, root / _AUTHORITIES.relative_to("/"))
        do(["chroot", str(root), "update-ca-certificates"])
        do(["chroot", str(root), "apt-get", "clean"])
        packed = subprocess.Popen(["tar", "-C", str(root), "--one-file-system", "-c", "."], stdout=subprocess.PIPE)
        with packed:
            command = ["docker", "import", "-", image]
            subprocess.run(command, stdin=packed.stdout, stdout=subprocess.DEVNULL, check=True)
        assert packed.returncode == 0, "tar failed"
