"""Names of networks that were built by torchvision or timm and given as they are."""

import re
import warnings
from collections.abc import Iterator

import torch
import torchvision
from torch import nn

from vitrine.backbones.classifier_layer import classifier_layer
from vitrine.backbones.identity import structure_digest
from vitrine.backbones.networks import BackboneOptions, build_network


def library_options(model: nn.Module, structure: str | None = None) -> BackboneOptions | None:
    """By which name and number of logits a network is built again, layer by layer; None where no name builds it.

    Its last layer may have been replaced by one for another number of logits. No weights are made or read.

    Args:
        model: a network, such as ``torchvision.models.resnet18()`` with another ``fc``.
        structure: its `structure_digest`, where it has been given hooks since.

    Example:
        >>> model = torchvision.models.squeezenet1_1(num_classes=5)
        >>> options = library_options(model)
        >>> options.name, options.num_classes
        ('squeezenet1_1', 5)
    """
    try:
        layer = model.get_submodule(classifier_layer(model))
    except ValueError:
        return None
    count = getattr(layer, "out_features", None) or getattr(layer, "out_channels", None)
    for name in _candidates(model):
        if _is_built_as(model, structure or structure_digest(model), name, count):
            return BackboneOptions(name, num_classes=count)
    return None


def _candidates(model: nn.Module) -> Iterator[str]:
    module = type(model).__module__
    if module.startswith("torchvision.models."):
        known = torchvision.models.list_models(module=torchvision.models)
        yield from (name for name in known if torchvision.models.get_model_builder(name).__module__ == module)
    described = getattr(model, "pretrained_cfg", None)
    architecture = described.get("architecture") if isinstance(described, dict) else None
    if module.startswith("timm.") and isinstance(architecture, str) and re.fullmatch(r"\w+", architecture):
        yield f"timm:{architecture}"


def _is_built_as(model: nn.Module, structure: str, name: str, count: int | None) -> bool:
    """Whether a name gives the same tensors' names and shapes and the same layers with the same settings."""
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = build_network(name, num_classes=count).eval()
    except (ValueError, ImportError):
        return False
    if isinstance(getattr(model, "num_classes", None), int) and hasattr(other, "num_classes"):
        other.num_classes = model.num_classes  # stays as it was where a last layer is replaced by hand
    shapes = [{key: value.shape for key, value in one.state_dict().items()} for one in (model, other)]
    return shapes[0] == shapes[1] and structure == structure_digest(other)
