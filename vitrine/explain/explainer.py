"""``vitrine.explainer``: wraps any network with an attribution method and its preprocessing, in one call."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.image_sizes import blank_image
from vitrine.data.class_matching import NetworkClasses
from vitrine.data.preprocessing import Preprocessing
from vitrine.explain.chosen import made_explainer
from vitrine.explain.network import ExplainedNetwork, explained_network, network_of
from vitrine.explain.options import ExplainOptions
from vitrine.explainers.base import Explainer


def explainer(
    model: str | nn.Module,
    method: str = "GradCAM",
    *,
    weights: str | Path | None = None,
    classes: Sequence[str] | str | Path | None = None,
    preprocessing: Preprocessing | None = None,
    size: int | None = None,
    num_classes: int | None = None,
    device: str = "auto",
    seed: int = 0,
    **arguments: Any,
) -> Explainer:
    """An explainer of any network by any attribution method, which takes pictures of any size.

    Args:
        model: ``resnet50``, ``timm:NAME``, ``hf:FOLDER``, ``model.py:MyNet``, ``package.module:MyNet``, the folder of a saved
            explainer, or an ``nn.Module`` that maps (B, 3, H, W) images to (B, C) logits.
        method: a method of `vitrine.attribution`, also by its short name (``EBP``, ``IG``); ``InversionMask``; or
            the folder of a saved explainer of the same network.
        weights: a file, or an entry of the network's own table; the table's default without it, and ``none`` for random ones.
        classes: names of the logits, or a text file with one a line; those that are known of the network without it.
        preprocessing: of pictures; as the network's library says without it.
        size: side of the network's input in pixels, in place of what the library says.
        num_classes: number of logits, where neither the network nor the file says it.
        device: where the network runs; ``auto`` for a GPU where there is one.
        seed: of all that is random.
        arguments: further ones of the method, such as ``layer="layer4"``.

    Raises:
        ValueError: for an unknown network or method, weights, names or arguments that do not fit, or a method that does not
            work on the network, with what to take instead.
        FileNotFoundError: where a file is not there.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> wrapped = explainer(net, "GradCAM", classes=["ant", "bee"], size=32)
        >>> from PIL import Image
        >>> wrapped.explain(Image.new("RGB", (64, 48), "orange"), target="bee").target.tolist()
        [1]
    """
    file = Path(classes) if isinstance(classes, str | Path) else None
    options = ExplainOptions(
        images=Path(),
        model=model if isinstance(model, str) else type(model).__name__,
        weights=None if weights is None else str(weights),
        num_classes=num_classes,
        classes=file,
        size=size,
        device=device,
        seed=seed,
    )
    if isinstance(model, FrozenBackbone) and device == "auto":  # the caller's own stays where it is
        options = replace(options, device=str(blank_image(model.model, 1).device))
    network = explained_network(options) if isinstance(model, str) else network_of(_frozen(model, weights), options)
    if file is None and classes is not None:
        network = _named(network, list(classes))  # type: ignore[arg-type]
    if preprocessing is not None:
        network = replace(network, preprocessing=preprocessing)
    return made_explainer(network, method, seed, arguments)[1]


def _frozen(model: nn.Module, weights: str | Path | None) -> FrozenBackbone:
    if isinstance(model, FrozenBackbone):
        return model
    if not isinstance(model, nn.Module):
        raise ValueError(f"model is a {type(model).__name__}; give the name of a network or an nn.Module.")
    return FrozenBackbone(model, weights)


def _named(network: ExplainedNetwork, names: list[str]) -> ExplainedNetwork:
    count = network.classes.count
    if len(names) != count:
        raise ValueError(f"classes are {len(names)} names, and the network has {count} logits; give a name for each.")
    return replace(network, classes=NetworkClasses(count, [(name,) for name in names]), names_from="classes")
