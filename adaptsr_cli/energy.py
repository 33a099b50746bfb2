"""Energy of a CUDA device, by the device's own counter, where the package ``nvidia-ml-py`` is installed."""

from __future__ import annotations

from collections.abc import Callable

import torch


class EnergyMeter:
    """Counts the joules of a CUDA device: the whole board, by NVML, as Volta and later report it.

    The counter knows no processes: what others do on the device at the same time is counted as well. Other devices,
    and CUDA devices without the extra ``nvml``, report nothing.

    Args:
        device: What is measured.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._read_mj: Callable[[], int] | None = None
        self._shut_down: Callable[[], None] | None = None
        self._start_mj = 0

    def start(self) -> None:
        """Start counting, from 0."""
        self.close()
        if self._device.type == "cuda":
            self._open_nvml()

    def joules(self) -> float | None:
        """Return joules since `start`; None where the device does not report them, or has stopped to."""
        if self._read_mj is None:
            return None
        try:
            taken_mj = self._read_mj() - self._start_mj
        except OSError:
            taken_mj = -1
        if taken_mj < 0:
            self.close()
            return None
        return taken_mj / 1e3

    def close(self) -> None:
        """Release the counter; `joules` is None from here on."""
        self._read_mj = None
        if self._shut_down is not None:
            self._shut_down()
            self._shut_down = None

    def _open_nvml(self) -> None:
        """Open the device's counter; leave none where the package or the driver has none."""
        try:
            import pynvml
        except ImportError:
            return
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return
        self._shut_down = pynvml.nvmlShutdown

        def read_mj() -> int:
            try:
                return int(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle))
            except pynvml.NVMLError as error:
                raise OSError(str(error)) from error

        try:
            # By its id, since CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER give CUDA's devices other numbers than NVML's.
            handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(self._device).uuid}")
            self._start_mj = read_mj()
        except (OSError, pynvml.NVMLError):
            self.close()
            return
        self._read_mj = read_mj
