"""Captum's rules of relevance propagation, put on a copy of a model and tried there."""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import checked_output
from vitrine.attribution.gradient.captum_methods import captum_attr, summed_over_places

TOLERANCE = 1e-3
"""Of the trial, relative; where the rules hold, float32 is off by 1e-6."""

INSTEAD = "use ExcitationBackprop, which sees operators wherever they are called."


class ExplainedCopy(nn.Module):
    """A copy of a model, which Captum may change; it gives (B, n) logits, or the sums of a layer's channels over space.

    Args:
        model: to be copied, in eval mode.
        layer: dotted name of the layer whose channels are explained; the model's classes without it.
        dtype: of the copy's weights.
    """

    def __init__(self, model: nn.Module, layer: str | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.name = type(model).__name__
        self.model = copy.deepcopy(model).to(dtype)
        self.layer = layer
        self.dtype = dtype
        self.sum_over_places = _SumOverPlaces()

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        kept: dict[str | None, Tensor] = {}

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            kept[self.layer] = output
            return output.clone()  # the next layer's rule hooks what it is given, which is not to be what is explained

        # After Captum's own hooks on the layer, which are there before this pass.
        handle = self.model.get_submodule(self.layer or "").register_forward_hook(keep)
        try:
            self.model(inputs.clone())  # whose first operator may work in place
        finally:
            handle.remove()
        output = checked_output(kept[self.layer], len(inputs), self.layer)
        summed: Tensor = self.sum_over_places(output) if output.ndim > 2 else output
        return summed


class _SumOverPlaces(nn.Module):
    """A module, so that a rule can be put on it: relevance starts in proportion to the activations of a channel."""

    @override
    def forward(self, output: Tensor) -> Tensor:
        return summed_over_places(output)


RULE_OF_A_COPY = (nn.Flatten, nn.Identity, nn.Dropout2d, _SumOverPlaces)
"""Layers that Captum has no rule for, and for which the ε-rule is right."""


def relevance(network: ExplainedCopy, inputs: Tensor, units: Tensor) -> Tensor:
    """Relevance of the (B, C, H, W) pixels for the units (B,), in their shape."""
    from captum.attr._utils.lrp_rules import EpsilonRule  # noqa: PLC0415 - an optional extra

    for module in network.modules():
        if isinstance(module, RULE_OF_A_COPY) or _is_empty(module):
            module.rule = EpsilonRule()  # each call of Captum's takes it away again
    pixels = inputs.detach().clone().requires_grad_()
    relevances: Tensor = captum_attr("LRP").LRP(network).attribute(pixels, target=units)
    return relevances.detach()


def try_rules(network: ExplainedCopy, inputs: Tensor) -> None:
    """Tries Captum's rules on noise, for an output that they cannot get right by chance.

    Without biases, and with tanh replaced by ReLU, the rules of all layers that Captum knows make relevance equal to gradient
    × input, whose sum is the explained output. Both are compared. The noise has the shape of an input. It is large, so that
    an operator that saturates does so, and of both signs. The explained unit is the one with the largest output, and noise
    for which all outputs are 0, as a last ReLU may have it, is passed over.

    Args:
        network: a copy of its own; its biases are lost.
        inputs: (B, C, H, W), for their shape.

    Raises:
        ValueError: where a layer has no rule, relevance is lost, doubled or misplaced, or all outputs are 0.
    """
    _check_layers(network)
    _make_homogeneous(network)
    trials = list(islice(_informative(network, inputs), 2))
    if not trials:
        raise ValueError(
            f"LRP cannot be tried on this {network.name}: without its biases all outputs are 0 on noise; {INSTEAD}"
        )
    for noise, unit in trials:
        _try_on(network, noise, unit)


def _is_empty(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and not len(module)


def _check_layers(network: ExplainedCopy) -> None:
    from captum.attr._core.lrp import (  # noqa: PLC0415 - an optional extra
        SUPPORTED_LAYERS_WITH_RULES,
        SUPPORTED_NON_LINEAR_LAYERS,
    )

    known = {*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS, *RULE_OF_A_COPY}
    for name, module in network.model.named_modules():
        is_leaf = not list(module.children())
        if is_leaf and type(module) not in known and not _is_empty(module):
            what = f"its layer {name!r}, a {type(module).__name__}" if name else "what it calls, which is no layer"
            raise ValueError(f"LRP cannot explain this {network.name}: Captum has no rule for {what}; {INSTEAD}")


def _make_homogeneous(network: ExplainedCopy) -> None:
    """Makes the output proportional to the input: no biases, and only activations that keep or drop a value."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            tensor.data.zero_()
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.Tanh):
            network.set_submodule(name, nn.ReLU())


def _informative(network: ExplainedCopy, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Noise (1, C, H, W), with the unit (1,) of the largest output, where that is not 0."""
    for seed in range(8):
        noise = 1e3 * torch.randn(1, *inputs.shape[1:], generator=torch.Generator().manual_seed(seed // 2))
        signed = (-noise if seed % 2 else noise).to(inputs.device, network.dtype)
        with torch.no_grad():
            largest, unit = network(signed).abs().max(dim=1)
        if largest != 0:
            yield signed, unit


def _try_on(network: ExplainedCopy, noise: Tensor, unit: Tensor) -> None:
    output, expected = _gradient_times_input(network, noise, unit)
    try:
        found = relevance(network, noise, unit)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, AttributeError, AssertionError) as error:  # the forward pass itself went well
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise ValueError(f"LRP cannot explain this {network.name}: {reason}; {INSTEAD}") from error
    total, wanted = float(found.sum()), float(output)
    what = "LRP's rules belong to modules and do not hold for this"
    if not abs(total - wanted) <= TOLERANCE * abs(wanted):
        raise ValueError(
            f"{what} {network.name}: on noise and without biases, relevance sums to {total:.4g} where the output is"
            f" {wanted:.4g}; it calls operators outside of modules, such as the sum of a residual block: {INSTEAD}"
        )
    off = float((found - expected).norm() / expected.norm())
    if not off <= TOLERANCE:
        raise ValueError(
            f"{what} {network.name}: on noise and without biases, relevance sums to the output {wanted:.4g} but is"
            f" misplaced by {off:.2g} of its norm; it calls operators outside of modules, such as a mean over space:"
            f" {INSTEAD}"
        )


def _gradient_times_input(network: ExplainedCopy, inputs: Tensor, unit: Tensor) -> tuple[Tensor, Tensor]:
    """The output of one input's unit, and ∂f/∂x · x."""
    with torch.enable_grad():
        pixels = inputs.clone().requires_grad_()
        output = network(pixels)[0, unit[0]]
        (slope,) = torch.autograd.grad(output, pixels)
    return output.detach(), slope * inputs
