"""HU of a body on a grid in, what a scanner's reconstruction makes of it out: kernel, noise, padding, window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from elsewhere.scans.phantom.anatomy import Blood
from elsewhere.scans.phantom.patient import Patient, generator
from elsewhere.scans.phantom.shape import Array, Grid

Kernel = Literal["soft", "standard", "lung", "sharp"]
Contrast = Literal["none", "venous", "angiography"]
Encoding = Literal["HU", "ct_number", "window"]

# kernel -> (half-value frequency as a share of Nyquist, edge enhancement)
KERNELS: dict[Kernel, tuple[float, float]] = {
    "soft": (0.56, 0.0), "standard": (0.74, 0.12), "lung": (0.95, 0.75), "sharp": (1.05, 1.35),
}  # fmt: skip
NOISE = 6.0  # HU; standard deviation of a soft 5 mm slice of a lean patient at dose 1
LIMITS = (-1024, 3071)  # 12 bits
PADDING = -2000
BANDS = (64, 96, 128, 192, 256, 384, 512, 768, 1024)  # noise of a matrix agrees with every smaller one's
CT_NUMBER_OFFSET = 1024  # COVID-CTset (sites page)


@dataclass(frozen=True)
class Protocol:
    """How one scan is made.

    Attributes:
        kernel: reconstruction kernel.
        thickness: slice thickness in mm.
        spacing: distance of slices in mm.
        fov: width of the field of view in mm.
        dose: 1 = usual; noise goes with 1/sqrt(dose).
        padding: stored −2000 outside the circle of reconstruction (otherwise −1024).
        contrast: phase of the contrast agent.
        devices: electrodes, lines and tubes of an in-patient.
        shift: how far the patient lies off the centre, (y, x) in mm.
        above: how far the scan begins above the lung apex, in mm.
        under: how far it goes below the costophrenic angle, in mm.
        encoding: "HU"; "ct_number", HU + 1024 within 12 bits; or "window", 8 bits.
        window: HU that become 0 and 255.
        segmented: black outside the lungs.
        hospital: name of the hospital within the site.
        scanner: manufacturer, for the headers.
    """

    kernel: Kernel = "standard"
    thickness: float = 5.0
    spacing: float = 5.0
    fov: float = 360.0
    dose: float = 1.0
    padding: bool = False
    contrast: Contrast = "none"
    devices: bool = False
    shift: tuple[float, float] = (0.0, 0.0)
    above: float = 15.0
    under: float = 15.0
    encoding: Encoding = "HU"
    window: tuple[float, float] = (-1350.0, 150.0)
    segmented: bool = False
    hospital: str = ""
    scanner: str = ""


def lay_grid(patient: Patient, protocol: Protocol, matrix: int) -> Grid:
    """The samples of one scan in the patient's coordinates."""
    pixel = protocol.fov / matrix
    steps = (np.arange(matrix, dtype=np.float32) - (matrix - 1) / 2) * np.float32(pixel)
    length = patient.lung_height + protocol.above + protocol.under
    z = np.arange(max(2, int(length / protocol.spacing)), dtype=np.float32) * np.float32(protocol.spacing)
    y, x = steps + np.float32(4 + protocol.shift[0]), steps + np.float32(protocol.shift[1])
    return Grid(z - np.float32(protocol.above), y, x, pixel, protocol.thickness)


def blood(contrast: Contrast, rng: np.random.Generator) -> Blood:
    """HU of blood in one phase, with the variation between patients."""
    if contrast == "none":
        return Blood(*(rng.normal(41, 3),) * 3)
    if contrast == "venous":
        level = rng.normal(150, 20)
        return Blood(level + 10, level, level + 5, rng.normal(45, 8))
    level = rng.normal(380, 60)
    return Blood(rng.normal(650, 120), level, 0.7 * level, rng.normal(15, 5))


def acquire(hu: Array, grid: Grid, patient: Patient, protocol: Protocol, key: tuple[int | str, ...]) -> Array:
    """Blur or sharpen by the kernel, add noise, cut to the circle: HU as float32 [slice, row, column]."""
    rows = hu.shape[1]
    response = transfer(protocol.kernel, rows)
    spectrum = fft.rfft2(hu, axes=(1, 2), workers=1)
    spectrum *= response
    image = fft.irfft2(spectrum, s=hu.shape[1:], axes=(1, 2), workers=1)
    image += noise(grid, patient, protocol, key)
    np.clip(image, *LIMITS, out=image)
    image[:, outside_circle(rows)] = PADDING if protocol.padding else LIMITS[0]
    return image


def transfer(kernel: Kernel, matrix: int) -> NDArray[np.float32]:
    """Frequency response of a kernel, [row frequency, column frequency ≥ 0].

    Frequencies count in shares of Nyquist: a small matrix stands for a scanner whose detector is as coarse, so that
    kernels differ at every matrix as they do at 512.
    """
    f = _frequency(matrix)
    half, boost = KERNELS[kernel]
    return ((1 + boost * (f / 0.6) ** 2 * np.exp(-((f / 0.75) ** 2))) * np.exp(-np.log(2) * (f / half) ** 3)).astype(
        np.float32
    )


def _frequency(matrix: int) -> NDArray[np.float64]:
    fy, fx = fft.fftfreq(matrix)[:, None] * 2, fft.rfftfreq(matrix)[None, :] * 2
    return np.sqrt(fy**2 + fx**2)


def outside_circle(matrix: int) -> NDArray[np.bool_]:
    """Pixels outside the circle of reconstruction, [row, column]."""
    place = np.arange(matrix) - (matrix - 1) / 2
    return place[:, None] ** 2 + place[None, :] ** 2 > (matrix / 2) ** 2


def noise_level(patient: Patient, protocol: Protocol) -> float:
    """Standard deviation of a soft kernel's noise in HU: falls with dose and thickness, grows with the body."""
    girth = patient.lung_width + patient.muscle + patient.fat - 165
    return float(NOISE * np.exp(girth / 90) * np.sqrt(5 / protocol.thickness / protocol.dose))


def noise(grid: Grid, patient: Patient, protocol: Protocol, key: tuple[int | str, ...]) -> Array:
    """Noise with the kernel's colour in HU: more inside the body, streaks at the shoulders."""
    slices, rows, columns = grid.shape
    f = _frequency(rows)
    # the ramp of filtered back-projection makes power grow with frequency: amplitude goes with its root
    colour = np.sqrt(f + 0.02) * transfer(protocol.kernel, rows)
    soft_power = float(((f + 0.02) * transfer("soft", rows) ** 2).mean())
    colour *= noise_level(patient, protocol) * rows / np.sqrt(2 * soft_power)
    white = nested_spectrum(slices, rows, key)
    t = grid.z / patient.lung_height
    white *= colour.astype(np.float32)
    field = fft.irfft2(white, s=(rows, columns), axes=(1, 2), workers=1)
    if not patient.arms_up:
        field *= (1 + 0.9 * np.exp(-(((t - 0.02) / 0.10) ** 2)))[:, None, None].astype(np.float32)
    y, x = grid.y[:, None] / (1.5 * patient.lung_depth), grid.x[None, :] / (1.5 * patient.lung_width)
    field *= (0.45 + 0.65 * np.exp(-(y**2) - x**2)).astype(np.float32)
    return field


def nested_spectrum(slices: int, matrix: int, key: tuple[int | str, ...]) -> NDArray[np.complex64]:
    """White noise as Fourier coefficients [slice, row, column ≥ 0]: a larger matrix adds bands, and keeps the rest."""
    spectrum = np.zeros((slices, matrix, matrix // 2 + 1), np.complex64)
    for size in (s for s in BANDS[::-1] if s < 1.5 * matrix and (s <= matrix or matrix not in BANDS)):
        rng = generator(*key, "noise", size)
        parts = rng.standard_normal((slices, size, size // 2 + 1, 2), np.float32)
        band = parts.view(np.complex64)[..., 0]
        low = min(size, matrix) // 2
        spectrum[:, :low, : low + 1] = band[:, :low, : low + 1]
        spectrum[:, -low:, : low + 1] = band[:, -low:, : low + 1]
    return spectrum


def encode(image: Array, lung: Array, protocol: Protocol) -> NDArray[np.int16] | NDArray[np.uint8]:
    """HU to what the site stores."""
    if protocol.encoding == "window":
        low, high = protocol.window
        stored = np.clip((image - low) * (255 / (high - low)), 0, 255)
        if protocol.segmented:
            stored = stored * (lung > 0.4)
        return np.rint(stored).astype(np.uint8)
    if protocol.encoding == "ct_number":
        return np.clip(np.rint(image) + CT_NUMBER_OFFSET, 0, 4095).astype(np.int16)
    return np.rint(image).astype(np.int16)
