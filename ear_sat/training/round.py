"""One batch of a round: its audio, its reconstruction, and the gradients it adds to both players.

The losses' gradient is taken with respect to the decoded audio, cut off from the generator; the discriminator's come
from the same passes (see :mod:`.adversary`); one backward through the generator follows with that gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import record_function

from ..compute import outside_autocast
from ..config import choice_error
from ..errors import UserError
from ..losses import gradient_norms
from .adversary import adversarial_pass
from .phases import Phase
from .round_log import latent_statistics


def audio_of(batch: Any) -> Tensor:
    """The audio of a loader's ``(audio, infos)``: (batch, channels, time)."""
    reals: Tensor = batch[0]
    if reals.ndim == 4 and reals.shape[0] == 1:  # WebDataset adds an axis.
        reals = reals[0]
    return reals.unsqueeze(1) if reals.ndim == 2 else reals


def encoder_input(wrapper: Any, reals: Tensor) -> Tensor:
    """What the encoder gets: ``reals``, or the mean of their channels with ``force_input_mono``."""
    return reals.mean(dim=1, keepdim=True) if wrapper.force_input_mono and reals.shape[1] > 1 else reals


@torch.no_grad()
def reconstruct(wrapper: Any, reals: Tensor) -> Tensor:
    """Reconstruction by the exported model in eval mode, outside of autocast, cut to the length of ``reals``."""
    model = wrapper.exported_autoencoder
    training = model.training
    model.eval()
    try:
        with outside_autocast(reals.device.type):
            decoded: Tensor = model.decode(model.encode(encoder_input(wrapper, reals)))
    finally:
        model.train(training)
    return nn.functional.pad(decoded, (0, max(0, reals.shape[-1] - decoded.shape[-1])))[..., : reals.shape[-1]]


def add_gradients(
    wrapper: Any, reals: Tensor, phase: Phase, generator: bool, discriminator: bool, measure: bool = False
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Adds one batch's gradients to the parameters of the players that are updated.

    Args:
        wrapper: the training wrapper, its trainer attached.
        reals: (batch, channels, time).
        phase: of the schedule.
        generator: whether the generator is updated this round.
        discriminator: whether the discriminator is.
        measure: whether each weighted term's gradient at the decoded audio is measured.

    Returns:
        numbers to log, detached, and :func:`ear_sat.losses.gradient_norms` of the terms, if they were to be measured.
    """
    with torch.set_grad_enabled(generator), record_function("ear_sat: generator forward"):
        latents, info = wrapper.autoencoder.encode(encoder_input(wrapper, reals), return_info=True)
        if wrapper.latent_mask_ratio > 0:
            latents = latents.masked_fill(torch.rand_like(latents) < wrapper.latent_mask_ratio, 0)
        decoded = wrapper.autoencoder.decode(latents)
        length = min(decoded.shape[-1], reals.shape[-1])
        decoded, reals = decoded[..., :length], reals[..., :length].float()
    if generator and not decoded.requires_grad:  # the host decodes without a graph through a pretransform by default
        raise UserError(
            "the losses cannot reach the autoencoder, because its output carries no gradient; "
            'set "enable_grad": true in model.pretransform'
        )
    output = decoded.detach().float().requires_grad_(generator)
    values = {"input/peak": reals.abs().max(), **latent_statistics(latents, info)}
    weighted: dict[str, Tensor] = {}
    raw: dict[str, Tensor] = {}
    if generator:
        with record_function("ear_sat: reconstruction losses"):
            losses = wrapper.bundle(output, reals, step=wrapper.rounds, entries=phase.losses)
        weighted, raw = dict(losses.weighted), dict(losses.raw)
    if wrapper.discriminator is not None and phase.adversarial:

        def backward(loss: Tensor, **kwargs: Any) -> None:
            wrapper.manual_backward(loss / wrapper.accumulate, **kwargs)

        adversary = adversarial_pass(wrapper.discriminator, reals, output, train=discriminator, backward=backward)
        values["loss/discriminator"] = adversary.discriminator.detach()
        if generator:
            for key, weight in wrapper.adversarial_weights.items():
                raw[f"discriminator/{key}"] = getattr(adversary, key)
                weighted[f"discriminator/{key}"] = weight * raw[f"discriminator/{key}"]
    terms, norms = dict(weighted), {}
    if generator:
        for key, weight in _bottleneck_weights(wrapper, info, phase).items():
            raw[f"bottleneck/{key}"] = info[key]
            weighted[f"bottleneck/{key}"] = weight * info[key]
        others = [value for key, value in weighted.items() if key not in terms]
        if measure:
            scale = loss_scale(wrapper)
            scaled = gradient_norms({key: value * scale for key, value in terms.items()}, output)
            norms = {key: norm / scale for key, norm in scaled.items()}
        _generator_backward(wrapper, decoded, output, terms, others)
        values["loss/total"] = torch.stack([v.detach().float() for v in weighted.values()]).sum()
    values |= {f"raw/{key}": value.detach().float() for key, value in raw.items()}
    values |= {f"weighted/{key}": value.detach().float() for key, value in weighted.items()}
    return values, norms


def loss_scale(wrapper: Any) -> float:
    """What fp16 training multiplies its losses with; 1 in other precisions."""
    scaler = wrapper.scaler
    return 1.0 if scaler is None else float(scaler.get_scale())


def _bottleneck_weights(wrapper: Any, info: Mapping[str, Any], phase: Phase) -> Mapping[str, float]:
    if phase.losses is not None and "bottleneck" not in phase.losses:
        return {}
    for key in wrapper.bottleneck_weights:
        if key not in info:
            scalars = [k for k, v in info.items() if isinstance(v, Tensor) and v.ndim == 0]
            raise choice_error("key in loss_configs.bottleneck.weights", key, scalars)
    weights: Mapping[str, float] = wrapper.bottleneck_weights
    return weights


def _generator_backward(
    wrapper: Any, decoded: Tensor, output: Tensor, terms: Mapping[str, Tensor], others: list[Tensor]
) -> None:
    """Back-propagates ``terms`` to ``output``, then that gradient and ``others`` through the generator.

    The graphs of the terms are gone before the generator's backward begins: the two never need memory together.
    """
    scale = loss_scale(wrapper)
    gradient = torch.zeros_like(output)
    live = [value for value in terms.values() if value.requires_grad]
    if live:
        # In fp16 the discriminator's own gradients underflow without the scale.
        objective = torch.stack([value.float() for value in live]).sum() * scale
        with record_function("ear_sat: all losses back to the audio"):
            (gradient,) = torch.autograd.grad(objective, output)
        gradient = gradient / scale
    surrogate = (decoded.float() * gradient).sum()
    for value in others:
        surrogate = surrogate + value.float()
    if surrogate.requires_grad:
        with record_function("ear_sat: generator backward"):
            wrapper.manual_backward(surrogate / wrapper.accumulate)
