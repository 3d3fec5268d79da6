"""The keys of a model config that training reads, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from ..config import check_near_misses, check_types, value_types
from ..errors import UserError
from ..models.parts import ModelSection
from ..value_types import Count, NotNegative, OneOf, Positive, Range, Share, Size

JsonObject = Mapping[str, Any]


#: Parts of a host's diffusion models → the keys that stable-audio-tools 0.0.20 reads. It passes over any other: without
#: this a misspelt one would be missed in silence.
HOST_PARTS = {
    "pretransform": ("type", "config", "scale", "iterate_batch", "model_half", "chunked", "enable_grad"),
    "conditioning": ("configs", "cond_dim", "default_keys", "pre_encoded_keys"),
    "diffusion": (
        "type",
        "config",
        "diffusion_objective",
        "cross_attention_cond_ids",
        "global_cond_ids",
        "input_concat_ids",
        "prepend_cond_ids",
        "local_add_cond_ids",
        "modular_local_cond_configs",
        "mask_padding_attention",
        "use_effective_length_for_schedule",
        "distribution_shift_options",
        "sampling_distribution_shift_options",
    ),
}


#: Samples; 2²⁷ of one stereo clip are 1 GiB.
ClipLength = Annotated[int, Range(at_least=1, at_most=2**27, unit="samples")]


class ModelConfig(TypedDict, total=False):
    """The config itself.

    Keys:
        model_type: ``"autoencoder"``, or one of the host's types of diffusion models.
        sample_size: samples of a training clip; a multiple of the model's hop.
        sample_rate: Hz, of the model and of what it hears.
        audio_channels: 2 for stereo, 1 for mono.
        model: the network.
        training: how it is trained.
    """

    model_type: str
    sample_size: ClipLength
    sample_rate: Size
    audio_channels: Size
    model: JsonObject
    training: JsonObject


class TrainingSection(TypedDict, total=False):
    """``training`` of type "ear", less what the wrapper's constructor takes under the same names.

    Keys:
        type: ``"ear"``: our engine. Without it the host's own wrapper trains.
        learning_rate: of both players, where ``optimizer_configs`` is absent; 3e-4 by default (the paper).
        optimizer_configs: ``autoencoder`` and ``discriminator``; without it AdamW with betas 0.5 and 0.9 (the paper).
        clip_grad_norm: largest gradient norm, as one number or as ``{"generator": …, "discriminator": …}``; 0, the
            default, clips nothing.
        loss_configs: name of your choice → loss term; the names ``discriminator`` and ``bottleneck`` are fixed.
        phases: the phases of the run, in order; without it one phase with every loss.
        balance: weights that follow from measured gradients.
        use_ema: keep a moving average of the autoencoder; exports and demos then use it.
        ema: arguments of the moving average.
        equivariance: changes to latents and audio that make latents easier for a diffusion model.
        eval_loss_configs: metrics of the validation, as ``{"si_sdr_db": {}, …}``.
        demo: the listening examples of a run.
    """

    type: Annotated[str, OneOf(("ear",))]
    learning_rate: Positive | None
    optimizer_configs: Mapping[str, JsonObject] | None
    clip_grad_norm: NotNegative | Mapping[str, NotNegative]
    loss_configs: Mapping[str, JsonObject]
    phases: list[JsonObject] | None
    balance: JsonObject | None
    use_ema: bool
    ema: JsonObject | None
    equivariance: JsonObject | None
    eval_loss_configs: Mapping[str, JsonObject] | None
    demo: JsonObject


class MovingAverage(TypedDict, total=False):
    """``ema``: arguments of :class:`ema_pytorch.EMA`, which has others beside these.

    Keys:
        beta: the highest decay of the average per update.
        power: exponent of the decay's warm-up.
        inv_gamma: rounds over which the decay warms up, inverse.
        min_value: the lowest decay.
        update_every: rounds between updates of the average.
        update_after_step: rounds before the first update.
    """

    beta: Share
    power: Positive
    inv_gamma: Positive
    min_value: Share
    update_every: Size
    update_after_step: Count


def check_model_config(config: Mapping[str, object]) -> None:
    """Raises :class:`UserError` for a section or a size of the model config that is of another kind or out of range."""
    for key in ("model", "training", "sample_size", "sample_rate"):
        if key not in config:
            raise UserError(f'the model config needs "{key}"')
    check_types("", ModelConfig, config)
    check_near_misses("the model config", config, value_types(ModelConfig))
    model = config["model"]
    assert isinstance(model, Mapping)  # it has been checked
    check_near_misses("model", model, [*value_types(ModelSection), *HOST_PARTS])
    for part, known in HOST_PARTS.items():
        if isinstance(model.get(part), Mapping):
            check_near_misses(f"model.{part}", model[part], known)
