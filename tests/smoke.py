"""Whether an environment works at all: registers, trains two rounds, and loads the export here and in the host.

python tests/smoke.py    for environments without pytest, such as one made by plain pip
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import ear_sat
from ear_sat.versions import versions

ROOT = Path(__file__).parents[1]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "scripts/train.py", "--name", "smoke", "--save-dir", folder, "--max-steps", "2"]
        command += ["--model-config", "model_configs/ear_vae_demo.json", "--batch-size", "1", "--num-workers", "0"]
        subprocess.run([*command, "--dataset-config", "dataset_configs/demo.json"], cwd=ROOT, check=True)
        export = Path(folder) / "smoke" / "export"
        check_export(export / "model.safetensors", json.loads((export / "model_config.json").read_text()))
    print(versions("stable-audio-tools", "torch", "torchaudio", "pytorch-lightning", "numpy"))


def check_export(weights: Path, config: dict) -> None:
    ear_sat.register()
    from stable_audio_tools.models.factory import create_model_from_config
    from stable_audio_tools.models.utils import load_ckpt_state_dict

    ours = ear_sat.load_autoencoder(weights).eval()
    hosts = create_model_from_config(config).eval()
    hosts.load_state_dict(load_ckpt_state_dict(str(weights)))
    audio = 0.1 * torch.randn(1, 2, 8 * ours.downsampling_ratio, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        decoded = [model.decode(model.encode(audio)) for model in (ours, hosts)]
    assert decoded[0].shape == audio.shape
    torch.testing.assert_close(*decoded)


if __name__ == "__main__":
    main()
