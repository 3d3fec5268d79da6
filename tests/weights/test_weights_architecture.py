"""The architecture is read off the tensors: any of ours, seen before or not; what they do not show is said."""

from __future__ import annotations

import json
import random
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from weights_test_models import cloned, config_of, golden_state, model_of, outputs, release_keys, tiny

import ear_sat
from ear_sat import UserError
from ear_sat.models import Autoencoder
from ear_sat.weights import config_metadata, read_architecture, read_checkpoint, write_weights


def a_config(seed: int) -> dict[str, Any]:
    """A model of any shape, small enough to be quick."""
    draw = random.Random(seed)
    depth = draw.randint(1, 6)
    strides = [draw.choice([1, 2, 2, 3, 4, 5] if depth < 5 else [1, 2, 2, 3]) for _ in range(depth)]
    c_mults = [draw.randint(1, 4) for _ in range(depth)]
    transformer = None
    latent = draw.choice([1, 2, 3, 8, 16])
    if draw.random() < 0.5:
        dim_heads = draw.choice([32, 48, 64, 128])
        latent = dim_heads * draw.choice([1, 1, 2])
        transformer = {"depth": draw.randint(1, 3), "dim_heads": dim_heads}
    snake = {"use_snake": draw.random() < 0.7}
    decoder_strides = draw.sample(strides, depth)  # the same product in another order, sometimes
    return config_of(
        strides,
        c_mults,
        channels=draw.choice([1, 2, 3, 5]),
        latent=latent,
        in_channels=draw.choice([1, 2]),
        out_channels=draw.choice([1, 2]),
        transformer=transformer,
        sample_rate=draw.choice([8000, 44100, 48000]),
        encoder={
            "use_snake": snake["use_snake"] if draw.random() < 0.8 else not snake["use_snake"],
            "antialias_activation": draw.random() < 0.3,
            "bias": draw.random() < 0.8,
        },
        decoder={
            **snake,
            "strides": decoder_strides if draw.random() < 0.2 else strides,
            "channels": draw.choice([1, 2, 4]),
            "c_mults": [draw.randint(1, 3) for _ in range(depth)] if draw.random() < 0.3 else c_mults,
            "antialias_activation": draw.random() < 0.3,
            "use_nearest_upsample": draw.random() < 0.3,
            "final_tanh": draw.random() < 0.3,
            "bias": draw.random() < 0.8,
        },
        soft_clip=draw.random() < 0.3,
    )


def same(one: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("seed", range(16))
def test_architectures_that_no_test_has_seen(seed: int, tmp_path: Path) -> None:
    config = a_config(seed)
    model = model_of(config, seed)
    expected = outputs(model)
    torch.save(release_keys(cloned(model.state_dict())), tmp_path / "bare.pyt")
    decoder = config["model"]["decoder"]
    known = {"sample_rate": config["sample_rate"], "final_tanh": decoder["config"]["final_tanh"]}
    if "transformer" in decoder["config"]:
        known["dim_heads"] = decoder["config"]["transformer"]["dim_heads"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = ear_sat.load_autoencoder(tmp_path / "bare.pyt", **known)
        if not decoder.get("soft_clip"):  # an option of the host's config, kept in metadata only
            assert same(outputs(loaded), expected)
        write_weights(model.state_dict(), tmp_path / "a.safetensors", metadata=config_metadata(config))
        loaded = ear_sat.load_autoencoder(tmp_path / "a.safetensors")
    assert same(outputs(loaded), expected)
    assert (loaded.sample_rate, loaded.soft_clip) == (config["sample_rate"], decoder.get("soft_clip", False))
    assert loaded.downsampling_ratio == config["model"]["downsampling_ratio"]
    # The config that was found is complete: it builds the same model.
    found, _ = read_architecture(model.state_dict(), stored=config)
    again = Autoencoder.from_config(found)
    again.load_state_dict(model.state_dict())
    assert same(outputs(again.eval()), expected)


def saved(tmp_path: Path, metadata: dict[str, str] | None = None, seed: int = 0, **options: Any) -> Path:
    path = tmp_path / "model.safetensors"
    write_weights(tiny(seed, **options).state_dict(), path, metadata=metadata, overwrite=True)
    return path


@pytest.mark.parametrize(("strides", "rate"), [([2, 4], 44100), ([4, 4, 6, 10], 48000), ([960], 48000)])
def test_the_sample_rate_is_assumed_with_a_warning(strides: list[int], rate: int, tmp_path: Path) -> None:
    path = saved(tmp_path, strides=strides, c_mults=[1] * len(strides), channels=1, latent=2)
    text = rf"model\.safetensors does not say .*: sample_rate = {rate}, final_tanh = false$"
    with pytest.warns(UserWarning, match=text) as caught:
        assert ear_sat.load_autoencoder(path).sample_rate == rate
    assert caught[0].filename == __file__  # the line that asked for the model
    with pytest.warns(UserWarning, match="final_tanh = false") as caught:
        assert ear_sat.load_autoencoder(path, sample_rate=32000).sample_rate == 32000
    assert "sample_rate" not in str(caught[0].message)


def test_nothing_assumed_is_no_warning(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ear_sat.load_autoencoder(saved(tmp_path), sample_rate=44100, final_tanh=False)
        path = saved(tmp_path, config_metadata(config_of(transformer={"depth": 1})), transformer={"depth": 1})
        ear_sat.load_autoencoder(path)  # what a config leaves out is at its default


def test_arguments_precede_metadata_and_metadata_precedes_assumptions(tmp_path: Path) -> None:
    options = {"latent": 64, "transformer": {"depth": 1, "dim_heads": 64}, "decoder": {"final_tanh": True}}
    config = config_of(sample_rate=22050, **options)
    path = saved(tmp_path, config_metadata(config), **options)
    model = ear_sat.load_autoencoder(path)
    assert model.sample_rate == 22050 and model.decoder.transformers.layers[0].self_attn.heads == 1
    assert isinstance(model.decoder.layers[-1], torch.nn.Tanh)
    model = ear_sat.load_autoencoder(path, sample_rate=11025, dim_heads=32, final_tanh=False)
    assert model.sample_rate == 11025 and model.decoder.transformers.layers[0].self_attn.heads == 2
    assert isinstance(model.decoder.layers[-1], torch.nn.Identity)
    with pytest.warns(UserWarning, match="sample_rate = 44100, final_tanh = false, dim_heads = 32"):
        model = ear_sat.load_autoencoder(saved(tmp_path, **options))
    assert model.decoder.transformers.layers[0].self_attn.heads == 2


@pytest.mark.parametrize(
    ("latent", "dim_heads", "choices"),
    [(64, 32, 2), (96, 48, 2), (128, 64, 2), (128, 128, 1), (48, 48, 1), (72, 36, 1)],
)
def test_heads_that_the_tensors_allow(latent: int, dim_heads: int, choices: int, tmp_path: Path) -> None:
    """max(dim_heads / 2, 32) dimensions are rotated, so that 32 … 65 leave the same tensors."""
    path = saved(tmp_path, latent=latent, transformer={"depth": 1, "dim_heads": dim_heads})
    known = {"sample_rate": 44100, "final_tanh": False}
    if choices == 1:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model = ear_sat.load_autoencoder(path, **known)
        assert model.decoder.transformers.layers[0].self_attn.heads == latent // dim_heads
    else:
        with pytest.warns(UserWarning, match="dim_heads = 32"):
            ear_sat.load_autoencoder(path, **known)
    with pytest.raises(UserError, match=r"cannot use .*model\.safetensors: dim_heads can be .*, not 40"):
        ear_sat.load_autoencoder(path, dim_heads=40)


def test_a_stored_config_that_contradicts_the_tensors_is_not_believed(tmp_path: Path) -> None:
    config = config_of([2] * 5, [9] * 5, latent=128, transformer={"depth": 3, "dim_heads": 128}, in_channels=1)
    path = saved(tmp_path, config_metadata(config), latent=64, transformer={"depth": 1, "dim_heads": 32})
    with pytest.warns(UserWarning, match=r": dim_heads = 32$"):
        model = ear_sat.load_autoencoder(path)
    assert same(outputs(model), outputs(tiny(latent=64, transformer={"depth": 1, "dim_heads": 32})))


def test_a_sampled_bottleneck_is_kept_and_the_hosts_is_read_as_ours(tmp_path: Path) -> None:
    config = config_of()
    config["model"]["bottleneck"] = {"type": "ear_vae", "config": {"sample": "always"}}
    assert ear_sat.load_autoencoder(saved(tmp_path, config_metadata(config))).bottleneck.sample == "always"
    config["model"]["bottleneck"] = {"type": "vae"}
    assert ear_sat.load_autoencoder(saved(tmp_path, config_metadata(config))).bottleneck.sample == "training"


@pytest.mark.parametrize("text", ["[]", '"a"', "{", "", "nul", "[" * 100_000, "NaN"])
def test_metadata_that_is_no_config(text: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"the model config stored in .*model\.safetensors is (not valid JSON|a )"):
        ear_sat.load_autoencoder(saved(tmp_path, {"model_config": text}))


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"model": None},
        {"model": []},
        {"model": {"decoder": 3, "bottleneck": "x"}},
        {"model": {"decoder": {"config": None, "type": ["a"]}}},
        {"model": {"decoder": {"config": {"transformer": 5, "final_tanh": None}}, "bottleneck": {"type": None}}},
        {"sample_rate": None, "sample_size": None},
    ],
)
def test_odd_configs_say_nothing(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="sample_rate = 44100, final_tanh = false"):
        model = ear_sat.load_autoencoder(saved(tmp_path, {"model_config": json.dumps(config)}))
    assert same(outputs(model), outputs(tiny()))


@pytest.mark.parametrize("rate", [0, -1, "44100", True, 44100.5, float("nan"), float("inf"), [44100], 10**12])
def test_impossible_sample_rates(rate: Any, tmp_path: Path) -> None:
    path = saved(tmp_path, {"model_config": json.dumps({"sample_rate": rate})})
    with pytest.raises(UserError, match=r"cannot use .*: sample_rate must be a whole number of Hz, not "):
        ear_sat.load_autoencoder(path)
    with pytest.raises(UserError, match="sample_rate must be a whole number"):
        ear_sat.load_autoencoder(saved(tmp_path), sample_rate=rate)
    assert ear_sat.load_autoencoder(path, sample_rate=8000, final_tanh=False).sample_rate == 8000


def test_configs_without_end_are_refused(tmp_path: Path) -> None:
    """A pickle of a kilobyte can stand for a config of 2^60 entries, or for one that contains itself."""
    state = {f"autoencoder.{key}": value for key, value in tiny().state_dict().items()}
    doubled: list[Any] = ["x"]
    for _ in range(60):
        doubled = [doubled, doubled]
    endless: dict[str, Any] = {}
    endless["model"] = endless
    for config in ({"model": doubled}, endless, {"model": {"a": torch.zeros(2)}}):
        torch.save({"state_dict": state, "model_config": config}, tmp_path / "a.ckpt")
        with pytest.raises(UserError, match=r"a\.ckpt has unusable metadata: the model config is "):
            read_checkpoint(tmp_path / "a.ckpt")
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(UserError, match="the model config is not plain JSON"):
        config_metadata({"model": deep})
    metadata = {"a": doubled, "b": "kept", 3: "c"}
    torch.save({"state_dict": tiny().state_dict(), "metadata": metadata}, tmp_path / "b.ckpt")
    assert read_checkpoint(tmp_path / "b.ckpt").metadata == {"b": "kept"}


@pytest.mark.parametrize("spaces", range(0x80 - 8, 0x80 + 8))
def test_safetensors_whose_first_byte_is_that_of_a_pickle(spaces: int, tmp_path: Path) -> None:
    """The first byte is the low byte of the header's length, so it can be 0x80, with which every pickle begins."""
    model = tiny()
    write_weights(model.state_dict(), tmp_path / "a.safetensors")
    data = (tmp_path / "a.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    longer = (length // 256 + 1) * 256 + spaces
    header = data[8 : 8 + length].ljust(longer)
    (tmp_path / "a.safetensors").write_bytes(longer.to_bytes(8, "little") + header + data[8 + length :])
    assert read_checkpoint(tmp_path / "a.safetensors").state.keys() == model.state_dict().keys()


def contradictions() -> dict[str, dict[str, Tensor]]:
    encoder = {k: v for k, v in tiny().state_dict().items() if k.startswith("encoder.")}

    def with_decoder(**options: Any) -> dict[str, Tensor]:
        return encoder | {k: v for k, v in tiny(**options).state_dict().items() if k.startswith("decoder.")}

    plain = tiny().state_dict()
    odd = dict(plain)
    odd["encoder.layers.1.layers.4.weight_v"] = torch.zeros(4, 4, 3)
    wide = dict(plain)
    wide["encoder.layers.2.layers.4.weight_v"] = torch.zeros(7, 4, 8)
    renumbered = {key.replace("encoder.layers.1.", "encoder.layers.9."): value for key, value in plain.items()}
    empty = dict(plain)
    empty["decoder.layers.0.weight_v"] = torch.zeros(8, 0, 7)
    return {
        r"encoder gives 64 channels, where the decoder's 16 need 32 for mean and scale": with_decoder(latent=16),
        r"the strides of its encoder \[2, 4\] and of its decoder \[2, 2\] differ in their product": with_decoder(
            strides=[2, 2]
        ),
        r"block 1 of its encoder has the odd kernel 3": odd,
        r"the encoder's widths \[4, 7\] are no multiples of 4": wide,
        r"it has no chain of blocks encoder\.layers\.1\.layers\.4, …; found encoder\.layers ×": renumbered,
        r"decoder\.layers\.0\.weight_v has the shape \[8, 0, 7\]": empty,
        r"it has no chain of blocks decoder\.layers\.1\.layers\.1, …; found encoder\.layers ×": encoder,
    }


@pytest.mark.parametrize("problem", contradictions())
def test_contradictions_within_a_file(problem: str, tmp_path: Path) -> None:
    torch.save(contradictions()[problem], tmp_path / "a.pt")
    with pytest.raises(UserError, match=rf"^cannot use .*a\.pt: this is not an εar-VAE.*{problem}"):
        ear_sat.load_autoencoder(tmp_path / "a.pt")


def test_rotary_frequencies_that_no_head_has(tmp_path: Path) -> None:
    state = golden_state("tiny_transformer")
    key = "decoder.transformers.rotary_pos_emb.inv_freq"
    torch.save({**state, key: torch.ones(99)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="no head size divides 32 latent channels and rotates 198 dimensions"):
        ear_sat.load_autoencoder(tmp_path / "a.pt")
    torch.save({**state, key: state[key] ** 0.8}, tmp_path / "a.pt")  # the base 10000^0.8
    with pytest.raises(UserError, match=r"other frequencies \(decoder.*inv_freq\) than 10000"):
        ear_sat.load_autoencoder(tmp_path / "a.pt")
    for rounded in (state[key].half().float(), state[key].bfloat16().float()):
        torch.save({**state, key: rounded}, tmp_path / "a.pt")
        ear_sat.load_autoencoder(tmp_path / "a.pt")
    del state[key]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"rotary_pos_emb\.inv_freq is missing"):
        ear_sat.load_autoencoder(tmp_path / "a.pt")


def test_folded_weights_are_told_apart(tmp_path: Path) -> None:
    from ear_sat.models import fold_weight_norm

    torch.save(cloned(fold_weight_norm(tiny()).state_dict()), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"its weight norm was removed \(encoder\.layers\.0 has weight"):
        ear_sat.load_autoencoder(tmp_path / "a.pt")
