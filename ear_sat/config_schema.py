"""The JSON Schema of model and dataset configs: ``ear-sat config --schema``. Editors complete and check configs by it.

What belongs to a host is left open: its types, its own training sections, its keys beside ours.
"""

from __future__ import annotations

from .config import value_types
from .data.loader import DATASET_TYPES, GIVEN, LoaderKeys
from .losses import LOSS_TYPES
from .losses.bundle import LossEntry
from .models import BOTTLENECKS, DECODERS, ENCODERS
from .models.discriminator import DISCRIMINATORS
from .models.parts import ModelSection, Part
from .schema import Schema, arguments_schema, object_schema, type_schema, typed_schema, where
from .training.balance import BalanceSection
from .training.discriminators import COMBINED, DiscriminatorEntry, MemberEntry
from .training.factory import BUILT, BottleneckEntry
from .training.latents import Equivariance
from .training.optimizers import OptimizerEntry
from .training.phases import Losses, Phase
from .training.run.demo import EarDemoCallback
from .training.section import ModelConfig, MovingAverage, TrainingSection
from .training.wrapper import EarTrainingWrapper

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def model_config_schema() -> Schema:
    """Of model configs; strict for autoencoders with ``training.type`` "ear"."""
    model = object_schema(value_types(ModelSection), others=True)
    parts = {"encoder": ENCODERS, "decoder": DECODERS, "bottleneck": BOTTLENECKS}
    model["properties"] |= {part: typed_schema(Part, kinds) for part, kinds in parts.items()}
    config = object_schema(value_types(ModelConfig), ["model_type", "sample_size", "sample_rate", "model"], others=True)
    config["properties"]["training"] = {"type": "object", **where("type", "ear", _training())}
    return {"$schema": DRAFT, **config, **where("model_type", "autoencoder", {"properties": {"model": model}})}


def dataset_config_schema() -> Schema:
    """Of dataset configs; strict for our types."""
    cases = []
    for kind, factory in DATASET_TYPES.items():
        schema = arguments_schema(factory, without=GIVEN)
        schema["properties"] |= {key: type_schema(value) for key, value in value_types(LoaderKeys).items()}
        cases.append(where("dataset_type", kind, schema))
    return {"$schema": DRAFT, "type": "object", "required": ["dataset_type"], "allOf": cases}


def _training() -> Schema:
    training = object_schema(value_types(TrainingSection), ["type", "loss_configs"])
    phase = arguments_schema(Phase)
    phase["properties"]["losses"] = type_schema(Losses)
    training["properties"] |= {
        **arguments_schema(EarTrainingWrapper, BUILT)["properties"],
        "ema": object_schema(value_types(MovingAverage), others=True),
        "balance": object_schema(value_types(BalanceSection), ["type", "shares"]),
        "equivariance": {"anyOf": [arguments_schema(Equivariance), {"type": "null"}]},
        "demo": arguments_schema(EarDemoCallback, ("demo_dl", "sample_rate", "folder")),
        "phases": {"type": "array", "items": {**phase, "required": []}, "minItems": 1},
        "optimizer_configs": object_schema(dict.fromkeys(("autoencoder", "discriminator"), OptimizerEntry)),
        "loss_configs": {
            **object_schema({"bottleneck": BottleneckEntry}, others=True),
            "additionalProperties": typed_schema(LossEntry, LOSS_TYPES, ["sample_rate"]),
        },
    }
    training["properties"]["loss_configs"]["properties"]["discriminator"] = _discriminator()
    return training


def _discriminator() -> Schema:
    single, member = (
        typed_schema(entry, DISCRIMINATORS, ["in_channels"]) for entry in (DiscriminatorEntry, MemberEntry)
    )
    member["properties"]["type"] = {"type": "string", "not": {"const": COMBINED}}
    combined = object_schema({"discriminators": None}, ["discriminators"])
    combined["properties"]["discriminators"] = {"type": "array", "items": member, "minItems": 1}
    single["allOf"].append(where("type", COMBINED, {"required": ["config"], "properties": {"config": combined}}))
    return single
