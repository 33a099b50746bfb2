"""A device that is strict as a GPU is, on a machine that has none.

Its tensors call themselves ``cuda:0``, hold their values on the CPU, and refuse to mix with the CPU's. What would make
a program wait for a GPU (reading a value, copying to the host) is counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("cuda", 0)
WAITS = ("_local_scalar_dense", "is_nonzero", "equal", "nonzero", "masked_select", "_unique2", "item")
"""Operations that cannot return before the device has computed all that was asked of it."""
_TYPE_AS = Tensor.type_as
BETWEEN_DEVICES = ("copy_", "_to_copy", "set_data")


class WrongDevice(Exception):
    """Tensors of two devices met in one operation."""


class DeviceTensor(Tensor):
    """A tensor on the emulated device.

    Attributes:
        values: What it holds, on the CPU.
    """

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor) -> Self:
        return Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(), dtype=values.dtype,
            layout=values.layout, device="cpu", requires_grad=values.requires_grad,
        )  # fmt: skip  # below Python it is a tensor of the CPU, since autograd would ask a driver for streams

    def __init__(self, values: Tensor) -> None:
        self.values = values

    __torch_function__ = torch._C._disabled_torch_function_impl

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it says it is."""
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        """So it says."""
        return True

    def cpu(self, *_: Any, **__: Any) -> Tensor:
        """Copy the values to the host, which waits."""
        EmulatedDevice.waits.append("cpu")
        return self.values.detach().clone()

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """As `Tensor.to`; to the host it waits."""
        targets = [word for word in (*args, *kwargs.values()) if isinstance(word, str | torch.device)]
        if any(torch.device(word).type == "cpu" for word in targets):
            return self.cpu()
        words = [word for word in args if not isinstance(word, str | torch.device)]
        rest = {name: word for name, word in kwargs.items() if not isinstance(word, str | torch.device)}
        return super().to(*words, **rest) if words or rest.keys() - {"non_blocking"} else self

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run one operation on the values."""
        return run(func, args, kwargs or {}, EmulatedDevice.waits)

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype})"


class EmulatedDevice(TorchDispatchMode):
    """Within this block ``device="cuda:0"`` is the emulated device; one block at a time.

    Attributes:
        waits: Names of operations that would have waited for the device, in order.
    """

    waits: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        EmulatedDevice.waits.clear()

    def __enter__(self) -> Self:
        """Enter; `torch.tensor` and `Module.to` put things onto the device by operations that can be seen."""
        torch._C._set_only_lift_cpu_tensors(True)
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        Tensor.type_as = type_as  # type: ignore[method-assign]
        return super().__enter__()

    def __exit__(self, *fault: Any) -> None:
        """Leave."""
        super().__exit__(*fault)
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        Tensor.type_as = _TYPE_AS  # type: ignore[method-assign]

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation."""
        return run(func, args, kwargs or {}, self.waits)


def type_as(tensor: Tensor, other: Tensor) -> Tensor:
    """As `Tensor.type_as`, which also moves to where `other` is."""
    moves = isinstance(other, DeviceTensor) and not isinstance(tensor, DeviceTensor)
    return DeviceTensor(tensor.to(other.dtype)) if moves else _TYPE_AS(tensor, other)


def run(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], waits: list[str]) -> Any:
    """Run an operation, on the values where the device is concerned."""
    name = func._schema.name.partition("::")[2]
    tensors = [leaf for leaf in tree_leaves((args, dict(kwargs))) if isinstance(leaf, Tensor)]
    on_device = [tensor for tensor in tensors if isinstance(tensor, DeviceTensor)]
    to = kwargs.get("device")
    goes_to_device = to is not None and torch.device(to).type == "cuda"
    if not on_device and not goes_to_device:
        return func(*args, **kwargs)
    if name not in BETWEEN_DEVICES:
        # As torch does, a number in a tensor of the host may meet tensors of the device.
        strangers = [tensor for tensor in tensors if not isinstance(tensor, DeviceTensor) and tensor.dim()]
        if on_device and strangers:
            raise WrongDevice(f"{name} of {on_device} and of the host's {[tuple(t.shape) for t in strangers]}")
    to_host = name == "_to_copy" and to is not None and torch.device(to).type == "cpu"
    to_host |= name == "copy_" and not isinstance(args[0], DeviceTensor)
    by_mask = name == "index" and any(place is not None and place.dtype == torch.bool for place in args[1])
    if on_device and (name in WAITS or to_host or by_mask):
        waits.append(name)
    plain_kwargs = {**kwargs, "device": torch.device("cpu")} if goes_to_device else dict(kwargs)
    plain_kwargs.pop("pin_memory", None)
    values = func(*tree_map(unwrap, args), **tree_map(unwrap, plain_kwargs))
    if to_host or name in ("_local_scalar_dense", "is_nonzero", "equal", "item"):
        return args[0] if name == "copy_" else values
    if name == "copy_":
        return args[0]
    wrapped = tree_map(wrap, values)
    if not on_device:
        return wrapped
    return return_and_correct_aliasing(func, args, dict(kwargs), wrapped)


def unwrap(leaf: Any) -> Any:
    return leaf.values if isinstance(leaf, DeviceTensor) else leaf


def wrap(leaf: Any) -> Any:
    return DeviceTensor(leaf) if isinstance(leaf, Tensor) and not isinstance(leaf, DeviceTensor) else leaf
