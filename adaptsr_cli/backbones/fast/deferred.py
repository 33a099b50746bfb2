"""Tensors that are not computed before it is known what for: scores of attention, and masks that repeat themselves.

Networks write attention as products, sums and a softmax over arrays of the size of all scores. `Scores` stands for such
an array and takes note of what is done to it, until it is multiplied with the values: then all of it is computed piece
by piece. `Repeated` stands for an array of which many windows have the same part: the masks of shifted windows.
Anything else that is done to either is done to the array itself, which is then computed as written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, Self

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from adaptsr_cli.backbones.fast.attention_products import Term, attend
from adaptsr_cli.backbones.fast.linear import multiply_rows

Shape = tuple[int, ...]
_PIECE_ROWS: Final = 2048


class Deferred(Tensor):
    """A tensor known by how it is computed. What is not in the handlers of a `Deferral` computes it."""

    def compute(self) -> Tensor:
        """The tensor itself."""
        raise NotImplementedError

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """What a function of torch gives for the tensors themselves."""
        if func in _KNOWN_WITHOUT:
            with torch._C.DisableTorchFunctionSubclass():
                return func(*args, **(kwargs or {}))
        return func(*computed(args), **computed(kwargs or {}))

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """As `__torch_function__`, for what reaches torch some other way."""
        return func(*computed(args), **computed(kwargs or {}))


_KNOWN_WITHOUT = frozenset(
    [
        *(getattr(Tensor, name).__get__ for name in ("shape", "dtype", "device", "ndim", "requires_grad", "is_cuda")),
        Tensor.size,
        Tensor.dim,
        Tensor.numel,
    ]
)


def computed(value: Any) -> Any:
    """`value`, or the arguments of a call, with every deferred tensor computed."""
    if isinstance(value, Deferred):
        return value.compute()
    if isinstance(value, tuple | list):
        return type(value)(computed(part) for part in value)
    if isinstance(value, Mapping):
        return {name: computed(part) for name, part in value.items()}
    return value


class Rows(Deferred):
    """What a chain of functions of single rows gives, the first of which widens them: that of an MLP, for example.

    Attributes:
        rows: (..., C), contiguous.
        chain: The functions.
    """

    rows: Tensor
    chain: tuple[Callable[[Tensor], Tensor], ...]

    @staticmethod
    def __new__(cls, rows: Tensor, width: int, chain: tuple[Callable[[Tensor], Tensor], ...]) -> Self:
        """See the class; `width` is how long the rows are at the end."""
        shape = (*rows.shape[:-1], width)
        made: Self = Tensor._make_wrapper_subclass(cls, shape, dtype=rows.dtype, device=rows.device)
        made.rows, made.chain = rows, chain
        return made

    @classmethod
    def of(cls, rows: Tensor, weight: Tensor, bias: Tensor | None) -> Self:
        """Rows times a matrix (out, in)."""
        return cls(rows, len(weight), (partial(_multiply_rows, weight=weight, bias=bias),))

    def then(self, function: Callable[..., Tensor], *arguments: Any, **named: Any) -> Rows:
        """With a function more, of the rows and other arguments; products end in the rows of their matrix."""
        width = len(arguments[0]) if arguments else self.shape[-1]
        return Rows(self.rows, width, (*self.chain, lambda rows: function(rows, *arguments, **named)))

    def compute(self) -> Tensor:
        """The array itself; some rows at a time, which stay in the cache, if there is anything behind the first."""
        rows = self.rows.view(-1, self.rows.shape[-1])
        if len(self.chain) == 1:
            return self.chain[0](rows).view(self.shape)
        out = rows.new_empty(len(rows), self.shape[-1])
        for piece, part in zip(rows.split(_PIECE_ROWS), out.split(_PIECE_ROWS), strict=True):
            for function in self.chain:
                piece = function(piece)
            part.copy_(piece)
        return out.view(self.shape)


def _multiply_rows(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return multiply_rows(rows, weight, bias)


class Repeated(Deferred):
    """An array (W, N, M), or with 1 in front of these, of which window w holds ``kinds[which[w]]``.

    Attributes:
        kinds: (K, N, M).
        which: (W,) int64.
    """

    kinds: Tensor
    which: Tensor

    @staticmethod
    def __new__(cls, kinds: Tensor, which: Tensor, shape: Shape | None = None) -> Self:
        """See the class; `shape` is that of the array."""
        full = shape or (len(which), *kinds.shape[1:])
        made: Self = Tensor._make_wrapper_subclass(cls, full, dtype=kinds.dtype, device=kinds.device)
        made.kinds, made.which = kinds, which
        return made

    def compute(self) -> Tensor:
        """The array itself."""
        return self.kinds[self.which].view(self.shape)

    def each(self, function: Callable[..., Tensor], *arguments: Any) -> Repeated | None:
        """`function` of every number, whose other arguments are numbers or arrays that repeat in the same way."""
        plain = []
        for argument in arguments:
            if isinstance(argument, Repeated) and argument.which is self.which and argument.shape == self.shape:
                plain.append(argument.kinds)
            elif isinstance(argument, Tensor):
                return None
            else:
                plain.append(argument)
        return Repeated(function(self.kinds, *plain), self.which, tuple(self.shape))

    def unsqueezed(self, place: int) -> Repeated:
        """With a dimension of 1 more at `place`."""
        shape = list(self.shape)
        shape.insert(place if place >= 0 else place + len(shape) + 1, 1)
        return Repeated(self.kinds, self.which, tuple(shape))

    def as_term(self, lead: Shape) -> Term | None:
        """What is added to scores (*lead, heads, N, M); None where the windows do not lie as they have to."""
        own = (1,) * (len(lead) + 3 - self.dim()) + tuple(self.shape[:-2])
        # One window after the other, the same for all heads, again for every image.
        if own[-2:] != (len(self.which), 1) or math.prod(own) != len(self.which) or lead[-1] != len(self.which):
            return None
        batches = math.prod(lead) // max(1, len(self.which))
        return Term(self.kinds[:, None], self.which.repeat(batches), self.kinds.flatten(1).any(1))


def differences_of_windows(first: Tensor, second: Tensor) -> Repeated | None:
    """``first - second`` of (W, 1, N) and (W, N, 1), as networks make the masks of shifted windows; None if it is not.

    That array has the size of the scores of a head. But in most windows all pixels are neighbours, and the others are
    of few kinds.
    """
    if first.dim() != 3 or first.shape[:2] != (len(second), 1) or second.shape != (len(first), first.shape[2], 1):
        return None
    if first.shape[2] == 1 or first.requires_grad or second.requires_grad or isinstance(first, FakeTensor):
        return None  # fake tensors have no values to be counted
    pixels = first.shape[2]
    kinds, index = torch.cat([first[:, 0], second[:, :, 0]], 1).unique(dim=0, return_inverse=True)
    return Repeated(kinds[:, None, :pixels] - kinds[:, pixels:, None], index)


class Scores(Deferred):
    """Q K^T plus terms, or the softmax of it, for any number of leading dimensions, of which the last is heads.

    Attributes:
        query: (W, heads, N, D).
        key: (W, heads, M, D).
        terms: What is added.
        is_softmax: Whether the softmax over the last dimension is meant.
    """

    query: Tensor
    key: Tensor
    terms: tuple[Term, ...]
    is_softmax: bool

    @staticmethod
    def __new__(
        cls, query: Tensor, key: Tensor, shape: Shape, terms: tuple[Term, ...] = (), is_softmax: bool = False
    ) -> Self:
        """See the class; `shape` is that of the scores."""
        made: Self = Tensor._make_wrapper_subclass(cls, shape, dtype=query.dtype, device=query.device)
        made.query, made.key, made.terms, made.is_softmax = query, key, terms, is_softmax
        return made

    @classmethod
    def of(cls, query: Tensor, key: Tensor) -> Self | None:
        """The product of (..., N, D) and (..., D, M), where it is larger than both: that of scores is."""
        if query.dim() not in (4, 5) or query.shape[:-2] != key.shape[:-2] or query.shape[-1] != key.shape[-2]:
            return None
        depth, pixels, others = query.shape[-1], query.shape[-2], key.shape[-1]
        if depth >= min(pixels, others) or query.dtype != torch.float32 or key.dtype != torch.float32:
            return None
        shape = (*query.shape[:-1], others)
        return cls(query.flatten(0, -4), key.mT.flatten(0, -4), shape)

    def compute(self) -> Tensor:
        """The array itself, as a network would have computed it."""
        scores = self.query @ self.key.mT
        for term in self.terms:
            scores = scores + (term.values if term.index is None else term.values[term.index])
        return (scores.softmax(-1) if self.is_softmax else scores).view(self.shape)

    def plus(self, other: object) -> Scores | None:
        """With a term more, where it can be added piece by piece."""
        if self.is_softmax:
            return None
        term: Term | None = None
        if isinstance(other, Repeated):
            term = other.as_term(tuple(self.shape[:-3]))
        elif isinstance(other, Tensor) and not isinstance(other, Deferred):
            term = _as_term(other, tuple(self.shape))
        return None if term is None else self._with(terms=(*self.terms, term))

    def times(self, factor: object) -> Scores | None:
        """Multiplied by a number, or by one for each head, as long as nothing was added."""
        if self.is_softmax or self.terms or isinstance(factor, Deferred):
            return None
        if isinstance(factor, Tensor):
            if factor.dim() > 3 or factor.shape[-2:].numel() != 1 or factor.dtype != self.dtype:
                return None
        elif not isinstance(factor, int | float):
            return None
        return self._with(query=self.query * factor)

    def viewed(self, shape: Shape) -> Scores | None:
        """With other leading dimensions, heads and what comes behind being the same."""
        if tuple(shape[-3:]) != tuple(self.shape[-3:]):
            return None
        lead = list(shape[:-3])
        if lead.count(-1) == 1:
            lead[lead.index(-1)] = len(self.query) // -math.prod(lead)
        return self._with(shape=(*lead, *shape[-3:])) if math.prod(lead) == len(self.query) else None

    def softmax_over(self, dim: int) -> Scores | None:
        """The softmax, where it is the one over the last dimension."""
        return self._with(is_softmax=True) if dim in (-1, self.dim() - 1) and not self.is_softmax else None

    def times_values(self, value: Tensor) -> Tensor | None:
        """The attended values, (..., N, E), for values (..., M, E)."""
        if not self.is_softmax or value.shape[:-1] != (*self.shape[:-2], self.shape[-1]) or value.dtype != self.dtype:
            return None
        attended = attend(self.query, self.key, value.flatten(0, -4), self.terms)
        return attended if value.dim() == 4 else attended.unflatten(0, self.shape[:-3])

    def _with(
        self,
        *,
        query: Tensor | None = None,
        shape: Shape | None = None,
        terms: tuple[Term, ...] | None = None,
        is_softmax: bool = False,
    ) -> Scores:
        return Scores(
            self.query if query is None else query,
            self.key,
            tuple(self.shape) if shape is None else shape,
            self.terms if terms is None else terms,
            is_softmax or self.is_softmax,
        )


def _as_term(values: Tensor, shape: Shape) -> Term | None:
    """`values`, which are to be added to scores of that shape; None where they do not fit below it."""
    if values.dim() > len(shape) or values.dtype != torch.float32:
        return None
    own = (1,) * (len(shape) - values.dim()) + tuple(values.shape)
    if any(size not in (1, full) for size, full in zip(own, shape, strict=True)):
        return None
    values, (*lead, _, _, _) = values.view(own), shape
    first = next((place for place, size in enumerate(own[:-3]) if size != 1), None)
    if first is None:
        return Term(values.reshape(1, *own[-3:]))
    kinds = values.expand(*own[:first], *lead[first:], *own[-3:]).reshape(-1, *own[-3:])
    return Term(kinds, torch.arange(len(kinds), device=values.device).repeat(math.prod(lead[:first])))
