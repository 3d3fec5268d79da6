"""Synthetic stereo music: a deterministic function of integers, so tests and demos need no audio files.

A track has a tempo, a key, a chord progression and sections of two or three bars; after each section come two beats in
which the reverb dies away and then true digital silence follows. Spectrum, level and stereo width are those of produced
music: the side is 7 to 10 dB below the mid. The composition does not depend on the sample rate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve, lfilter

TARGET_RMS = 10 ** (-14 / 20)  # of the sounding part, before the soft clipper takes a few tenths of a dB
CEILING = 0.97
REST = 0.5  # bars between sections: reverb tail, then silence

_SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}
_PROGRESSIONS = ((0, 4, 5, 3), (0, 5, 3, 4), (1, 4, 0, 0), (0, 3, 4, 3), (5, 3, 0, 4))
_ARRANGEMENTS = (
    ("chords", "bass", "lead", "drums"),
    ("chords", "lead"),
    ("bass", "drums"),
    ("chords", "bass", "drums"),
    ("lead", "bass", "drums"),
)


@dataclass(frozen=True)
class Note:
    """One note: begin and length in seconds, frequency in Hz, linear gain."""

    begin: float
    length: float
    frequency: float
    gain: float


@dataclass(frozen=True)
class Timbre:
    """Partial k has amplitude k^-tilt; ``decay`` per second for the first partial, k times as fast for partial k."""

    partials: int
    tilt: float
    decay: float
    attack: float
    release: float
    odd_only: bool = False
    vibrato_hz: float = 0.0
    vibrato_depth: float = 0.0


class _Song:
    """The random choices of one track that hold for its whole length."""

    def __init__(self, rng: np.random.Generator, seconds: float) -> None:
        self.rng = rng
        self.beat = 60.0 / rng.uniform(84.0, 150.0)
        self.bar = 4 * self.beat
        self.root = int(rng.integers(45, 57))  # MIDI A2 to G#3
        self.scale = _SCALES["major" if rng.random() < 0.5 else "minor"]
        self.progression = _PROGRESSIONS[rng.integers(len(_PROGRESSIONS))]
        self.sections: list[tuple[float, int, tuple[str, ...]]] = []  # bars before it, its bars, its parts
        first = 0.0
        while first * self.bar < seconds:
            bars = int(rng.integers(2, 4))
            parts = _ARRANGEMENTS[0 if first == 0 else rng.integers(len(_ARRANGEMENTS))]
            self.sections.append((first, bars, parts))
            first += bars + REST

    def hertz(self, degree: int, octave: int = 0) -> float:
        """Frequency of a scale degree (any integer) above the root."""
        step = self.scale[degree % 7] + 12 * (degree // 7 + octave)
        return float(440.0 * 2 ** ((self.root + step - 69) / 12))

    def bars(self, part: str) -> list[tuple[float, int]]:
        """Begin in seconds and chord degree of every bar in which ``part`` plays."""
        return [
            ((first + bar) * self.bar, self.progression[bar % 4])
            for first, bars, parts in self.sections
            if part in parts
            for bar in range(bars)
        ]

    def chords(self) -> list[Note]:
        length = 0.96 * self.bar
        return [
            Note(begin, length, self.hertz(degree + third), 0.15)
            for begin, degree in self.bars("chords")
            for third in (0, 2, 4, 7)
        ]

    def bass(self) -> list[Note]:
        notes = []
        for begin, degree in self.bars("bass"):
            for eighth in range(8):
                if eighth % 2 == 0 or self.rng.random() < 0.6:
                    step = degree + (4 if eighth in (3, 6) and self.rng.random() < 0.4 else 0)
                    when = begin + eighth * self.beat / 2
                    notes.append(Note(when, 0.45 * self.beat, self.hertz(step, -1), 0.33))
        return notes

    def lead(self) -> list[Note]:
        notes, degree = [], 7
        for begin, chord in self.bars("lead"):
            position = 0.0
            while position < 4:
                length = float(self.rng.choice([0.5, 0.5, 1.0, 1.5]))
                length = min(length, 4 - position)
                degree = int(np.clip(degree + self.rng.integers(-3, 4), 4, 15))
                if position == 0:
                    degree = 7 + chord
                if self.rng.random() > 0.15:
                    when, gain = begin + position * self.beat, 0.45 * self.rng.uniform(0.6, 1.0)
                    notes.append(Note(when, 0.92 * length * self.beat, self.hertz(degree), gain))
                position += length
        return notes


def tone(note: Note, timbre: Timbre, sample_rate: int, phase: float = 0.0) -> np.ndarray:
    """Waveform of one note, float32 (n,). Partials stay below 0.45 of the sample rate."""
    n = max(1, round(note.length * sample_rate))
    t = np.arange(n) / sample_rate
    cycles = note.frequency * t
    if timbre.vibrato_depth:
        swing = timbre.vibrato_depth / (2 * np.pi * timbre.vibrato_hz)
        cycles = cycles + note.frequency * swing * (1 - np.cos(2 * np.pi * timbre.vibrato_hz * t))
    # The sum over partials of a_k z^k by Horner's rule: one complex exponential however many partials.
    z = np.exp(2j * np.pi * ((cycles + phase) % 1.0) - timbre.decay * t).astype(np.complex64)
    partials = max(1, min(timbre.partials, int(0.45 * sample_rate / note.frequency)))
    total = np.zeros(n, np.complex64)
    for k in range(partials, 0, -1):
        total += 0.0 if timbre.odd_only and k % 2 == 0 else np.float32(k**-timbre.tilt)
        total *= z
    rise = np.minimum(1.0, t / max(timbre.attack, 1e-4))
    fall = np.clip((note.length - t) / max(timbre.release, 1e-4), 0.0, 1.0)
    envelope = (0.5 - 0.5 * np.cos(np.pi * rise)) * (0.5 - 0.5 * np.cos(np.pi * fall))
    return (note.gain * envelope * total.imag).astype(np.float32)


def _add(bus: np.ndarray, begin: float, sample_rate: int, wave: np.ndarray) -> None:
    """Adds ``wave`` (…, n) to ``bus`` (…, T) from ``begin`` seconds on; what reaches past the end is dropped."""
    start = round(begin * sample_rate)
    room = bus.shape[-1] - start
    if room > 0:
        bus[..., start : start + wave.shape[-1]] += wave[..., :room]


def _pan(wave: np.ndarray, position: float | np.ndarray) -> np.ndarray:
    """Constant-power panning: position −1 is left, 0 the middle, 1 right; an array moves the source."""
    angle = np.pi / 4 * (1 + np.asarray(position, np.float32))
    return np.stack([wave * np.cos(angle), wave * np.sin(angle)]).astype(np.float32)


def _drums(song: _Song, samples: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """The drum kit as a stereo bus and what it sends to the reverb."""
    rng = song.rng
    bus, send = np.zeros((2, samples), np.float32), np.zeros(samples, np.float32)
    t = np.arange(round(0.35 * sample_rate)) / sample_rate
    sweep = 48.0 * t + rng.uniform(90, 140) / 30.0 * (1 - np.exp(-30.0 * t))
    click = np.minimum(1.0, t / 0.001)
    kick = (0.7 * np.sin(2 * np.pi * sweep) * np.exp(-9.0 * t) * click).astype(np.float32)
    noise = rng.standard_normal((2, len(t)), dtype=np.float32)
    rattle = lfilter([0.7], [1, -0.3], noise, axis=-1) * np.exp(-18.0 * t)
    body = np.sin(2 * np.pi * rng.uniform(170, 220) * t) * np.exp(-25.0 * t)
    snare = ((0.5 * rattle + 0.4 * body) * click).astype(np.float32)
    hiss = rng.standard_normal(len(t) + 2, dtype=np.float32)
    hiss = hiss[2:] - hiss[:-2]  # little below 1 kHz and at the very top
    hat = (0.14 * hiss * np.exp(-rng.uniform(35, 70) * t)).astype(np.float32)
    four_on_the_floor = rng.random() < 0.5
    for begin, _ in song.bars("drums"):
        for eighth in range(8):
            when = begin + eighth * song.beat / 2
            if eighth in (0, 4) or (eighth % 2 == 0 and four_on_the_floor):
                _add(bus, when, sample_rate, kick[None])
            if eighth in (2, 6):
                _add(bus, when, sample_rate, snare)
                _add(send, when, sample_rate, 0.5 * snare[0])
            loud = rng.uniform(0.5, 1.0) * (1.0 if eighth % 2 else 0.7)
            _add(bus, when, sample_rate, _pan(loud * hat, 0.6 if eighth % 4 < 2 else -0.3))
    return bus, send


def _reverb(send: np.ndarray, rt60: float, sample_rate: int, rng: np.random.Generator) -> np.ndarray:
    """Decaying noise tails that get duller towards the end, half of each shared by left and right; (T,) to (2, T)."""
    n = round(1.1 * rt60 * sample_rate)
    t = np.arange(n, dtype=np.float32) / sample_rate
    tail = rng.standard_normal((2, n), dtype=np.float32) + rng.standard_normal(n, dtype=np.float32)
    dull = lfilter([0.2], [1, -0.8], tail, axis=-1).astype(np.float32)
    tail = (tail * np.exp(-20.0 * t / rt60) + 3 * dull * np.exp(-6.9 * t / rt60)) * np.minimum(1.0, t / 0.012)
    tail /= np.sqrt(np.mean(np.sum(tail**2, axis=-1)))
    return fftconvolve(send[None], tail, axes=-1)[:, : len(send)].astype(np.float32)


def _gate(song: _Song, samples: int, sample_rate: int) -> np.ndarray:
    """1 while a section plays, a fade over the first 40 % of the rest after it, then exactly 0; float32 (T,)."""
    gate = np.zeros(samples, np.float32)
    fade = np.cos(np.linspace(0, np.pi / 2, round(0.4 * REST * song.bar * sample_rate), dtype=np.float32)) ** 2
    fade[-1] = 0.0
    for first, bars, _ in song.sections:
        start, stop = round(first * song.bar * sample_rate), round((first + bars) * song.bar * sample_rate)
        gate[start:stop] = 1.0
        gate[stop : stop + len(fade)] = fade[: max(0, samples - stop)]
    return gate


def synthesise_track(index: int, seconds: float, sample_rate: int, seed: int) -> np.ndarray:
    """A track of simple music, float32 (2, T) with T = round(seconds·sample_rate); the peak stays below 0.98.

    The same arguments always give the same samples, another ``index`` or ``seed`` (both ≥ 0) another piece.

    >>> synthesise_track(0, 0.5, 8000, seed=0).shape
    (2, 4000)
    """
    rng = np.random.default_rng([seed, index])
    song = _Song(rng, seconds)
    samples = round(seconds * sample_rate)
    mix, send = np.zeros((2, samples), np.float32), np.zeros(samples, np.float32)

    pad = Timbre(16, rng.uniform(0.8, 1.4), rng.uniform(0.0, 0.6), rng.uniform(0.01, 0.08), 0.1)
    detune = rng.uniform(0.001, 0.003)  # 2 to 5 cents apart: left and right drift in and out of phase
    for note in song.chords():
        sides = [
            tone(Note(note.begin, note.length, note.frequency * ratio, note.gain), pad, sample_rate, rng.random())
            for ratio in (1 - detune / 2, 1 + detune / 2)
        ]
        wide = 0.7 * np.stack(sides) + _pan(0.7 * sides[0], rng.uniform(-0.5, 0.5))
        _add(mix, note.begin, sample_rate, wide)
        _add(send, note.begin, sample_rate, 0.4 * wide.mean(axis=0))

    pluck = Timbre(10, rng.uniform(1.0, 1.5), rng.uniform(1.0, 4.0), 0.004, 0.03)
    for note in song.bass():
        _add(mix, note.begin, sample_rate, tone(note, pluck, sample_rate)[None])

    solo = Timbre(20, rng.uniform(0.7, 1.3), rng.uniform(0, 1.5), 0.02, 0.05, bool(rng.random() < 0.4), 5.5, 0.006)
    melody = np.zeros(samples, np.float32)
    for note in song.lead():
        _add(melody, note.begin, sample_rate, tone(note, solo, sample_rate))
    t = np.arange(samples, dtype=np.float32) / sample_rate
    mix += _pan(melody, 0.4 * np.sin(2 * np.pi * (rng.uniform(0.1, 0.4) * t + rng.random())))
    send += 0.5 * melody

    kit, kit_send = _drums(song, samples, sample_rate)
    mix += kit
    mix += 0.5 * _reverb(send + kit_send, rng.uniform(0.6, 1.8), sample_rate, rng)

    gate = _gate(song, samples, sample_rate)
    mix *= gate
    rms = float(np.sqrt(np.sum(mix**2, dtype=np.float64) / max(1, 2 * int(np.count_nonzero(gate)))))
    return (CEILING * np.tanh(mix * (TARGET_RMS / max(rms, 1e-9) / CEILING))).astype(np.float32)
