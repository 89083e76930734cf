"""Excitation backprop: the marginal winning probability of pixels (Zhang et al., ECCV 2016)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import Node

from vitrine.attribution.base import Method, Target, check_units, target_units
from vitrine.attribution.excitation import LinearShare, reciprocals
from vitrine.attribution.excitation_rules import excitation_rules
from vitrine.attribution.interception import StrictInterception, share_of, walk
from vitrine.attribution.rules import STRUCTURAL
from vitrine.glass import behind_glass

Forward = Callable[[Tensor], Tensor]
Seeds = Callable[[Tensor], Iterable[Tensor]]


class ExcitationBackprop(Method):
    """Marginal winning probability (MWP) of the pixels for a unit, or its contrastive kind (c-MWP).

    Mass 1 starts at the unit and is handed down: P(x_j) = Σ_i x_j⁺ w_ij⁺ / (Σ_k x_k⁺ w_ik⁺) · P(z_i), with 0/0 = 0 and
    without biases. c-MWP is MWP under W minus MWP under −W at the first weighted layer below the unit. A batch norm in
    eval mode folds into the convolution or linear layer just before it; a sum splits in proportion to its operands'
    positive parts; activations, dropout and reshaping pass mass unchanged; max pooling gives it to the winner, a gated
    product to the features. Operators are seen wherever they are called, as a module, a function or in place.

    Args:
        model: maps (B, C, H, W) inputs to (B, n) logits.
        layer: dotted name or submodule whose unit or channel is explained; a logit of the model's output without it. Of a
            layer that is called several times, the last output counts.
        contrastive: whether to give c-MWP.
        negative_activations: ``clamp`` takes x⁺ as above; ``raw`` takes x itself with W⁺; ``zplus`` takes
            z = op(x⁺; W⁺) + op(x⁻; W⁻).

    Raises:
        ValueError: for an unknown layer.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        contrastive: bool = False,
        negative_activations: str = "clamp",
    ) -> None:
        super().__init__(model, layer)
        self.contrastive = contrastive
        self.negative_activations = negative_activations

    def attribute(self, inputs: Tensor, target: Target) -> Tensor:
        """MWP or c-MWP of the pixels, summed over the input's channels.

        Args:
            inputs: (B, C, H, W) as the model takes them.
            target: index of the explained logit, unit or channel: one for all, or one an input. A channel (B, n, …) starts
                with mass 1 spread in proportion to its positive activations; without any, its map is zeros.

        Returns:
            (B, 1, H, W) in float32 or wider, neither clamped nor rescaled.

        Raises:
            ValueError: for a target that does not exist; for an operator between the unit and the pixels that has no rule;
                where no convolution or linear layer is among them.
        """
        with behind_glass(self.model):
            maps, _ = _propagate(
                self.explained_output,
                inputs,
                lambda output: [_seed(output, target_units(target, output))],
                contrastive=self.contrastive,
                negative_activations=self.negative_activations,
            )
        return maps


def excitation_maps(
    forward: Forward, inputs: Tensor, units: Tensor, *, contrastive: bool, negative_activations: str = "clamp"
) -> tuple[Tensor, Tensor]:
    """MWP or c-MWP of several units by one forward pass; see `ExcitationBackprop` for the rules.

    Args:
        forward: maps (B, C, H, W) inputs to (B, n) outputs. It is called once and may keep what else it computes. The
            modules in it should be in eval mode (`vitrine.glass.behind_glass`); their parameters are taken as constants.
        inputs: (B, C, H, W).
        units: (B, K) int64; map k of image b explains output ``units[b, k]``.
        contrastive: whether to give c-MWP.
        negative_activations: ``clamp``, ``raw`` or ``zplus``.

    Returns:
        (B, K, H, W) maps summed over the input's channels, neither clamped nor rescaled, and the (B, n) outputs, detached;
        both in float32 or wider.

    Raises:
        ValueError: as `ExcitationBackprop.attribute`.
    """

    def seeds(output: Tensor) -> list[Tensor]:
        if output.ndim != 2 or units.ndim != 2 or len(units) != len(output):
            raise ValueError(
                f"forward must give (B, n) outputs for (B, K) units, got {tuple(output.shape)} and {tuple(units.shape)}."
            )
        check_units(units, output.shape[1])
        return [_seed(output, column) for column in units.to(output.device).unbind(dim=1)]

    return _propagate(forward, inputs, seeds, contrastive=contrastive, negative_activations=negative_activations)


def _propagate(
    forward: Forward, inputs: Tensor, seeds: Seeds, *, contrastive: bool, negative_activations: str
) -> tuple[Tensor, Tensor]:
    """Maps (B, K, H, W), one a seed, and the output."""
    if inputs.ndim != 4:
        raise ValueError(f"inputs must be (B, C, H, W), got {tuple(inputs.shape)}.")
    with _graph_in_full_precision(inputs.device.type):
        pixels = inputs.detach().clone().to(torch.promote_types(inputs.dtype, torch.float32)).requires_grad_()
        images = pixels.clone()  # may be changed in place, which a leaf may not
        rules = excitation_rules(negative_activations)
        with StrictInterception(rules, STRUCTURAL, inputs.device.type, "Excitation backprop") as mode:
            output = forward(images)
        mode.check(output)
        nodes = first_weighted(output)
        if contrastive:
            _make_contrastive(nodes)
        maps = [_mass_at(pixels, output, seed) for seed in seeds(output.detach())]
    empty = pixels.new_zeros(len(pixels), 0, *pixels.shape[2:])
    return torch.cat([empty, *maps], dim=1), output.detach()


@contextmanager
def _graph_in_full_precision(device_type: str) -> Iterator[None]:
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
        yield


def _mass_at(pixels: Tensor, output: Tensor, seed: Tensor) -> Tensor:
    (mass,) = torch.autograd.grad(output, pixels, seed, retain_graph=True)
    return mass.sum(dim=1, keepdim=True)


def _seed(output: Tensor, units: Tensor) -> Tensor:
    """Mass 1 at the units (B,) of a (B, n, …) output, spread over a channel in proportion to its positive activations."""
    chosen = F.one_hot(units, output.shape[1]).to(output).view(*output.shape[:2], *[1] * (output.ndim - 2))
    if output.ndim == 2:
        return chosen
    positive = output.clamp(min=0)
    return chosen * positive * reciprocals(positive.sum(dim=tuple(range(2, output.ndim)), keepdim=True))


def _is_weighted(node: Node) -> bool:
    share = share_of(node)
    return isinstance(share, LinearShare) and share.weight is not None


def first_weighted(output: Tensor) -> list[Node]:
    """The convolutions and linear layers that are reached first from an output, whichever way one goes down.

    Raises:
        ValueError: where there are none.
    """
    nodes = [node for node in walk([output.grad_fn], _is_weighted) if _is_weighted(node)]
    if not nodes:
        raise ValueError(
            "Excitation backprop met no convolution or linear layer between the explained unit and the pixels."
        )
    return nodes


def _make_contrastive(firsts: list[Node]) -> None:
    # One that also lies below another first layer gets both kinds of mass, and shares them plainly.
    below = set(walk(node for first in firsts for node, _ in first.next_functions))
    for node in firsts:
        share = share_of(node)
        if node not in below and isinstance(share, LinearShare):
            share.contrastive = True
