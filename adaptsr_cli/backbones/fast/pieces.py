"""Which of the pieces of an operation are computed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import TypeVar

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

_Piece = TypeVar("_Piece")


def pieces_to_compute(pieces: Iterable[_Piece], like: Tensor) -> Iterable[_Piece]:
    """All of them, or the first alone where the tensors have no values.

    Such tensors tell what memory a step takes (`adaptsr_cli.training.memory`). A later piece takes no more than the
    first, and without values a piece takes as long as a large operation does: hundreds of them in each block, longer
    than some steps of the training.

    Args:
        pieces: The largest first.
        like: One of the tensors that are cut into pieces.
    """
    return islice(pieces, 1) if isinstance(like, FakeTensor) else pieces
