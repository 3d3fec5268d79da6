"""Receptive fields against the true influence, and chunked against unchunked audio."""

from __future__ import annotations

import math
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ear_sat.errors import UserError
from ear_sat.models import Autoencoder, Decoder, Encoder, context_frames, fold_weight_norm
from ear_sat.models.chunking import attend, decode_chunks, decode_in_chunks, encode_chunks, encode_in_chunks
from ear_sat.models.receptive_field import Reach, hop_length, inputs_of, output_length, reaches

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

STRIDES = [(2, 4), (3, 5), (2, 4, 8), (1, 2), (5, 1, 3), (7,)]
KINDS: dict[str, dict[str, Any]] = {
    "release": {},
    "nearest": {"use_nearest_upsample": True},
    "antialias": {"antialias_activation": True},
    "nearest, antialias, tanh": {"use_nearest_upsample": True, "antialias_activation": True, "final_tanh": True},
    "transformer": {"transformer": {"depth": 1}},
    "elu, no bias": {"use_snake": False, "bias": False},
}


@pytest.fixture
def networks(randomize: Callable[[nn.Module], nn.Module]) -> Callable[..., tuple[Encoder, Decoder]]:
    def make(strides: tuple[int, ...], **kind: Any) -> tuple[Encoder, Decoder]:
        shared = {k: v for k, v in kind.items() if k in ("antialias_activation", "use_snake", "bias")}
        mults = [1, 2, 2][: len(strides)]
        encoder = Encoder(2, 3, mults, strides, latent_dim=8, **shared)
        decoder = Decoder(2, 3, mults, strides, latent_dim=32, **kind)
        return randomize(encoder).eval(), randomize(decoder).eval()

    return make


def assert_same(chunked: Tensor, whole: Tensor) -> None:
    """Rounding only: ten times closer than the 1e-5 × max(1, peak) that is promised."""
    assert chunked.shape == whole.shape
    assert (chunked - whole).abs().max() <= 1e-6 * max(1.0, whole.abs().max().item())


@torch.no_grad()
def influence(network: Callable[[Tensor], Tensor], channels: int, length: int) -> Tensor:
    """(outputs, inputs): whether an output depends on an input, by putting a NaN there. In float64, where convolutions
    are plain sums of products: 0 · NaN is NaN, so no weight is too small to be noticed."""
    x = torch.zeros(length, channels, length, dtype=torch.float64)
    x[torch.arange(length), :, torch.arange(length)] = torch.nan
    return network(x).isnan().any(1).T


def predicted(layers: list[Reach], outputs: int, inputs: int) -> Tensor:
    ranges = [inputs_of(layers, i, i + 1) for i in range(outputs)]
    index = torch.arange(inputs)
    return torch.stack([(first <= index) & (index < last) for first, last in ranges])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strides", [(2, 4), (3, 5), (1, 2)])
def test_receptive_field_is_the_true_influence(strides: tuple[int, ...], kind: str, networks: Any) -> None:
    encoder, decoder = networks(strides, **KINDS[kind])
    hop = math.prod(strides)
    for network, run, channels, length in (
        (encoder.double(), encoder, 2, 23 * hop + 1),
        (decoder.double(), decoder.run, 32, 50),
    ):
        layers = reaches(network)
        assert hop_length(layers) == hop
        true = influence(run, channels, length)
        assert true.shape == (output_length(layers, length), length)
        assert torch.equal(true, predicted(layers, *true.shape))


@pytest.mark.parametrize(
    ("config", "encoder_context", "decoder_context"),
    [((2, 4, 4, 4, 8), (9, 9), (11, 11)), ((2, 2, 4, 6, 10), (7, 7), (9, 9))],
)
def test_context_of_the_releases(config: tuple[int, ...], encoder_context: Any, decoder_context: Any) -> None:
    mults = (1, 1, 1, 1, 1)
    assert context_frames(Encoder(2, 1, mults, config, latent_dim=2)) == encoder_context
    assert context_frames(Decoder(2, 1, mults, config, latent_dim=2)) == decoder_context


def test_context_by_hand() -> None:
    # conv7 ± 3; units ± 3, 9, 27; strided conv: 4 taps at hop 2 from −1; conv3 ± 1 of 2 samples: left 3 + 39 + 1 + 2.
    layers = reaches(Encoder(1, 1, [1], [2], latent_dim=2))
    assert inputs_of(layers, 0, 1) == (-45, 2 + 45)
    assert context_frames(Encoder(1, 1, [1], [2], latent_dim=2)) == (23, 23)


@pytest.mark.parametrize("kind", ["release", "antialias"])
def test_folded_networks_have_the_same_receptive_field(kind: str, networks: Any) -> None:
    for network in networks((3, 5), **KINDS[kind]):
        before = reaches(network)
        assert reaches(fold_weight_norm(network)) == before


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(1, 1, 5, stride=3, padding=2, dilation=2),
        nn.Conv1d(1, 1, 4, padding="same"),
        nn.Conv1d(1, 1, 4, padding="valid", stride=5),
        nn.ConvTranspose1d(1, 1, 7, stride=3, padding=2, output_padding=1),
        nn.ConvTranspose1d(1, 1, 6, stride=3),
        nn.Upsample(scale_factor=3, mode="nearest"),
    ],
)
def test_single_layers(layer: nn.Module) -> None:
    (reach,) = reaches(layer)
    for length in (11, 12, 13, 14, 15):
        true = influence(layer.double(), 1, length)
        assert true.shape[0] == reach.length(length)
        # Dilation leaves holes in the range; its ends are exact.
        within = predicted([reach], *true.shape)
        assert not (true & ~within).any()
        for row, (first, last) in zip(true, (reach.inputs(i, i + 1) for i in range(len(true))), strict=True):
            for end in (first, last - 1):
                assert not 0 <= end < length or row[end]


def test_unknown_layers_are_refused() -> None:
    with pytest.raises(TypeError, match="reach of a LSTM along time is not known"):
        reaches(nn.Sequential(nn.Identity(), nn.LSTM(2, 2)))
    with pytest.raises(TypeError, match="Upsample"):
        reaches(nn.Upsample(scale_factor=2, mode="linear"))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strides", STRIDES)
@torch.no_grad()
def test_chunked_equals_unchunked(strides: tuple[int, ...], kind: str, networks: Any) -> None:
    encoder, decoder = networks(strides, **KINDS[kind])
    hop = math.prod(strides)
    for length, chunks in ((hop, (1, 9)), (hop + 1, (1, 9)), (3 * hop - 1, (1, 2)), (20 * hop + 7, (7,)), (999, (10,))):
        audio = torch.randn(2, 2, length)
        encoded = encoder(audio)
        latents = torch.randn(2, 32, encoded.shape[-1])
        decoded = decoder(latents)
        for chunk in chunks:
            assert_same(encode_in_chunks(encoder, audio, chunk), encoded)
            assert_same(decode_in_chunks(decoder, latents, chunk), decoded)


@torch.no_grad()
def test_chunked_equals_unchunked_for_long_audio(networks: Any) -> None:
    encoder, decoder = networks((2, 4, 8), **KINDS["transformer"])
    audio = torch.randn(1, 2, 300_001)
    encoded = encoder(audio)
    assert encoded.shape[-1] == 300_001 // 64
    assert_same(encode_in_chunks(encoder, audio, 128), encoded)
    latents = torch.randn(1, 32, encoded.shape[-1])
    assert_same(decode_in_chunks(decoder, latents, 129), decoder(latents))


@torch.no_grad()
def test_audio_arrives_in_any_blocks_and_chunks_go_in_any_batches(networks: Any) -> None:
    encoder, decoder = networks((3, 5))
    audio = torch.randn(2, 2, 2011)
    encoded, latents = encoder(audio), torch.randn(2, 32, 134)
    decoded = decoder(latents)
    sizes = torch.tensor([0, 1, 2, 500, 15, 0, 3, 1490])
    for blocks in (audio.split(1, -1), audio.split(997, -1), audio.split(sizes.tolist(), -1)):
        for batch_size in (1, 3, 100):
            chunks = list(encode_chunks(encoder, iter(blocks), 5, batch_size))
            assert [chunk.shape[-1] for chunk in chunks] == [5] * 26 + [4]
            assert_same(torch.cat(chunks, -1), encoded)
    for batch_size in (2, 100):
        chunks = list(decode_chunks(decoder, latents, 10, batch_size))
        assert [chunk.shape[-1] for chunk in chunks] == [150] * 13 + [56]  # two odd strides lose 4 samples
        assert_same(torch.cat(chunks, -1), decoded)


@torch.no_grad()
def test_batches_are_as_large_as_asked(networks: Any) -> None:
    _, decoder = networks((2, 4))
    sizes: list[int] = []
    decoder.layers[0].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    list(decode_chunks(decoder, torch.randn(2, 32, 400), 20, batch_size=4))
    # One or two chunks at either end are shorter, because they lack context.
    assert max(sizes) == 2 * 4 and sum(sizes) == 2 * 20 and len(sizes) <= 8


@torch.no_grad()
def test_blocks_are_taken_only_as_they_are_needed(networks: Any) -> None:
    encoder, _ = networks((2, 4))
    taken = 0

    def blocks() -> Iterator[Tensor]:
        nonlocal taken
        for block in torch.randn(1, 2, 80_000).split(80, -1):
            taken += 1
            yield block

    right = context_frames(encoder)[1]
    for number, _ in enumerate(encode_chunks(encoder, blocks(), 100), start=1):
        assert taken <= math.ceil((100 * number + right) * 8 / 80)
        if number == 5:
            break


@torch.no_grad()
def test_nothing_but_rounding_in_float64(networks: Any) -> None:
    encoder, decoder = (network.double() for network in networks((3, 5), **KINDS["antialias"]))
    audio = torch.randn(1, 2, 2000, dtype=torch.float64)
    latents = torch.randn(1, 32, 133, dtype=torch.float64)
    assert (encode_in_chunks(encoder, audio, 9) - encoder(audio)).abs().max() < 1e-14
    assert (decode_in_chunks(decoder, latents, 9) - decoder(latents)).abs().max() < 1e-14


def test_gradients_flow_through_chunks(networks: Any) -> None:
    encoder, _ = networks((2, 4))
    audio = torch.randn(1, 2, 400, requires_grad=True)
    (whole,) = torch.autograd.grad(encoder(audio).square().sum(), audio)
    (chunked,) = torch.autograd.grad(encode_in_chunks(encoder, audio, 7).square().sum(), audio)
    assert torch.allclose(chunked, whole, atol=1e-5)


@pytest.mark.parametrize("length", [0, 1, 3])
def test_less_than_a_frame_is_an_error(length: int, networks: Any) -> None:
    encoder, decoder = networks((3, 5))
    with pytest.raises(
        UserError, match=f"{length} samples are too short for a latent frame; pad them with zeros to 15"
    ):
        encode_in_chunks(encoder, torch.zeros(1, 2, length), 4)
    with pytest.raises(UserError, match="no latents to decode"):
        decode_in_chunks(decoder, torch.zeros(1, 32, 0), 4)


@pytest.mark.parametrize("sizes", [(0, 1), (-3, 1), (1, 0)])
def test_sizes_out_of_range_are_errors(sizes: tuple[int, int], networks: Any) -> None:
    encoder, decoder = networks((2,))
    with pytest.raises(UserError, match="at least 1"):
        next(encode_chunks(encoder, [torch.zeros(1, 2, 64)], *sizes))
    with pytest.raises(UserError, match="at least 1"):
        next(decode_chunks(decoder, torch.zeros(1, 32, 64), *sizes))


@torch.no_grad()
def test_attention_within_windows(networks: Any) -> None:
    _, decoder = networks((2, 4), **KINDS["transformer"])
    latents = torch.randn(2, 32, 101)
    whole = decoder.transformers(latents)
    for window in (101, 102, 10_000, None):
        assert torch.equal(attend(decoder, latents, window), whole)
    for window in (1, 2, 3, 16, 40, 100):
        seen = attend(decoder, latents, window)
        assert seen.shape == whole.shape
        # A frame is seen by all within a quarter of a window, by none a window away.
        for frame in (0, 50, 100):
            spoilt = latents.clone()
            spoilt[0, :, frame] = torch.nan
            reached = attend(decoder, spoilt, window)[0, 0].isnan().nonzero().flatten()
            nearest = range(max(0, frame - window // 4), min(101, frame + window // 4 + 1))
            assert set(nearest) <= set(reached.tolist())
            assert (reached - frame).abs().max() < window
    # Rotary positions are relative: where windows do not cut, they change nothing.
    assert_same(decoder.transformers(torch.cat((latents, latents[..., :0]), -1)), whole)


@torch.no_grad()
def test_autocast_leaves_the_transformer_in_float32(networks: Any) -> None:
    _, decoder = networks((2, 4), **KINDS["transformer"])
    latents = torch.randn(1, 32, 50)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attend(decoder, latents), decoder.transformers.float()(latents)) is False
        inside = attend(decoder, latents)
    assert torch.equal(inside, decoder.transformers(latents))


@pytest.mark.skipif(sys.platform == "win32", reason="the resource module is not on Windows")
def test_attention_needs_memory_in_proportion_to_the_length() -> None:
    # 16,384 frames: one head's 16,384² weights would take 1 GB in float32, its input takes 2 MB.
    script = """
        import resource, torch
        from ear_sat.models import Transformer
        torch.set_num_threads(1)
        transformer = Transformer(32, depth=1).eval()
        peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with torch.no_grad():
            transformer(torch.randn(1, 32, 64))
            before = peak()
            transformer(torch.randn(1, 32, 16384))
        print(peak() - before)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes or kilobytes
    assert int(done.stdout) * unit < 200e6


@torch.no_grad()
def test_host_methods_of_the_model(tiny_config: dict[str, Any], randomize: Any) -> None:
    model = randomize(Autoencoder.from_config(tiny_config)).eval()
    audio = torch.randn(3, 2, 4000)
    latents, info = model.encode(audio, return_info=True)
    assert torch.equal(info["pre_bottleneck_latents"], model.encoder(audio))
    for options in ({}, {"chunked": True}, {"chunked": True, "chunk_size": 3, "overlap": 0}, {"iterate_batch": True}):
        assert_same(model.encode_audio(audio, **options), latents)
        assert_same(model.decode_audio(latents, **options), model.decode(latents))
        both, chunked_info = model.encode_audio(audio, return_info=True, **options)
        assert_same(both, latents)
        for key, value in info.items():
            torch.testing.assert_close(chunked_info[key], value)
        assert_same(model.encode_audio(audio, skip_bottleneck=True, **options), model.encoder(audio))
        assert_same(model.decode_audio(latents, skip_bottleneck=True, **options), model.decode(latents))
    together = model.encode_audio(audio, chunked=True, chunk_size=50)
    assert_same(model.encode_audio(audio, chunked=True, chunk_size=50, iterate_batch=True), together)
    assert model.pretransform is None and model.is_discrete is False


@torch.no_grad()
def test_draws_do_not_depend_on_chunks(tiny_config: dict[str, Any]) -> None:
    tiny_config["model"]["bottleneck"]["config"] = {"sample": "always"}
    model = Autoencoder.from_config(tiny_config).eval()
    audio = torch.randn(1, 2, 4000)
    draws = []
    for options in ({"chunked": False}, {"chunked": True, "chunk_size": 3}, {"chunked": True, "chunk_size": 111}):
        torch.manual_seed(5)
        draws.append(model.encode_audio(audio, **options))
    assert_same(draws[1], draws[0])
    assert_same(draws[2], draws[0])
    assert not torch.allclose(model.encode_audio(audio), draws[0])


@torch.no_grad()
def test_soft_clip_bounds_chunks_too(tiny_config: dict[str, Any]) -> None:
    tiny_config["model"]["decoder"]["soft_clip"] = True
    model = Autoencoder.from_config(tiny_config).eval()
    latents = 30 * torch.randn(1, 32, 100)
    assert_same(model.decode_audio(latents, chunked=True, chunk_size=7), model.decode(latents))
    assert model.decode_audio(latents, chunked=True).abs().max() <= 1
