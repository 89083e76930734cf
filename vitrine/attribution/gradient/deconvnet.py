"""Deconvnet and guided backprop, with and without the strides of the network."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.autograd.backward import arriving_vjps, one_hot
from vitrine.attribution.autograd.gating import GatingInterception
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.autograd.interception import Interception, Rule
from vitrine.attribution.autograd.rules import MAXIMA, RECTIFIERS, deconvnet_rules, guided_rules
from vitrine.attribution.autograd.stride_one import Pooling, stride_one_rules
from vitrine.attribution.autograd.swish import deconvnet_swish, guided_swish
from vitrine.attribution.autograd.switched_rectifiers import RectifierRule
from vitrine.attribution.base import Method, SharedPass
from vitrine.attribution.gradient.saliency import gradients_at
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, checked
from vitrine.core.precision import in_full


class Deconvnet(Method):
    """The gradient at the pixels, with another backward pass through rectifiers: R = g⁺ (Zeiler and Fergus, ECCV 2014).

    Rectifiers are recognised wherever they are called: as modules, functions, reused or in place. A smooth one (GELU, SiLU,
    Swish written out, …) passes the positive gradient as ReLU does; all other operators, also sigmoid gates, squares and
    attention, keep their own gradient.

    The backward pass starts with 1 at the logit of a class, and with the activation map of a channel. Maps are in float32
    or wider.

    Args:
        model: as in `Method`.
        layer: as in `Method`.
        stride_one: whether strided convolutions go back with stride 1 over the signal resampled by nearest neighbour, which
            leaves no grid in the heatmap (section 3.3 of Oramas et al., ICLR 2019).
        pooling: with ``stride_one``, ``switches`` sends the signal of a maximum to where it was taken from (the authors'
            choice); ``resampled`` goes back through pooling with stride 1 too.
        start: of a channel: ``activation``, its activation map, or ``maximum``, a 1 at its maximum.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if the model has no rectifier, as the map would be the plain
            gradient, or one that is not recognised (see `vitrine.attribution.autograd.gating`), and if no gradient leads
            from the output back to the pixels.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> Deconvnet(model, layer="1").attribute(torch.rand(2, 3, 8, 8), channel=3).shape
        torch.Size([2, 3, 8, 8])
    """

    gradient_like = True
    signed = True
    smoothed_for_pointing = True
    network_requirement = "a rectifier"
    rectifies = True
    rule: ClassVar[RectifierRule] = "deconvnet"
    """Of the backward pass through rectifiers."""
    paper = "Zeiler and Fergus 2014"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        stride_one: bool = False,
        pooling: Pooling = "switches",
        start: Literal["activation", "maximum"] = "activation",
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.strided_rules = stride_one_rules(pooling) if stride_one else {}
        self.start = start

    def rectifier_rules(self) -> dict[str, Rule]:
        """The backward passes of rectifiers, by operator name."""
        if self.rule == "guided":
            return guided_rules() | {"mul": guided_swish}
        return deconvnet_rules() | {"mul": deconvnet_swish}

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        with differentiating(self.model), self.intercepting() as interception:
            pixels = inputs.requires_grad_()
            given = pixels.clone()  # a leaf may not be changed in place
            output = self.explained_output(given, target, may_end=lambda: met_rectifier(interception))

            def check() -> None:
                check_gradient(output, pixels, self.model, layer=target.layer)

            if not met_rectifier(interception):
                check()
        try:
            interception.check(output)
        except ValueError:  # a network that no gradient leads through has no operator that the method could name
            check()
            raise
        cotangents = [self.cotangent(output.detach(), column) for column in target.resolve(output).unbind(dim=1)]
        return in_full(torch.stack(list(arriving_vjps(output, pixels, cotangents, check)), dim=1))

    @override
    def reader(self, inputs: Tensor) -> AbstractContextManager[None] | None:
        return None if self.strided_rules else nullcontext()

    @override
    def maps_of_pass(self, shared: SharedPass, seen: None, target: Target) -> Tensor:
        with shared.as_rectified(self.rule):
            return gradients_at(shared.pixels, shared.logits, target, keep=True)

    @contextmanager
    def intercepting(self) -> Iterator[GatingInterception]:
        """A context in which forward passes get the backward passes of this method.

        Raises:
            ValueError: on leaving, if no rectifier was called.
        """
        with GatingInterception(self.rectifier_rules() | self.strided_rules, type(self).__name__) as interception:
            yield interception
        if not met_rectifier(interception):
            raise ValueError(
                f"{type(self).__name__} met no ReLU or other rectifier in {type(self.model).__name__}, so that its map would"
                " be the plain gradient; use Saliency for that."
            )

    def cotangent(self, output: Tensor, indices: Tensor) -> Tensor:
        """What the backward pass starts with at the indices (B,) of a (B, n, …) output, in the output's shape."""
        is_target = one_hot(output, indices)
        if output.ndim == 2:
            return is_target
        if self.start == "activation":
            return is_target * output
        flat = torch.where(is_target > 0, output, -torch.inf).flatten(1)
        return torch.zeros_like(flat).scatter_(1, flat.argmax(dim=1, keepdim=True), 1.0).view_as(output)


def met_rectifier(interception: Interception) -> bool:
    """Whether a rectifier was called so far."""
    return bool(interception.applied & (RECTIFIERS | MAXIMA | {"mul"}))  # a product is one where it is a Swish


class GuidedBackprop(Deconvnet):
    """A deconvnet that also masks by the forward pass: R = g⁺ f′(x) at a rectifier f (Springenberg et al., 2015).

    For ReLU, that is g⁺ where x > 0; for ReLU6, g⁺ where 0 < x < 6; smooth rectifiers (GELU, SiLU, …) keep their own slope.
    Arguments and everything else are those of `Deconvnet`; with ``stride_one`` it is the heatmap of Oramas et al., ICLR 2019.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 3 * 3, 5))
        >>> GuidedBackprop(model, stride_one=True).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 3, 8, 8])
    """

    rule = "guided"
    paper = "Springenberg et al. 2015; with stride_one, Oramas et al. 2019"
