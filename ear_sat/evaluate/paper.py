"""Published figures to hold one's own against. They were measured elsewhere, on other music: context, not a ranking."""

from __future__ import annotations

from dataclasses import dataclass

SOURCE = "Back to Ear: Perceptually Driven High Fidelity Music Reconstruction, arXiv 2509.14912"
LATER_SOURCE = "figures published later by the same authors"
CAVEAT = "measured elsewhere, other music"


@dataclass(frozen=True)
class Published:
    """One row: a codec on a test set; values under the names of our metrics, coherences as shares of 1."""

    music: str
    system: str
    values: dict[str, float]
    source: str


def _paper_rows() -> list[Published]:
    # Mel, STFT, ICPC %, CCPC %, SI-SDR dB, true-peak difference dB: on MuChin, then on the authors' in-house set.
    table = {
        "DAC 44.1 kHz mono, 86 Hz": (
            (0.71, 1.33, 94.25, 90.69, 6.14, 0.29),
            (0.67, 1.21, 94.49, 90.47, 6.68, 0.35),
        ),
        "EnCodec 48 kHz, 50 Hz": (
            (0.84, 1.57, 89.89, 89.34, 3.64, 0.10),
            (0.80, 1.49, 90.07, 89.42, 3.99, 0.14),
        ),
        "AudioGen codec 48 kHz, 100 Hz": (
            (0.71, 1.46, 94.70, 94.96, 7.58, 0.27),
            (0.65, 1.39, 94.16, 94.66, 8.21, 0.09),
        ),
        "Stable Audio Open 44.1 kHz, 21.5 Hz": (
            (0.75, 1.64, 90.70, 91.41, 4.62, 0.29),
            (0.64, 1.34, 90.37, 91.12, 5.23, 0.36),
        ),
        "εar-VAE 44.1 kHz, 43 Hz": (
            (0.55, 1.17, 96.78, 96.81, 9.99, 0.05),
            (0.55, 1.12, 96.66, 96.52, 11.00, 0.05),
        ),
    }
    rows = []
    for index, music in enumerate(("MuChin", "in-house")):
        for system, columns in table.items():
            mel, stft, icpc, ccpc, si_sdr, true_peak = columns[index]
            values = {
                "si_sdr_db": si_sdr,
                "stft_distance": stft,
                "mel_distance": mel,
                "icpc": round(icpc / 100, 4),
                "ccpc": round(ccpc / 100, 4),
                "true_peak_diff_db": true_peak,
            }
            rows.append(Published(music, system, values, SOURCE))
    return rows


def _later_rows() -> list[Published]:
    # SI-SDR dB, STFT, Mel, CCPC on Song Describer, 546 tracks.
    table = {
        "εar-VAE": (12.4, 0.880, 0.509, 0.973),
        "Stable Audio Open": (6.7, 1.016, 0.612, 0.933),
        "LeVo 2": (8.1, 0.971, 0.599, 0.947),
        "SAME-L": (12.5, 0.986, 0.539, 0.970),
        "εar-VAE2": (11.3, 0.870, 0.461, 0.973),
    }
    names = ("si_sdr_db", "stft_distance", "mel_distance", "ccpc")
    return [
        Published("Song Describer", system, dict(zip(names, values, strict=True)), LATER_SOURCE)
        for system, values in table.items()
    ]


PUBLISHED: tuple[Published, ...] = (*_paper_rows(), *_later_rows())
"""All rows, by test set."""

PUBLISHED_METRICS = ("si_sdr_db", "stft_distance", "mel_distance", "icpc", "ccpc", "true_peak_diff_db")
"""Columns of the table, in our order."""
