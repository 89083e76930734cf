"""Layer-wise relevance propagation, LRP (Bach et al.: On Pixel-Wise Explanations, PLoS ONE 2015)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, vjp_at, vjps
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.autograd.interception import with_backward
from vitrine.attribution.autograd.noted_outputs import NotedOutput, noted
from vitrine.attribution.base import Method
from vitrine.attribution.lrp.composites import (
    Attention,
    Composite,
    CompositeName,
    FirstRule,
    composite_named,
)
from vitrine.attribution.lrp.propagation import Propagation, propagating, propagation
from vitrine.attribution.targets import Indices, Target
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.outputs import OutputChoice, logits_given
from vitrine.backbones.taps import resolve_layer
from vitrine.core.image_inputs import check_images
from vitrine.core.options import Count, NonNegative, checked

Aux = TypeVar("Aux")


class LRP(Method):
    """Relevance R that adds up to the explained output, but for what biases and other added constants absorb.

    A rule for every operator says how its relevance is shared among its inputs (see
    `vitrine.attribution.lrp.weighted_rules` and `vitrine.attribution.lrp.operator_rules`), and a composite which rule a
    convolution, a linear layer and the first layer follow. Operators are recognised wherever they are called. Of a channel
    (B, n, …), relevance starts in proportion to its activation map.

    Args:
        model: as in `Method`.
        layer: as in `Method`; if the layer is called several times, its last output counts.
        composite: ``epsilon``: the ε-rule everywhere; ``epsilon_gamma_box``: z^B for the first layer, γ for convolutions, ε
            for linear layers; ``epsilon_plus`` and ``alpha2_beta1``: the z⁺- or αβ-rule for convolutions, ε for linear
            layers; ``attn``: AttnLRP (Achtibat et al. 2024), with the γ-rule if ``gamma`` is given; or an own `Composite`.
        epsilon: ε of the ε-rule; by default 0 in ``epsilon`` and ``attn``, so that relevance is the gradient times the input
            where activation functions are ReLUs, and 10⁻⁶ in the others.
        gamma: γ of convolutions, by default 0.25 in ``epsilon_gamma_box`` and 0 in ``attn``, where linear layers have a
            fifth of it.
        first: rule of the layer that reads the pixels: that of the ``composite``, ``flat``, ``w_square`` or ``box``.
        attention: ``attn`` shares relevance between attention weights and values; ``constant`` takes weights for constants.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if an operator between the output and the pixels has no rule.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> LRP(model, composite="epsilon_plus").attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 3, 8, 8])
    """

    gradient_like = True
    signed = True
    additive = True
    smoothed_for_pointing = True
    network_requirement = "no operator without a rule, such as own autograd functions"
    paper = "Bach et al. 2015; attn, Achtibat et al. 2024"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        composite: CompositeName | Composite = "epsilon",
        *,
        epsilon: NonNegative | None = None,
        gamma: NonNegative | None = None,
        first: FirstRule = "composite",
        attention: Attention = "attn",
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.composite = _composite(composite, epsilon, gamma, first, attention)

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        with self._propagated(inputs, target) as passed:
            indices = target.resolve(passed.output)
            cotangents = (one_hot(passed.output, column) for column in indices.unbind(dim=1))
            maps = list(vjps(passed.output, passed.pixels, cotangents))
        empty = passed.pixels.new_zeros(len(inputs), 0, *inputs.shape[1:])
        return torch.stack(maps, dim=1).detach() if maps else empty

    def relevance_at(self, layer: str | nn.Module, inputs: Tensor, target: Indices | None = None) -> Tensor:
        """Relevance of the output of a layer for a class.

        Args:
            layer: name or submodule; the last call counts.
            inputs: (B, C, H, W).
            target: as in `attribute`.

        Returns:
            The shape of the layer's output, (B, …), or (B, K, …) for (B, K) targets.

        Raises:
            ValueError: as `attribute`; also if the class does not depend on the layer, or the layer is folded into another.
        """
        name = resolve_layer(self.model, layer)
        with (
            self._explaining(inputs, target) as (images, explained),
            noted(self.model, name) as outputs,
            self._propagated(images, explained) as passed,
        ):
            columns = explained.resolve(passed.output).unbind(dim=1)
            relevance = [_at_edge(passed, outputs, one_hot(passed.output, column), name) for column in columns]
        stacked = torch.stack(relevance, dim=1)
        return stacked if explained.is_multiple else stacked.squeeze(1)

    def conditional(
        self, inputs: Tensor, target: Indices | None, layer: str | nn.Module, channels: Iterable[int], dim: int = 1
    ) -> Tensor:
        """Relevance of the pixels for a class by way of single channels of a layer (CRP; Achtibat et al. 2023).

        At the layer, all relevance but that of the channel is left out. The maps of all channels add up to that of the class,
        if all ways lead through the layer.

        Args:
            inputs: (B, C, H, W).
            target: one class for all inputs, or (B,) one for each; the predicted one if it is None.
            layer: name or submodule.
            channels: K indices, by one forward and K backward passes.
            dim: of the channels in the layer's output; −1 for tokens (B, N, D).

        Returns:
            (B, K, C, H, W).

        Raises:
            ValueError: as `relevance_at`; also if a channel does not exist, or for several targets.
        """
        name, channels = resolve_layer(self.model, layer), [int(channel) for channel in channels]
        with self._explaining(inputs, target) as (images, explained), _masked(self.model, name, dim) as mask:
            if explained.is_multiple:
                raise ValueError("conditional takes one target for each input; call it once for each of several.")
            with self._propagated(images, explained) as passed:
                mask.check(channels)
                cotangent = one_hot(passed.output, explained.resolve(passed.output)[:, 0])
                maps = [mask.relevance(passed, cotangent, channel) for channel in channels]
        return torch.stack(maps, dim=1) if maps else images.new_zeros(len(images), 0, *images.shape[1:])

    @contextmanager
    def _propagated(self, inputs: Tensor, target: Target) -> Iterator[Propagation]:
        def forward(images: Tensor) -> tuple[Tensor, None]:
            output = self.explained_output(images, target)
            check_gradient(output, images, self.model, layer=target.layer)
            return output, None

        with differentiating(self.model), propagating(inputs.device.type):
            yield propagation(forward, inputs, self.composite)[0]

    @contextmanager
    def _explaining(self, inputs: Tensor, target: Indices | None) -> Iterator[tuple[Tensor, Target]]:
        check_images(inputs, "inputs", finite=True)
        with eval_guard(self.model), logits_given(self.model, self.output), torch.inference_mode(mode=False):
            yield inputs.detach().clone(), self.explained_target(len(inputs), target, None)


def _composite(
    composite: CompositeName | Composite,
    epsilon: float | None,
    gamma: float | None,
    first: FirstRule,
    attention: Attention,
) -> Composite:
    if not isinstance(composite, Composite):
        composite = composite_named(composite, epsilon, gamma, attention)
    return composite.with_first(first)


@overload
def relevance_maps(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    indices: Tensor,
    *,
    composite: Composite,
    has_aux: Literal[False] = False,
) -> tuple[Tensor, Tensor]: ...


@overload
def relevance_maps(
    forward: Callable[[Tensor], tuple[Tensor, Aux]],
    inputs: Tensor,
    indices: Tensor,
    *,
    composite: Composite,
    has_aux: Literal[True],
) -> tuple[Tensor, Tensor, Aux]: ...


def relevance_maps(
    forward: Callable[[Tensor], Any], inputs: Tensor, indices: Tensor, *, composite: Composite, has_aux: bool = False
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Any]:
    """Relevance for several outputs of a function, such as the x-features of an explainer, by one forward pass.

    Args:
        forward: maps (B, C, H, W) inputs to (B, n) outputs. It is called once, with its modules in eval mode (`eval_guard`).
        inputs: (B, C, H, W).
        indices: (B, K) int64; map k of image b explains output ``indices[b, k]``.
        composite: the rules, see `composite_named`.
        has_aux: whether ``forward`` gives a pair, of the outputs and of auxiliary data, which is returned too.

    Returns:
        (B, K, C, H, W) maps and the (B, n) outputs, detached; with ``has_aux`` also the auxiliary data.

    Raises:
        ValueError: if an operator has no rule, or the shapes of outputs and indices do not fit.
    """
    with propagating(inputs.device.type):
        passed, aux = propagation(forward if has_aux else lambda x: (forward(x), None), inputs, composite)
        output = passed.output
        if output.ndim != 2 or indices.ndim != 2 or len(indices) != len(output):
            raise ValueError(
                f"forward must give (B, n) outputs for (B, K) indices, got {tuple(output.shape)} and {tuple(indices.shape)}."
            )
        columns = Target(indices).resolve(output).unbind(dim=1)
        maps = list(vjps(output, passed.pixels, (one_hot(output, column) for column in columns)))
    empty = passed.pixels.new_zeros(len(inputs), 0, *inputs.shape[1:])
    stacked = torch.stack(maps, dim=1).detach() if maps else empty
    return (stacked, output.detach(), aux) if has_aux else (stacked, output.detach())


def _at_edge(passed: Propagation, outputs: Sequence[NotedOutput], cotangent: Tensor, layer: str) -> Tensor:
    signal = vjp_at(passed.output, outputs[0].edge, cotangent) if outputs else None
    if signal is None:
        raise ValueError(
            f"No relevance arrives at layer {layer!r}: the class does not depend on its output, or a batch norm after it is"
            " folded into it, which gets the relevance instead; name that one."
        )
    return signal * outputs[0].values


class _Mask:
    """Lets relevance through at one channel of a layer's output."""

    def __init__(self, layer: str, dim: int) -> None:
        self.layer = layer
        self.dim = dim
        self.shape: torch.Size | None = None
        self.channel: int | None = None

    def __call__(self, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not (isinstance(output, Tensor) and output.requires_grad):
            return None
        self.shape = output.shape
        return with_backward(output.clone, self._backward, output)

    def _backward(self, signal: Tensor) -> tuple[Tensor]:
        masked = torch.zeros_like(signal)
        masked.select(self.dim, self.channel or 0).copy_(signal.select(self.dim, self.channel or 0))
        return (masked,)

    def check(self, channels: Iterable[int]) -> None:
        """Raises ValueError if the layer has no such channels."""
        if self.shape is None or not -len(self.shape) <= self.dim < len(self.shape):
            raise ValueError(
                f"Layer {self.layer!r} gives no tensor with dimension {self.dim} that depends on the pixels."
            )
        count = self.shape[self.dim]
        for channel in channels:
            if not 0 <= channel < count:
                raise ValueError(
                    f"channel {channel} is out of range: layer {self.layer!r} has channels 0 to {count - 1}."
                )

    def relevance(self, passed: Propagation, cotangent: Tensor, channel: int) -> Tensor:
        """(B, C, H, W), by way of the channel."""
        self.channel = channel
        vjp = vjp_at(passed.output, get_gradient_edge(passed.pixels), cotangent)
        return torch.zeros_like(passed.pixels) if vjp is None else vjp.detach()


@contextmanager
def _masked(model: nn.Module, layer: str, dim: int) -> Iterator[_Mask]:
    mask = _Mask(layer, dim)
    handle = model.get_submodule(layer).register_forward_hook(mask)
    try:
        yield mask
    finally:
        handle.remove()
