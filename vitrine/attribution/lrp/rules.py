"""Captum's rules of relevance propagation, on a copy of a model, and a test whether they hold for it."""

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.gradient_flow import check_gradient
from vitrine.attribution.base import checked_output
from vitrine.attribution.captum_adapter import captum_attr, spatial_sums

TOLERANCE = 1e-3
"""Relative tolerance of the test; if the rules hold, the error in float32 is 1e-6."""

REMEDY = "use ExcitationBackprop, which sees operators wherever they are called."


class ExplainedCopy(nn.Module):
    """A copy of a model, which Captum may change; it gives (B, n) logits, or the spatial sums of a layer's channels.

    Args:
        model: to be copied, in eval mode.
        layer: dotted name of the layer whose channels are explained; None for the model's classes.
        dtype: of the copy's weights.
    """

    def __init__(self, model: nn.Module, layer: str | None, dtype: torch.dtype) -> None:
        super().__init__()
        self.name = type(model).__name__
        self.model = copy.deepcopy(model).to(dtype)
        self.layer = layer
        self.dtype = dtype
        self.spatial_sums = _SpatialSums()

    @override
    def forward(self, inputs: Tensor) -> Tensor:
        outputs: list[Tensor] = []

        def record(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            outputs[:] = [output]
            return output.clone()  # the rule of the next layer hooks its input, which must not be the explained tensor

        # Runs after Captum's own hooks on the layer, which were registered earlier.
        handle = self.model.get_submodule(self.layer or "").register_forward_hook(record)
        try:
            self.model(inputs.clone())  # a copy, as the first operator may work in place
        finally:
            handle.remove()
        output = checked_output(outputs[0], len(inputs), self.layer)
        sums: Tensor = self.spatial_sums(output) if output.ndim > 2 else output
        return sums


class _SpatialSums(nn.Module):
    """A module, so that it can have a rule: relevance starts in proportion to the activations of a channel."""

    @override
    def forward(self, output: Tensor) -> Tensor:
        return spatial_sums(output)


EPSILON_RULE_LAYERS = (nn.Flatten, nn.Identity, nn.Dropout2d, _SpatialSums)
"""Layers that Captum has no rule for, and for which the ε-rule is right."""


def relevance(network: ExplainedCopy, inputs: Tensor, indices: Tensor) -> Tensor:
    """Relevance of the (B, C, H, W) pixels for the outputs at the indices (B,), in the pixels' shape."""
    from captum.attr._utils.lrp_rules import EpsilonRule  # noqa: PLC0415 - an optional extra

    for module in network.modules():
        if isinstance(module, EPSILON_RULE_LAYERS) or _is_empty(module):
            module.rule = EpsilonRule()  # Captum removes it at the end of each call
    pixels = inputs.detach().clone().requires_grad_()
    relevances: Tensor = captum_attr("LRP").LRP(network).attribute(pixels, target=indices)
    return relevances.detach()


def check_rules(network: ExplainedCopy, inputs: Tensor) -> None:
    """Tests Captum's rules on noise, for an output that wrong rules cannot get right by chance.

    Without biases, and with tanh replaced by ReLU, the rules of all layers that Captum knows make relevance equal to gradient
    × input, whose sum is the explained output. Both are compared. The noise has the shape of an input; it has both signs, and
    is so large that an operator that can saturate does. The explained output is the largest one. Noise for which all outputs
    are 0, as a ReLU at the end can make them, is skipped.

    Args:
        network: a copy for this test alone, which changes it.
        inputs: (B, C, H, W), for their shape.

    Raises:
        ValueError: if a layer has no rule, relevance is lost, doubled or misplaced, or all outputs are 0.
    """
    _check_layers(network)
    _make_homogeneous(network)
    samples = list(islice(_noise_with_output(network, inputs), 2))
    if not samples:
        raise ValueError(
            f"LRP cannot be tested on this {network.name}: without its biases all outputs are 0 on noise; {REMEDY}"
        )
    for noise, index in samples:
        _check_on(network, noise, index)


def _is_empty(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and not len(module)


def _check_layers(network: ExplainedCopy) -> None:
    from captum.attr._core.lrp import (  # noqa: PLC0415 - an optional extra
        SUPPORTED_LAYERS_WITH_RULES,
        SUPPORTED_NON_LINEAR_LAYERS,
    )

    supported = {*SUPPORTED_LAYERS_WITH_RULES, *SUPPORTED_NON_LINEAR_LAYERS, *EPSILON_RULE_LAYERS}
    for name, module in network.model.named_modules():
        is_leaf = not list(module.children())
        if is_leaf and type(module) not in supported and not _is_empty(module):
            what = f"its layer {name!r}, a {type(module).__name__}" if name else "what it calls, which is no layer"
            raise ValueError(f"LRP cannot explain this {network.name}: Captum has no rule for {what}; {REMEDY}")


def _make_homogeneous(network: ExplainedCopy) -> None:
    """Makes the output proportional to the input: no biases, and only activations that pass or block a value."""
    for name, tensor in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith(("bias", "running_mean")):
            tensor.data.zero_()
    for name, module in list(network.named_modules(remove_duplicate=False)):
        if isinstance(module, nn.Tanh):
            network.set_submodule(name, nn.ReLU())


def _noise_with_output(network: ExplainedCopy, inputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Noise (1, C, H, W) and the index (1,) of its largest output, which is not 0."""
    for seed in range(8):
        noise = 1e3 * torch.randn(1, *inputs.shape[1:], generator=torch.Generator().manual_seed(seed // 2))
        signed = (-noise if seed % 2 else noise).to(inputs.device, network.dtype)
        with torch.no_grad():
            largest, index = network(signed).abs().max(dim=1)
        if largest != 0:
            yield signed, index


def _check_on(network: ExplainedCopy, noise: Tensor, index: Tensor) -> None:
    output, expected = _gradient_times_input(network, noise, index)
    try:
        relevances = relevance(network, noise, index)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError, AttributeError, AssertionError) as error:  # the forward pass itself went well
        reason = str(error).strip().partition("\n")[0].partition(". ")[0]
        raise ValueError(f"LRP cannot explain this {network.name}: {reason}; {REMEDY}") from error
    total, logit = float(relevances.sum()), float(output)
    what = "LRP's rules belong to modules and do not hold for this"
    if not abs(total - logit) <= TOLERANCE * abs(logit):
        raise ValueError(
            f"{what} {network.name}: on noise and without biases, relevance sums to {total:.4g} where the output is"
            f" {logit:.4g}; it calls operators outside of modules, such as the sum of a residual block: {REMEDY}"
        )
    error_norm = float((relevances - expected).norm() / expected.norm())
    if not error_norm <= TOLERANCE:
        raise ValueError(
            f"{what} {network.name}: on noise and without biases, relevance sums to the output {logit:.4g} but is"
            f" misplaced by {error_norm:.2g} of its norm; it calls operators outside of modules, such as a mean over space:"
            f" {REMEDY}"
        )


def _gradient_times_input(network: ExplainedCopy, inputs: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """The output f of one input at an index, and ∂f/∂x · x."""
    with torch.enable_grad():
        pixels = inputs.clone().requires_grad_()
        outputs = network(pixels)
        check_gradient(outputs, pixels, network.model, layer=network.layer)
        output = outputs[0, index[0]]
        (gradient,) = torch.autograd.grad(output, pixels)
    return output.detach(), gradient * inputs
