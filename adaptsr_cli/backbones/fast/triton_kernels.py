# mypy: ignore-errors
"""Kernels for CUDA in the language of Triton: attention within windows, layer norm, GELU; `fast.on_cuda` calls them.

The only file that imports Triton, which comes with torch for CUDA. With TRITON_INTERPRET=1 they run on the CPU.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _window(SIDE: tl.constexpr, N: tl.constexpr, SHIFTED: tl.constexpr, height, width, shift):
    """The rows of an image batch that the pixels of this program's window are, and the window's kind of mask."""
    columns = width // SIDE
    rows = height // SIDE
    place = tl.program_id(0) % (rows * columns)
    image = tl.program_id(0) // (rows * columns)
    row = place // columns
    column = place % columns
    pixel = tl.arange(0, N)
    y = (row * SIDE + pixel // SIDE + shift) % height
    x = (column * SIDE + pixel % SIDE + shift) % width
    kind = 0
    if SHIFTED:
        kind = (column == columns - 1).to(tl.int32) + 2 * (row == rows - 1).to(tl.int32)
    return ((image * height + y) * width + x).to(tl.int64), kind


@triton.jit
def _shares(query, key, bias, kind, scale, HEADS: tl.constexpr, AREA: tl.constexpr, N: tl.constexpr):
    """Softmax(scale Q K^T + bias), (N, N) float32."""
    pixel = tl.arange(0, N)
    real = (pixel < AREA)[:, None] & (pixel < AREA)[None, :]
    first = (kind * HEADS + tl.program_id(1)) * AREA * AREA
    added = tl.load(bias + first + pixel[:, None] * AREA + pixel[None, :], real, 0.0).to(tl.float32)
    score = tl.dot(query, tl.trans(key), input_precision="ieee") * scale + added
    score = tl.where((pixel < AREA)[None, :], score, float("-inf"))
    share = tl.exp(score - tl.max(score, 1)[:, None])
    return share / tl.sum(share, 1)[:, None]


@triton.jit
def attend(
    qkv,
    bias,
    out,
    height,
    width,
    shift,
    qkv_pitch,
    out_pitch,
    scale,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    SIDE: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
    SHIFTED: tl.constexpr,
):
    """One head of one window."""
    line, kind = _window(SIDE, N, SHIFTED, height, width, shift)
    depth = tl.arange(0, D)
    mask = (tl.arange(0, N) < SIDE * SIDE)[:, None] & (depth < DEPTH)[None, :]
    inside = tl.program_id(1) * DEPTH + depth[None, :]
    at = qkv + line[:, None] * qkv_pitch + inside
    query = tl.load(at, mask, 0.0)
    key = tl.load(at + HEADS * DEPTH, mask, 0.0)
    value = tl.load(at + 2 * HEADS * DEPTH, mask, 0.0)
    share = _shares(query, key, bias, kind, scale, HEADS, SIDE * SIDE, N)
    found = tl.dot(share.to(value.dtype), value, input_precision="ieee")
    tl.store(out + line[:, None] * out_pitch + inside, found.to(out.dtype.element_ty), mask)
    if tl.program_id(1) == HEADS - 1:
        _fill(out, line, out_pitch, HEADS * DEPTH, SIDE * SIDE, N)


@triton.jit
def _fill(out, line, pitch, first, AREA: tl.constexpr, N: tl.constexpr):
    """Zeros between the end of a row and the beginning of the next, which are fewer than 8."""
    column = first + tl.arange(0, 8)
    mask = (tl.arange(0, N) < AREA)[:, None] & (column < pitch)[None, :]
    tl.store(out + line[:, None] * pitch + column[None, :], tl.zeros((N, 8), out.dtype.element_ty), mask)


@triton.jit
def attend_backward(
    qkv,
    bias,
    gradient,
    found,
    height,
    width,
    shift,
    qkv_pitch,
    gradient_pitch,
    found_pitch,
    scale,
    HEADS: tl.constexpr,
    DEPTH: tl.constexpr,
    SIDE: tl.constexpr,
    N: tl.constexpr,
    D: tl.constexpr,
    SHIFTED: tl.constexpr,
):
    """The gradients of one head of one window; its shares are computed again."""
    line, kind = _window(SIDE, N, SHIFTED, height, width, shift)
    depth = tl.arange(0, D)
    mask = (tl.arange(0, N) < SIDE * SIDE)[:, None] & (depth < DEPTH)[None, :]
    inside = tl.program_id(1) * DEPTH + depth[None, :]
    at = qkv + line[:, None] * qkv_pitch + inside
    query = tl.load(at, mask, 0.0)
    key = tl.load(at + HEADS * DEPTH, mask, 0.0)
    value = tl.load(at + 2 * HEADS * DEPTH, mask, 0.0)
    to_out = tl.load(gradient + line[:, None] * gradient_pitch + inside, mask, 0.0).to(value.dtype)
    share = _shares(query, key, bias, kind, scale, HEADS, SIDE * SIDE, N)
    to_value = tl.dot(tl.trans(share.to(value.dtype)), to_out, input_precision="ieee")
    to_share = tl.dot(to_out, tl.trans(value), input_precision="ieee")
    to_score = share * (to_share - tl.sum(share * to_share, 1)[:, None]) * scale
    to_score = to_score.to(value.dtype)
    to_query = tl.dot(to_score, key, input_precision="ieee")
    to_key = tl.dot(tl.trans(to_score), query, input_precision="ieee")
    to = found + line[:, None] * found_pitch + inside
    tl.store(to, to_query.to(found.dtype.element_ty), mask)
    tl.store(to + HEADS * DEPTH, to_key.to(found.dtype.element_ty), mask)
    tl.store(to + 2 * HEADS * DEPTH, to_value.to(found.dtype.element_ty), mask)
    if tl.program_id(1) == HEADS - 1:
        _fill(found, line, found_pitch, 3 * HEADS * DEPTH, SIDE * SIDE, N)


@triton.jit
def add_norm(
    x,
    added,
    total,
    weight,
    bias,
    out,
    statistics,
    count,
    added_pitch,
    out_pitch,
    epsilon,
    CHANNELS: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    ADDS: tl.constexpr,
    KEEPS: tl.constexpr,
):
    """Layer norm of some rows of x, or of x + added, which is written to `total` then."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, C)
    mask = (row < count)[:, None] & (channel < CHANNELS)[None, :]
    at = row[:, None] * CHANNELS + channel[None, :]
    values = tl.load(x + at, mask, 0.0)
    if ADDS:
        values += tl.load(added + row[:, None] * added_pitch + channel[None, :], mask, 0.0).to(tl.float32)
        tl.store(total + at, values, mask)
    mean = tl.sum(values, 1) / CHANNELS
    apart = tl.where(mask, values - mean[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(apart * apart, 1) / CHANNELS + epsilon)
    if KEEPS:
        tl.store(statistics + row, mean, row < count)
        tl.store(statistics + count + row, scale, row < count)
    factor = tl.load(weight + channel, channel < CHANNELS, 0.0)
    offset = tl.load(bias + channel, channel < CHANNELS, 0.0)
    normed = apart * scale[:, None] * factor[None, :] + offset[None, :]
    normed = tl.where(mask, normed, 0.0).to(out.dtype.element_ty)
    wide = (row < count)[:, None] & (channel < out_pitch)[None, :]
    tl.store(out + row[:, None] * out_pitch + channel[None, :], normed, wide)


@triton.jit
def add_norm_backward(
    total,
    statistics,
    weight,
    to_out,
    to_total,
    to_x,
    to_added,
    count,
    out_pitch,
    total_pitch,
    added_pitch,
    CHANNELS: tl.constexpr,
    C: tl.constexpr,
    ROWS: tl.constexpr,
    ADDS: tl.constexpr,
):
    """The gradient of the sum of some rows, once in float32 and once as `to_added` wants it."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, C)
    mask = (row < count)[:, None] & (channel < CHANNELS)[None, :]
    at = row[:, None] * CHANNELS + channel[None, :]
    mean = tl.load(statistics + row, row < count, 0.0)
    scale = tl.load(statistics + count + row, row < count, 0.0)
    normed = tl.where(mask, (tl.load(total + at, mask, 0.0) - mean[:, None]) * scale[:, None], 0.0)
    factor = tl.load(weight + channel, channel < CHANNELS, 0.0)
    gradient = tl.load(to_out + row[:, None] * out_pitch + channel[None, :], mask, 0.0).to(tl.float32) * factor[None, :]
    level = tl.sum(gradient, 1) / CHANNELS
    slope = tl.sum(gradient * normed, 1) / CHANNELS
    found = (gradient - level[:, None] - normed * slope[:, None]) * scale[:, None]
    found += tl.load(to_total + row[:, None] * total_pitch + channel[None, :], mask, 0.0).to(tl.float32)
    tl.store(to_x + at, found, mask)
    if ADDS:
        found = tl.where(mask, found, 0.0).to(to_added.dtype.element_ty)
        wide = (row < count)[:, None] & (channel < added_pitch)[None, :]
        tl.store(to_added + row[:, None] * added_pitch + channel[None, :], found, wide)


@triton.jit
def gelu(x, out, count, x_pitch, CHANNELS: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr):
    """GELU by the error function, of some rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, C)
    mask = (row < count)[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(x + row[:, None] * x_pitch + channel[None, :], mask, 0.0).to(tl.float32)
    found = 0.5 * values * (1 + tl.erf(values * 0.7071067811865476))
    tl.store(out + row[:, None] * CHANNELS + channel[None, :], found.to(out.dtype.element_ty), mask)


@triton.jit
def gelu_backward(
    x, gradient, found, count, x_pitch, gradient_pitch, CHANNELS: tl.constexpr, C: tl.constexpr, ROWS: tl.constexpr
):
    """Its gradient."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, C)
    mask = (row < count)[:, None] & (channel < CHANNELS)[None, :]
    values = tl.load(x + row[:, None] * x_pitch + channel[None, :], mask, 0.0).to(tl.float32)
    to_out = tl.load(gradient + row[:, None] * gradient_pitch + channel[None, :], mask, 0.0).to(tl.float32)
    share = 0.5 * (1 + tl.erf(values * 0.7071067811865476))
    slope = share + values * 0.3989422804014327 * tl.exp(-0.5 * values * values)
    tl.store(found + row[:, None] * CHANNELS + channel[None, :], (to_out * slope).to(found.dtype.element_ty), mask)
