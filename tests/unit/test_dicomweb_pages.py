"""Which pages may be asked of Orthanc."""

from __future__ import annotations

import pytest

from gateway.dicomweb.questions import check_page
from gateway.problems import Problem


@pytest.mark.parametrize("query", [b"limit=-5", b"offset=x", b"PatientID=1&limit=", b"limit=1.5"])
def test_a_page_that_is_no_number_is_refused(query: bytes) -> None:
    """Orthanc answers such a question with an error of its own, so it is told as the asker's."""
    with pytest.raises(Problem) as refused:
        check_page(query)
    assert refused.value.status_code == 400


@pytest.mark.parametrize("query", [b"", b"limit=0", b"limit=100&offset=200", b"PatientID=limit"])
def test_a_page_of_whole_numbers_passes(query: bytes) -> None:
    """Whatever else is asked stays as it is."""
    check_page(query)
