"""Loads explainers that were saved: ``vitrine.load``."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import nn

from vitrine.backbones.frozen import FrozenBackbone, check_arguments, check_digest
from vitrine.backbones.networks import BackboneOptions
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import BACKBONE_NAME, CONFIG_NAME, FORMAT_VERSION, HEADS_NAME, Explainer
from vitrine.explainers.names import NAMES_NAME


def load(
    folder: str | Path,
    *,
    backbone: FrozenBackbone | nn.Module | str | Path | None = None,
    device: str = "cpu",
    explainer: type[Explainer] | None = None,
) -> Explainer:
    """Loads an explainer that `Explainer.save` wrote.

    Args:
        folder: holds ``explainer.json`` and ``explainer.safetensors``.
        backbone: the network that it was trained on, or a file with its weights, where the folder does not hold them and
            they have moved or were never in a file.
        device: where to put it.
        explainer: its class, where that is an own one whose module is not imported.

    Raises:
        FileNotFoundError: where the folder or the backbone's weights are not there.
        ValueError: where a file is damaged, names do not fit the explainer, its class is not known, or the backbone's
            weights are not those that it was trained on.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> from vitrine.explainers import SRAEExplainer, SRAEOptions
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
        >>> explainer = SRAEExplainer(FrozenBackbone(model), SRAEOptions(layer="0", image_size=16))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     explainer.save(f"{folder}/explainer")
        ...     type(load(f"{folder}/explainer", backbone=model)).__name__
        'SRAEExplainer'
    """
    folder = Path(folder)
    config = read_config(folder)
    network = _backbone(folder, config, backbone)
    check_digest(expected=config["weight_digest"], actual=network.digest)
    check_arguments(expected=config.get("backbone_arguments"), actual=network.arguments)
    preprocessing = config["preprocessing"] and Preprocessing.from_dict(config["preprocessing"])
    kind = explainer or _registered(folder, config)
    options = kind.options_type.from_dict(config["options"])
    loaded = kind(network, options, classes=config["classes"], preprocessing=preprocessing)
    loaded.multi_label = config.get("multi_label", False)
    loaded.load_head_state(load_file(folder / HEADS_NAME))
    if (folder / NAMES_NAME).is_file():
        loaded.read_heatmap_names(folder / NAMES_NAME)
    return loaded.to(device).eval()


def _registered(folder: Path, config: dict[str, Any]) -> type[Explainer]:
    """The class of a saved explainer: by its path, or by its name where it moved in this package or no path was saved."""
    name, path = config["explainer"], config.get("class_path", "")
    if path in Explainer.registered:
        return Explainer.registered[path]
    for registered, kind in Explainer.registered.items():
        moved = registered.startswith("vitrine.") and path.startswith("vitrine.")
        if kind.__name__ == name and (moved or not path):
            return kind
    module, _, class_name = path.partition(":")
    remedy = f"pass its class: vitrine.load(..., explainer={class_name or name})"
    if module not in {"", "__main__"}:
        remedy = f"import {module} before, or {remedy}"
    raise ValueError(f"{folder / CONFIG_NAME} is of the explainer {path or name!r}, which is not known here; {remedy}.")


def read_config(folder: Path) -> dict[str, Any]:
    """Reads and checks ``explainer.json``; the errors are those of `load`."""
    for path in (folder / CONFIG_NAME, folder / HEADS_NAME):
        if not path.is_file():
            raise FileNotFoundError(f"{path} does not exist; give the folder that an explainer was saved to.")
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG_NAME).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / CONFIG_NAME} is not valid JSON: {error}.") from error
    if config.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{folder / CONFIG_NAME} has format version {config.get('format_version')}, this release reads {FORMAT_VERSION}."
        )
    return config


def _backbone(
    folder: Path, config: dict[str, Any], backbone: FrozenBackbone | nn.Module | str | Path | None
) -> FrozenBackbone:
    if isinstance(backbone, FrozenBackbone):
        return backbone
    if isinstance(backbone, nn.Module):
        return FrozenBackbone(backbone)
    options = BackboneOptions.from_dict(config["backbone"])
    bundled = folder / BACKBONE_NAME
    if backbone is not None:
        options = replace(options, weights=str(backbone))
    elif bundled.is_file():
        options = replace(options, weights=str(bundled))
    elif options.weight_file and not options.weight_file.is_file():
        raise FileNotFoundError(
            f"The backbone's weights {options.weight_file} of {folder} are not there any more;"
            " give their file as vitrine.load(..., backbone=FILE)."
        )
    return FrozenBackbone.from_options(options)
