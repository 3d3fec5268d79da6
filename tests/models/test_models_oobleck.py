"""Encoder and decoder: lengths, options, gradient checkpointing."""

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ear_sat.errors import UserError
from ear_sat.models import Decoder, Encoder, SnakeBeta
from ear_sat.models.layers import WNConvTranspose1d

SIZE: dict[str, Any] = {"channels": 4, "c_mults": [1, 2], "strides": [2, 4]}


def decoder(**changes: Any) -> Decoder:
    return Decoder(**{**SIZE, "latent_dim": 32, **changes})


def encoder(**changes: Any) -> Encoder:
    return Encoder(**{**SIZE, "latent_dim": 8, **changes})


@pytest.mark.parametrize("strides", [[2, 4], [3, 5], [5, 3], [1, 6], [2, 7]])
@pytest.mark.parametrize("length", [210, 211, 240, 209])
@torch.no_grad()
def test_frames_per_length(strides: list[int], length: int) -> None:
    # A convolution with kernel 2s, stride s, padding ⌈s/2⌉ gives ⌊n/s⌋ frames for even s and ⌊(n + 1)/s⌋ for odd s.
    frames = length
    for stride in strides:
        frames = (frames + stride % 2) // stride
    assert encoder(strides=strides)(torch.zeros(1, 2, length)).shape == (1, 8, frames)


@pytest.mark.parametrize("strides", [[2, 4], [3, 5], [5, 3], [1, 6], [2, 7]])
@pytest.mark.parametrize("nearest", [False, True])
@torch.no_grad()
def test_length_per_frames(strides: list[int], nearest: bool) -> None:
    # The transposed counterpart gives n·s samples for even s and n·s − 1 for odd s; repetition always n·s.
    length = 10
    for stride in reversed(strides):
        length = length * stride - (0 if nearest else stride % 2)
    assert decoder(strides=strides, use_nearest_upsample=nearest)(torch.zeros(2, 32, 10)).shape == (2, 2, length)


@torch.no_grad()
def test_even_strides_are_shift_equivariant(randomize: Callable[..., nn.Module]) -> None:
    # A delay by one hop delays the latents by one frame, away from the ends.
    network = randomize(encoder())
    audio = torch.randn(1, 2, 400)
    hop = math.prod(SIZE["strides"])
    latents, delayed = network(audio), network(audio.roll(hop, -1))
    reach = 20  # frames; three dilated units of 39 samples at each of two rates reach about 16
    assert torch.allclose(delayed[..., reach + 1 : -reach], latents[..., reach : -reach - 1], atol=1e-5)


@pytest.mark.parametrize("part", [encoder, decoder])
@pytest.mark.parametrize("changes", [{}, {"use_snake": False}, {"antialias_activation": True}, {"bias": False}])
def test_checkpointing_changes_nothing(part: Callable[..., nn.Module], changes: dict[str, Any]) -> None:
    plain = part(**changes)
    saving = part(**changes, gradient_checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    x = torch.randn(2, 2, 96) if part is encoder else torch.randn(2, 32, 12)
    results = []
    for network in (plain.train(), saving.train()):
        inputs = x.clone().requires_grad_()
        output = network(inputs)
        output.square().mean().backward()
        results.append([output, inputs.grad, *(p.grad for p in network.parameters())])
    # The blocks are recomputed by the same operations in the same order.
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_checkpointing_recomputes_only_while_training() -> None:
    network, calls = encoder(gradient_checkpointing=True), []
    network.layers[1].register_forward_pre_hook(lambda *_: calls.append(1))
    network.train()(torch.randn(1, 2, 32)).sum().backward()
    assert len(calls) == 2
    network.eval()(torch.randn(1, 2, 32)).sum().backward()
    assert len(calls) == 3


@pytest.mark.parametrize("part", [encoder, decoder])
def test_auto_recomputes_nothing_by_itself(part: Callable[..., nn.Module]) -> None:
    network, calls = part(gradient_checkpointing="auto"), []
    assert network.blocks == [network.layers[1], network.layers[2]]
    network.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    network.train()(torch.randn(1, 2, 32) if part is encoder else torch.randn(1, 32, 4)).sum().backward()
    assert len(calls) == 1


@pytest.mark.parametrize("value", ["on", 1, None])
def test_checkpointing_is_true_false_or_auto(value: Any) -> None:
    with pytest.raises(UserError, match='gradient_checkpointing must be true, false or "auto", not'):
        encoder(gradient_checkpointing=value)


def test_elu_leaves_no_snake() -> None:
    for network in (encoder(use_snake=False), decoder(use_snake=False)):
        kinds = {type(m) for m in network.modules()}
        assert nn.ELU in kinds and SnakeBeta not in kinds
        assert not [key for key in network.state_dict() if key.endswith(("alpha", "beta"))]


def test_antialiasing_is_where_the_release_has_it() -> None:
    from alias_free_torch import Activation1d

    def antialiased(network: nn.Module) -> list[str]:
        return [name for name, m in network.named_modules() if isinstance(m, Activation1d)]

    assert antialiased(encoder(antialias_activation=True)) == ["layers.3"]
    expected = ["layers.1.layers.0", "layers.2.layers.0", "layers.3"]
    assert antialiased(decoder(antialias_activation=True)) == expected
    assert not antialiased(encoder()) and not antialiased(decoder())


@torch.no_grad()
def test_antialiasing_moves_the_output_but_not_its_shape() -> None:
    plain, smooth = decoder(), decoder(antialias_activation=True)
    latents = torch.randn(1, 32, 12)
    parameters = dict(zip(smooth.parameters(), plain.parameters(), strict=True))
    for ours, theirs in parameters.items():
        ours.copy_(theirs)
    a, b = plain(latents), smooth(latents)
    assert a.shape == b.shape
    assert 1e-4 < (a - b).abs().mean() < a.abs().mean()


def test_nearest_upsampling_has_no_transposed_convolution() -> None:
    network = decoder(use_nearest_upsample=True)
    assert not [m for m in network.modules() if isinstance(m, WNConvTranspose1d)]
    assert not [key for key in network.state_dict() if key.endswith("layers.1.1.bias")]


@torch.no_grad()
def test_final_tanh_bounds_the_output(randomize: Callable[..., nn.Module]) -> None:
    plain, bounded = decoder(), decoder(final_tanh=True)
    randomize(plain, 1.0)
    bounded.load_state_dict(plain.state_dict())
    latents = 10 * torch.randn(1, 32, 12)
    assert plain(latents).abs().max() > 1 >= bounded(latents).abs().max()
    assert torch.equal(bounded(latents), plain(latents).tanh())


@torch.no_grad()
def test_without_bias_and_snake_zero_gives_zero() -> None:
    for network, shape in ((encoder(bias=False), (1, 2, 64)), (decoder(bias=False), (1, 32, 8))):
        assert not [key for key in network.state_dict() if key.endswith("bias")]
        assert network(torch.zeros(shape)).abs().max() == 0


def test_last_convolution_of_the_decoder_has_no_bias() -> None:
    assert [key for key in decoder().state_dict() if key.startswith("layers.4.")] == [
        "layers.4.weight_g",
        "layers.4.weight_v",
    ]


def test_every_parameter_gets_a_gradient(randomize: Callable[..., nn.Module]) -> None:
    # Away from its initial zeros the transformer takes part as well.
    network = randomize(decoder(transformer={"depth": 2}))
    network(torch.randn(2, 32, 12)).square().mean().backward()
    assert [name for name, p in network.named_parameters() if not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@torch.no_grad()
def test_autocast_rounds_in_training_only(dtype: torch.dtype) -> None:
    """What is heard, measured or encoded for good is computed without autocast, whatever the input's type."""
    latents, audio = torch.randn(1, 32, 12), torch.randn(1, 2, 96)
    for network, x in ((decoder(transformer={"depth": 1}), latents), (encoder(), audio)):
        exact = network.eval()(x)
        with torch.autocast("cpu", dtype=dtype):
            assert torch.equal(network(x), exact)
            assert network(x.to(dtype)).dtype == torch.float32
            rounded = network.train()(x)
            assert not torch.equal(rounded, exact)
            for parameter in network.parameters():  # frozen, what follows learns from what it gives
                parameter.requires_grad_(False)
            assert torch.equal(network(x), exact)
        # Eight (eleven) bits of mantissa, some 20 layers.
        assert (rounded.float() - exact).abs().max() < 0.1 * exact.abs().max()
        half = network.eval().to(dtype)  # the user's own wish
        with torch.autocast("cpu", dtype=dtype):
            assert half(x).dtype == dtype


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
def test_autocast_breaks_no_compiled_graph(training: bool) -> None:
    for network, x in ((decoder(transformer={"depth": 1}), torch.randn(1, 32, 12)), (encoder(), torch.randn(1, 2, 96))):
        network.train(training)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            compiled = torch.compile(network, backend="eager", fullgraph=True)(x)
            expected = network(x)
        # The compiled activation rounds in other places.
        assert (compiled - expected).abs().max() < 0.03 * expected.abs().max()
    torch.compiler.reset()


@pytest.mark.parametrize(
    "changes",
    [{"strides": [2]}, {"c_mults": [], "strides": []}, {"strides": [2, 0]}, {"c_mults": [1, 2.5]}],
)
@pytest.mark.parametrize("part", [encoder, decoder])
def test_sizes_are_checked(part: Callable[..., nn.Module], changes: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="c_mults and strides"):
        part(**changes)


def test_deep_copy_computes_the_same() -> None:
    network, latents = decoder(transformer={"depth": 1}), torch.randn(1, 32, 6)
    output: Tensor = network(latents)  # a copy after a forward pass: no cached non-leaf tensor may be in the way
    assert torch.equal(copy.deepcopy(network)(latents), output)
