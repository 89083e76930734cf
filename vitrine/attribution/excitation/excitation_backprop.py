"""Excitation backprop: the marginal winning probability of pixels (Zhang et al., ECCV 2016)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar, overload

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from typing_extensions import override

from vitrine.attribution.autograd.backward import one_hot, vjps
from vitrine.attribution.autograd.gradient_flow import check_gradient, differentiating
from vitrine.attribution.autograd.interception import backward_of, walk
from vitrine.attribution.base import Method
from vitrine.attribution.excitation.gate_choice import Attention
from vitrine.attribution.excitation.gates import ExcitationInterception, GateMarks
from vitrine.attribution.excitation.linear_rules import NegativeActivations
from vitrine.attribution.excitation.rules import excitation_rules
from vitrine.attribution.excitation.winning_probability import LinearBackward, reciprocals
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.core.options import Count, checked

Aux = TypeVar("Aux")


class ExcitationBackprop(Method):
    """Marginal winning probability (MWP) of the pixels for a class or channel, or its contrastive variant (c-MWP).

    Mass 1 starts at the class and is passed down: P(x_j) = Σ_i x_j⁺ w_ij⁺ / (Σ_k x_k⁺ w_ik⁺) · P(z_i), with 0/0 = 0 and
    without biases. c-MWP is MWP under W minus MWP under −W at the first weighted layer below the class. A batch norm in
    eval mode, or any other constant factor, is folded into the convolution or linear layer before it (see
    `vitrine.attribution.excitation.constant_factors`); a sum splits mass in proportion to its operands'
    positive parts; activations, dropout, normalisations and reshaping pass mass unchanged; max pooling gives it to the
    maximum, attention to the values, a gated product to the features, another product of two activations a half to each.
    Operators are recognised wherever they are called, as a module, a function or in place.

    Of a channel (B, n, …), mass 1 is spread in proportion to its positive activations; without any, its map is zeros. Maps
    are (B, 1, H, W), summed over the input's channels, in float32 or wider.

    Args:
        model: as in `Method`.
        layer: as in `Method`; if the layer is called several times, its last output counts.
        contrastive: whether to compute c-MWP.
        negative_activations: ``clamp`` takes x⁺ as above; ``raw`` takes x itself with W⁺; ``zplus`` takes
            z = op(x⁺; W⁺) + op(x⁻; W⁻).
        attention: ``values`` gives the mass of attention and of gated products to the values, in proportion to A_ij v_j⁺;
            ``shared`` gives a half of it to the attention weights, and from them to queries and keys. Sigmoid gates get
            none.
        internal_batch_size: as in `Method`.
        output: as in `Method`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also if an operator between the class and the pixels has no rule, or no
            convolution or linear layer is among them.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> images = torch.rand(2, 3, 8, 8)
        >>> ExcitationBackprop(model, contrastive=True).attribute(images, target=1).shape
        torch.Size([2, 1, 8, 8])
    """

    smoothed_for_pointing = True
    network_requirement = "no operator without a rule, such as an LSTM or a Fourier transform"
    paper = "Zhang et al. 2016"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        contrastive: bool = False,
        negative_activations: NegativeActivations = "clamp",
        *,
        attention: Attention = "values",
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
    ) -> None:
        super().__init__(model, layer, internal_batch_size=internal_batch_size, output=output)
        self.contrastive = contrastive
        self.negative_activations = negative_activations
        self.attention = attention

    @override
    def maps(self, inputs: Tensor, target: Target) -> Tensor:
        def check(output: Tensor, images: Tensor) -> None:
            check_gradient(output, images, self.model, layer=target.layer)

        with differentiating(self.model):
            maps, _, _ = _propagate(
                lambda images: (self.explained_output(images, target), None),
                inputs,
                target.resolve,
                check,
                contrastive=self.contrastive,
                negative_activations=self.negative_activations,
                attention=self.attention,
            )
        return maps[:, :, None]

    def mass_lost(self, maps: Tensor) -> Tensor:
        """1 − Σ of each of the (B, …, 1, H, W) maps: (B, …).

        The mass lost to clamped negative activations, all-negative weights and padding; of c-MWP maps it has no meaning,
        since positive and negative mass cancel.
        """
        return 1 - maps.sum(dim=(-3, -2, -1))


@overload
def excitation_maps(
    forward: Callable[[Tensor], Tensor],
    inputs: Tensor,
    indices: Tensor,
    *,
    contrastive: bool,
    negative_activations: NegativeActivations = "clamp",
    attention: Attention = "values",
    has_aux: Literal[False] = False,
) -> tuple[Tensor, Tensor]: ...


@overload
def excitation_maps(
    forward: Callable[[Tensor], tuple[Tensor, Aux]],
    inputs: Tensor,
    indices: Tensor,
    *,
    contrastive: bool,
    negative_activations: NegativeActivations = "clamp",
    attention: Attention = "values",
    has_aux: Literal[True],
) -> tuple[Tensor, Tensor, Aux]: ...


def excitation_maps(
    forward: Callable[[Tensor], Any],
    inputs: Tensor,
    indices: Tensor,
    *,
    contrastive: bool,
    negative_activations: NegativeActivations = "clamp",
    attention: Attention = "values",
    has_aux: bool = False,
) -> tuple[Tensor, Tensor] | tuple[Tensor, Tensor, Any]:
    """MWP or c-MWP of several outputs of a function by one forward pass; see `ExcitationBackprop` for the rules.

    Args:
        forward: maps (B, C, H, W) inputs to (B, n) outputs. It is called once. The modules in it should be in eval mode
            (`eval_guard`); their parameters are constants.
        inputs: (B, C, H, W).
        indices: (B, K) int64; map k of image b explains output ``indices[b, k]``.
        contrastive: whether to compute c-MWP.
        negative_activations: ``clamp``, ``raw`` or ``zplus``.
        attention: ``values`` or ``shared``.
        has_aux: whether ``forward`` gives a pair, of the outputs and of auxiliary data, which is returned too.

    Returns:
        (B, K, H, W) maps summed over the input's channels, neither clamped nor rescaled, and the (B, n) outputs, detached;
        both in float32 or wider; with ``has_aux`` also the auxiliary data.

    Raises:
        ValueError: as `ExcitationBackprop.attribute`; also if the shapes of outputs and indices do not fit.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()
        >>> images, indices = torch.rand(2, 3, 8, 8), torch.tensor([[0, 3], [1, 2]])
        >>> maps, logits = excitation_maps(model, images, indices, contrastive=False)
        >>> maps.shape, logits.shape
        (torch.Size([2, 2, 8, 8]), torch.Size([2, 5]))
    """

    def resolve(output: Tensor) -> Tensor:
        if output.ndim != 2 or indices.ndim != 2 or len(indices) != len(output):
            raise ValueError(
                "forward must give (B, n) outputs for (B, K) indices, got"
                f" {tuple(output.shape)} and {tuple(indices.shape)}."
            )
        return Target(indices).resolve(output)

    maps, output, aux = _propagate(
        forward if has_aux else lambda images: (forward(images), None),
        inputs,
        resolve,
        lambda _output, _images: None,
        contrastive=contrastive,
        negative_activations=negative_activations,
        attention=attention,
    )
    return (maps, output, aux) if has_aux else (maps, output)


def _propagate(
    forward: Callable[[Tensor], tuple[Tensor, Aux]],
    inputs: Tensor,
    resolve: Callable[[Tensor], Tensor],
    check: Callable[[Tensor, Tensor], None],
    *,
    contrastive: bool,
    negative_activations: NegativeActivations,
    attention: Attention,
) -> tuple[Tensor, Tensor, Aux]:
    """Maps (B, K, H, W) of the (B, K) indices that ``resolve`` gives for the output, the output, and auxiliary data.

    ``check`` gets the output and the inputs that the forward pass had.
    """
    if inputs.ndim != 4:
        raise ValueError(f"inputs must be (B, C, H, W), got {tuple(inputs.shape)}.")
    with _graph_in_full_precision(inputs.device.type):
        pixels = inputs.detach().clone().to(torch.promote_types(inputs.dtype, torch.float32)).requires_grad_()
        images = pixels.clone()  # may be changed in place, which a leaf may not
        marks = GateMarks()
        rules = excitation_rules(negative_activations, attention, marks)
        with ExcitationInterception(rules, marks, inputs.device.type) as interception:
            output, aux = forward(images)
        marks.check(output)
        check(output, images)
        interception.check(output)
        nodes = first_weighted(output)
        if contrastive:
            _make_contrastive(nodes)
        cotangents = (_initial_mass(output.detach(), column) for column in resolve(output).unbind(dim=1))
        maps = [mass.sum(dim=1) for mass in vjps(output, pixels, cotangents)]
    empty = pixels.new_zeros(len(pixels), 0, *pixels.shape[2:])
    return torch.stack(maps, dim=1) if maps else empty, output.detach(), aux


@contextmanager
def _graph_in_full_precision(device_type: str) -> Iterator[None]:
    with torch.inference_mode(mode=False), torch.enable_grad(), torch.autocast(device_type, enabled=False):
        yield


def _initial_mass(output: Tensor, indices: Tensor) -> Tensor:
    """Mass 1 at the indices (B,) of a (B, n, …) output, spread over a channel in proportion to positive activations."""
    is_target = one_hot(output, indices)
    if output.ndim == 2:
        return is_target
    positive = output.clamp(min=0)
    return is_target * positive * reciprocals(positive.sum(dim=tuple(range(2, output.ndim)), keepdim=True))


def _is_weighted(node: Node) -> bool:
    backward = backward_of(node)
    return isinstance(backward, LinearBackward) and backward.is_weighted


def first_weighted(output: Tensor) -> list[Node]:
    """The convolutions and linear layers that come first on some way down from an output.

    Raises:
        ValueError: if there are none.
    """
    nodes = [node for node in walk([output.grad_fn], _is_weighted) if _is_weighted(node)]
    if not nodes:
        raise ValueError(
            "Excitation backprop met no convolution or linear layer between the explained output and the pixels."
        )
    return nodes


def _make_contrastive(first_nodes: list[Node]) -> None:
    # One that also lies below another first node gets positive and negative mass, and shares both under W.
    below = set(walk(node for first in first_nodes for node, _ in first.next_functions))
    for node in first_nodes:
        backward = backward_of(node)
        if node not in below and isinstance(backward, LinearBackward):
            backward.contrastive = True
