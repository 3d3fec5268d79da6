"""Whether an environment works: every kind of training for a few rounds, exports that load, generation, pre-encoding.

python tests/smoke.py    for environments without pytest, such as one made by plain pip; about two minutes on two cores
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import ear_sat
from ear_sat.cli import main as command_line
from ear_sat.cli import train
from ear_sat.json_file import load_json
from ear_sat.versions import versions

ROOT = Path(__file__).parents[1]
MODELS, DEMO = ROOT / "model_configs", ROOT / "dataset_configs" / "demo.json"
STOCK = ROOT / "tests" / "data" / "host_stock_vae.json"
KINDS = ("cond", "uncond", "inpaint")
#: A round is small here, and the demo of its first one too.
FLAGS = ["--batch-size", "1", "--num-workers", "0", "--accelerator", "cpu"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # As a user would, in a process of its own; the rest in this one, which saves imports.
        script = [sys.executable, str(ROOT / "scripts" / "train.py"), *FLAGS, "--name", "ours", "--max-steps", "2"]
        inputs = ["--model-config", str(MODELS / "ear_vae_demo.json"), "--dataset-config", str(DEMO)]
        subprocess.run([*script, *inputs], check=True)
        weights = Path("runs/ours/export/model.safetensors")
        check_export(weights)

        train.main([*FLAGS, "--model-config", str(STOCK), *inputs[2:], "--name", "stock", "--max-steps", "2"])
        load_export("stock")

        encode = ["--dataset-config", str(DEMO), "--sample-size", "32768", "--batch-size", "4", "--out", "latents"]
        assert command_line.main(["pre-encode", "--weights", str(weights), *encode]) == 0
        for kind in KINDS:
            for pre_encoded in (False, True):
                diffusion(kind, pre_encoded, weights)
    print(versions("stable-audio-tools", "torch", "torchaudio", "pytorch-lightning", "numpy"), sys.version.split()[0])
    print("ours, stock, and latent diffusion (cond, uncond, inpaint; audio, latents) trained, exported, generated")


def check_export(weights: Path) -> None:
    """The export is one model here and in the host."""
    hosts = load_export("ours")
    ours = ear_sat.load_autoencoder(weights).eval()
    audio = 0.1 * torch.randn(1, 2, 8 * ours.downsampling_ratio, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = [model.decode(model.encode(audio)) for model in (ours, hosts)]
    assert decoded[0].shape == audio.shape
    torch.testing.assert_close(*decoded)


def load_export(run: str) -> Any:
    """The exported model of a run, built and loaded strictly by the host."""
    ear_sat.register()
    from stable_audio_tools.models.factory import create_model_from_config
    from stable_audio_tools.models.utils import load_ckpt_state_dict

    model = create_model_from_config(load_json(f"runs/{run}/export/model_config.json")).eval()
    model.load_state_dict(load_ckpt_state_dict(f"runs/{run}/export/model.safetensors"))
    return model


def diffusion(kind: str, pre_encoded: bool, weights: Path) -> None:
    """Five steps of a latent diffusion model over ``weights``, and a clip from what they left."""
    name = f"{kind}-{'latents' if pre_encoded else 'audio'}"
    config = load_json(MODELS / ("ear_ldm_demo.json" if kind == "cond" else f"ear_ldm_demo_{kind}.json"))
    config["training"]["pre_encoded"] = pre_encoded
    config["training"]["demo"]["demo_steps"] = 2
    Path("ldm.json").write_text(json.dumps(config), encoding="utf-8")
    data = Path("latents/dataset_config.json") if pre_encoded else DEMO
    inputs = ["--model-config", "ldm.json", "--dataset-config", str(data), "--pretransform-ckpt-path", str(weights)]
    train.main([*FLAGS, *inputs, "--name", name, "--max-steps", "5"])
    steps = [int(line.split(",")[0]) for line in Path(f"runs/{name}/metrics.csv").read_text().splitlines()[1:]]
    assert sorted(set(steps)) == [1, 2, 3, 4, 5], steps
    clip = generate(kind, load_export(name), config)
    assert clip.shape[-2:] == (2, 32768) and clip.isfinite().all()


def generate(kind: str, model: Any, config: dict[str, Any]) -> torch.Tensor:
    from stable_audio_tools.inference import generation

    settings = {"steps": 2, "sample_size": 32768, "device": "cpu", "seed": 1}
    if kind == "uncond":
        return generation.generate_diffusion_uncond(model, **settings)
    conditions = {"conditioning": [{"seconds_start": 0, "seconds_total": 12}]}
    if kind == "cond":
        return generation.generate_diffusion_cond(model, **settings, **conditions)
    kept = {"inpaint_audio": (config["sample_rate"], torch.zeros(2, 32768)), "inpaint_mask": torch.ones(1, 32768)}
    return generation.generate_diffusion_cond_inpaint(model, **settings, **conditions, **kept)


if __name__ == "__main__":
    main()
