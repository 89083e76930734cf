"""Modules from options by their names alone, put into the dataclasses that their constructors take."""

from dataclasses import fields
from typing import Any, TypeVar

from torch.optim import SGD, Adam

from lightning_modules import ExplainerModule, MuLassoModule
from vitrine.attribution.inversion import InversionSettings
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.options import grouped

M = TypeVar("M", bound=ExplainerModule)
SETTINGS = {field.name for field in fields(InversionSettings)}


def make_flat(kind: type[M], backbone: BackboneOptions, /, **options: Any) -> M:
    """A module whose options are given by name; ``lr`` and ``momentum`` are of its own kind of optimizer."""
    lr, momentum = options.pop("lr", None), options.pop("momentum", 0.9)
    overrides = {name: options.pop(name) for name in list(options) if name in SETTINGS and "Inversion" in kind.__name__}
    if overrides:
        options["overrides"] = overrides
    if lr is not None and issubclass(kind, MuLassoModule):
        options["optimizer"] = lambda weights: SGD(weights, lr=lr, momentum=momentum, nesterov=momentum > 0)
    elif lr is not None:
        options["optimizer"] = lambda parameters: Adam(parameters, lr=lr, fused=True)
    make: Any = kind  # whose constructor takes a backbone, unlike that of its base
    module: M = make(backbone, **grouped(kind, options))
    return module
