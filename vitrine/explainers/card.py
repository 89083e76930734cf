"""Model card of a saved explainer: what it explains, what it was trained on, how good it is, and how it is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vitrine.backbones.weight_files import is_weight_file
from vitrine.core.figures import ARROWS, Figure, figure_of

CARD_NAME = "README.md"
SHOWN = 12
"""Names of classes that a card lists."""
LIMITS = (
    "It explains this network with these weights alone, and images that are prepared in this way.",
    "Heatmaps show what the explainer reads from the network: no proof of what causes a prediction, nor that it is right.",
)
UNTESTED = "No figures of a test are recorded here; `train.py test` measures it on a test set."


def card_text(config: Mapping[str, Any], *, holds_weights: bool = True) -> str:
    """A page in Markdown.

    Args:
        config: the explainer's ``explainer.json``. Among its metadata, ``figures`` are those of a test, by name, such as of a
            run's ``metrics.json``, and ``data`` is a sentence on the data that it was trained and tested on.
        holds_weights: whether the network's weights are in the folder.
    """
    metadata = dict(config.get("metadata") or {})
    figures, data = metadata.pop("figures", {}), metadata.pop("data", "")
    name, backbone = config["explainer"], config["backbone"]
    limits = [*LIMITS, *([] if figures else [UNTESTED])]
    parts = [
        f"# {name} of {str(backbone['name']).rpartition(':')[2].rpartition('/')[2]}",
        _table(("", ""), _facts(config, data)),
        "## Use\n\n" + _use(config, holds_weights=holds_weights),
        *(["## Training\n\n" + _table(("", ""), _training(metadata))] if metadata else []),
        *(["## Figures\n\n" + _table(("figure", "value"), _numbers(figures))] if figures else []),
        "## Limits\n\n" + "\n".join(f"- {limit}" for limit in limits),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(config: Mapping[str, Any], data: str) -> dict[str, str]:
    backbone, options = config["backbone"], config["options"]
    layers = (
        options.get("layer") or options.get("mask_layers") or options.get("layers") or options.get("inversion_layer")
    )
    facts = {
        "explainer": config["explainer"] + (f", {options['method']}" if "method" in options else ""),
        "network": f"`{backbone['name']}`, weight digest `{config['weight_digest'][:12]}…`",
        "layer": _listed(layers if isinstance(layers, list | tuple) else [layers]) if layers else "",
        "classes": f"{len(config['classes'])}: {_listed(config['classes'])}" if config["classes"] else "not named",
        "data": data,
    }
    prepared = config["preprocessing"]
    if prepared:
        resize = f"short side {prepared['resize']}, centre " if prepared["resize"] else "whole, "
        facts["images"] = (
            f"{resize}{prepared['size']} × {prepared['size']} pixels, mean {prepared['mean']}, std {prepared['std']}"
        )
    return {key: value for key, value in facts.items() if value}


def _use(config: Mapping[str, Any], *, holds_weights: bool) -> str:
    name, file = config["backbone"]["name"], str(config["backbone"].get("weights") or "")
    own = ":" in name and not name.startswith(("timm:", "hf:", "vitrine."))
    apart = not holds_weights and is_weight_file(file) and not file.startswith("vitrine/")
    more, note = "", ""
    if own:
        more = ", backbone=NETWORK"
        note = '\n\nNETWORK is the network itself, or the name of its class, such as `"model.py:MyNet"`.'
    elif apart:
        more = ", backbone=WEIGHTS"
        note = f"\n\nWEIGHTS is the file of the network's weights, `{Path(file).name}`, which is not in this folder."
    given = '"photo.jpg")' if config["preprocessing"] else "images)  # (B, 3, H, W), as the network takes them"
    return (
        f'```python\nimport vitrine\n\nexplainer = vitrine.load("FOLDER"{more})\n'
        f"explanation = explainer.explain({given}\n```{note}"
    )


def _training(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {key.replace("_", " "): _plain(value) for key, value in metadata.items()}


def _numbers(figures: Mapping[str, float]) -> dict[str, str]:
    """With units, what is better, and what each is."""
    rows = {}
    for name, value in figures.items():
        short = name.removeprefix("test/")
        known = figure_of(short) or Figure(short, "", "")
        told = f": {known.meaning}" if known.meaning else ""
        rows[f"{short} {ARROWS[known.better]}".strip()] = f"{_plain(value)} {known.unit}".strip() + told
    return rows


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return _listed([f"{key} {_plain(one)}" for key, one in value.items()])
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _listed(values: Any) -> str:
    return ", ".join(map(str, values[:SHOWN])) + (", …" if len(values) > SHOWN else "")


def _table(head: tuple[str, str], rows: Mapping[str, str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    cells = ((key.replace("|", "\\|"), " ".join(value.replace("|", "\\|").split())) for key, value in rows.items())
    return "\n".join([*lines, *(f"| {key} | {value} |" for key, value in cells)])
