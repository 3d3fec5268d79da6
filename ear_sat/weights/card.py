"""A model card: the README.md of a model on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..json_file import load_json
from ..report.tables import markdown_table
from .inspection import architecture_rows
from .source import is_foreign

#: Stands for the model's name until it has one; ``ear-sat push`` puts that in.
NAME = "USER/NAME"
NOT_STATED = "Not stated."


def model_card(
    config: Mapping[str, Any],
    parameters: int,
    *,
    rounds: int | None = None,
    data: str | None = None,
    licence: str | None = None,
    metrics: str | None = None,
) -> str:
    """Markdown with the hub's header.

    Args:
        config: the model config.
        parameters: how many it has.
        rounds: of training behind the weights.
        data: what it was trained on.
        licence: its identifier on the hub, such as "apache-2.0".
        metrics: see :func:`measured`.
    """
    rate, ratio = config["sample_rate"], config["model"]["downsampling_ratio"]
    rows = [["parameters", f"{parameters:,}"], *architecture_rows(config)]
    if rounds is not None:
        rows.append(["training rounds", f"{rounds:,}"])
    header = [f"license: {licence}"] if licence else []
    header += ["library_name: ear_sat", "pipeline_tag: audio-to-audio"]
    header += ["tags:", "- audio", "- music", "- autoencoder", "- stable-audio-tools"]
    parts = [
        "---\n" + "\n".join(header) + "\n---",
        f"# {NAME}",
        f"An autoencoder of music at {rate} Hz with {rate / ratio:.2f} latent frames a second.",
        markdown_table(["", ""], rows),
        "## Training data",
        data or NOT_STATED,
        "## Measured",
        metrics or "Not measured.",
        "## Licence",
        licence or NOT_STATED,
        "## Use",
        _use(is_foreign(config)),
    ]
    return "\n\n".join(parts) + "\n"


def _use(foreign: bool) -> str:
    register = "" if foreign else "import ear_sat\n\near_sat.register()  # its types are ours\n"
    return f"""\
With ear_sat:

```python
import ear_sat

model = ear_sat.load_autoencoder("{NAME}")
latents = model.encode_audio(audio, chunked=True)  # (batch, channels, samples) at the model's rate
```

```
ear-sat reconstruct song.wav --out reconstructed --weights {NAME}
```

With stable-audio-tools:

```python
{register}from stable_audio_tools import get_pretrained_model

model, config = get_pretrained_model("{NAME}")
```"""


def data_in_words(dataset_config: Mapping[str, Any]) -> str:
    """Type and names of the data sets of a config, without the paths of the machine it was made on.

    >>> data_in_words({"dataset_type": "ear_audio", "datasets": [{"id": "jamendo", "path": "/data/mtg"}]})
    'Data of type `ear_audio`: jamendo.'
    """
    kind = dataset_config.get("dataset_type", "unknown")
    entries = dataset_config.get("datasets")
    sets = [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, Sequence) else []
    names = [str(entry.get("id") or Path(str(entry.get("path", ""))).name) for entry in sets]
    named = ", ".join(dict.fromkeys(name for name in names if name))
    return f"Data of type `{kind}`{f': {named}' if named else ''}."


def measured(results: Path, system: str | None = None) -> str:
    """The means of one system in the ``results.json`` of an evaluation, as Markdown.

    Raises:
        UserError: no such file, it is of something else, or there are several systems and none is chosen.
    """
    found = load_json(results)
    systems, metrics, summaries = (found.get(key) for key in ("systems", "metrics", "summaries"))
    if not all(isinstance(part, Mapping) and part for part in (systems, metrics, summaries)):
        raise UserError(f"{results} is not the results.json of ear-sat evaluate; give one")
    assert isinstance(systems, Mapping) and isinstance(metrics, Mapping) and isinstance(summaries, Mapping)
    chosen = system or (next(iter(systems)) if len(systems) == 1 else None)
    if chosen not in systems:
        problem = "holds several systems" if system is None else f"has no system {system}"
        raise UserError(f"{results} {problem}; choose one with --system: {', '.join(systems)}")
    rows = []
    for name, metric in metrics.items():
        summary = summaries[name][chosen]
        if isinstance(summary["mean"], int | float):
            unit, arrow = metric["unit"], "↑" if metric["higher_is_better"] else "↓"
            heading = f"{metric['label']}{f' ({unit})' if unit else ''} {arrow}"
            rows.append([heading, summary["mean"], summary["low"], summary["high"]])
    files = systems[chosen]["measured"]
    table = markdown_table(["metric", "mean", "95 % from", "to"], rows)
    return f"Means over {files} file(s) by `ear-sat evaluate`, with bootstrap intervals.\n\n{table}"
