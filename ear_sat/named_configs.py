"""The configs that come with the package, by name: ``ear_vae`` wherever the path of a JSON file would do.

They are the files of the repository's folders ``model_configs``, ``dataset_configs`` and ``plans``. A wheel has them
below ``ear_sat``; a checkout, editable install or not, has them beside the package. Relative paths in them start, as
in every config, from the working folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .config import choice_error
from .errors import UserError
from .json_file import load_json

MODEL, DATASET, PLAN = "model_configs", "dataset_configs", "plans"
#: What the configs are for, in one line each.
DESCRIPTIONS = {
    "ear_vae": "εar-VAE at 44.1 kHz, the recommended recipe",
    "ear_vae_12gb": "half of ear_vae's width and 205,000 rounds, for one GPU of 12 GB",
    "ear_vae_24gb": "ear_vae with 410,000 rounds, for one GPU of 24 GB",
    "ear_vae_80gb": "ear_vae with 760,000 rounds of larger batches, for one GPU of 80 GB",
    "ear_vae_48k": "the release's 48 kHz network (×960, no transformer), trained by the same recipe",
    "ear_vae_demo": "a small εar-VAE (×32) that a CPU trains in ten minutes, to a sound worth hearing",
    "ear_vae_finetune": "goes on from the released weights, with a fresh discriminator",
    "ear_vae_finetune_decoder": "the same with a frozen encoder: the latents stay as they are",
    "ear_vae_mini": "a tiny network with ear_vae's strides: for trials of code, it learns no phase",
    "ear_vae_paper": "the paper's forms: log magnitude only, unweighted phase terms, alternating updates",
    "ear_vae_x64": "a small network at ×64, generator only: for comparisons on a CPU",
    "host_vae": "the host's recipe on the same network, by its own wrapper (needs stable-audio-tools)",
    "ear_ldm": "text-conditioned latent diffusion over εar-VAE, 1.06 B parameters (needs stable-audio-tools)",
    "ear_ldm_demo": "tiny latent diffusion over ear_vae_demo, conditioned on time (needs stable-audio-tools)",
    "ear_ldm_demo_inpaint": "the same, inpainting (needs stable-audio-tools)",
    "ear_ldm_demo_uncond": "the same, unconditional (needs stable-audio-tools)",
    "demo": "synthesised music, no files needed",
    "demo_held_out": "what demo holds out, for validation",
    "local": "your audio files, below data/music until you edit it",
    "loss_forms": "which form of each loss term",
    "host_recipe": "our recipe or the host's (needs stable-audio-tools)",
    "paper_ablation": "the paper's steps, and what it advises against (needs stable-audio-tools)",
    "latent_terms": "what terms for diffusable latents cost",
    "finetune": "how to fine-tune: whole or decoder, when the adversary begins",
    "wds": "WebDataset shards, below data/shards until you edit it (needs stable-audio-tools)",
}


def named_configs(folder: str) -> dict[str, Path]:
    """Name → file of the configs in :data:`MODEL`, :data:`DATASET` or :data:`PLAN`."""
    package = Path(__file__).parent
    installed = package / folder
    files = (installed if installed.is_dir() else package.parent / folder).glob("*.json")
    return {path.stem: path for path in sorted(files)}


def find_config(given: str | Path, *folders: str) -> Path:
    """The file that ``given`` means: a path, or a name from one of ``folders`` (default: model and dataset configs).

    >>> find_config("ear_vae").name
    'ear_vae.json'

    Raises:
        UserError: a single word that is neither a file nor a name; the sentence has the close match and all names.
    """
    path = Path(given)
    if len(path.parts) > 1 or path.suffix or path.is_file():
        return path
    names = {name: file for folder in folders or (MODEL, DATASET) for name, file in named_configs(folder).items()}
    if path.name not in names:
        what = folders[0].removesuffix("s").replace("_", " ") if len(folders) == 1 else "config"
        raise UserError(f"{choice_error(what, given, names)}; or give the path of a JSON file")
    return names[path.name]


def load_config(given: str | Path, *folders: str) -> dict[str, Any]:
    """Reads the config that ``given`` means, see :func:`find_config`."""
    return load_json(find_config(given, *folders))
