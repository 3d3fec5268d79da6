"""Files that cannot be used: one clear sentence, exit code 1, nothing written, nothing run."""

from __future__ import annotations

import copy
import io
import os
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from weights_test_models import cloned, config_of, golden_state, tiny, write_as

import ear_sat
from ear_sat import UserError
from ear_sat.weights import config_metadata, read_checkpoint, write_weights


@pytest.fixture
def refused(command: Callable[..., Any], tmp_path: Path, names: Callable[[Path], list[str]]) -> Callable[..., str]:
    """Gives ``path`` to every command that reads weights; returns the sentence they end with."""

    def check(path: Path | str) -> str:
        before = names(tmp_path)
        target = tmp_path / "out" / "new.safetensors"
        base = Path(__file__).parents[2] / "model_configs" / "ear_vae_demo.json"
        sentences = set()
        for arguments in (
            ("convert", path, target),
            ("export", path, target),
            ("inspect", path),
            ("config", base, "--model-from", path, "--out", target.with_suffix(".json")),
        ):
            result = command(*arguments)
            assert result.code == 1 and result.out == ""
            assert result.err.startswith("error: ") and result.err.count("\n") == 1 and result.err.endswith("\n")
            sentences.add(result.err.removeprefix("error: ").rstrip("\n"))
        assert names(tmp_path) == before
        with pytest.raises(UserError) as error:
            ear_sat.load_autoencoder(path)
        sentences.add(str(error.value))
        assert len(sentences) == 1, sentences
        sentence = sentences.pop()
        assert len(sentence) < 500 and "Traceback" not in sentence and "\n" not in sentence
        return sentence

    return check


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A file as the release's."""
    return write_as("release", golden_state("tiny_transformer"), tmp_path)


# -- files that are no checkpoints ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"is empty \(0 bytes\); get it again"),
        (b"just some text\n", r"is a text file; give the path of a checkpoint"),
        ("ε".encode()[:1] + b"a" * 600, r"of an unknown format, or truncated"),
        (("x" * 511 + "ε" * 100).encode(), r"is a text file"),
        (b'{"model_type": "autoencoder"}', r"is a text file"),
        (b"\n<!DOCTYPE html><html><body>404 Not Found</body></html>", r"is a web page \(an error message saved in"),
        (b"\xef\xbb\xbf<html>", r"is a web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", r"is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0362\nsize 591\n", r"is a Git LFS pointer, not the"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", r"is an audio file"),
        (b"\x1f\x8b\x08\x00" + bytes(50), r"is a gzip archive"),
        (b"\x00" * 1000, r"of an unknown format, or truncated"),
        (b"\x80", r"is truncated or damaged"),
        (b"\x80\x02" + bytes(20), r"is damaged"),
        (b"PK\x03\x04" + bytes(20), r"is truncated or damaged; get it again"),
        (b"\x7fELF" + bytes(100), r"of an unknown format"),
        (struct.pack("<Q", 1 << 40) + b"{" + bytes(100), r"is of an unknown format"),
        (struct.pack("<Q", 30) + b"{" + bytes(100), r"is not a readable safetensors file"),
        (struct.pack("<Q", 10_000) + b"{}" + bytes(100), r"is not a readable safetensors file"),
        (struct.pack("<Q", 2) + b"{}", r"holds no tensors"),
    ],
)
def test_other_files(content: bytes, words: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "ear_vae_44k.pyt"
    path.write_bytes(content)
    assert re.match(rf"{re.escape(str(path))} .*{words}", refused(path))


def test_no_file_at_all(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert refused(tmp_path / "none.pyt") == (
        f"no such file: {tmp_path}/none.pyt; give the path of a checkpoint, or 44k or 48k for a released one"
    )
    (tmp_path / "folder.pyt").mkdir()
    assert refused(tmp_path / "folder.pyt").endswith(
        "folder.pyt is a folder without model.safetensors, model.ckpt, checkpoints/last.ckpt; "
        "give the path of a checkpoint"
    )
    assert "File name too long" in refused(tmp_path / ("a" * 300))
    assert "cannot read ~nobody-of-this-name/a.pyt" in refused("~nobody-of-this-name/a.pyt")
    assert refused("").endswith("give the path of a checkpoint")
    (tmp_path / "dangling.pyt").symlink_to(tmp_path / "gone")
    assert "no such file" in refused(tmp_path / "dangling.pyt")


def test_missing_permission(good: Path, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]) -> None:
    if os.getuid() == 0:  # root may read everything
        opened = Path.open

        def refuse(self: Path, *arguments: Any, **options: Any) -> Any:
            if self == good:
                raise PermissionError(13, "Permission denied", str(self))
            return opened(self, *arguments, **options)

        monkeypatch.setattr(Path, "open", refuse)
    else:
        good.chmod(0)
    assert refused(good) == f"cannot read {good}: Permission denied"


@pytest.mark.parametrize("name", ["a.wav", "data/0"])
def test_zip_archives_of_something_else(name: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.pyt", "w") as archive:
        archive.writestr(name, b"x" * 100)
    assert refused(tmp_path / "a.pyt").endswith(
        "is a zip archive, not a checkpoint; unpack it and give the file inside"
    )


@pytest.mark.filterwarnings("ignore")
def test_torchscript(tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(tmp_path / "a.pt"))
    assert "is a TorchScript program" in refused(tmp_path / "a.pt")


# -- damaged files ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["release", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.0001, 0.01, 0.3, 0.6, 0.95, 0.99999])
def test_truncation_at_any_length(form: str, share: float, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = write_as(form, golden_state("tiny_transformer"), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: max(1, int(share * len(data)))])
    assert re.search(r"truncated|damaged|not a readable safetensors", refused(path))


@pytest.mark.parametrize("form", ["release", "legacy", "safetensors"])
def test_every_short_length(form: str, tmp_path: Path) -> None:
    """Lengths near nothing and near the whole."""
    path = write_as(form, tiny(channels=1, latent=1).state_dict(), tmp_path)
    data = path.read_bytes()
    for length in [*range(0, 300, 3), *range(len(data) - 300, len(data), 3)]:
        path.write_bytes(data[:length])
        with pytest.raises(UserError, match=r"empty|too short|truncated|damaged|not a readable safetensors"):
            read_checkpoint(path)


@pytest.mark.parametrize("form", ["release", "host"])
def test_flipped_bits_are_found(form: str, tmp_path: Path) -> None:
    """torch itself would load other weights: it does not look at the checksums of its files."""
    model = tiny(channels=1, latent=1)
    path = write_as(form, model.state_dict(), tmp_path)
    data = path.read_bytes()
    generator = np.random.default_rng(0)
    refusals = 0
    for position in generator.integers(0, len(data), 150):
        damaged = bytearray(data)
        damaged[position] ^= 1 << generator.integers(0, 8)
        path.write_bytes(damaged)
        try:
            state = read_checkpoint(path).state
        except UserError as error:
            assert re.search(r"damaged|compressed|zip archive|of an unknown format", str(error))
            refusals += 1
        else:  # a byte that no value depends on, such as padding
            assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
    assert refusals > 40


def test_flipped_bits_of_files_without_checksums(tmp_path: Path) -> None:
    """The legacy format, and safetensors' headers: no crash, whatever is in them."""
    for form in ("legacy", "safetensors"):
        path = write_as(form, tiny(channels=1, latent=1).state_dict(), tmp_path)
        data = path.read_bytes()
        generator = np.random.default_rng(1)
        for position in generator.integers(0, min(len(data), 6000), 100):
            damaged = bytearray(data)
            damaged[position] ^= 1 << generator.integers(0, 8)
            path.write_bytes(damaged)
            try:
                read_checkpoint(path)
            except UserError as error:
                assert str(path) in str(error)


def test_files_without_checksums_load(tmp_path: Path) -> None:
    enabled = torch.serialization.get_crc32_options()
    try:
        torch.serialization.set_crc32_options(False)
        path = write_as("release", tiny().state_dict(), tmp_path)
    finally:
        torch.serialization.set_crc32_options(enabled)
    assert read_checkpoint(path).state.keys() == tiny().state_dict().keys()


# -- files made to mislead --------------------------------------------------------------------------------------------


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> Any:
        return self.call, self.arguments


@pytest.mark.parametrize("form", ["zip", "zip4", "legacy", "legacy4", "nested", "pickle2", "pickle4"])
@pytest.mark.parametrize("call", [os.system, eval, exec])
def test_code_is_refused(form: str, call: Callable[..., Any], tmp_path: Path, refused: Callable[..., str]) -> None:
    proof = tmp_path / "ran"
    line = f"touch {proof}" if call is os.system else f"open({str(proof)!r}, 'w').close()"
    content: dict[str, Any] = dict(cloned(tiny().state_dict()))
    content["encoder.layers.0.bias"] = Evil(call, line)
    path = tmp_path / "a.pyt"
    if form == "nested":
        torch.save({"state_dict": tiny().state_dict(), "callbacks": {"a": [content]}}, path)
    elif form.startswith("pickle"):
        path.write_bytes(pickle.dumps({"a": Evil(call, line)}, protocol=int(form[-1])))
    else:
        protocol = 4 if form.endswith("4") else 2
        torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=form.startswith("zip"))
    sentence = refused(path)
    assert not proof.exists()
    module = "(posix|nt).system" if call is os.system else rf"(builtins\.|__builtin__\.)?{call.__name__}"
    assert re.search(
        rf"a\.pyt (is damaged or )?wants to run code when it is loaded \({module}\) and is refused;", sentence
    )
    assert sentence.endswith("; get a file that holds only tensors, such as a .safetensors")


@pytest.mark.parametrize(
    ("value", "word"),
    [(Path("x"), "pathlib"), (np.zeros(2), "numpy"), (tiny(), "ear_sat.models.autoencoder.Autoencoder")],
)
def test_objects_are_code(value: Any, word: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save({"state_dict": tiny().state_dict(), "hyper_parameters": value}, tmp_path / "a.ckpt")
    assert re.search(rf"wants to run code when it is loaded \({word}", refused(tmp_path / "a.ckpt"))


def test_later_pickle_protocols(tmp_path: Path, refused: Callable[..., str]) -> None:
    for zipped in (True, False):
        torch.save(tiny().state_dict(), tmp_path / "a.pt", pickle_protocol=4, _use_new_zipfile_serialization=zipped)
        assert refused(tmp_path / "a.pt").endswith("save its tensors with torch.save's defaults or as .safetensors")


def rezip(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Writes a torch file anew, entry by entry."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(name, change(name, data))


def test_zip_bombs(good: Path, refused: Callable[..., str]) -> None:
    """A pickle, or a tensor, of zeros packs to a thousandth."""
    for part in ("data.pkl", "data/3"):
        rezip(good, lambda n, data, part=part: data + bytes(50_000_000) * n.endswith(part), zipfile.ZIP_DEFLATED)
        assert good.stat().st_size < 1_000_000
        assert refused(good).endswith(
            "is a compressed archive, which torch never writes; unpack it if there is a checkpoint inside"
        )


def test_overlapping_entries(good: Path, refused: Callable[..., str]) -> None:
    """Many entries of the directory point to the same bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a/data.pkl", bytes(10_000))
        archive.filelist.extend(copy.copy(archive.filelist[0]) for _ in range(50))
    good.write_bytes(buffer.getvalue())
    assert good.stat().st_size < 20_000
    assert "is a compressed archive" in refused(good)


def test_sizes_that_are_lies(tmp_path: Path, refused: Callable[..., str]) -> None:
    """torch reads a gigabyte behind ten numbers if the pickle says so."""
    path = tmp_path / "a.pt"
    state = {"encoder.layers.0.bias": torch.zeros(10), "b": torch.zeros(5)}
    torch.save(state, path)
    rezip(
        path,
        lambda name, data: (
            data.replace(b"K\x0a", b"J" + struct.pack("<i", 250_000_000)) if name.endswith("data.pkl") else data
        ),
    )
    assert refused(path).endswith("its tensors are larger than the file; it is damaged or was made to mislead")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.zeros(1).expand(10**12),
        torch.zeros(3).as_strided((1000, 1000), (0, 0)),
        torch.zeros(10).as_strided((5, 5), (1, 1)),
        torch.zeros(3).to_sparse(),
        torch.eye(3).to_sparse_csr(),
        torch.empty(3, device="meta"),
    ],
    ids=["expanded", "stride 0", "overlapping", "sparse", "csr", "meta"],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_are_not_what_they_seem(tensor: Tensor, tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save({**tiny().state_dict(), "encoder.layers.0.bias": tensor}, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith(
        "encoder.layers.0.bias is not a plain tensor; the file is damaged or was made to mislead"
    )


def test_pickle_bombs(tmp_path: Path, refused: Callable[..., str]) -> None:
    """A list of two of the list before, sixty times; and a list in a list, a hundred thousand deep."""
    doubled: Any = ["x"]
    for _ in range(60):
        doubled = [doubled, doubled]
    torch.save(doubled, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith("a.pt holds a list, not a dictionary of tensors; give a checkpoint")
    torch.save({"a": doubled, "b": doubled}, tmp_path / "b.pt")
    assert refused(tmp_path / "b.pt").endswith("holds no tensors by name, only a, b; give a checkpoint of a model")
    deep = b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."
    torch.save({"a": torch.zeros(1)}, tmp_path / "c.pt")
    rezip(tmp_path / "c.pt", lambda name, data: deep if name.endswith("data.pkl") else data)
    assert "holds a list" in refused(tmp_path / "c.pt")


# -- tensors of the wrong kind ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int8, torch.bool, torch.complex64],
    ids=lambda dtype: str(dtype).removeprefix("torch."),
)
@pytest.mark.parametrize("form", ["release", "safetensors"])
def test_other_number_types(dtype: torch.dtype, form: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    state = tiny().state_dict()
    path = write_as(form, {key: value.to(dtype) for key, value in state.items()}, tmp_path)
    word = str(dtype).removeprefix("torch.")
    assert (
        refused(path)
        == (
            f"{path}: {len(state)} of {len(state)} tensors are {word}, not float32 (encoder.layers.0.bias, …); "
            "get the float32 file, or convert the tensors with .float() and save them again"
        )
        or form == "safetensors"
    )  # whose order of keys is its own
    path = write_as(form, state | {"encoder.layers.0.bias": state["encoder.layers.0.bias"].to(dtype)}, tmp_path)
    assert f"1 of {len(state)} tensors are {word}, not float32 (encoder.layers.0.bias);" in refused(path)


@pytest.mark.filterwarnings("ignore")
def test_quantised_tensors(tmp_path: Path, refused: Callable[..., str]) -> None:
    quantised = torch.quantize_per_tensor(torch.randn(4), 0.1, 0, torch.qint8)
    torch.save({**tiny().state_dict(), "encoder.layers.0.bias": quantised}, tmp_path / "a.pt")
    assert "tensors are qint8, not float32 (encoder.layers.0.bias);" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("form", ["release", "training_ema", "safetensors"])
def test_values_that_are_not_finite(value: float, form: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    state = cloned(tiny().state_dict())
    state["decoder.layers.1.layers.1.weight_v"][0, 0, 0] = value
    path = write_as(form, state, tmp_path)
    assert refused(path) == (
        f"{path}: 1 of {len(state)} tensors hold NaN or infinite values (decoder.layers.1.layers.1.weight_v); "
        "use an earlier checkpoint or get the file again"
    )


def test_only_the_autoencoder_has_to_be_finite(tmp_path: Path) -> None:
    """The last checkpoint of a discriminator that diverged still has an autoencoder."""
    state: dict[str, Tensor] = {f"autoencoder.{k}": v for k, v in tiny().state_dict().items()}
    torch.save({"state_dict": state | {"discriminator.a": torch.tensor([float("nan")])}}, tmp_path / "a.ckpt")
    assert set(read_checkpoint(tmp_path / "a.ckpt").discriminator) == {"a"}


# -- other content ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "holds no tensors by name, nor anything else; give a checkpoint of a model"),
        ({"state_dict": {}}, "holds no tensors by name, nor anything else"),
        ({"epoch": 3, "lr": 1e-4, "model": {"a": 1}}, "holds no tensors by name, only epoch, lr, model; give"),
        ({"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}, "only a, b, c, d, …; give"),
        ({1: torch.zeros(2), (2, 3): torch.zeros(2)}, "holds no tensors by name, nor anything else"),
        ([torch.zeros(2)], "holds a list, not a dictionary of tensors"),
        (torch.zeros(2), "holds a Tensor, not a dictionary of tensors"),
        ("text", "holds a str, not a dictionary of tensors"),
        (None, "holds a NoneType, not a dictionary of tensors"),
        (OrderedDict(), "holds no tensors by name"),
    ],
)
def test_content_without_tensors(content: Any, words: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert words in refused(tmp_path / "a.pt")


def test_other_models(tmp_path: Path, refused: Callable[..., str]) -> None:
    from ear_sat.models import MultiResolutionSTFTDiscriminator

    discriminator = MultiResolutionSTFTDiscriminator(filters=2, windows=[128, 64])
    language = torch.nn.TransformerEncoder(torch.nn.TransformerEncoderLayer(8, 2, 8), 2)
    for model, found in ((discriminator, r"discriminators\.0 ×|\w+\.0 ×"), (language, r"layers\.0 ×12, layers\.1 ×12")):
        torch.save(model.state_dict(), tmp_path / "a.pt")
        assert re.search(
            rf"cannot use .*a\.pt: this is not an εar-VAE, or not all of it: it has no chain of blocks .*; "
            rf"found {found}.*; other models load with the code that made them",
            refused(tmp_path / "a.pt"),
        )
    torch.save(
        {"state_dict": {f"discriminator.{k}": v for k, v in discriminator.state_dict().items()}}, tmp_path / "b.pt"
    )
    assert "found discriminator." in refused(tmp_path / "b.pt")


def test_activations_that_are_not_shared(tmp_path: Path, refused: Callable[..., str]) -> None:
    """As in a trained Oobleck model of the host, which has the same keys."""
    state = cloned(tiny().state_dict())
    state["encoder.layers.1.layers.0.layers.2.alpha"] += 1
    torch.save(state, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt").endswith(
        "a.pt is another model: encoder.layers.1.layers.0.layers.0.alpha and encoder.layers.1.layers.0.layers.2.alpha "
        "differ, but an εar-VAE has one activation for both; a stock autoencoder of stable-audio-tools needs its own "
        "config and encoder type"
    )


def changed(state: dict[str, Tensor], change: str) -> dict[str, Tensor]:
    state = cloned(state)
    first, second = "encoder.layers.2.layers.0.layers.1", "decoder.transformers.layers.1.ff.ff.2"
    if change == "missing":
        del state[f"{first}.bias"]
    elif change == "unexpected":
        state["extra.layers.0.bias"] = torch.zeros(1)
    elif change == "reshaped":
        state[f"{first}.bias"] = torch.zeros(3)
    else:
        del state[f"{first}.bias"], state[f"{first}.weight_g"], state[f"{second}.weight"]
        state["bottleneck.a"] = torch.zeros(1)
        state["encoder.layers.0.weight_g"] = torch.zeros(8)
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", "1 missing (encoder.layers.2 ×1)"),
        ("unexpected", "1 unexpected (extra.layers.0 ×1)"),
        (
            "reshaped",
            "1 of another shape (encoder.layers.2 ×1), such as encoder.layers.2.layers.0.layers.1.bias: [3] in "
            "the file, [8] in the model",
        ),
        (
            "several",
            "3 missing (decoder.transformers.layers ×1, encoder.layers.2 ×2); 1 unexpected (bottleneck ×1); "
            "1 of another shape (encoder.layers.0 ×1), such as encoder.layers.0.weight_g: [8] in the file, "
            "[8, 1, 1] in the model",
        ),
    ],
)
@pytest.mark.parametrize("form", ["release", "training", "safetensors"])
def test_keys_that_do_not_fit(change: str, words: str, form: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    path = write_as(form, changed(golden_state("tiny_transformer"), change), tmp_path)
    assert refused(path) == (
        f"{path} does not fit the architecture read off its tensors: {words}; "
        "the file is incomplete or of another model"
    )


@pytest.mark.parametrize("key", sorted(tiny(transformer={"depth": 1}).state_dict()))
def test_any_missing_key_is_named_or_known(key: str, tmp_path: Path) -> None:
    """Every key but one of two shared ones is needed."""
    state = cloned(tiny(transformer={"depth": 1}).state_dict())
    del state[key]
    torch.save(state, tmp_path / "a.pt")
    shared = re.search(r"layers\.\d+\.layers\.\d\.layers\.[02]\.(alpha|beta)$", key)
    if shared:
        assert ear_sat.load_autoencoder(tmp_path / "a.pt", sample_rate=1, dim_heads=32, final_tanh=False)
        return
    with pytest.raises(UserError) as error:
        ear_sat.load_autoencoder(tmp_path / "a.pt")
    module = ".".join(key.split(".")[:3])
    assert f"{module} ×1" in str(error.value) or f"{key} is missing" in str(error.value), error.value


def test_a_training_that_mixes_models(tmp_path: Path, refused: Callable[..., str]) -> None:
    """Keys of an autoencoder beside those of a wrapper: the wrapper's count, and are incomplete."""
    state = dict(tiny().state_dict()) | {"autoencoder.encoder.layers.0.bias": torch.zeros(4)}
    torch.save(state, tmp_path / "a.pt")
    assert "this is not an εar-VAE, or not all of it" in refused(tmp_path / "a.pt")


# -- metadata and devices ---------------------------------------------------------------------------------------------


def test_broken_metadata(tmp_path: Path, refused: Callable[..., str]) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(tiny().state_dict(), path, metadata={"model_config": "{broken", "rounds": "many"})
    assert refused(path) == (
        f"cannot use {path}: the model config stored in {path} is not valid JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )
    save_file(cloned(tiny().state_dict()), path, metadata={"rounds": "²", "model_config": "{}"})
    assert read_checkpoint(path).rounds is None


@pytest.mark.parametrize("device", ["gpu", "cuda:99", "mps:x", "", 12345])
def test_unknown_devices(device: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_weights(tiny().state_dict(), path, metadata=config_metadata(config_of()))
    with pytest.raises(UserError, match=rf"^the device {device} cannot be used: .+") as error:
        ear_sat.load_autoencoder(path, device)
    assert "\n" not in str(error.value)


def test_one_bad_file_among_good_ones_leaves_no_trace(tmp_path: Path, refused: Callable[..., str], good: Path) -> None:
    """After a refusal the next file loads."""
    (tmp_path / "bad.pyt").write_bytes(good.read_bytes()[:5000])
    refused(tmp_path / "bad.pyt")
    assert ear_sat.load_autoencoder(good, sample_rate=44100, final_tanh=False).latent_dim == 32
