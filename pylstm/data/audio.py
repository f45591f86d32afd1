"""Sound as sequences of vectors: logarithms of energies in mel bands, cepstral coefficients, and their slopes."""

from __future__ import annotations

import math
import os
import stat
import wave
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _checks
from .._arrays import Array, float_array

_BLOCK = 1024  # frames that are computed together
_FLOOR = 1e-10  # of energies: silence has a logarithm, too
_LONGEST = 2**20  # samples of a window that the signal does not fill: a mistake, which would take all memory
_OTHERS = {  # by the number that stands in a file for how its samples are written
    "3": "its samples are floating-point numbers", "6": "A-law", "7": "mu-law",
    "65534": "an extensible header, which Python reads from 3.12 on",
}  # fmt: skip
_WIDTHS = {1: "u1", 2: "<i2", 4: "<i4"}  # bytes of a sample; 8 bits are unsigned


def read_wav(path: str | os.PathLike[str]) -> tuple[Array, int]:
    """The samples of a WAV file of PCM, as the standard library reads it.

    Args:
        path: of a file with 8, 16, 24 or 32 bits a sample, and any number of channels.

    Returns:
        The tuple (samples, rate). Samples are (n,) float32 between -1 and 1, the mean of the channels; the rate is how
        many there are in a second.

    Raises OSError where there is no file or it cannot be read, and ValueError for one of another kind.
    """
    place = _checks.path("path", path)
    flags = getattr(os, "O_NONBLOCK", 0)  # a pipe would keep us waiting for somebody to write
    with open(place, "rb", opener=lambda name, mode: os.open(name, mode | flags)) as opened:
        about = os.fstat(opened.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError(f"{os.fspath(path)} is no WAV file of PCM: it is no regular file")
        try:
            with wave.open(opened, "rb") as file:
                rate, width, channels = file.getframerate(), file.getsampwidth(), file.getnchannels()
                if width not in (1, 2, 3, 4) or rate < 1 or channels < 1:
                    raise ValueError(
                        f"{os.fspath(path)} has {8 * width} bits a sample, {rate} samples a second: that is no sound"
                    )
                # what was written into a pipe claims the largest number that there is
                raw = file.readframes(min(file.getnframes(), about.st_size // (width * channels)))
        except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk that ends behind the file
            said = str(error) or "it ends too early"
            known = _OTHERS.get(said.rpartition(" ")[2]) if said.startswith("unknown format") else None
            hint = f" ({known}; `ffmpeg -i it.wav -c:a pcm_s16le new.wav` makes one)" if known else ""
            raise ValueError(f"{os.fspath(path)} is no WAV file of PCM: {said}{hint}") from None
    raw = raw[: len(raw) // (width * channels) * width * channels]
    if width == 3:  # of which NumPy has no integers: to the upper bytes of 32 bits
        bits = np.zeros((len(raw) // 3, 4), np.uint8)
        bits[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw, width = bits.tobytes(), 4
    samples = np.frombuffer(raw, _WIDTHS[width]).reshape(-1, channels).astype(np.float64)
    samples = (samples - (128 if width == 1 else 0)) / 2.0 ** (8 * width - 1)
    return samples.mean(axis=1).astype(np.float32), rate


def log_mel(
    samples: ArrayLike,
    rate: float,
    *,
    bands: int = 40,
    window: float = 0.025,
    step: float = 0.010,
    lowest: float = 20.0,
    highest: float | None = None,
    preemphasis: float = 0.97,
) -> Array:
    """Logarithms of the energies in bands of the mel scale, a vector for every window: what speech is recognised from.

    Frame t has the samples from t * step on, as they are: a frame depends on no later sample, so that a stream may
    compute each one as it comes. Each is the natural logarithm of the power spectrum (of a Hamming window, after the
    filter x[i] - preemphasis x[i-1]) summed in triangles that are evenly spaced on the scale 2595 log10(1 + f / 700)
    (O'Shaughnessy 1987; Davis & Mermelstein 1980), but not below log(1e-10).

    Args:
        samples: (n,) numbers, such as `read_wav` gives.
        rate: samples a second, Hz.
        bands: M.
        window: seconds of a frame.
        step: seconds from frame to frame.
        lowest: where the first triangle begins, Hz.
        highest: where the last one ends, Hz; None: half of the rate.
        preemphasis: from 0 (none) to below 1.

    Returns:
        (T, bands) float32, with T = 1 + (n - window * rate) // (step * rate), or 0 if n is less than a window.

    Raises TypeError or ValueError for a wrong argument, naming it, ValueError for more bands than there are frequencies
    in a window, and for a window or step of a second and more that is longer than the signal: as a rule milliseconds.
    """
    signal = _signal(samples)
    size, hop, weights = _frames(len(signal), rate, bands, window, step, lowest, highest)
    if not 0 <= (emphasis := _checks.number("preemphasis", preemphasis)) < 1:
        raise ValueError(f"preemphasis must be at least 0 and below 1, got {emphasis:g}")
    if len(signal) < size:
        return np.zeros((0, len(weights)), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(signal, size)[::hop]
    found = np.empty((len(frames), len(weights)), np.float32)
    shape = np.hamming(size)
    for start in range(0, len(frames), _BLOCK):
        some = frames[start : start + _BLOCK]
        # within the frame: its first sample does not ask for what came before it
        some = some - emphasis * np.concatenate([some[:, :1], some[:, :-1]], axis=1)
        spectrum = np.fft.rfft(some * shape, _length(size), axis=1)
        energies = np.einsum("tf,bf->tb", spectrum.real**2 + spectrum.imag**2, weights)
        found[start : start + _BLOCK] = np.log(np.maximum(energies, _FLOOR))
    return found


def mfcc(samples: ArrayLike, rate: float, *, count: int = 13, **options: Any) -> Array:
    """Mel-frequency cepstral coefficients: the first `count` of the cosine transform (DCT-II, orthonormal) of `log_mel`
    (Davis & Mermelstein 1980).

    Args:
        samples: (n,) numbers.
        rate: samples a second, Hz.
        count: of coefficients, up to the number of bands; the first one is the loudness.
        options: of `log_mel`.

    Returns:
        (T, count) float32.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """
    energies = log_mel(samples, rate, **options)
    bands = energies.shape[1]
    count = _checks.size("count", count)
    if count > bands:
        raise ValueError(f"count must be at most the number of bands, {bands}, got {count}")
    k, m = np.arange(count)[:, None], np.arange(bands)
    transform = np.cos(np.pi * k * (m + 0.5) / bands) * np.sqrt(np.where(k == 0, 1, 2) / bands)
    coefficients: Array = (energies.astype(np.float64) @ transform.T).astype(np.float32)
    return coefficients


def deltas(features: ArrayLike, width: int = 2) -> Array:
    """The slope of every feature over time: of the straight line through the frames t - width .. t + width, of which
    those before the first and behind the last one are these (Furui 1986).

    Args:
        features: (T, F) numbers.
        width: frames on either side.

    Returns:
        (T, F), of the same float dtype. `np.concatenate([f, deltas(f), deltas(deltas(f))], axis=1)` has slopes and
        their slopes beside the features.

    Raises TypeError or ValueError for a wrong argument, naming it.
    """
    array = float_array("features", features)
    width = _checks.size("width", width)
    if array.ndim != 2:
        raise ValueError(f"features must have shape (T, F), got {array.shape}")
    if not len(array):
        return array.copy()
    padded = np.pad(array, ((width, width), (0, 0)), mode="edge")
    total = np.zeros_like(array)
    for k in range(1, width + 1):
        total += k * (padded[width + k :][: len(array)] - padded[width - k :][: len(array)])
    slopes: Array = total / (2 * sum(k * k for k in range(1, width + 1)))
    return slopes


def _signal(samples: ArrayLike) -> Array:
    signal = float_array("samples", samples).astype(np.float64)
    if signal.ndim != 1:
        raise ValueError(f"samples must be one signal, (n,), got {signal.shape}; of several channels take the mean")
    return signal


def _frames(
    count: int, rate: float, bands: int, window: float, step: float, lowest: float, highest: float | None
) -> tuple[int, int, Array]:
    """Samples of a window, and to the next one; (bands, frequencies) weights. count: samples of the signal."""
    rate = _checks.positive("rate", rate)
    size, hop = _samples("window", window, rate, 2), _samples("step", step, rate, 1)
    for name, seconds, samples in (("window", window, size), ("step", step, hop)):
        if seconds >= 1 and samples > count > 0:
            raise ValueError(
                f"{name} must be seconds, got {seconds:g}, and the signal has {count / rate:.3g}: of milliseconds "
                f"{name}={seconds / 1000:g}"
            )
    if size > max(count, _LONGEST):
        raise ValueError(f"window must be seconds, of at most {_LONGEST} samples, got {window:g} s at {rate:g} Hz")
    low = _checks.non_negative("lowest", lowest)
    high = rate / 2 if highest is None else _checks.positive("highest", highest)
    if not low < high <= rate / 2:
        raise ValueError(f"lowest and highest must rise up to half of the rate, {rate / 2:g} Hz: got {low:g}, {high:g}")
    return size, hop, _triangles(_checks.size("bands", bands), rate, _length(size), low, high)


def _samples(name: str, seconds: float, rate: float, least: int) -> int:
    count = round(min(_checks.positive(name, seconds) * rate, 2.0**62))
    if count < least:
        raise ValueError(f"{name} must be {least} samples at least, got {seconds:g} s at {rate:g} Hz")
    return count


def _length(size: int) -> int:
    """Of the Fourier transform: the next power of two, which is fast, and has frequencies enough for narrow bands."""
    return int(2 ** math.ceil(math.log2(size)))


@lru_cache(maxsize=8)
def _triangles(bands: int, rate: float, length: int, low: float, high: float) -> Array:
    if bands > length + 2:  # a frequency is in two of them at most
        raise ValueError(f"bands is {bands}, and a window has {length // 2 + 1} frequencies: give fewer")
    first, last = (2595 * math.log10(1 + f / 700) for f in (low, high))
    mels = np.linspace(first, last, bands + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)
    begin, top, end = (corners[i : i + bands, None] for i in range(3))
    f = np.arange(length // 2 + 1) * rate / length
    weights: Array = np.maximum(0, np.minimum((f - begin) / (top - begin), (end - f) / (end - top)))
    if (empty := int((weights.sum(axis=1) == 0).sum())) > 0:
        raise ValueError(
            f"bands is {bands}, and {empty} of them hold no frequency of a window: give fewer, or a longer window"
        )
    weights.setflags(write=False)
    return weights
