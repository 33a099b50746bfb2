"""The published code of any network, run so that the CPU has less to do; what it computes stays the same.

Windowed transformers are written alike in what they compute, and differently in everything else. So nothing here knows
a network: while its own code runs, every function of torch that it calls comes by here first.

* Attention: see `adaptsr_cli.backbones.fast.deferred`. The array of all scores is never there.
* Masks of shifted windows are kept as the few kinds that there are.
* Without gradients, ``contiguous()`` copies only where the numbers overlap or leave gaps, and ``view`` copies instead
  where it must: most arrays are put into an order that the next function does not ask for.
* Products of heads that lie side by side in memory take them as they lie.
* Linear layers run through oneDNN (`adaptsr_cli.backbones.fast.linear`), those of an MLP for some rows at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import signature
from typing import Any, Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from adaptsr_cli.backbones.fast.attention import is_fused
from adaptsr_cli.backbones.fast.deferred import Deferred, Repeated, Rows, Scores, computed, differences_of_windows
from adaptsr_cli.backbones.fast.forwards import FusedForward, fuse
from adaptsr_cli.backbones.fast.linear import multiply_rows

Handler = Callable[..., Any]

_is_in_force: ContextVar[bool] = ContextVar("deferral", default=False)


class Deferral(TorchFunctionMode):
    """Within this context the functions of torch are those described above, on the CPU in float32."""

    def __enter__(self) -> Self:
        """Begin."""
        self._token = _is_in_force.set(True)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """End."""
        super().__exit__(*error)
        _is_in_force.reset(self._token)

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """What `func` gives, or a deferred tensor that stands for it."""
        kwargs = dict(kwargs or {})
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        handler, known = _HANDLERS.get(func), _NAMES.get(func, frozenset())
        if handler is not None and kwargs.keys() <= known:
            found = handler(*args, **kwargs)
            if found is not None:
                return found
        if func in _SIMPLE_FUNCTIONS and args and isinstance(args[0], Repeated):
            found = args[0].each(func, *args[1:], **kwargs)
            if found is not None:
                return found
        return func(*args, **kwargs)


def _add(first: object, second: object) -> Tensor | None:
    if isinstance(first, Scores):
        return first.plus(second)
    return second.plus(first) if isinstance(second, Scores) else None


def _multiply(first: object, second: object) -> Tensor | None:
    if isinstance(first, Scores):
        return first.times(second)
    return second.times(first) if isinstance(second, Scores) else None


def _subtract(first: object, second: object) -> Tensor | None:
    if not isinstance(first, Tensor) or not isinstance(second, Tensor):
        return None
    return differences_of_windows(first, second)


def _matmul(first: Tensor, second: Tensor) -> Tensor | None:
    if isinstance(first, Scores):
        return first.times_values(second)
    if isinstance(second, Deferred):
        return None
    scores = Scores.of(first, second)
    return _multiply_heads(first, second) if scores is None else scores


def _multiply_heads(first: Tensor, second: Tensor) -> Tensor | None:
    """The product head by head, where windows and heads cannot be taken together without a copy of either."""
    if torch.is_grad_enabled() or first.dim() != 4 or first.shape[:2] != second.shape[:2] or not first.numel():
        return None
    if all(part.shape[1] == 1 or part.stride(0) == part.stride(1) * part.shape[1] for part in (first, second)):
        return None
    if any(1 not in part.stride()[-2:] for part in (first, second)):
        return None
    windows, heads, rows, columns = *first.shape[:3], second.shape[3]
    out = first.new_empty(heads, windows, rows, columns)
    for head in range(heads):
        torch.bmm(first[:, head], second[:, head], out=out[head])
    return out.transpose(0, 1)


def _einsum(equation: str, *operands: Any) -> Tensor | None:
    if len(operands) != 2 or not all(isinstance(operand, Tensor) for operand in operands):
        return None
    inputs, _, output = equation.replace(" ", "").partition("->")
    first, _, second = inputs.partition(",")
    if len(first) < 3 or len(first) != len(second) or first[:-2] != second[:-2] or first[:-2] != output[:-2]:
        return None
    if first[-1] == second[-1] and output[-2:] == first[-2] + second[-2]:
        return _matmul(operands[0], operands[1].mT)
    if first[-1] == second[-2] and output[-2:] == first[-2] + second[-1]:
        return _matmul(*operands)
    return None


def _softmax(scores: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None) -> Tensor | None:
    if dim is None or dtype not in (None, scores.dtype):
        return None
    if isinstance(scores, Scores):
        return scores.softmax_over(dim)
    dim %= scores.dim()
    if dim == scores.dim() - 1 or torch.is_grad_enabled() or isinstance(scores, Deferred):
        return None
    # Over another dimension torch takes as many numbers at a time as lie together behind it: in the order in which they
    # are in memory these are those of all heads.
    order = sorted(range(scores.dim()), key=lambda place: (-scores.stride()[place], place))
    return scores.permute(order).softmax(order.index(dim)).permute(*(order.index(place) for place in range(len(order))))


def _dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor | None:
    return x if isinstance(x, Deferred) and (not training or not p) else None


def _view(tensor: Tensor, *shape: Any) -> Tensor | None:
    if len(shape) == 1 and not isinstance(shape[0], int):
        if isinstance(shape[0], torch.dtype):
            return None
        shape = tuple(shape[0])
    if isinstance(tensor, Scores):
        return tensor.viewed(shape)
    if torch.is_grad_enabled() or isinstance(tensor, Deferred):
        return None
    return _with_known_layout(tensor.reshape(shape))


def _with_known_layout(images: Tensor) -> Tensor:
    """One image made of rows gets a batch stride from which torch does not see that its channels lie together."""
    if images.dim() != 4 or len(images) != 1 or images.stride(1) != 1 or images.stride(3) != images.shape[1]:
        return images
    return images.as_strided(images.shape, (images.numel(), *images.stride()[1:]))


def _contiguous(tensor: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor | None:
    if torch.is_grad_enabled() or memory_format is not torch.contiguous_format or isinstance(tensor, Deferred):
        return None
    return tensor if _is_dense(tensor) else None


def _is_dense(tensor: Tensor) -> bool:
    """Whether its numbers lie side by side, in whatever order."""
    if tensor.device.type != "cpu":
        return False
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def _unsqueeze(tensor: Tensor, dim: int) -> Tensor | None:
    return tensor.unsqueezed(dim) if isinstance(tensor, Repeated) else None


def _to(tensor: Tensor, *arguments: Any) -> Tensor | None:
    if not isinstance(tensor, Repeated):
        return None
    return tensor if tensor.kinds.to(*arguments) is tensor.kinds else None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    if isinstance(x, Rows):
        return x.then(multiply_rows, weight, bias).compute()
    x = computed(x)
    if torch.is_grad_enabled():
        return multiply_rows(x, weight, bias)
    x = x.contiguous()
    return Rows.of(x, weight, bias) if weight.shape[0] > weight.shape[1] else multiply_rows(x, weight, bias)


def _gelu(x: Tensor, *, approximate: str = "none") -> Tensor | None:
    return x.then(functional.gelu, approximate=approximate) if isinstance(x, Rows) else None


_HANDLERS: Final[dict[Any, Handler]] = {
    Tensor.add: _add,
    torch.add: _add,
    Tensor.mul: _multiply,
    torch.mul: _multiply,
    Tensor.sub: _subtract,
    torch.sub: _subtract,
    Tensor.matmul: _matmul,
    torch.matmul: _matmul,
    torch.einsum: _einsum,
    functional.softmax: _softmax,
    Tensor.softmax: _softmax,
    torch.softmax: _softmax,
    functional.dropout: _dropout,
    functional.gelu: _gelu,
    Tensor.view: _view,
    Tensor.contiguous: _contiguous,
    Tensor.unsqueeze: _unsqueeze,
    Tensor.to: _to,
    functional.linear: _linear,
}
_NAMES: Final = {func: frozenset(signature(handler).parameters) for func, handler in _HANDLERS.items()}
_SIMPLE_FUNCTIONS: Final = frozenset([Tensor.ne, Tensor.eq, Tensor.__eq__, Tensor.masked_fill])


@dataclass(frozen=True)
class DeferredRun(FusedForward):
    """The forward pass of a network by its published code within a `Deferral`.

    Attributes:
        model: The network.
    """

    model: nn.Module

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """What the published code gives."""
        published = type(self.model).forward
        tensors = [argument for argument in arguments if isinstance(argument, Tensor)]
        is_ours = all(tensor.device.type == "cpu" and tensor.dtype == torch.float32 for tensor in tensors)
        if not is_ours or torch.is_autocast_enabled("cpu"):
            return published(self.model, *arguments, **named)
        with Deferral():
            return computed(published(self.model, *arguments, **named))


def defer(model: nn.Module) -> bool:
    """Let a network that attends, other than in blocks that are fused already, compute within a `Deferral`.

    Returns:
        Whether it does.
    """
    fused = {part for module in model.modules() if is_fused(module) for part in module.modules()}
    attends = any(_makes_queries(module) for module in model.modules() if module not in fused)
    if attends:
        fuse(model, DeferredRun(model))
    return attends


def is_deferred(model: nn.Module) -> bool:
    """Whether a network computes within a `Deferral`."""
    return isinstance(vars(model).get("forward"), DeferredRun)


def _makes_queries(module: nn.Module) -> bool:
    """Whether this is a Linear layer that makes queries, keys and values; all windowed transformers have such."""
    return isinstance(module, nn.Linear) and module.out_features == 3 * module.in_features


def deferral_as_now() -> AbstractContextManager[object]:
    """A `Deferral` if one is in force, for code that is run again later; else nothing."""
    return Deferral() if _is_in_force.get() else nullcontext()
