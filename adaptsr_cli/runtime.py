"""Where and how precisely the arithmetic is done: device, precision, seeds, memory."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch

from adaptsr_cli.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]

_M_TRIM_THRESHOLD: Final = -1  # from glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3
_MALLOC_DEFAULT: Final = 32 << 20  # where the library's own rule arrives after the first large blocks
_keeping_freed: Final = ContextVar("keeping_freed", default=False)

_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(choice: str) -> torch.device:
    """The device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: No such device on this machine, or not a device at all.
    """
    if choice in {"auto", "cuda"} and torch.cuda.is_available():
        return _own_cuda_device()
    if choice == "auto":
        return torch.device("cpu")
    kind, _, index = choice.partition(":")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()) or (kind == "cpu" and index):
        raise UsageError(f"--device {choice!r} is not a device", "use auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise UsageError(f"--device {choice}: no usable CUDA device here", "use --device cpu or auto")
        if index and int(index) >= count:
            raise UsageError(f"--device {choice}: only cuda:0 to cuda:{count - 1} exist", "use --device cuda")
        return torch.device("cuda", int(index or 0))
    return torch.device("cpu")


def _own_cuda_device() -> torch.device:
    """The first CUDA device; under torchrun the one that belongs to this process."""
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise UsageError(
            f"this machine has {count} CUDA devices, too few for process {index}",
            f"start torchrun with --nproc-per-node {count}",
        )
    device = torch.device("cuda", index)
    torch.cuda.set_device(device)
    return device


def describe_device(device: torch.device) -> str:
    """The device for people: ``NVIDIA H100`` or ``CPU, 4 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"CPU, {count} thread{'s' if count > 1 else ''}"


def describe_machine(device: torch.device) -> str:
    """Where figures were measured: ``4 CPU cores (4 threads), x86_64, torch 2.11.0``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return f"{name} ({torch.get_num_threads()} threads), {platform.machine()}, torch {torch.__version__}"


def pick_precision(choice: str, device: torch.device, *, bf16: bool, fp16: bool) -> Precision:
    """The precision for ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Args:
        choice: What the user asked for. ``auto`` is fp32 on the CPU, and bf16 on a CUDA device that computes in it
            where the architecture is known to allow it.
        device: Where the arithmetic will be done.
        bf16: Whether the architecture is known good in bf16.
        fp16: Whether the architecture is known good in fp16.

    Raises:
        UsageError: Not a precision, or one that the architecture is known not to stand.
    """
    if choice == "auto":
        fast = device.type == "cuda" and bf16 and torch.cuda.is_bf16_supported()
        return "bf16" if fast else "fp32"
    if choice == "fp32":
        return "fp32"
    if choice == "bf16":
        if not bf16:
            raise UsageError("this architecture does not stand bf16", "use --precision fp32")
        return "bf16"
    if choice == "fp16":
        if not fp16:
            raise UsageError("this architecture does not stand fp16", "use --precision bf16 or fp32")
        return "fp16"
    raise UsageError(f"--precision {choice!r} is unknown", "use auto, fp32, bf16 or fp16")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which matrix products and convolutions run in `precision`; fp32 is as `exact_products` says."""
    if precision == "fp32":
        return exact_products(device)
    return torch.autocast(device.type, dtype=_DTYPES[precision])


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """Within this block products of fp32 numbers on CUDA are IEEE's; nothing on the CPU, where they always are.

    torch lets cuDNN round the factors of convolutions to TF32, 10 bits, which moved results by up to 3 grey levels.
    TF32 is no precision of ours: bf16 is as fast or faster and takes less memory, and who asks for fp32 wants to
    compare. `benchmarks/gpu_switches.py` times all three and says how far apart they are.

    The setting is one of the process, so it is put back behind the block; that the backward pass runs in other threads
    makes no difference to it, but it has to run within the block too.
    """
    if device.type != "cuda":
        yield
        return
    backends: Any = torch.backends
    switches = [backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul]
    before = [switch.fp32_precision for switch in switches]
    # torch has an older switch for cuDNN beside these, which cannot be read where they say something else.
    older: bool | None = None
    with suppress(RuntimeError):
        older = backends.cudnn.allow_tf32
    try:
        if older:
            backends.cudnn.allow_tf32 = False  # turns both of cuDNN's
        for switch in switches:
            if "tf32" in (switch.fp32_precision, backends.fp32_precision):
                switch.fp32_precision = "ieee"
        yield
    finally:
        if older:
            backends.cudnn.allow_tf32 = True
        for switch, value in zip(switches, before, strict=True):
            if switch.fp32_precision != value:
                switch.fp32_precision = value


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Peak device memory since `reset_peak_memory`, in bytes; None on the CPU, where nobody counts it."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def peak_host_memory_bytes() -> int | None:
    """Most memory that this process has held since it began, in bytes; None where the system does not tell."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Within this block freed host memory stays with the process, to be used again by the next step on the CPU.

    A training step on the CPU frees all that it saved, the GNU allocator gives that back to the system, and the next
    step pays for fresh pages: measured for SwinIR at 64x64, 200,000 page faults and 0.5 s of a step of 4.5 s. The peak
    is the same. Upscaling: EDSR on 384 pixels squared took 1.8 times as long without, SAFMN 1.3 times, SwinIR on 192
    pixels 1.45 times. Other allocators (musl, macOS, Windows) are left as they are. Within another such block, as when
    a training validates, this one does nothing.
    """
    adjust = _allocator_settings() if sys.platform == "linux" and device.type == "cpu" else None
    if adjust is None or _keeping_freed.get():
        yield
        return
    _keeping_freed.set(True)
    adjust.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    adjust.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        _keeping_freed.set(False)
        adjust.mallopt(_M_MMAP_THRESHOLD, _MALLOC_DEFAULT)
        adjust.mallopt(_M_TRIM_THRESHOLD, 2 * _MALLOC_DEFAULT)
        adjust.malloc_trim(0)


def _allocator_settings() -> ctypes.CDLL | None:
    """The C library, where it is GNU's."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None


def reset_peak_memory(device: torch.device) -> None:
    """Starts counting peak device memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free_memory_bytes(device: torch.device) -> int:
    """Free device memory in bytes.

    On the CPU that is what can be had without swapping, within the limits of the container and of the process
    (``ulimit -v``).
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    known = [room for room in (_available_bytes(), _container_room_bytes(), _process_room_bytes()) if room is not None]
    return min(known, default=2 << 30)


def _available_bytes() -> int | None:
    """What Linux says can be had, page cache included; elsewhere the free pages, where the system tells."""
    with suppress(OSError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    with suppress(ValueError, OSError, AttributeError):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _container_room_bytes() -> int | None:
    """What the control group still allows; None without a limit."""
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        return max(0, limit - int((group / "memory.current").read_text(encoding="ascii")))
    return None


def _process_room_bytes() -> int | None:
    """What the process's limit of address space still allows; None without a limit, or where none can be read."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    with suppress(OSError, ValueError):
        used_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        return max(0, limit - used_pages * os.sysconf("SC_PAGE_SIZE"))
    return None
