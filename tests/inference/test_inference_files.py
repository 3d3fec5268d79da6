"""Which files are found, how their outputs are named, and how each is read."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ear_sat.data import UnusableFileError
from ear_sat.errors import UserError
from ear_sat.inference import plan_jobs
from ear_sat.inference.files import output_names
from ear_sat.inference.source import choose_channels, chosen_channels, read_blocks, read_header, readable

Write = Callable[..., Path]


def names(*given: str) -> list[str]:
    return [name.as_posix() for name in output_names([Path(name) for name in given])]


def test_names_keep_path_and_stem() -> None:
    assert names("a.wav", "b/c.d.mp3", "b/e", "ü/f.OGG") == ["a.wav", "b/c.d.wav", "b/e.wav", "ü/f.wav"]
    assert names() == []


def test_names_that_would_clash_keep_their_extension() -> None:
    assert names("a/s.mp3", "b/s.mp3", "a/s.flac") == ["a/s.mp3.wav", "b/s.wav", "a/s.flac.wav"]
    assert names("s.mp3", "S.wav") == ["s.mp3.wav", "S.wav.wav"]  # one file on some systems
    # The long name is another's short one, which then becomes long too.
    assert names("s.mp3", "s.flac", "s.mp3.ogg") == ["s.mp3.wav", "s.flac.wav", "s.mp3.ogg.wav"]


@pytest.fixture
def tree(write: Write) -> Path:
    for name in ("a.wav", "sub/a.flac", "sub/b.ogg", ".hidden/c.wav", "sub/.d.wav"):
        write(name, (100, 2))
    (write("x.wav", (10, 1)).parent / "notes.txt").write_text("no audio")
    (write("x.wav", (10, 1)).parent / "film.m4a").write_bytes(b"?")
    return write("x.wav", (10, 1)).parent


def test_folders_are_searched(tree: Path, tmp_path: Path) -> None:
    jobs = plan_jobs([tree], tmp_path / "out")
    assert [job.name for job in jobs] == ["a.wav", "film.m4a", "sub/a.flac", "sub/b.ogg", "x.wav"]
    outputs = [job.output.relative_to(tmp_path / "out").as_posix() for job in jobs]
    assert outputs == ["a.wav", "film.wav", "sub/a.wav", "sub/b.wav", "x.wav"]


def test_files_and_folders_mix_and_count_once(tree: Path, tmp_path: Path) -> None:
    jobs = plan_jobs(
        [tree / "sub" / "b.ogg", tree / "sub", tree / "notes.txt", tree / "sub" / "b.ogg"], tmp_path / "out"
    )
    assert [job.name for job in jobs] == ["b.ogg", "a.flac", "notes.txt"]  # named: tried, whatever its suffix


def test_outputs_inside_the_inputs_are_not_taken_for_inputs(tree: Path) -> None:
    first = [job.name for job in plan_jobs([tree], tree / "out")]
    (tree / "out").mkdir()
    (tree / "a.wav").rename(tree / "out" / "a.wav")
    assert [job.name for job in plan_jobs([tree], tree / "out")] == first[1:]


def test_inputs_are_never_replaced(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a\.wav is an input and would be replaced; give another folder with --out"):
        plan_jobs([tree], tree)
    (tmp_path / "out").symlink_to(tree)
    with pytest.raises(UserError, match="would be replaced"):
        plan_jobs([tree], tmp_path / "out")


def test_two_folders_with_the_same_names_are_an_error(write: Write, tmp_path: Path) -> None:
    one, two = write("1/a.wav", (10, 1)), write("2/a.wav", (10, 1))
    with pytest.raises(UserError, match="would both be written to"):
        plan_jobs([one.parent, two.parent], tmp_path / "out")


def test_missing_and_empty_inputs_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file or folder: .*nowhere"):
        plan_jobs([tmp_path / "nowhere"], tmp_path / "out")
    with pytest.raises(UserError, match="no audio files in"):
        plan_jobs([tmp_path], tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.wav", {"subtype": "FLOAT"}),
        ("a.flac", {"subtype": "PCM_24"}),
        ("a.aiff", {}),
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.mp3", {}),
        ("mislabelled.mp3", {"format": "WAV"}),
        ("mislabelled.wav", {"format": "FLAC"}),
        ("a.caf", {}),
    ],
)
def test_blocks_are_the_file(name: str, options: dict[str, str], write: Write) -> None:
    path = write(name, (150_001, 2), 48000, **options)
    whole, rate = soundfile.read(path, dtype="float32")
    header = read_header(path)
    blocks = list(read_blocks(header))
    assert (header.sample_rate, header.channels, header.path) == (rate, 2, str(path))
    assert [block.shape[0] for block in blocks] == [2] * len(blocks) and len(blocks) >= 3
    np.testing.assert_array_equal(np.concatenate(blocks, axis=1).T, whole)


def test_bad_samples_are_located(write: Write) -> None:
    audio = np.zeros((100_000, 2))
    audio[88_200, 1] = np.nan
    with pytest.raises(UnusableFileError, match=r"NaN or infinite samples, the first at 2\.000 s"):
        list(read_blocks(read_header(write("nan.wav", audio, subtype="FLOAT"))))


def test_truncated_files_are_noticed(write: Write, tmp_path: Path) -> None:
    whole = write("a.flac", (200_000, 2))
    half = tmp_path / "half.flac"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(UnusableFileError, match=r"read error|truncated"):
        list(read_blocks(read_header(half)))


def test_choices_of_channels(write: Write) -> None:
    for count, results in {1: (1, 1, 1, 1), 2: (2, 2, 2, 2), 6: (None, 2, 2, 6), 4: (None, None, 2, 4)}.items():
        header = read_header(write("c.wav", (10, count)))
        block = next(read_blocks(header))
        for choice, expected in zip(("error", "downmix", "first", "each"), results, strict=True):
            if expected is None:
                with pytest.raises(UnusableFileError, match=f"it has {count} channels"):
                    chosen_channels(header, choice)
            else:
                chosen = choose_channels(block, choice, header.layout)
                assert chosen_channels(header, choice) == expected == chosen.shape[0]
                if choice in ("first", "each"):
                    np.testing.assert_array_equal(chosen, block[:expected])


def test_the_downmix_is_the_standards() -> None:
    half = 0.5**0.5  # −3 dB
    block, layout = np.array([[1], [0], [0.5], [9], [0], [1]], np.float32), ("L", "R", "C", "LFE", "Ls", "Rs")
    mixed = choose_channels(block, "downmix", layout)[:, 0]
    np.testing.assert_allclose(mixed, [1 + 0.5 * half, 0.5 * half + half], rtol=1e-6)


needs_scripts = pytest.mark.skipif(sys.platform == "win32", reason="a script stands in for ffmpeg")


@pytest.fixture
def fake_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a Python script named ffmpeg on PATH, and nothing else; ``body`` sees ``source`` and ``target``."""

    def install(body: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        script = folder / "ffmpeg"
        script.write_text(
            f"#!{sys.executable}\nimport sys\nsource = sys.argv[sys.argv.index('-i') + 1].removeprefix('file:')\n"
            f"target = sys.argv[-1].removeprefix('file:')\n{body}\n"
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    return install


@needs_scripts
def test_other_formats_go_through_ffmpeg(fake_ffmpeg: Callable[[str], None], tmp_path: Path) -> None:
    fake_ffmpeg(
        "import soundfile, numpy\nassert open(source, 'rb').read() == b'strange'\n"
        "soundfile.write(target, numpy.full((500, 3), 1.5, 'float32'), 22050, subtype='FLOAT')"
    )
    path = tmp_path / "a.m4a"
    path.write_bytes(b"strange")
    with readable(path, tmp_path) as (header, by_ffmpeg):
        assert by_ffmpeg and (header.frames, header.sample_rate, header.channels) == (500, 22050, 3)
        assert next(read_blocks(header)).max() == 1.5
        left = header.path
    assert not Path(left).exists() and not list(tmp_path.glob(".ear-sat-*"))


@needs_scripts
def test_ffmpegs_own_reason_is_given(fake_ffmpeg: Callable[[str], None], tmp_path: Path) -> None:
    fake_ffmpeg(
        "print('noise\\n' + sys.argv[sys.argv.index('-i') + 1] + ': Invalid data', file=sys.stderr); sys.exit(1)"
    )
    path = tmp_path / "a.wav"
    path.write_bytes(b"strange")
    with (
        pytest.raises(
            UnusableFileError, match=r"^not readable as audio \(Format not recognised\); ffmpeg: Invalid data$"
        ),
        readable(path, tmp_path),
    ):
        pass
    assert not list(tmp_path.glob(".ear-sat-*"))


def test_without_ffmpeg_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    path = tmp_path / "a.m4a"
    path.write_bytes(b"strange")
    with pytest.raises(UnusableFileError, match="install ffmpeg or convert it to wav"), readable(path, tmp_path):
        pass


def test_files_with_nothing_in_them(write: Write, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").write_bytes(b"")
    for path, message in (
        (tmp_path / "empty.wav", r"^the file is empty \(0 bytes\)$"),
        (write("zero.wav", np.zeros((0, 2))), "^it holds no samples$"),
    ):
        with pytest.raises(UnusableFileError, match=message), readable(path, tmp_path):
            pass
