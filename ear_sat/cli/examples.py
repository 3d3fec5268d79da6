"""A line to copy for every command: shown by ``--help`` and by the documentation, and run by a test."""

from __future__ import annotations

EXAMPLES: dict[str, list[str]] = {
    "train": [
        "ear-sat train --model-config ear_vae_demo --dataset-config demo --name first --batch-size 2 --num-workers 0",
        "ear-sat train --resume runs/first",
    ],
    "reconstruct": ["ear-sat reconstruct song.mp3 --out reconstructed --weights runs/first"],
    "evaluate": [
        "ear-sat evaluate --reference originals --estimate ours=reconstructed --out evaluation",
        "ear-sat evaluate --weights runs/first --data originals --out measured",
    ],
    "listening-results": ["ear-sat listening-results ann.json ben.json --out listening"],
    "config": [
        "ear-sat config --list",
        "ear-sat config ear_vae --set training.loss_configs.magnitude.config.weighting=a --out variant.json",
    ],
    "prepare-data": ["ear-sat prepare-data ~/Music --out prepared"],
    "balance": ["ear-sat balance --model-config ear_vae --reference original.wav --estimate reconstruction.wav"],
    "compare": ["ear-sat compare loss_forms --out study --train train --tracks development=development --dry-run"],
    "download": ["ear-sat download 44k"],
    "inspect": ["ear-sat inspect runs/first"],
    "export": ["ear-sat export runs/first model.safetensors", "ear-sat export runs/first my_model --format hub"],
    "push": ["ear-sat push my_model USER/NAME --dry-run"],
    "latent-stats": ["ear-sat latent-stats --weights runs/first --dataset-config demo --sample-size 32768 --limit 4"],
    "pre-encode": ["ear-sat pre-encode --weights runs/first --dataset-config demo --sample-size 32768 --out latents"],
    "run": ["ear-sat run pre_encode.py --help"],
    "doctor": ["ear-sat doctor"],
}
