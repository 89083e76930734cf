"""Excitation backprop: the marginal winning probability of pixels (Zhang et al., ECCV 2016)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, send_back
from vitrine.attribution.autograd.interception import StrictInterception, share_of, walk
from vitrine.attribution.autograd.rules import STRUCTURAL
from vitrine.attribution.base import Method, Unit
from vitrine.attribution.excitation.rules import excitation_rules
from vitrine.attribution.excitation.shares import LinearShare, reciprocals

Forward = Callable[[Tensor], Tensor]


class ExcitationBackprop(Method):
    """Marginal winning probability (MWP) of the pixels for a unit, or its contrastive kind (c-MWP).

    Mass 1 starts at the unit and is handed down: P(x_j) = Σ_i x_j⁺ w_ij⁺ / (Σ_k x_k⁺ w_ik⁺) · P(z_i), with 0/0 = 0 and
    without biases. c-MWP is MWP under W minus MWP under −W at the first weighted layer below the unit. A batch norm in
    eval mode folds into the convolution or linear layer just before it; a sum splits in proportion to its operands'
    positive parts; activations, dropout and reshaping pass mass unchanged; max pooling gives it to the winner, a gated
    product to the features. Operators are seen wherever they are called, as a module, a function or in place.

    A channel (B, n, …) starts with mass 1 spread in proportion to its positive activations; without any, its map is zeros.
    Maps are (B, 1, H, W), summed over the input's channels, in float32 or wider.

    Args:
        model: as in `Method`.
        layer: as in `Method`; of a layer that is called several times, the last output counts.
        contrastive: whether to give c-MWP.
        negative_activations: ``clamp`` takes x⁺ as above; ``raw`` takes x itself with W⁺; ``zplus`` takes
            z = op(x⁺; W⁺) + op(x⁻; W⁻).
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: for an unknown layer, and of ``attribute`` for an operator between the unit and the pixels that has no
            rule, and where no convolution or linear layer is among them.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        contrastive: bool = False,
        negative_activations: str = "clamp",
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size)
        self.contrastive = contrastive
        self.negative_activations = negative_activations

    @override
    def maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        maps, _ = _propagate(
            lambda images: self.explained_output(images, unit),
            inputs,
            unit.of,
            contrastive=self.contrastive,
            negative_activations=self.negative_activations,
        )
        return maps[:, :, None]

    def mass_lost(self, maps: Tensor) -> Tensor:
        """1 − Σ of each of the (B, …, 1, H, W) maps: (B, …).

        What clamped negative activations, all-negative weights and padding have swallowed; of a c-MWP map, 1 − Σ says
        nothing, since both kinds of mass cancel.
        """
        return 1 - maps.sum(dim=(-3, -2, -1))


def excitation_maps(
    forward: Forward, inputs: Tensor, units: Tensor, *, contrastive: bool, negative_activations: str = "clamp"
) -> tuple[Tensor, Tensor]:
    """MWP or c-MWP of several units by one forward pass; see `ExcitationBackprop` for the rules.

    Args:
        forward: maps (B, C, H, W) inputs to (B, n) outputs. It is called once and may keep what else it computes. The
            modules in it should be in eval mode (`eval_guard`); their parameters are taken as constants.
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

    def checked(output: Tensor) -> Tensor:
        if output.ndim != 2 or units.ndim != 2 or len(units) != len(output):
            raise ValueError(
                f"forward must give (B, n) outputs for (B, K) units, got {tuple(output.shape)} and {tuple(units.shape)}."
            )
        return Unit(units).of(output)

    return _propagate(forward, inputs, checked, contrastive=contrastive, negative_activations=negative_activations)


def _propagate(
    forward: Forward, inputs: Tensor, units: Callable[[Tensor], Tensor], *, contrastive: bool, negative_activations: str
) -> tuple[Tensor, Tensor]:
    """Maps (B, K, H, W) of the (B, K) units of the output, and the output."""
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
        starts = (_start(output.detach(), column) for column in units(output).unbind(dim=1))
        maps = [mass.sum(dim=1) for mass in send_back(output, pixels, starts)]
    empty = pixels.new_zeros(len(pixels), 0, *pixels.shape[2:])
    return torch.stack(maps, dim=1) if maps else empty, output.detach()


@contextmanager
def _graph_in_full_precision(device_type: str) -> Iterator[None]:
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
        yield


def _start(output: Tensor, units: Tensor) -> Tensor:
    """Mass 1 at the units (B,) of a (B, n, …) output, spread over a channel in proportion to its positive activations."""
    chosen = one_hot(output, units)
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
