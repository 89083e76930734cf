"""Builds a network by its name: from torchvision, timm, or a class of your own."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from vitrine.backbones.weight_files import WEIGHT_FILE_SUFFIXES, load_weights, recorded_num_classes
from vitrine.core.near_names import near_names
from vitrine.core.options import Count, Options

MOVED_CLASSES = {"vitrine.an8flower.network:FlowerNet": "vitrine.data.an8flower.network:FlowerNet"}
"""Today's names of networks that explainers and configurations saved earlier still name."""


@dataclass(frozen=True)
class BackboneOptions(Options):
    """Which network, and which weights.

    Args:
        name: a torchvision name (``resnet18``), a timm name (``timm:resnet18d``), or a class of your own
            (``package.module:Class``).
        weights: a torchvision entry (``IMAGENET1K_V1``, ``DEFAULT``), ``pretrained`` for timm, or a local ``.pth``,
            ``.pt`` or ``.safetensors`` file with a state dict; random weights without it.
        num_classes: number of logits; without it as many as the weight file says that it has (those written by this
            project do), else the network's own default.
        arguments: further keyword arguments of the network's constructor.
        output: which part of the network's output holds the logits, where it is no tensor: a key, an attribute, or a place
            in a tuple (see `class_logits`).
    """

    name: str = "resnet18"
    weights: str | None = None
    num_classes: Count | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    output: str | int | None = None

    @property
    def weight_file(self) -> Path | None:
        """The local file that ``weights`` names, if it names one."""
        return Path(self.weights) if self.weights and Path(self.weights).suffix in WEIGHT_FILE_SUFFIXES else None

    @property
    def has_random_weights(self) -> bool:
        """Whether the weights are those that a constructor draws; a class of your own may read weights itself."""
        is_own = ":" in self.name and not self.name.startswith("timm:")
        return self.weights is None and (not is_own or self._differs_by_seed)

    @property
    def _differs_by_seed(self) -> bool:
        states = []
        for seed in range(2):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                states.append(build_network(self.name, None, self.num_classes, self.arguments).state_dict())
        return any(not torch.equal(value, states[1][name]) for name, value in states[0].items())


def build_network(
    name: str, weights: str | None = None, num_classes: int | None = None, arguments: Mapping[str, Any] | None = None
) -> nn.Module:
    """Builds a network by name and loads its weights; the arguments are those of `BackboneOptions`.

    Raises:
        ValueError: for an unknown name or table entry, or a state dict that does not fit.
        FileNotFoundError: where the weight file does not exist.
        ModuleNotFoundError: where timm is asked for and not installed.
    """
    options = BackboneOptions(name, weights, num_classes, dict(arguments or {}))
    num_classes = num_classes or recorded_num_classes(options.weight_file)
    keywords = dict(options.arguments) | ({} if num_classes is None else {"num_classes": num_classes})
    table_entry = None if options.weight_file else weights
    if name.startswith("timm:"):
        model = _build_timm(name.removeprefix("timm:"), table_entry, keywords)
    elif ":" in name:
        model = _build_own(name, table_entry, keywords)
    else:
        model = _build_torchvision(name, table_entry, keywords)
    if options.weight_file:
        load_weights(model, options.weight_file)
    return model


def _build_torchvision(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        near = near_names(name, known, 8)
        raise ValueError(
            f"torchvision has no classifier named {name!r}; near names: {', '.join(near)};"
            " a timm model is 'timm:NAME', a class of your own 'package.module:Class'."
        )
    table = torchvision.models.get_model_weights(name)
    if entry is not None and entry != "DEFAULT" and entry not in table.__members__:
        raise ValueError(
            f"weights {entry!r} are neither a file ending in .pth, .pt or .safetensors nor one of torchvision's"
            f" for {name}: {', '.join(table.__members__)}."
        )
    if name in {"googlenet", "inception_v3"} and entry is None:
        keywords.setdefault("init_weights", False)  # torchvision warns of the slow initialisation otherwise
    model: nn.Module = torchvision.models.get_model(name, weights=entry, **keywords)
    return model


def _build_timm(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    try:
        import timm  # noqa: PLC0415 - an optional extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"Backbone 'timm:{name}' needs timm: pip install 'vitrine[timm]'") from error
    if entry not in {None, "pretrained"}:
        raise ValueError(f"weights {entry!r} are unknown to timm; give 'pretrained' or a local file.")
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see timm.list_models()"
        raise ValueError(f"timm has no model named {name!r}; near names: {near}.")
    model: nn.Module = timm.create_model(name, pretrained=entry is not None, **keywords)
    return model


def _build_own(name: str, entry: str | None, keywords: dict[str, Any]) -> nn.Module:
    module_name, _, class_name = MOVED_CLASSES.get(name, name).partition(":")
    if entry is not None:
        raise ValueError(f"weights {entry!r} of {name} must be a local file ending in .pth, .pt or .safetensors.")
    try:
        network = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"Backbone {name!r} cannot be imported: {error}.") from error
    model: nn.Module = network(**keywords)
    return model
