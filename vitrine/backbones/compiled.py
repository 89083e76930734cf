"""Compiled networks: what torch.compile wraps, whose layers can be looked into, and TorchScript, whose layers cannot."""

import torch
from torch import nn

WRAPPED = "_orig_mod"
"""The name under which torch.compile keeps the network that it wraps."""


def uncompiled(model: nn.Module) -> nn.Module:
    """The network itself, where it was given as ``torch.compile(model)``: compiled code shows neither layers nor operators.

    Args:
        model: a network, compiled or not. It is not changed.

    Raises:
        ValueError: for what is no network, and for one of which only parts are compiled.

    Example:
        >>> import torch
        >>> network = nn.Sequential(nn.Linear(2, 2))
        >>> uncompiled(torch.compile(network)) is network
        True
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"model is {model!r:.80}; give an nn.Module, such as vitrine.backbones.FrozenBackbone(name).model."
        )
    while WRAPPED in dict(model.named_children()):
        model = model.get_submodule(WRAPPED)
    for name, module in model.named_modules():
        if WRAPPED in dict(module.named_children()):
            raise ValueError(
                f"The model's layer {name!r} is compiled by itself, so that what is in it cannot be seen; give the model"
                " before torch.compile, or compile it as a whole."
            )
    return model


def check_layers_are_seen(model: nn.Module, user: str) -> None:
    """Makes sure that a network is not TorchScript as a whole, which runs without calling Python for its layers.

    Args:
        model: the network.
        user: who looks into it, for the message.

    Raises:
        ValueError: for what ``torch.jit`` scripted, traced, froze or loaded, with what to give in its place.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"{user} looks into layers and operators, and a TorchScript model ({model.original_name}) shows none; give the"
            " nn.Module before torch.jit.script or torch.jit.trace, or take a method that runs the model alone, such as"
            " Saliency, IntegratedGradients, Occlusion or RISE."
        )


def plain_name(layer: str) -> str:
    """A layer's dotted name without what torch.compile puts before it.

    Example:
        >>> plain_name("_orig_mod.features.3")
        'features.3'
    """
    return layer.removeprefix(f"{WRAPPED}.")
