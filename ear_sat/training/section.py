"""The keys of a model config that training reads, and what their values may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from ..config import check_near_misses, check_types, value_types
from ..errors import UserError
from ..models.parts import ModelSection
from ..value_types import Count, NotNegative, OneOf, Positive, Range, Share, Size

JsonObject = Mapping[str, Any]


#: Keys of ``model`` in a host's diffusion models.
HOST_PARTS = ("pretransform", "conditioning", "diffusion")


#: Samples; 2²⁷ of one stereo clip are 1 GiB.
ClipLength = Annotated[int, Range(at_least=1, at_most=2**27, unit="samples")]


class ModelConfig(TypedDict, total=False):
    """The config itself."""

    model_type: str
    sample_size: ClipLength
    sample_rate: Size
    audio_channels: Size
    model: JsonObject
    training: JsonObject


class TrainingSection(TypedDict, total=False):
    """``training`` of type "ear", less what the wrapper's constructor takes under the same names."""

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
    """``ema``: arguments of :class:`ema_pytorch.EMA`, which has others beside these."""

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
