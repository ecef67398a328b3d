"""Work of a network recorded on a GPU, so that its kernels are started as one.

Python starts a small kernel more slowly than a GPU runs it. A CUDA graph holds all of them with the arrays that they
read and write, which stay where they are: new input is copied into the old, and the output is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from models.checkpoints import loading  # noqa: F401 - sets what must be set before torch is imported

import torch  # isort: skip

T = TypeVar("T")


def record(work: Callable[[], T]) -> tuple[Any, T]:
    """The graph of a piece of work, to be replayed, and the tensors in which it leaves its answer.

    What the libraries do at their first call, they do before, in work whose answer is dropped.
    """
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        work()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        answer = work()
    return graph, answer
