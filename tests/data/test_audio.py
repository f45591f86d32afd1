"""Features of sound, against their formulas written out."""

from __future__ import annotations

import math
import os
import wave

import numpy as np
import pytest

import pylstm

RATE = 8000


def signal(seconds=0.3, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.4 * np.sin(2 * np.pi * 440 * time) + 0.1 * rng.standard_normal(len(time))).astype(np.float32)


def slow_log_mel(samples, bands, lowest=20.0, emphasis=0.97):
    """One frame, one frequency, one band at a time."""
    size, hop, length = 200, 80, 256

    def mel(f):
        return 2595 * math.log10(1 + f / 700)

    corners = [
        700 * (10 ** ((mel(lowest) + (mel(RATE / 2) - mel(lowest)) * i / (bands + 1)) / 2595) - 1)
        for i in range(bands + 2)
    ]
    rows = []
    for start in range(0, len(samples) - size + 1, hop):
        frame = [float(one) for one in samples[start : start + size]]
        frame = [one - emphasis * frame[max(i - 1, 0)] for i, one in enumerate(frame)]
        frame = [one * (0.54 - 0.46 * math.cos(2 * math.pi * i / (size - 1))) for i, one in enumerate(frame)]
        power = []
        for k in range(length // 2 + 1):
            real = sum(one * math.cos(2 * math.pi * k * i / length) for i, one in enumerate(frame))
            imaginary = sum(one * math.sin(2 * math.pi * k * i / length) for i, one in enumerate(frame))
            power.append(real * real + imaginary * imaginary)
        row = []
        for b in range(bands):
            begin, top, end = corners[b : b + 3]
            total = 0.0
            for k, p in enumerate(power):
                f = k * RATE / length
                if begin < f <= top:
                    total += p * (f - begin) / (top - begin)
                elif top < f < end:
                    total += p * (end - f) / (end - top)
            row.append(math.log(max(total, 1e-10)))
        rows.append(row)
    return np.array(rows)


def test_energies_in_mel_bands():
    samples = signal(0.06)
    found = pylstm.log_mel(samples, RATE, bands=12)
    assert found.dtype == np.float32
    assert found.shape == (1 + (len(samples) - 200) // 80, 12)
    np.testing.assert_allclose(found, slow_log_mel(samples, 12), atol=2e-5)
    assert found.mean(axis=0).argmax() == 2  # where 440 Hz is: bands are 180 mel apart


def test_a_frame_depends_on_its_own_samples():
    """So a stream may compute each frame when it comes, with the same bits."""
    samples = signal(1.0)
    whole = pylstm.log_mel(samples, RATE)
    for t in (0, 1, 50, len(whole) - 1):
        one = pylstm.log_mel(samples[80 * t : 80 * t + 200], RATE)
        assert one.tobytes() == whole[t].tobytes()
    long = np.tile(samples, 12)  # more than one block of frames
    assert pylstm.log_mel(long, RATE)[1040:1050].tobytes() == pylstm.log_mel(long[80 * 1040 :], RATE)[:10].tobytes()


def test_cepstral_coefficients_are_a_cosine_transform():
    samples = signal()
    energies = pylstm.log_mel(samples, RATE, bands=20).astype(np.float64)
    found = pylstm.mfcc(samples, RATE, count=20, bands=20)
    for k in (0, 1, 7, 19):
        scale = math.sqrt((1 if k == 0 else 2) / 20)
        expected = sum(energies[:, m] * math.cos(math.pi * k * (m + 0.5) / 20) for m in range(20)) * scale
        np.testing.assert_allclose(found[:, k], expected, atol=1e-5)
    np.testing.assert_allclose((found**2).sum(axis=1), (energies**2).sum(axis=1), rtol=1e-5)  # orthonormal
    assert pylstm.mfcc(samples, RATE, bands=20).tobytes() == np.ascontiguousarray(found[:, :13]).tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_slopes_are_those_of_straight_lines_through_the_frames(dtype):
    features = np.random.default_rng(1).standard_normal((9, 3)).astype(dtype)
    found = pylstm.deltas(features, 2)
    assert found.dtype == dtype
    for t in range(9):
        frames = features[np.clip(np.arange(t - 2, t + 3), 0, 8)]
        slopes = np.polyfit(np.arange(-2, 3), frames.astype(np.float64), 1)[0]
        np.testing.assert_allclose(found[t], slopes, atol=1e-6)
    assert pylstm.deltas(np.zeros((0, 3), dtype)).shape == (0, 3)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_sound_of_every_width(tmp_path, width, channels):
    rng = np.random.default_rng(width)
    top = 2 ** (8 * width - 1)
    values = rng.integers(-top, top, (50, channels))
    raw = b"".join(
        int(v + 128).to_bytes(1, "little") if width == 1 else int(v).to_bytes(width, "little", signed=True)
        for v in values.ravel()
    )
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((channels, width, 11025, 0, "NONE", ""))
        file.writeframes(raw)
    samples, rate = pylstm.read_wav(tmp_path / "a.wav")
    assert rate == 11025
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, values.mean(axis=1) / top, atol=1e-7)


def written(path, samples=100):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.arange(samples, dtype="<i2").tobytes())
    return path.read_bytes()


def test_sound_that_was_written_into_a_pipe_claims_the_largest_number_of_samples(tmp_path):
    data = written(tmp_path / "x.wav")
    asked = []
    (tmp_path / "x.wav").write_bytes(data[:40] + b"\xff\xff\xff\xff" + data[44:])
    read = wave.Wave_read.readframes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wave.Wave_read, "readframes", lambda file, count: (asked.append(count), read(file, count))[1])
        samples, _ = pylstm.read_wav(tmp_path / "x.wav")
    np.testing.assert_array_equal(samples, np.arange(100) / 2.0**15)
    assert asked[0] < len(data)  # the memory for 2**31 of them is not asked for


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda data: data[:0], "ends too early"),
        (lambda data: data[:30], "ends too early"),
        (lambda data: data[:16] + b"\xff\xff\0\0" + data[20:], "ends too early"),  # a chunk beyond the end
        (lambda data: data[:22] + b"\0\0" + data[24:], "channels"),
        (lambda data: data[:20] + b"\3\0" + data[22:], r"floating-point numbers; .*pcm_s16le"),
        (lambda data: data[:20] + b"\x09\0" + data[22:], "unknown format: 9$"),
        (lambda data: data[:24] + b"\0\0\0\0" + data[28:], "0 samples a second"),
        (lambda data: data[:34] + b"\xff\xff" + data[36:], "65536 bits a sample"),
    ],
)
def test_damaged_files_of_sound(tmp_path, make, words):
    data = written(tmp_path / "x.wav")
    (tmp_path / "x.wav").write_bytes(make(data))
    with pytest.raises(ValueError, match=rf"x\.wav .*{words}"):
        pylstm.read_wav(tmp_path / "x.wav")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_that_nobody_writes_to_is_refused(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    with pytest.raises(ValueError, match="no regular file"):
        pylstm.read_wav(tmp_path / "x.wav")


def test_silence_and_nothing():
    assert np.isfinite(pylstm.log_mel(np.zeros(1000), RATE)).all()
    assert pylstm.log_mel(np.zeros(199), RATE).shape == (0, 40)
    assert pylstm.mfcc(np.zeros(0), RATE).shape == (0, 13)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: pylstm.log_mel(np.zeros((5, 2)), RATE),
            ValueError,
            r"samples must be one signal, \(n,\), got \(5, 2\)",
        ),
        (lambda: pylstm.log_mel("x.wav", RATE), TypeError, "samples"),
        (lambda: pylstm.log_mel(np.zeros(9), 0), ValueError, "rate"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, bands=0), ValueError, "bands"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, bands=200), ValueError, "bands is 200, and .* hold no frequency"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, window=1e-5), ValueError, "window must be 2 samples at least"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, step=1e-5), ValueError, "step must be 1 samples at least"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, window=1e6), ValueError, "window must be seconds"),
        (lambda: pylstm.log_mel(np.zeros(9), 1e200, window=1e200), ValueError, "window must be seconds"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, bands=10**9), ValueError, "bands is 1000000000, and a window has"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, highest=5000), ValueError, "up to half of the rate, 4000 Hz"),
        (lambda: pylstm.log_mel(np.zeros(9), RATE, preemphasis=1), ValueError, "preemphasis"),
        (lambda: pylstm.mfcc(np.zeros(9), RATE, count=41), ValueError, "count must be at most the number of bands, 40"),
        (lambda: pylstm.mfcc(np.zeros(9), RATE, windows=3), TypeError, "windows"),
        (lambda: pylstm.deltas(np.zeros(9)), ValueError, r"features must have shape \(T, F\)"),
        (lambda: pylstm.deltas(np.zeros((9, 2)), 0), ValueError, "width"),
        (lambda: pylstm.read_wav(3), TypeError, "path"),
        (lambda: pylstm.read_wav("nowhere.wav"), FileNotFoundError, "nowhere.wav"),
        (lambda: pylstm.read_wav(__file__), ValueError, "is no WAV file of PCM"),
    ],
)
def test_what_cannot_be_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(("name", "given"), [("window", 25), ("step", 10), ("window", 1.5)])
def test_milliseconds_are_not_seconds(name, given):
    sound = signal(1.2)
    said = f"{name} must be seconds, got {given:g}, and the signal has 1.2: of milliseconds {name}={given / 1000:g}"
    for features in (pylstm.log_mel, pylstm.mfcc):
        with pytest.raises(ValueError, match=said):
            features(sound, 8000, **{name: given})


def test_long_windows_of_long_signals_and_short_signals_stay_allowed():
    slow = np.random.default_rng(0).standard_normal(400)  # of 40 s
    assert len(pylstm.log_mel(slow, 10, window=6.4, step=2, bands=4, lowest=0.1)) == 17
    assert pylstm.log_mel(np.zeros(10), 8000).shape == (0, 40)
