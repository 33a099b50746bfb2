"""Attention within windows as plain products, with a backward pass of its own: faster than torch's kernel on the CPU.

torch's attention kernel for the CPU multiplies one head of one window at a time, which for windows of 64 pixels and 30
channels does not reach a fifth of the machine's rate. Here all heads of some windows are multiplied at once, in pieces
whose scores stay in the cache, and the channels of a head are filled up with zeros to whole vectors. The scores are
computed again in the backward pass, so that no more is kept than queries, keys and values. Measured for 64 windows of
64 pixels, 6 heads of 30 channels, forward and backward, on an AMD EPYC (milliseconds; torch's kernel, here):

    1 thread                     26.9   22.7   (21.1 if the scores were kept, 6 MB for each block)
    4 threads                    14.5   10.7   (9.5)
    4 threads, 16 windows of 256 30.8   24.5   (20.5, 25 MB)

Without a gradient torch's kernel is as fast, and is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from adaptsr_cli.backbones.fast.pieces import pieces_to_compute

_VECTOR: Final = 16  # fp32 numbers in a vector of 512 bits
_PIECE_BYTES: Final = 2**21  # of scores


@dataclass(frozen=True)
class WindowKinds:
    """Which windows share biases.

    Attributes:
        counts: Number of windows of each kind, in the order in which the windows lie.
        kinds: Rows of the biases that these kinds take.
    """

    counts: tuple[int, ...]
    kinds: tuple[int, ...]

    def pieces(self, most: int) -> Iterator[tuple[slice, int]]:
        """Run of at most `most` windows of one kind, one behind the other, and the kind."""
        first = 0
        for count, kind in zip(self.counts, self.kinds, strict=True):
            last = first + count
            while first < last:
                until = min(first + most, last)
                yield slice(first, until), kind
                first = until


def attend_in_windows(qkv: Tensor, biases: Tensor, windows: WindowKinds, heads: int, scale: float) -> Tensor:
    """Softmax(scale Q K^T + bias) V in every window and head.

    Args:
        qkv: (W, N, 3 C) float32 on the CPU: queries, keys and values of the W windows of N pixels.
        biases: (kinds, 1, heads, N, N); gets no gradient.
        windows: Which of the biases each window takes.
        heads: Number of heads, a divisor of C.
        scale: What the scores are multiplied with.

    Returns:
        (W, N, C).
    """
    return _WindowProducts.apply(qkv, biases, windows, heads, scale)  # type: ignore[no-any-return]


class _WindowProducts(torch.autograd.Function):
    """See `attend_in_windows`."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, biases: Tensor, windows: WindowKinds, heads: int, scale: float) -> Tensor:
        """The attended values."""
        parts = _by_heads(qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4))  # (3, W, heads, N, D')
        parts[0] *= scale
        ctx.save_for_backward(parts, biases)
        ctx.windows, ctx.scale, ctx.depth = windows, scale, qkv.shape[-1] // (3 * heads)
        query, key, value = parts
        out = torch.empty_like(query)
        scores, shares = _score_buffers(query)
        for piece, kind in pieces_to_compute(windows.pieces(len(scores)), query):
            share = _shares(query[piece], key[piece], biases[kind], scores, shares)
            _multiply(share, value[piece], out[piece])
        return out[..., : ctx.depth].transpose(1, 2).flatten(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of `qkv`."""
        parts, biases = ctx.saved_tensors
        query, key, value = parts
        heads = query.shape[1]
        gradient = _by_heads(gradients[0].unflatten(-1, (heads, -1)).transpose(1, 2))  # (W, heads, N, D')
        found = torch.empty_like(parts)
        scores, shares = _score_buffers(query)
        for piece, kind in pieces_to_compute(ctx.windows.pieces(len(scores)), query):
            share = _shares(query[piece], key[piece], biases[kind], scores, shares)
            _multiply(share.mT, gradient[piece], found[2, piece])
            to_share = _multiply(gradient[piece], value[piece].mT, scores[: len(share)])
            to_score = torch._softmax_backward_data(to_share, share, -1, share.dtype)
            _multiply(to_score, key[piece], found[0, piece])
            _multiply(to_score.mT, query[piece], found[1, piece])
        found[0] *= ctx.scale  # keys meet queries that are multiplied already
        return found[..., : ctx.depth].permute(1, 3, 0, 2, 4).flatten(2), None, None, None, None


def _by_heads(parts: Tensor) -> Tensor:
    """A contiguous copy, the last dimension filled up with zeros to whole vectors."""
    depth = parts.shape[-1]
    filled = -(-depth // _VECTOR) * _VECTOR
    if filled == depth:
        return parts.contiguous()
    copy = parts.new_empty(*parts.shape[:-1], filled)
    copy[..., :depth] = parts
    copy[..., depth:] = 0
    return copy


def _score_buffers(query: Tensor) -> Sequence[Tensor]:
    """Two arrays (P, heads, N, N) for scores and shares, for as many windows P as a piece has."""
    windows, heads, pixels, _ = query.shape
    most = max(1, _PIECE_BYTES // (heads * pixels**2 * query.element_size()))
    return query.new_empty(2, min(most, windows), heads, pixels, pixels).unbind()


def _shares(query: Tensor, key: Tensor, bias: Tensor, scores: Tensor, shares: Tensor) -> Tensor:
    """How much of each value goes to each query, (P, heads, N, N), written into `shares`."""
    score = _multiply(query, key.mT, scores[: len(query)])
    return torch.softmax(score.add_(bias), -1, out=shares[: len(query)])


def _multiply(first: Tensor, second: Tensor, out: Tensor) -> Tensor:
    """`first @ second`, written into `out`, which is contiguous in its first two dimensions as the others are."""
    torch.bmm(first.flatten(0, 1), second.flatten(0, 1), out=out.flatten(0, 1))
    return out
