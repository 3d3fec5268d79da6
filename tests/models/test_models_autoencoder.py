"""The bottleneck's modes and KL term, and the whole model from a config."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

from ear_sat.errors import UserError
from ear_sat.models import Autoencoder, VAEBottleneck
from ear_sat.models import kl_divergence as ear_kl


@pytest.mark.parametrize(
    ("mode", "training", "drawn"),
    [
        ("always", True, True),
        ("always", False, True),
        ("training", True, True),
        ("training", False, False),
        ("never", True, False),
        ("never", False, False),
    ],
)
def test_bottleneck_draws_when_asked(mode: str, training: bool, drawn: bool) -> None:
    bottleneck, x = VAEBottleneck(mode).train(training), torch.randn(2, 8, 5)
    first, second = bottleneck.encode(x), bottleneck.encode(x)
    mean = x.chunk(2, dim=1)[0]
    assert torch.equal(first, mean) is not drawn
    assert torch.equal(first, second) is not drawn


def test_draws_follow_the_posterior() -> None:
    # 40,000 draws: the standard error of the mean is std/200, of the deviation std/283; 5 σ.
    x = torch.tensor([0.5, -2.0, 1.0, -1.0]).view(1, 4, 1).expand(1, 4, 40_000)
    latents = VAEBottleneck("always").encode(x)[0]
    std = F.softplus(torch.tensor([1.0, -1.0]))
    assert ((latents.mean(-1) - torch.tensor([0.5, -2.0])).abs() < 5 * std / 200).all()
    assert ((latents.std(-1) - std).abs() < 5 * std / 283).all()


def test_info_holds_the_posterior() -> None:
    x = torch.randn(2, 8, 5)
    latents, info = VAEBottleneck("never").encode(x, return_info=True)
    mean, scale = x.chunk(2, dim=1)
    assert torch.equal(info["mean"], mean) and torch.equal(latents, mean)
    assert torch.equal(info["std"], F.softplus(scale))
    assert info["kl"] == ear_kl(mean, F.softplus(scale))


def test_kl_is_twice_the_divergence() -> None:
    # var = std² + 1e-6 moves it by less than 1e-6 · (1 + 1/std²) per channel.
    mean, std = torch.randn(3, 4, 5), torch.rand(3, 4, 5) + 0.5
    exact = 2 * kl_divergence(Normal(mean, std), Normal(0, 1)).sum(1).mean()
    assert ear_kl(mean, std).item() == pytest.approx(exact.item(), abs=5e-5)


def test_kl_of_the_standard_normal_is_zero() -> None:
    assert ear_kl(torch.zeros(1, 4, 5), torch.ones(1, 4, 5)).item() == pytest.approx(0, abs=1e-6)


def test_kl_is_finite_where_the_scale_collapses() -> None:
    x = torch.tensor([0.0, -200.0]).view(1, 2, 1).requires_grad_()  # softplus(−200) is 0 in float32
    kl = VAEBottleneck().encode(x, return_info=True)[1]["kl"]
    kl.backward()
    # var = 1e-6: ln 1e6 + 1e-6 − 1
    assert kl.item() == pytest.approx(13.8155 - 1, abs=1e-3)
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kl_is_float32(dtype: torch.dtype) -> None:
    x = torch.randn(2, 8, 5).to(dtype)
    latents, info = VAEBottleneck().encode(x, return_info=True)
    assert latents.dtype == dtype and info["kl"].dtype == torch.float32


def test_unknown_mode_names_the_close_match() -> None:
    with pytest.raises(UserError, match="did you mean 'training'"):
        VAEBottleneck("train")


def test_model_from_config(tiny_config: dict[str, Any]) -> None:
    before = copy.deepcopy(tiny_config)
    model = Autoencoder.from_config(tiny_config).eval()
    assert tiny_config == before
    assert (model.latent_dim, model.downsampling_ratio, model.sample_rate, model.io_channels) == (32, 8, 44100, 2)
    audio = torch.randn(3, 2, 160)
    latents, info = model.encode(audio, return_info=True)
    assert latents.shape == info["mean"].shape == (3, 32, 20)
    assert torch.equal(model.encode(audio), latents)  # eval: the posterior mean
    assert torch.equal(model.decode(latents), model(audio))


@pytest.mark.parametrize("length", [160, 161, 167, 5, 1])
@torch.no_grad()
def test_reconstruction_has_the_length_of_its_input(length: int, tiny_config: dict[str, Any]) -> None:
    model = Autoencoder.from_config(tiny_config).eval()
    assert model(torch.randn(1, 2, length)).shape == (1, 2, length)


@torch.no_grad()
def test_soft_clip_of_the_config_bounds_the_output(tiny_config: dict[str, Any]) -> None:
    plain = Autoencoder.from_config(tiny_config)
    tiny_config["model"]["decoder"]["soft_clip"] = True
    clipped = Autoencoder.from_config(tiny_config)
    clipped.load_state_dict(plain.state_dict())
    latents = 10 * torch.randn(1, 32, 6)
    assert torch.equal(clipped.decode(latents), plain.decode(latents).tanh())


def test_requires_grad_false_freezes_a_part(tiny_config: dict[str, Any]) -> None:
    tiny_config["model"]["encoder"]["requires_grad"] = False
    model = Autoencoder.from_config(tiny_config)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert all(p.requires_grad for p in model.decoder.parameters())


Change = Callable[[dict[str, Any]], Any]

ERRORS: dict[str, tuple[Change, str]] = {
    "no model": (lambda c: c.pop("model"), 'needs a "model" object'),
    "no decoder": (lambda c: c["model"].pop("decoder"), 'needs the key "decoder"'),
    "no ratio": (lambda c: c["model"].pop("downsampling_ratio"), 'needs the key "downsampling_ratio"'),
    "encoder strides": (
        lambda c: c["model"]["encoder"]["config"].update(strides=[2, 5]),
        "encoder's strides multiply to 10, downsampling_ratio says 8",
    ),
    "decoder strides": (
        lambda c: c["model"]["decoder"]["config"].update(strides=[2, 5]),
        "decoder's strides multiply to 10, downsampling_ratio says 8",
    ),
    "default strides": (
        lambda c: c["model"]["decoder"].update(config={"latent_dim": 32}),
        "decoder's strides multiply to 1024, downsampling_ratio says 8",
    ),
    "decoder latents": (
        lambda c: c["model"]["decoder"]["config"].update(latent_dim=64),
        "decoder's latent_dim is 64, the model's is 32",
    ),
    "encoder latents": (
        lambda c: c["model"]["encoder"]["config"].update(latent_dim=32),
        "must be 64 for the model's latent_dim 32, not 32",
    ),
    "encoder channels": (
        lambda c: c["model"]["encoder"]["config"].update(in_channels=1),
        "encoder's in_channels is 1, the model's io_channels is 2",
    ),
    "decoder channels": (
        lambda c: c["model"]["decoder"]["config"].update(out_channels=1),
        "decoder's out_channels is 1, the model's io_channels is 2",
    ),
    "encoder key": (
        lambda c: c["model"]["encoder"]["config"].update(use_snak=True),
        "unknown key in encoder.config 'use_snak'; did you mean 'use_snake'",
    ),
    "decoder key": (
        lambda c: c["model"]["decoder"]["config"].update(transformers={"depth": 2}),
        "unknown key in decoder.config 'transformers'; did you mean 'transformer'",
    ),
    "transformer key": (
        lambda c: c["model"]["decoder"]["config"].update(transformer={"dim_head": 32}),
        "did you mean 'dim_heads'",
    ),
    "bottleneck key": (
        lambda c: c["model"]["bottleneck"].update(config={"sampel": "always"}),
        "did you mean 'sample'",
    ),
    "encoder type": (lambda c: c["model"]["encoder"].update(type="ear_encodr"), "did you mean 'ear_encoder'"),
    "bottleneck type": (lambda c: c["model"]["bottleneck"].update(type="ear_va"), "did you mean 'ear_vae'"),
    "part key": (lambda c: c["model"]["encoder"].update(confg={}), "did you mean 'config'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_config_errors_say_what_to_mend(case: str, tiny_config: dict[str, Any]) -> None:
    change, message = ERRORS[case]
    change(tiny_config)
    with pytest.raises(UserError) as error:
        Autoencoder.from_config(tiny_config)
    assert message in str(error.value)


Call = Callable[[Autoencoder, torch.Tensor], Any]
AUDIO: dict[str, Call] = {
    "encode": lambda model, x: model.encode(x),
    "encode item by item": lambda model, x: model.encode(x, iterate_batch=True),
    "encode_audio": lambda model, x: model.encode_audio(x),
    "encode_audio in chunks": lambda model, x: model.encode_audio(x, chunked=True, chunk_size=4),
    "forward": lambda model, x: model(x),
}
LATENTS: dict[str, Call] = {
    "decode": lambda model, x: model.decode(x),
    "decode without bottleneck": lambda model, x: model.decode(x, skip_bottleneck=True, iterate_batch=True),
    "decode_audio": lambda model, x: model.decode_audio(x),
    "decode_audio in chunks": lambda model, x: model.decode_audio(x, chunked=True, chunk_size=4),
}
WRONG_AUDIO = [
    (torch.zeros(2, 80), r"audio must have the shape \(batch, channels, time\), not \(2, 80\); add an axis"),
    (torch.zeros(80), r"the shape \(batch, channels, time\), not \(80,\)$"),
    (torch.zeros(1, 1, 2, 80), r"the shape \(batch, channels, time\), not \(1, 1, 2, 80\)$"),
    (torch.zeros(1, 1, 80), r"audio must have 2 channels for this model, not 1 as in \(1, 1, 80\)$"),
    (torch.zeros(1, 80, 2), r"audio must have 2 channels .* swap axes: audio.transpose\(1, 2\)"),
    (torch.zeros(1, 2, 80, dtype=torch.int16), r"audio must be floating point, full scale ±1, not torch.int16"),
    (torch.zeros(1, 2, 80, dtype=torch.float64), r"audio must be float32 .* audio.float\(\)"),
    (torch.zeros(1, 2, 0), "0 samples are too short for a latent frame; pad them with zeros to 8"),
    (torch.zeros(1, 2, 80).numpy(), "audio must be a tensor, not a ndarray"),
]
WRONG_LATENTS = [
    (torch.zeros(32, 9), r"latents must have the shape \(batch, channels, frames\), not \(32, 9\); add an axis"),
    (torch.zeros(1, 64, 9), "latents must have 32 channels for this model, not 64"),
    (torch.zeros(1, 9, 32), r"swap axes: latents.transpose\(1, 2\)"),
    (torch.zeros(1, 32, 9, dtype=torch.int64), "latents must be floating point"),
    (torch.zeros(1, 32, 9, dtype=torch.float64), r"latents.float\(\)"),
    (torch.zeros(1, 32, 0), "there are no latents to decode"),
]


@pytest.mark.parametrize(
    ("call", "cases"),
    [*((call, WRONG_AUDIO) for call in AUDIO.values()), *((call, WRONG_LATENTS) for call in LATENTS.values())],
    ids=[*AUDIO, *LATENTS],
)
@torch.no_grad()
def test_what_a_model_cannot_take_is_one_sentence(
    call: Call, cases: list[tuple[Any, str]], tiny_config: dict[str, Any]
) -> None:
    model = Autoencoder.from_config(tiny_config).eval()
    for wrong, sentence in cases:
        with pytest.raises(UserError, match=sentence):
            call(model, wrong)


@pytest.mark.parametrize("chunked", [False, True])
@torch.no_grad()
def test_audio_below_a_latent_frame_is_one_sentence(chunked: bool, tiny_config: dict[str, Any]) -> None:
    model = Autoencoder.from_config(tiny_config).eval()
    with pytest.raises(UserError, match="1 samples are too short for a latent frame; pad them with zeros to 8"):
        model.encode_audio(torch.zeros(1, 2, 1), chunked=chunked)


def test_float64_goes_through_a_model_of_float64(tiny_config: dict[str, Any]) -> None:
    model = Autoencoder.from_config(tiny_config).eval().double()
    audio = torch.randn(1, 2, 80, dtype=torch.float64)
    latents = model.encode_audio(audio, chunked=True, chunk_size=4)
    assert torch.allclose(latents, model.encode(audio)) and model.decode(latents).dtype == torch.float64


@pytest.mark.parametrize(
    ("recording", "rate", "sentence"),
    [
        (torch.zeros(2, 9, dtype=torch.int16), 44100, r"floating point, not \(2, 9\) of torch.int16"),
        (torch.zeros(0, 9), 44100, r"\(channels, time\), floating point, not \(0, 9\)"),
        (torch.zeros(2, 9), 0, "the sample rate of a recording must be a whole number of Hz of at least 1, not 0"),
    ],
)
def test_recordings_that_cannot_be_prepared(
    recording: torch.Tensor, rate: int, sentence: str, tiny_config: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=sentence):
        Autoencoder.from_config(tiny_config).preprocess_audio_for_encoder(recording, rate)
