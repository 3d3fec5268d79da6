"""Which files become pairs, and that none is dropped in silence."""

import unicodedata
from pathlib import Path

import pytest

from ear_sat import UserError
from ear_sat.evaluate import pair_files


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(folder: Path, *systems: Path) -> list[tuple[str, str, str, str]]:
    pairing = pair_files(folder, {system.name: system for system in systems})
    estimates = {system.name: system for system in systems}
    return [
        (
            pair.file,
            pair.system,
            pair.reference.relative_to(folder).as_posix(),
            pair.estimate.relative_to(estimates[pair.system]).as_posix(),
        )
        for pair in pairing.pairs
    ]


def test_by_relative_path_without_extension(tmp_path):
    reference = touch(tmp_path / "ref", "b.wav", "album/a.flac", "album/a.b.mp3")
    a = touch(tmp_path / "A", "b.ogg", "album/a.wav", "album/a.b.wav")
    b = touch(tmp_path / "B", "b.mp3", "album/a.mp3", "album/a.b.mp3")
    assert found(reference, a, b) == [
        ("album/a.b", "A", "album/a.b.mp3", "album/a.b.wav"),
        ("album/a.b", "B", "album/a.b.mp3", "album/a.b.mp3"),
        ("album/a", "A", "album/a.flac", "album/a.wav"),
        ("album/a", "B", "album/a.flac", "album/a.mp3"),
        ("b", "A", "b.wav", "b.ogg"),
        ("b", "B", "b.wav", "b.mp3"),
    ]


def test_a_reconstruction_that_keeps_its_extension_beside_a_file_that_is_no_reference(tmp_path):
    reference = touch(tmp_path / "ref", "a.wav", "a.m4a", "b.wav")
    system = touch(tmp_path / "A", "a.wav.wav", "b.wav")
    assert found(reference, system) == [("a", "A", "a.wav", "a.wav.wav"), ("b", "A", "b.wav", "b.wav")]
    touch(system, "a.flac")
    assert found(reference, system)[0] == ("a", "A", "a.wav", "a.flac")


def test_unmatched_of_either_side_is_named(tmp_path):
    reference = touch(tmp_path / "ref", "both.wav", "only.wav")
    system = touch(tmp_path / "A", "both.wav", "sub/both.wav")
    pairing = pair_files(reference, {"A": system})
    assert [pair.file for pair in pairing.pairs] == ["both"]
    assert [(u.side, u.path.relative_to(tmp_path).as_posix(), u.reason) for u in pairing.unmatched] == [
        ("reference", "ref/only.wav", "has no estimate"),
        ("estimate", "A/sub/both.wav", "has no reference"),
    ]


def test_reasons_replace_the_plain_one(tmp_path):
    reference = touch(tmp_path / "ref", "both.wav", "only.wav")
    system = touch(tmp_path / "A", "both.wav")
    pairing = pair_files(reference, {"A": system}, reasons={reference / "only.wav": "could not be reconstructed"})
    assert [u.reason for u in pairing.unmatched] == ["could not be reconstructed"]


def test_references_that_differ_in_extension(tmp_path):
    """The command ``reconstruct`` keeps the extension in the stem of such files."""
    reference = touch(tmp_path / "ref", "a.wav", "a.flac", "b.wav")
    system = touch(tmp_path / "A", "a.wav.wav", "a.flac.wav", "b.wav")
    assert [pair[::3] for pair in found(reference, system)] == [
        ("a.flac", "a.flac.wav"),
        ("a.wav", "a.wav.wav"),
        ("b", "b.wav"),
    ]
    same = touch(tmp_path / "B", "a.wav", "b.wav")  # the full name decides; a.flac has none
    assert [pair[::3] for pair in found(reference, same)] == [("a.wav", "a.wav"), ("b", "b.wav")]


def test_several_estimates_of_one_reference(tmp_path):
    reference = touch(tmp_path / "ref", "a.wav")
    system = touch(tmp_path / "A", "a.flac", "a.wav", "a.mp3")
    pairing = pair_files(reference, {"A": system})
    assert [pair.estimate.name for pair in pairing.pairs] == ["a.wav"]  # the same extension
    reasons = [(u.path.name, u.reason) for u in pairing.unmatched]
    assert reasons == [(name, "a.wav was taken for the same reference") for name in ("a.flac", "a.mp3")]


def test_other_files_are_noted(tmp_path):
    reference = touch(tmp_path / "ref", "a.wav", "a.m4a", "b.m4a", "cover.jpg", ".hidden.m4a")
    pairing = pair_files(reference, {"A": touch(tmp_path / "A", "a.wav")})
    assert pairing.notes == [f"{reference}: 3 other file(s) not read (2 × .m4a, 1 × .jpg)"]


def test_decomposed_names_match_composed_ones(tmp_path):
    reference = touch(tmp_path / "ref", unicodedata.normalize("NFC", "Für Élise.wav"))
    system = touch(tmp_path / "A", unicodedata.normalize("NFD", "Für Élise.wav"))
    assert len(pair_files(reference, {"A": system}).pairs) == 1


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    touch(tmp_path, "original.wav", "coded.mp3")
    pairing = pair_files(tmp_path / "original.wav", {"A": tmp_path / "coded.mp3"})
    assert [(pair.file, pair.estimate.name) for pair in pairing.pairs] == [("original", "coded.mp3")]


def test_the_results_below_the_references_are_left_out(tmp_path):
    reference = touch(tmp_path / "ref", "a.wav", "out/reconstructions/x/a.wav", "out/report.html")
    system = reference / "out" / "reconstructions" / "x"
    pairing = pair_files(reference, {"A": system}, without=reference / "out")
    assert [pair.file for pair in pairing.pairs] == ["a"]
    assert not pairing.unmatched and not pairing.notes


@pytest.mark.parametrize("name", ["a.m3u", "a.jsonl", "a.tar.gz", "a.zip"])
def test_lists_and_archives_are_no_audio(tmp_path, name):
    touch(tmp_path, "b.wav", name)
    for reference, estimate in ((name, "b.wav"), ("b.wav", name)):
        with pytest.raises(UserError, match=rf"{name}: it is an? (list|archive): "):
            pair_files(tmp_path / reference, {"A": tmp_path / estimate})


@pytest.mark.parametrize(
    ("reference", "estimate", "message"),
    [
        ("absent", "A", "no such file or folder"),
        ("ref", "absent", "no such file or folder"),
        ("ref", "A/other.wav", "must both be files or both be folders"),
        ("empty", "A", "no audio files in"),
        ("ref", "empty", "no audio files in"),
        ("ref", "A", "no file of .* has its namesake in .*other"),
    ],
)
def test_nothing_to_compare(tmp_path, reference, estimate, message):
    touch(tmp_path / "ref", "a.wav")
    touch(tmp_path / "A", "other.wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        pair_files(tmp_path / reference, {"A": tmp_path / estimate})
    with pytest.raises(UserError, match="nothing to evaluate"):
        pair_files(tmp_path / "ref", {})
