"""Encoder and decoder as ONNX files, checked against the model by onnxruntime before they are in place."""

from __future__ import annotations

import abc
import contextlib
import copy
import io
import json
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from alias_free_torch import Activation1d
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UserError, first_line
from ..files import atomic_path
from ..models import Autoencoder, SnakeBeta, fold_weight_norm, foreign_layers
from ..models.snake import snake_beta_reference
from ..versions import versions
from .writing import refuse_existing

#: What onnxruntime 1.14 and later run, with everything that the networks need.
OPSET = 17
#: Largest difference of any sample or latent, as a share of the largest of them where that is above 1.
TOLERANCE = 1e-4
#: Latent frames of the two signals that the files are checked with; the first is the one they are traced with.
CHECKED_FRAMES = (6, 17)
SUFFIX = ".onnx"


def onnx_files(target: Path) -> tuple[Path, Path]:
    """Where the encoder and the decoder of ``target`` go.

    >>> [path.name for path in onnx_files(Path("model.onnx"))]
    ['model.encoder.onnx', 'model.decoder.onnx']
    """
    return target.with_suffix(f".encoder{SUFFIX}"), target.with_suffix(f".decoder{SUFFIX}")


def write_onnx(
    model: Autoencoder, target: Path, metadata: Mapping[str, str], *, overwrite: bool = False
) -> dict[Path, float]:
    """Writes both files of :func:`onnx_files`, all of both or nothing.

    The encoder takes ``audio`` (batch, channels, samples), a multiple of the hop length, to ``latents`` (batch,
    channels, frames), the posterior's mean; the decoder takes them back. Batch and length are free.

    Args:
        model: in eval mode, on the CPU.
        target: a name that ends in .onnx.
        metadata: strings to keep in both files.
        overwrite: replace what is there.

    Returns:
        for each file the largest difference from the model; see :data:`TOLERANCE`.

    Raises:
        UserError: onnx or onnxruntime is not installed, a part of the model cannot be exported, the result differs from
            the model's, or a file exists or cannot be written.
    """
    _require_libraries()
    if others := foreign_layers(model):
        raise UserError(f"{others[0].name} cannot be written as ONNX; only convolutions and our transformer can")
    if not getattr(model.bottleneck, "draws", True):
        raise UserError("a bottleneck that is not variational cannot be written as ONNX")
    files = onnx_files(target)
    for file in files:
        if not overwrite:
            refuse_existing(file)
    about = {**metadata, **_about(model)}
    parts = _Encode(model), _Decode(model)
    errors: dict[Path, float] = {}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            for file, part in zip(files, parts, strict=True):
                temporary = stack.enter_context(atomic_path(file))
                temporary.write_bytes(_exported(part, about))
                errors[file] = _checked(file, temporary, part)
    except OSError as error:
        raise UserError(
            f"cannot write {target}: {error.strerror or error}; free some space or choose another folder"
        ) from error
    return errors


def _require_libraries() -> None:
    for name in ("onnx", "onnxruntime"):
        try:
            __import__(name)
        except ImportError as error:
            raise UserError(f"writing ONNX needs {name} ({first_line(error)}): pip install 'ear-sat[onnx]'") from error


def _about(model: Autoencoder) -> dict[str, str]:
    found = versions("ear_sat", "torch", "onnx")
    return {
        "sample_rate": str(model.sample_rate),
        "downsampling_ratio": str(model.downsampling_ratio),
        "latent_dim": str(model.latent_dim),
        "opset": str(OPSET),
        "versions": json.dumps({name: version or "none" for name, version in found.items()}),
    }


class _Part(nn.Module, abc.ABC):
    """What one file computes; ``axes`` are the free ones of its input and output."""

    input_name, output_name = "", ""
    axes: dict[str, dict[int, str]]

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = _plain(fold_weight_norm(copy.deepcopy(network))).eval()

    @abc.abstractmethod
    def example(self, frames: int, batch: int = 1) -> Tensor:
        """An input of so many latent frames, always the same."""


class _Encode(_Part):
    input_name, output_name = "audio", "latents"
    axes = {"audio": {0: "batch", 2: "samples"}, "latents": {0: "batch", 2: "frames"}}  # noqa: RUF012

    def __init__(self, model: Autoencoder) -> None:
        super().__init__(model.encoder)
        self.channels, self.latent_dim, self.hop = model.in_channels, model.latent_dim, model.downsampling_ratio

    def forward(self, audio: Tensor) -> Tensor:
        encoded: Tensor = self.network(audio)
        return encoded[:, : self.latent_dim]

    def example(self, frames: int, batch: int = 1) -> Tensor:
        return 0.3 * torch.randn(
            batch, self.channels, frames * self.hop, generator=torch.Generator().manual_seed(frames)
        )


class _Decode(_Part):
    input_name, output_name = "latents", "audio"
    axes = {"latents": {0: "batch", 2: "frames"}, "audio": {0: "batch", 2: "samples"}}  # noqa: RUF012

    def __init__(self, model: Autoencoder) -> None:
        super().__init__(model.decoder)
        self.latent_dim, self.soft_clip = model.latent_dim, model.soft_clip

    def forward(self, latents: Tensor) -> Tensor:
        audio: Tensor = self.network(latents)
        return audio.tanh() if self.soft_clip else audio

    def example(self, frames: int, batch: int = 1) -> Tensor:
        return torch.randn(batch, self.latent_dim, frames, generator=torch.Generator().manual_seed(frames))


class _Snake(nn.Module):
    """:class:`SnakeBeta` in plain operations, which can be traced."""

    def __init__(self, snake: SnakeBeta) -> None:
        super().__init__()
        self.alpha, self.beta = snake.alpha, snake.beta

    def forward(self, x: Tensor) -> Tensor:
        return snake_beta_reference(x, self.alpha, self.beta)


class _Antialiased(nn.Module):
    """alias-free-torch's ``Activation1d`` with its number of channels as a constant, which tracing asks for."""

    def __init__(self, activation: Any) -> None:
        super().__init__()
        self.up, self.act, self.down = activation.upsample, activation.act, activation.downsample.lowpass

    def forward(self, x: Tensor) -> Tensor:
        channels, up, down = int(x.shape[1]), self.up, self.down
        x = F.pad(x, (up.pad, up.pad), mode="replicate")
        x = up.ratio * F.conv_transpose1d(x, up.filter.expand(channels, -1, -1), stride=up.stride, groups=channels)
        x = self.act(x[..., up.pad_left : -up.pad_right])
        x = F.pad(x, (down.pad_left, down.pad_right), mode="replicate")
        return F.conv1d(x, down.filter.expand(channels, -1, -1), stride=down.stride, groups=channels)


def _plain(module: nn.Module) -> nn.Module:
    """The layers that cannot be traced in another form."""
    for name, child in module._modules.items():
        if isinstance(child, SnakeBeta):
            module._modules[name] = _Snake(child)
        elif child is not None:
            plain = _plain(child)
            module._modules[name] = _Antialiased(plain) if isinstance(child, Activation1d) else plain
    return module


@torch.no_grad()
def _exported(part: _Part, metadata: Mapping[str, str]) -> bytes:
    import onnx

    buffer = io.BytesIO()
    with _quiet():
        torch.onnx.export(
            part,
            (part.example(CHECKED_FRAMES[0]),),
            buffer,  # type: ignore[arg-type]  # which the stub does not know
            input_names=[part.input_name],
            output_names=[part.output_name],
            dynamic_axes=part.axes,
            opset_version=OPSET,
            dynamo=False,
        )
    proto = onnx.load_model_from_string(buffer.getvalue())
    onnx.helper.set_model_props(proto, dict(metadata))
    onnx.checker.check_model(proto)
    made: bytes = proto.SerializeToString()
    return made


@torch.no_grad()
def _checked(file: Path, written: Path, part: _Part) -> float:
    """The largest difference at both lengths, of two signals at a time; refused above :data:`TOLERANCE`."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(str(written), options, providers=["CPUExecutionProvider"])
    worst = 0.0
    for frames in CHECKED_FRAMES:
        given = part.example(frames, batch=2)
        expected = part(given)
        found = torch.from_numpy(session.run([part.output_name], {part.input_name: given.numpy()})[0])
        if found.shape != expected.shape:
            raise UserError(
                f"{file.name} gives {tuple(found.shape)} where the model gives {tuple(expected.shape)}; it was not "
                "written"
            )
        worst = max(worst, float((found - expected).abs().max() / expected.abs().max().clamp(min=1)))
    if not worst <= TOLERANCE:
        raise UserError(
            f"{file.name} differs from the model by {worst:.2g}, more than {TOLERANCE:g}; it was not written"
        )
    return worst


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """While open, the exporter does not warn of sizes that tracing takes for constants: two lengths are checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
