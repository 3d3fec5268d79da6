"""Inference mode computes what the plain networks compute, in every precision and in chunks."""

from __future__ import annotations

import functools
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

from ear_sat import compiling, compute
from ear_sat.errors import UserError
from ear_sat.models import (
    Autoencoder,
    Decoder,
    Encoder,
    MultiResolutionSTFTDiscriminator,
    optimize_for_inference,
    optimized,
)
from ear_sat.models.receptive_field import reaches

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

KINDS: dict[str, dict[str, Any]] = {
    "release": {},
    "nearest": {"use_nearest_upsample": True},
    "antialias": {"antialias_activation": True},
    "transformer, tanh": {"transformer": {"depth": 1}, "final_tanh": True},
    "elu, no bias": {"use_snake": False, "bias": False},
}
#: Largest relative errors of tiny random networks; a float16 has 11 bits, a bfloat16 8.
LIMITS = {"32": 1e-5, "16": 5e-3, "bf16": 4e-2}


@pytest.fixture
def networks(randomize: Callable[[nn.Module], nn.Module]) -> Callable[..., list[tuple[nn.Module, Tensor]]]:
    """Encoder and decoder with an input each; strides that are odd, even and 1."""

    def make(strides: tuple[int, ...] = (3, 1, 4), batch: int = 2, **kind: Any) -> list[tuple[nn.Module, Tensor]]:
        shared = {k: v for k, v in kind.items() if k in ("antialias_activation", "use_snake", "bias")}
        size = {"channels": 6, "c_mults": [1, 2, 2][: len(strides)], "strides": strides}
        encoder, decoder = Encoder(latent_dim=8, **size, **shared), Decoder(latent_dim=32, **size, **kind)
        hop = torch.tensor(strides).prod().item()
        return [
            (randomize(encoder).eval(), torch.randn(batch, 2, 30 * hop)),
            (randomize(decoder).eval(), torch.randn(batch, 32, 30)),
        ]

    return make


@pytest.mark.parametrize("precision", LIMITS)
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_computes_what_the_plain_network_computes(kind: str, precision: str, networks: Any) -> None:
    for network, x in networks(**KINDS[kind]):
        plain, before, reach = network(x), x.clone(), reaches(network)
        assert optimize_for_inference(network, precision) is network
        result = network(x)
        assert result.dtype == torch.float32 and result.shape == plain.shape
        assert (result - plain).abs().max() <= LIMITS[precision] * plain.abs().max()
        assert torch.equal(x, before)  # the activations that replace their input stop at the networks' own tensors
        assert torch.equal(network(x), result)
        assert reaches(network) == reach


@torch.no_grad()
def test_half_precision_spares_the_ends(networks: Any) -> None:
    # What autocast makes of the same weights rounds audio, latents and outputs as well.
    for network, x in networks():
        plain = network(x)
        network.unrounded_layers = 0
        with torch.autocast("cpu", torch.bfloat16):
            cast = network.train()(x).float()
        network.eval()
        ours = optimize_for_inference(network, "bf16")(x)
        assert (ours - plain).square().mean() < (cast - plain).square().mean()


@pytest.mark.parametrize("precision", ["32", "bf16"])
@torch.no_grad()
def test_chunks_and_batches(precision: str, tiny_config: dict[str, Any], randomize: Any) -> None:
    model = optimize_for_inference(randomize(Autoencoder.from_config(tiny_config)).eval(), precision)
    waveform = torch.rand(3, 2, 5_003) - 0.5
    whole = model.reconstruct(waveform, 44100, chunk_seconds=None)
    chunked = model.reconstruct(waveform, 44100, chunk_seconds=0.011)
    alone = torch.cat([model.reconstruct(clip[None], 44100) for clip in waveform])
    # Convolutions may round otherwise for other lengths, and half types make that a step of theirs.
    tolerance = {"32": 1e-6, "bf16": 4e-2}[precision]
    assert (chunked - whole).abs().max() <= tolerance * whole.abs().max()
    assert (alone - whole).abs().max() <= tolerance * whole.abs().max()


def test_no_parameter_asks_for_a_gradient(networks: Any) -> None:
    for network, x in networks():
        optimize_for_inference(network)
        assert not any(p.requires_grad for p in network.parameters()) and not network(x).requires_grad


def test_refusals(networks: Any) -> None:
    (encoder, _), _ = networks()
    with pytest.raises(UserError, match="unknown precision 'fp8'"):
        optimize_for_inference(encoder, "fp8")
    optimize_for_inference(encoder)
    with pytest.raises(ValueError, match="prepared for inference already"):
        optimize_for_inference(encoder, "bf16")


#: What torch says of processors: any AVX-512 is enough for oneDNN, which emulates; ARM has no such query as x86 has.
PROCESSORS = {
    "x86 with bfloat16": ("x86_64", True, True, True),
    "AVX-512 without": ("x86_64", True, False, False),
    "AVX2": ("AMD64", False, False, False),
    "ARM with bfloat16": ("aarch64", True, False, True),
    "ARM without": ("arm64", False, False, False),
}


@pytest.mark.parametrize("kind", PROCESSORS)
@torch.no_grad()
def test_slow_bfloat16_is_said_once(
    kind: str, networks: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    machine, onednn, avx512_bf16, fast = PROCESSORS[kind]
    monkeypatch.setattr(compute.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    compute.warn_of_slow_bf16.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for network, _ in networks():
                optimize_for_inference(network, "32")
            MultiResolutionSTFTDiscriminator(filters=2, windows=[64])
            assert not caplog.records
            for network, _ in networks():
                optimize_for_inference(network, "bf16")
            MultiResolutionSTFTDiscriminator(filters=2, windows=[64], precision="bf16")
        assert compute.cpu_computes_bf16() == fast
        assert ["bfloat16 by software" in record.getMessage() for record in caplog.records] == [True] * (not fast)
    finally:
        compute.warn_of_slow_bf16.cache_clear()


@torch.no_grad()
def test_without_a_compiler_there_is_one_notice(
    networks: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("No working C++ compiler found\nsearched in …")

    monkeypatch.setattr(torch, "compile", broken)
    compiling.can_compile.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for network, x in networks():
                plain = network(x)
                result = optimize_for_inference(network, compiled=True)(x)
                assert (result - plain).abs().max() <= 1e-5 * plain.abs().max()
        (notice,) = [record.getMessage() for record in caplog.records]
        assert "going on without it; it needs a C++ compiler such as g++ (No working C++ compiler found)" in notice
    finally:
        compiling.can_compile.cache_clear()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(torch.compiler, "set_stance"), reason="torch 2.5 has no stance")
def test_whether_there_is_a_compiler_is_found_out_quietly_in_any_stance(tmp_path: Path) -> None:
    """The memory plan runs compiled functions as they are; a compiler that fails has much to say."""
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\nfor line in 1 2 3; do echo $line; echo error: line $line >&2; done; exit 1\n")
    compiler.chmod(0o755)
    program = """if True:
        import torch
        from ear_sat.compiling import can_compile, stance
        with stance("force_eager"):
            print(can_compile("cpu"))
        """
    env = {**os.environ, "PATH": f"{tmp_path}:/usr/bin:/bin", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path), "CXX": "g++"}
    env["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    run = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"
    (notice,) = run.stderr.splitlines()
    assert "torch.compile does not work here, going on without it" in notice


@pytest.mark.slow
@torch.no_grad()
def test_compiled_networks_compute_the_same(networks: Any) -> None:
    if not compiling.can_compile("cpu"):
        pytest.skip("torch.compile needs a C++ compiler")
    _, (decoder, z) = networks(strides=(2,), batch=1)
    lengths = (30, 17)
    plain = [decoder(z[..., :length]) for length in lengths]
    optimize_for_inference(decoder, compiled=True)
    for length, expected in zip(lengths, plain, strict=True):
        assert (decoder(z[..., :length]) - expected).abs().max() <= 1e-5 * expected.abs().max()


@torch.no_grad()
def test_slices_are_not_compiled_anew(networks: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a file are slices of another layout than a whole one."""
    counter = CompileCounter()
    monkeypatch.setattr(optimized, "can_compile", lambda _: True)
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=counter))
    _, (decoder, z) = networks(strides=(2,), batch=2)
    optimize_for_inference(decoder, compiled=True)
    for length in (30, 29, 28):
        decoder(z[..., :length].contiguous())
    compiled = counter.frame_count
    for begin, length in ((0, 27), (1, 26), (2, 24)):
        decoder(z[..., begin : begin + length])
    assert counter.frame_count == compiled
    torch.compiler.reset()


@torch.no_grad()
def test_half_precision_by_software_is_told(networks: Any, caplog: pytest.LogCaptureFixture) -> None:
    (encoder, _), _ = networks()
    with caplog.at_level(logging.WARNING):
        optimize_for_inference(encoder, "16")
    assert "take bf16 or 32" in caplog.text
