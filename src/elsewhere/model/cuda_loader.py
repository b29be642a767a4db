"""Training scans in, batches on a graphics card out: read ahead in threads, copied and augmented beside training."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from elsewhere.model.cuda import carry_out
from elsewhere.model.sample import Case, Examples, Plan, Read, SampleSettings
from elsewhere.stages import stage

Window = tuple[Tensor, Plan, Case, tuple[int, int]]
"""Stored slices, the plan, the scan, and the lowest and highest value of its volume."""
GIB = 1 << 30


class Volumes:
    """Prepared volumes, kept on the card or in pinned memory while they fit; the others are read window by window.

    Args:
        read: gives a case's stored slices.
        device: the card; the processor in tests.
        card: bytes of volumes that may be kept on it.
        pinned: bytes that may be kept in pinned memory of the machine.
    """

    def __init__(self, read: Read, device: torch.device, card: int, pinned: int) -> None:
        self._read, self._device = read, device
        self._left = {"card": card, "pinned": pinned}
        self._kept: dict[tuple[str, str], Tensor] = {}
        self._asked: set[tuple[str, str]] = set()
        self._lock = Lock()

    def window(self, case: Case, start: int, stop: int) -> Tensor:
        """Stored slices start:stop, int16 or uint8 [slice, row, column]: on the card, or ready to be copied to it.

        May be called from several threads; the first call for a scan decides whether it is kept.
        """
        whole = self._kept.get((case.site, case.scan))
        if whole is not None:
            return whole[start:stop]
        voxels = self._read(case, start, stop)
        place = self._reserve(case, voxels.nbytes // len(voxels) * case.slices)
        if place:
            self._keep(case, place)
        return self._pin(voxels)

    def _reserve(self, case: Case, size: int) -> str:
        """Where a volume may stay; "" where it does not fit, or another thread is at it."""
        name = case.site, case.scan
        with self._lock:
            if name in self._asked:
                return ""
            self._asked.add(name)
            place = next((place for place, left in self._left.items() if size <= left), "")
            if place:
                self._left[place] -= size
        return place

    def _keep(self, case: Case, place: str) -> None:
        voxels = self._read(case, 0, case.slices)
        whole = torch.from_numpy(voxels).to(self._device) if place == "card" else self._pin(voxels)
        self._kept[case.site, case.scan] = whole

    def _pin(self, voxels: Any) -> Tensor:
        tensor = torch.from_numpy(voxels)
        return tensor.pin_memory() if self._device.type == "cuda" else tensor


class DeviceBatches:
    """The batches of one card, each a function of the iteration: those that `training.Batches` makes, to the bit.

    Threads read the next ones while the card works. A batch is copied and augmented on a stream of its own, beside
    what is left of the step before.

    Args:
        samples: the run's examples.
        settings: how scans become inputs.
        volumes: gives stored slices.
        slices: slices of the network's input.
        draws: iteration -> the numbers of its examples.
        device: the card; the processor in tests.
        threads: that read ahead.
    """

    def __init__(
        self,
        samples: Examples,
        settings: SampleSettings,
        volumes: Volumes,
        *,
        slices: int,
        draws: Callable[[int], range],
        device: torch.device,
        threads: int,
    ) -> None:
        self._samples, self._settings, self._volumes = samples, settings, volumes
        self._slices, self._draws, self._device = slices, draws, device
        self._ahead, self._pool = threads + 1, ThreadPoolExecutor(threads)
        self._fetched: dict[int, Future[list[Window]]] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __enter__(self) -> DeviceBatches:
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def take(self, iteration: int) -> tuple[Tensor, Tensor, list[Case]]:
        """Inputs (batch, 1, slices, rows, columns) and labels (batch,) on the device, and the cases.

        Raises:
            BadScan: a prepared volume is damaged or gone.
        """
        for later in range(iteration, iteration + self._ahead):
            if later not in self._fetched:
                self._fetched[later] = self._pool.submit(self._fetch, later)
        with stage("wait for the loader"):
            windows = self._fetched.pop(iteration).result()
        with self._beside():
            inputs = torch.stack([self._augment(*window) for window in windows])[:, None]
            labels = torch.tensor([case.label for _, _, case, _ in windows]).to(self._device, non_blocking=True)
        self._hand_over(inputs, labels)
        return inputs, labels, [case for _, _, case, _ in windows]

    def _fetch(self, iteration: int) -> list[Window]:
        """In a thread: the stored slices of one batch."""
        windows = []
        for draw in self._draws(iteration):
            case, plan = self._samples.case(draw), self._samples.plan(draw)
            voxels = self._volumes.window(case, plan.start, plan.start + plan.count)
            extrema = case.minimum, case.maximum
            if self._samples.acquire is not None:
                changed, extrema = self._samples.acquire(draw, case, voxels.cpu().numpy())
                voxels = torch.from_numpy(changed)
            windows.append((voxels, plan, case, extrema))
        return windows

    def _augment(self, voxels: Tensor, plan: Plan, _: Case, extrema: tuple[int, int]) -> Tensor:
        there = voxels.to(self._device, non_blocking=True)
        return carry_out(there, plan, self._settings, extrema, self._slices)

    def _beside(self) -> AbstractContextManager[Any]:
        return torch.cuda.stream(self._stream) if self._stream else nullcontext()

    def _hand_over(self, *tensors: Tensor) -> None:
        """From the loader's stream to the training's: it waits for them, and their memory waits for it."""
        if self._stream:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._stream)
            for tensor in tensors:
                tensor.record_stream(current)
