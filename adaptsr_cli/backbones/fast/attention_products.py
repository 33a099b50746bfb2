"""Attention as plain products, a few windows at a time, with a backward pass of its own: for any network, on the CPU.

Softmax(Q K^T + terms) V, where Q, K and V may lie anyhow in memory and any number of terms is added to the scores. The
scores of a piece stay in the cache, and are computed again in the backward pass. What the values bring is filled up
with zeros to whole vectors, without which the second product is up to three times slower: 128 windows of 256 pixels, 3
heads of 10 channels, one thread of an AMD EPYC, milliseconds: as networks write it 58, torch's kernel 41, here 27.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptsr_cli.backbones.fast.pieces import pieces_to_compute

_VECTOR: Final = 16  # fp32 numbers in a vector of 512 bits
_PIECE_BYTES: Final = 2**20  # of scores


@dataclass(frozen=True)
class Term:
    """What is added to the scores of all windows.

    Attributes:
        values: (K, heads or 1, N or 1, M or 1).
        index: (W,) int64, which of the K each window gets; None where K is 1.
        matters: Of each of the K, whether it holds anything but zeros; None where that is not known.
    """

    values: Tensor
    index: Tensor | None = None
    matters: Tensor | None = None

    def add_to(self, scores: Tensor, piece: slice) -> None:
        """Add the term to the scores (P, heads, N, M) of some windows."""
        if self.index is None:
            scores.add_(self.values)
            return
        kinds = self.index[piece]
        if self.matters is None or bool(self.matters[kinds].any()):
            scores.add_(self.values[kinds])

    def give_back(self, gradient: Tensor, to_scores: Tensor, piece: slice) -> None:
        """Add to the gradient of `values` what the gradient (P, heads, N, M) of some scores is for it."""
        shape = self.values.shape[1:]
        gradients = to_scores.sum_to_size(len(to_scores), *shape)
        if self.index is None:
            gradient.add_(gradients.sum(0))
        else:
            gradient.index_add_(0, self.index[piece], gradients)


def attend(query: Tensor, key: Tensor, value: Tensor, terms: Sequence[Term]) -> Tensor:
    """Softmax(Q K^T + terms) V in every window and head.

    Args:
        query: (W, heads, N, D) float32 on the CPU, with any strides.
        key: (W, heads, M, D).
        value: (W, heads, M, E).
        terms: What is added to the scores.

    Returns:
        (W, heads, N, E), in memory (W, N, heads, E), as what comes behind wants it.
    """
    values = [term.values for term in terms]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (query, key, value, *values)):
        return _Attention.apply(query, key, value, tuple(terms), *values)  # type: ignore[no-any-return]
    return _attend(query, key, value, terms)


def _attend(query: Tensor, key: Tensor, value: Tensor, terms: Sequence[Term]) -> Tensor:
    windows, heads, pixels, _ = query.shape
    depth = value.shape[-1]
    out = query.new_empty(windows, pixels, heads, depth).transpose(1, 2)
    most = _most_windows(query, key)
    filled = _Filled(value, most)
    scores = query.new_empty(most, heads, pixels, key.shape[2])
    shares, attended = torch.empty_like(scores), query.new_empty(most, heads, pixels, filled.width)
    for piece in _pieces(query, most):
        share = _shares(query[piece], key[piece], terms, piece, scores, shares)
        out[piece] = _multiply(share, filled.of(value[piece]), attended)[..., :depth]
    return out


class _Attention(torch.autograd.Function):
    """See `attend`."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, terms: tuple[Term, ...], *values: Tensor
    ) -> Tensor:
        """The attended values."""
        ctx.save_for_backward(query, key, value, *values)
        ctx.terms = [(term.index, term.matters) for term in terms]
        return _attend(query, key, value, terms)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of queries, keys, values, and of the terms where they are wanted."""
        query, key, value, *values = ctx.saved_tensors
        terms = [Term(kept, *facts) for kept, facts in zip(values, ctx.terms, strict=True)]
        to_terms = [
            torch.zeros_like(kept) if wanted else None
            for kept, wanted in zip(values, ctx.needs_input_grad[4:], strict=True)
        ]
        found = [torch.empty_like(part) for part in (query, key, value)]
        most = _most_windows(query, key)
        fillers = [_Filled(part, most) for part in (query, key, value, gradients[0])]
        scores = query.new_empty(most, query.shape[1], query.shape[2], key.shape[2])
        shares = torch.empty_like(scores)
        room = [torch.empty_like(filler.buffer) for filler in fillers[:3]]
        for piece in _pieces(query, most):
            share = _shares(query[piece], key[piece], terms, piece, scores, shares)
            q, k, v, gradient = (
                filler.of(part[piece]) for filler, part in zip(fillers, (query, key, value, gradients[0]), strict=True)
            )
            to_value = _multiply(share.mT, gradient, room[2])
            to_share = _multiply(gradient, v.mT, scores)
            to_score = torch._softmax_backward_data(to_share, share, -1, share.dtype)
            for term, total in zip(terms, to_terms, strict=True):
                if total is not None:
                    term.give_back(total, to_score, piece)
            parts = (_multiply(to_score, k, room[0]), _multiply(to_score.mT, q, room[1]), to_value)
            for whole, part in zip(found, parts, strict=True):
                whole[piece] = part[..., : whole.shape[-1]]
        return (*found, None, *to_terms)


class _Filled:
    """Room for parts of some windows with a last dimension of whole vectors, what is behind them being zero.

    Args:
        like: (W, heads, N, D).
        most: How many windows there is room for.
    """

    def __init__(self, like: Tensor, most: int) -> None:
        depth = like.shape[-1]
        self.width = -(-depth // _VECTOR) * _VECTOR
        self.buffer = like.new_zeros(most, *like.shape[1:3], self.width)

    def of(self, part: Tensor) -> Tensor:
        """(P, heads, N, D) as (P, heads, N, D'), valid until the next call."""
        filled = self.buffer[: len(part)]
        filled[..., : part.shape[-1]] = part
        return filled


def _most_windows(query: Tensor, key: Tensor) -> int:
    windows, heads, pixels, _ = query.shape
    return max(1, min(windows, _PIECE_BYTES // (heads * pixels * key.shape[2] * query.element_size())))


def _pieces(query: Tensor, most: int) -> Iterable[slice]:
    windows = len(query)
    pieces = (slice(first, min(first + most, windows)) for first in range(0, windows, most))
    return pieces_to_compute(pieces, query)


def _shares(query: Tensor, key: Tensor, terms: Sequence[Term], piece: slice, scores: Tensor, shares: Tensor) -> Tensor:
    """How much of each value goes to each query, (P, heads, N, M), written into `shares`."""
    score = _multiply(query, key.mT, scores)
    for term in terms:
        term.add_to(score, piece)
    return torch.softmax(score, -1, out=shares[: len(score)])


def _multiply(first: Tensor, second: Tensor, room: Tensor) -> Tensor:
    """`first @ second` for P windows, written into the first P of `room`."""
    out = room[: len(first)]
    torch.bmm(first.reshape(-1, *first.shape[2:]), second.reshape(-1, *second.shape[2:]), out=out.flatten(0, 1))
    return out
