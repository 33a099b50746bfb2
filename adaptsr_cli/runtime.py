"""Device, precision, seeds and memory."""

from __future__ import annotations

import ctypes
import os
import platform
import random
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import psutil
import torch

from adaptsr_cli.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]

_M_TRIM_THRESHOLD: Final = -1  # from glibc's malloc.h
_M_MMAP_THRESHOLD: Final = -3
_MALLOC_DEFAULT: Final = 32 << 20  # where the library's own rule arrives after the first large blocks
_freed_kept_lock: Final = threading.Lock()
_freed_kept_blocks = 0  # how many blocks of `freed_memory_kept` are open in all threads

_OTHER_DEVICES: Final = {
    "mps": "Apple's GPUs are not supported, this machine's CPU is",
    "xpu": "Intel's GPUs are not supported by PyTorch here; `adaptsr export --to openvino` is for them",
    "rocm": "torch for ROCm calls AMD's GPUs cuda",
    "hip": "torch for ROCm calls AMD's GPUs cuda",
    "gpu": "torch calls NVIDIA's and, in its ROCm builds, AMD's GPUs cuda",
}
"""Names that users of other programs know -> what to know here."""

_DTYPES: dict[str, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(choice: str) -> torch.device:
    """Return the device for ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        UsageError: No such device on this machine, or not a device at all.
    """
    if choice in {"auto", "cuda"} and torch.cuda.is_available():
        return _own_cuda_device()
    if choice == "auto":
        return torch.device("cpu")
    kind, _, index = choice.partition(":")
    if kind in _OTHER_DEVICES:
        raise UsageError(f"`device` {choice}: {_OTHER_DEVICES[kind]}", "use auto, cpu, cuda or cuda:N")
    if kind not in {"cpu", "cuda"} or (index and not index.isdigit()) or (kind == "cpu" and index):
        raise UsageError(f"`device` {choice!r} is not a device", "use auto, cpu, cuda or cuda:N")
    if kind == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
            why = f" (CUDA_VISIBLE_DEVICES is {hidden!r})" if hidden is not None else ""
            raise UsageError(f"`device` {choice}: there is no usable CUDA device{why}", "use `device` cpu or auto")
        if index and int(index) >= count:
            raise UsageError(f"`device` {choice}: only cuda:0 to cuda:{count - 1} exist", "use `device` cuda")
        return torch.device("cuda", int(index or 0))
    return torch.device("cpu")


def _own_cuda_device() -> torch.device:
    """Return the first CUDA device; under torchrun the one that belongs to this process."""
    index, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if index >= count:
        raise UsageError(
            f"this machine has {count} CUDA devices, too few for process {index}",
            f"start torchrun with --nproc-per-node {count}",
        )
    device = torch.device("cuda", index)
    if "LOCAL_RANK" in os.environ:  # torch.distributed goes by the current device; else that is the host's affair
        torch.cuda.set_device(device)
    return device


def describe_device(device: torch.device) -> str:
    """Names the device for people: ``NVIDIA H100`` or ``CPU, 4 threads``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"CPU, {count} thread{'s' if count > 1 else ''}"


def describe_machine(device: torch.device) -> str:
    """Describe where figures were measured: ``4 CPU cores (4 threads), x86_64, torch 2.11.0``."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return f"{name} ({torch.get_num_threads()} threads), {platform.machine()}, torch {torch.__version__}"


def computes_in_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for bf16; others emulate it, more slowly than fp32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def pick_precision(
    choice: str, device: torch.device, *, bf16: bool, fp16: bool, bf16_on_cpu: bool = False
) -> Precision:
    """Return the precision for ``auto``, ``fp32``, ``bf16`` or ``fp16``.

    Args:
        choice: What the user asked for. ``auto`` is bf16 on a CUDA device that computes in it where the architecture
            is known to allow it, and fp32 on the CPU unless `bf16_on_cpu`.
        device: Where the arithmetic will be done.
        bf16: Whether the architecture is known good in bf16.
        fp16: Whether the architecture is known good in fp16.
        bf16_on_cpu: Whether ``auto`` is bf16 on a CPU too that computes in it.

    Raises:
        UsageError: Not a precision, or one in which the architecture is known to be unstable.
    """
    if choice == "auto":
        wanted = bf16 and (device.type == "cuda" or bf16_on_cpu)
        return "bf16" if wanted and computes_in_bf16(device) else "fp32"
    if choice == "fp32":
        return "fp32"
    if choice == "bf16":
        if not bf16:
            raise UsageError("this architecture is not numerically stable in bf16", "use `precision` fp32")
        return "bf16"
    if choice == "fp16":
        if not fp16:
            raise UsageError("this architecture is not numerically stable in fp16", "use `precision` bf16 or fp32")
        return "fp16"
    raise UsageError(f"`precision` {choice!r} is unknown", "use auto, fp32, bf16 or fp16")


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Return a context in which matrix products and convolutions run in `precision`; fp32 as `exact_products` says."""
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
    """Seed Python, NumPy and torch on all devices."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Give the global random state of Python, NumPy and torch back as it was before the block.

    May decorate a function. CUDA devices count where CUDA is in use already.
    """
    cuda = torch.cuda.is_initialized()
    python_state, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda_states = torch.cuda.get_rng_state_all() if cuda else []
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
        if cuda:
            torch.cuda.set_rng_state_all(cuda_states)


def peak_memory_bytes(device: torch.device) -> int | None:
    """Return peak device memory since `reset_peak_memory`, in bytes; None on the CPU, where it is not counted."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def peak_host_memory_bytes() -> int | None:
    """Return peak memory of this process since it began, in bytes; None where the system does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@contextmanager
def freed_memory_kept(device: torch.device) -> Iterator[None]:
    """Keep freed host memory in the process within this block, for the next step on the CPU.

    A training step on the CPU frees all that it saved, the GNU allocator gives that back to the system, and the next
    step pays for fresh pages: measured for SwinIR at 64x64, 200,000 page faults and 0.5 s of a step of 4.5 s. The peak
    is the same. Upscaling: EDSR on 384 pixels squared took 1.8 times as long without, SAFMN 1.3 times, SwinIR on 192
    pixels 1.45 times. Other allocators (musl, macOS, Windows) are left as they are. The setting is one of the whole
    process: the first of several blocks that are open at once, nested or in threads, makes it, and the last undoes it.
    """
    global _freed_kept_blocks
    library = _glibc() if sys.platform == "linux" and device.type == "cpu" else None
    if library is None:
        yield
        return
    with _freed_kept_lock:
        _freed_kept_blocks += 1
        if _freed_kept_blocks == 1:
            library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            library.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        with _freed_kept_lock:
            _freed_kept_blocks -= 1
            if _freed_kept_blocks == 0:
                library.mallopt(_M_MMAP_THRESHOLD, _MALLOC_DEFAULT)
                library.mallopt(_M_TRIM_THRESHOLD, 2 * _MALLOC_DEFAULT)
                library.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library, where it is GNU's."""
    library = ctypes.CDLL(None)
    return library if hasattr(library, "mallopt") and hasattr(library, "gnu_get_libc_version") else None


def reset_peak_memory(device: torch.device) -> None:
    """Start counting peak device memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def free_memory_bytes(device: torch.device) -> int:
    """Return free device memory in bytes.

    On the CPU that is what can be allocated without swapping, within the limits of the container and of the process
    (``ulimit -v``).
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    rooms = (int(psutil.virtual_memory().available), _container_room_bytes(), _process_room_bytes())
    return min(room for room in rooms if room is not None)


def _container_room_bytes() -> int | None:
    """Return what the control group (v2) still allows, which psutil does not know; None without a limit."""
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text(encoding="ascii"))
        return max(0, limit - int((group / "memory.current").read_text(encoding="ascii")))
    return None


def _process_room_bytes() -> int | None:
    """Return what the process's limit of address space (``ulimit -v``) still allows; None without a limit."""
    if sys.platform == "win32":
        return None
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return max(0, limit - int(psutil.Process().memory_info().vms))
