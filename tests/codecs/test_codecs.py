"""Codecs of other libraries compute here what they compute there: in chunks, at any rate, mono and stereo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ear_sat import UserError
from ear_sat.codecs import Codec, facts_of, find_codec
from ear_sat.models import foreign_layers

KINDS = ("dac", "encodec_24khz", "encodec_48khz", "agc", "agc_discrete")
Saved = Callable[[str], tuple[Any, Path]]


def built(folder: Path) -> Any:
    _, codec = find_codec(str(folder))
    assert isinstance(codec, Codec)
    return codec.build()


def noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(shape, generator=torch.Generator().manual_seed(1))


def theirs(kind: str, model: Any, audio: Tensor) -> Tensor:
    """What the library itself makes of audio of whole frames."""
    if kind == "dac":
        return model(audio).audio_values.unsqueeze(1)
    if kind.startswith("encodec"):
        if model.config.chunk_length is not None:  # its feature extractor fills the last piece up
            audio = F.pad(audio, (0, model.config.chunk_length - model.config.chunk_stride))
        return model(audio, bandwidth=max(model.config.target_bandwidths)).audio_values
    latents = model.encoder(audio + 1e-5)
    if kind == "agc":
        return model.decoder(latents.chunk(2, dim=1)[0])
    return model.decode(model.encode(audio.clone()))


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_the_same_as_the_library_and_in_chunks(kind: str, saved: Saved) -> None:
    library, folder = saved(kind)
    model = built(folder)
    rate, channels = model.sample_rate, model.io_channels
    audio = noise(1, channels, 5 * model.downsampling_ratio if kind == "encodec_48khz" else 4 * rate)
    expected = theirs(kind, library, audio)[..., : audio.shape[-1]]
    assert expected.abs().max() > 1e-3  # it is no silence
    whole = model.reconstruct(audio, rate, chunk_seconds=None)
    torch.testing.assert_close(whole, expected, rtol=0, atol=1e-5)
    chunked = model.reconstruct(audio, rate, chunk_seconds=0.7)
    if all(layer.exact for layer in foreign_layers(model)):
        torch.testing.assert_close(chunked, expected, rtol=0, atol=1e-5)
    else:  # an LSTM has all of the past in it, and a second of it in each chunk
        assert (chunked - expected).square().mean() < 1e-3 * expected.square().mean()


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_silence_ten_milliseconds_mono_and_stereo(kind: str, saved: Saved) -> None:
    model = built(saved(kind)[1])
    for channels in (1, 2):
        for samples in (441, 44100):
            for audio in (torch.zeros(channels, samples), noise(channels, samples)):
                result = model.reconstruct(audio, 44100)
                assert result.shape == audio.shape and result.isfinite().all()
    if model.io_channels == 1:  # each channel by itself
        two = noise(2, 8000)
        one = torch.cat([model.reconstruct(channel[None], 44100) for channel in two])
        torch.testing.assert_close(model.reconstruct(two, 44100), one, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_three_minutes_in_bounded_memory(kind: str, saved: Saved) -> None:
    """The network is never given more than a few chunks' worth, however long the file is."""
    model = built(saved(kind)[1])
    longest = 0
    for layer in foreign_layers(model)[:1]:
        compute = layer.compute

        def watched(x: Tensor, compute: Callable[[Tensor], Tensor] = compute) -> Tensor:
            nonlocal longest
            longest = max(longest, x.shape[-1])
            return compute(x)

        layer.compute = watched
    audio = noise(2, 180 * model.sample_rate)
    assert model.reconstruct(audio, model.sample_rate).shape == audio.shape
    assert longest <= 8 * model.sample_rate


def test_facts(saved: Saved) -> None:
    """Of a mono codec twice per stereo signal; EnCodec's pieces hide its frames."""
    dac = facts_of(built(saved("dac")[1]))
    assert (dac.latent_rate, dac.codebooks, dac.latent_channels, dac.values_per_s) == (500, 3, None, None)
    assert dac.kbit_per_s == pytest.approx(2 * 500 * 3 * 4 / 1000) and dac.channels == 1
    library, folder = saved("encodec_48khz")
    encodec = facts_of(built(folder))
    assert (encodec.latent_rate, encodec.codebooks) == (400, 4) and encodec.kbit_per_s == pytest.approx(6.4)
    assert encodec.parameters == sum(p.numel() for p in library.parameters())


def test_facts_of_a_continuous_one(saved: Saved) -> None:
    facts = facts_of(built(saved("agc")[1]))
    assert (facts.latent_rate, facts.latent_channels, facts.codebooks, facts.kbit_per_s) == (1200, 4, None, None)
    assert facts.values_per_s == 4800


def test_bandwidths(saved: Saved) -> None:
    _, folder = saved("encodec_48khz")
    name, codec = find_codec(f"{folder}:1.6")
    assert name == "encodec_48khz_1.6kbps" and isinstance(codec, Codec)
    assert facts_of(codec.build()).kbit_per_s == pytest.approx(1.6)
    assert find_codec(f"low={folder}:1.6")[0] == "low"
    with pytest.raises(UserError, match=r"has the bandwidths 1\.6, 3\.2, 6\.4 kbit/s, not 5"):
        find_codec(f"{folder}:5")[1].build()  # type: ignore[union-attr]
    with pytest.raises(UserError, match="has one bandwidth"):
        find_codec(f"{saved('dac')[1]}:6")


def test_what_is_no_codec(tmp_path: Path, saved: Saved) -> None:
    _, folder = saved("dac")
    for text, words in (
        ("", "takes a name"),
        ("=x", "takes a name"),
        (f"{tmp_path}/none", "no such codec, file or folder: .*encodec_48khz"),
    ):
        with pytest.raises(UserError, match=words):
            find_codec(text)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "n_codebooks": 4}), encoding="utf-8")
    with pytest.raises(UserError, match=r"do not fit its config.json: \d+ missing \(quantizer"):
        built(folder)
    (folder / "config.json").write_text(json.dumps({**config, "codebook_size": "many"}), encoding="utf-8")
    with pytest.raises(UserError, match="cannot be loaded as a model of type dac"):
        built(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mimi"}), encoding="utf-8")
    with pytest.raises(UserError, match="is a model of type mimi; a codec here is one of agc, dac, encodec"):
        find_codec(str(folder))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="cannot be loaded as a model of type dac"):
        built(folder)


def test_a_library_that_is_not_installed(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    _, folder = saved("dac")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"needs transformers, .*pip install 'ear-sat\[codecs\]'$"):
        built(folder)


def test_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library itself, told to stay offline (in conftest.py), with nothing in its cache."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=r"config\.json of huggingface\.co/facebook/encodec_48khz cannot be downloaded"):
        find_codec("encodec_48khz")
