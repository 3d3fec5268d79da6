"""Small random codecs of the libraries' own classes, saved as their authors save them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("transformers") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    import torch
    from safetensors.torch import save_file
    from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel

    torch.set_num_threads(1)

    ENCODEC = {
        "num_filters": 4,
        "upsampling_ratios": [5, 4, 2],
        "hidden_size": 8,
        "codebook_size": 16,
        "num_lstm_layers": 1,
    }

    def _dac() -> Any:
        config = {"encoder_hidden_size": 4, "decoder_hidden_size": 16, "downsampling_ratios": [2, 4, 4]}
        return DacModel(DacConfig(**config, n_codebooks=3, codebook_size=16, codebook_dim=2, sampling_rate=16000))

    def _encodec_24khz() -> Any:
        return EncodecModel(EncodecConfig(**ENCODEC, sampling_rate=8000, target_bandwidths=[1.6, 3.2]))

    def _encodec_48khz() -> Any:
        """As the published one: stereo, pieces with a gain each and normalised as wholes."""
        pieces = {"chunk_length_s": 1.0, "overlap": 0.01, "normalize": True, "norm_type": "time_group_norm"}
        rates = {"sampling_rate": 16000, "audio_channels": 2, "target_bandwidths": [1.6, 3.2, 6.4]}
        return EncodecModel(EncodecConfig(**ENCODEC, **pieces, **rates, use_causal_conv=False))

    def _agc(continuous: bool) -> Any:
        agc = pytest.importorskip("agc", reason="needs audiogen-agc, which only this does")
        sizes = {"encoder_dim": 4, "encoder_rates": [2, 4, 5], "decoder_dim": 16, "decoder_rates": [5, 4, 2]}
        quantised = {"num_codebooks": 2, "codebook_size": 16, "codebook_dim": 2}
        return agc.AGC(agc.AGCConfig(continuous=continuous, vae=continuous, latent_dim=4, **sizes, **quantised))

    MODELS = {
        "dac": _dac,
        "encodec_24khz": _encodec_24khz,
        "encodec_48khz": _encodec_48khz,
        "agc": lambda: _agc(True),
        "agc_discrete": lambda: _agc(False),
    }

    @pytest.fixture
    def saved(tmp_path: Path) -> Callable[[str], tuple[Any, Path]]:
        """A model of a kind and the folder it was saved in; random, with codebooks in which codes differ."""

        def save(kind: str) -> tuple[Any, Path]:
            torch.manual_seed(0)
            model, folder = MODELS[kind]().eval(), tmp_path / kind
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    if name.endswith(("codebook.embed", "codebook.weight")):
                        value.normal_(0, 0.3)
                for name, parameter in model.named_parameters():
                    if kind.startswith("agc") and name.endswith("original1"):  # the library begins near silence
                        parameter.normal_()
            if kind.startswith("agc"):  # whose own saving depends on the version of transformers
                folder.mkdir()
                save_file(dict(model.state_dict()), folder / "model.safetensors")
                config = {**model.config.to_dict(), "model_type": "agc"}
                (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
            else:
                model.save_pretrained(folder)
            return model, folder

        return save
