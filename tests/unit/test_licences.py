"""What a site installs is licensed so that a hospital can run it, and the page on it says so."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata

import pytest

from tests.servers import REPOSITORY

LOCK, PAGE = REPOSITORY / "requirements.lock", REPOSITORY / "docs" / "licences.md"
SPOKEN = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}
PERMITTED = {
    *(
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "Zlib",
    ),
    "MPL-2.0",  # of files that nobody here changes
    "LGPL-3.0-only",  # psycopg, which is used as a library and can be replaced
}


def locked() -> list[str]:
    """The packages that a site installs, as the lock names them."""
    return re.findall(r"^([A-Za-z0-9._-]+)==", LOCK.read_text(encoding="utf-8"), re.MULTILINE)


def licence_of(package: str) -> str:
    """What a package says of its licence, as an SPDX expression."""
    told = metadata(package)
    if "License-Expression" in told:
        return told["License-Expression"]
    lines = told.get_all("Classifier") or []
    classified = [line.rpartition(" :: ")[2] for line in lines if line.startswith("License")]
    words = classified or (told.get_all("License") or [])
    return " AND ".join(SPOKEN.get(word, word) for word in dict.fromkeys(words))


@pytest.mark.parametrize("package", locked())
def test_each_package_may_be_run_by_a_hospital(package: str) -> None:
    """Each part of its licence is one of the known ones; a package with another one has to be looked at first."""
    try:
        licence = licence_of(package)
    except PackageNotFoundError:
        pytest.skip(f"{package} is not for this Python or machine")
    parts = set(re.split(r"\s+(?:AND|OR)\s+|[()]", licence)) - {""}
    assert parts <= PERMITTED, licence
    assert f"| {package} | {licence} |" in PAGE.read_text(encoding="utf-8").splitlines()


def test_the_page_names_no_package_that_is_gone() -> None:
    """What is no longer installed is no longer listed."""
    listed = re.findall(r"^\| ([A-Za-z0-9._-]+) \| .* \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(listed) - {"Package"} <= set(locked())
