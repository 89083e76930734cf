"""CAM: the classifier's weights times the feature maps that are averaged before it (Zhou et al., CVPR 2016)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from vitrine.attribution.autograd.backward import noise
from vitrine.attribution.autograd.calls import Call
from vitrine.attribution.autograd.gradient_flow import differentiating
from vitrine.attribution.autograd.noted_outputs import NotedOutput, noted
from vitrine.attribution.autograd.rules import MEANS
from vitrine.attribution.base import SharedPass, checked_output
from vitrine.attribution.cam.alignment import Alignment
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.layouts import layout_of_layer
from vitrine.attribution.receptive_field.cell_centers import CellCenters, cell_centers, centers_once
from vitrine.attribution.receptive_field.receptive_field import CircularPaddingByParts
from vitrine.attribution.targets import Target
from vitrine.backbones.map_layouts import MapLayout, channels_first, layout_of_map
from vitrine.backbones.outputs import OutputChoice
from vitrine.backbones.taps import captured
from vitrine.core.options import Count, checked
from vitrine.core.precision import in_full, without_autocast


class CAM(ClassActivation):
    """Σ_k w_k A_k, where the class's logit is Σ_k w_k mean(A_k) + b: global average pooling, then one linear layer.

    If the averaged maps are the logits themselves, as in SqueezeNet, the map of a class is its channel, after SqueezeNet's
    last ReLU. In both cases the mean of a map, before upsampling, is the logit without its bias.

    Args:
        model: as in `ClassActivation`.
        layer: the layer whose maps are averaged; if it is None, the last map of more than one cell that the forward pass
            takes a mean of, whether it is the output of a module or not.
        relu: as in `ClassActivation`.
        internal_batch_size: as in `Method`.
        output: as in `Method`.
        alignment: as in `Alignment`.

    Raises:
        ValueError: as in `Method`; of ``attribute`` also for a network that is not built so, and for a channel.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        >>> model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        >>> CAM(model).attribute(torch.rand(2, 3, 8, 8), target=1).shape
        torch.Size([2, 1, 8, 8])
    """

    signed = True
    draws_target_layer = False  # the layer whose maps are averaged, and no other
    network_requirement = "global average pooling, then one linear layer"
    paper = "Zhou et al. 2016"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = False,
        *,
        internal_batch_size: Count | None = None,
        output: OutputChoice | None = None,
        alignment: Alignment = "receptive_field",
    ) -> None:
        super().__init__(
            model, layer, relu, internal_batch_size=internal_batch_size, output=output, alignment=alignment
        )

    @override
    def drawn_layer(self, inputs: Tensor) -> str | None:
        return self.layer

    @override
    def cell_centers(self, inputs: Tensor, layer: str | None) -> CellCenters | None:
        if layer is not None:
            return super().cell_centers(inputs, layer)
        return centers_once(
            self.model, inputs, f"the last averaged map of {self.output!r}", lambda: self._centers_of_averaged(inputs)
        )

    def _centers_of_averaged(self, inputs: Tensor) -> CellCenters | None:
        pixels = noise((1, *inputs.shape[1:]), inputs).requires_grad_()
        with differentiating(self.model), CircularPaddingByParts(), LastAveragedMap(pixels) as averaged:
            self.model(pixels.clone())
        if averaged.edge is None:
            return None
        return cell_centers(averaged.edge, inputs.shape[1:], averaged.layout)

    @override
    def coarse_maps(self, inputs: Tensor, target: Target, layer: str | None) -> Tensor:
        with torch.no_grad():
            activations, logits = self._averaged(inputs) if layer is None else self._captured(inputs, layer)
        return self._weighted(activations, logits, target)

    @override
    def reader(self, inputs: Tensor) -> AbstractContextManager[Any]:
        return LastAveragedMap(inputs) if self.layer is None else noted(self.model, self.layer)

    @override
    def maps_of_pass(
        self, shared: SharedPass, seen: "LastAveragedMap | Sequence[NotedOutput]", target: Target
    ) -> Tensor:
        inputs = shared.pixels.detach()
        if isinstance(seen, LastAveragedMap):
            averaged = self._map_of(seen)
        else:
            averaged = layout_of_layer(self.model, seen[0].layer, seen[0].values, inputs)(seen[0].values)
        coarse = self._weighted(averaged.detach(), shared.logits.detach(), target)
        return self.drawn(coarse, inputs, self.layer)

    def _weighted(self, activations: Tensor, logits: Tensor, target: Target) -> Tensor:
        eps = max(torch.finfo(activations.dtype).eps, torch.finfo(logits.dtype).eps)
        activations, logits = in_full(activations), in_full(logits)
        with torch.no_grad(), without_autocast(activations):
            weights = self.classifier_weights(activations, logits, eps**0.5)
            of_targets = weights[target.resolve(logits)].double()
            return torch.einsum("bkc,bchw->bkhw", of_targets, self.summands(activations)).to(activations)

    def _captured(self, inputs: Tensor, layer: str) -> tuple[Tensor, Tensor]:
        with captured(self.model, [layer]) as outputs:
            logits = checked_output(self.model(inputs), len(inputs), None)
        return layout_of_layer(self.model, layer, outputs[layer], inputs)(outputs[layer]), logits

    def _averaged(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        with LastAveragedMap(inputs) as averaged:
            logits = checked_output(self.model(inputs), len(inputs), None)
        return self._map_of(averaged), logits

    def _map_of(self, averaged: "LastAveragedMap") -> Tensor:
        if averaged.map is None:
            raise ValueError(self._refusal())
        return averaged.map

    def classifier_weights(self, activations: Tensor, logits: Tensor, tolerance: float = 1e-3) -> Tensor:
        """(n, C) weights of the classifier, or the identity if the averaged maps are the logits."""
        means = activations.mean(dim=(2, 3))
        for weights, bias in self._candidates(activations.shape[1], logits):
            # The rounding error of a sum of products is relative to their sizes, even where they cancel.
            size = means.abs() @ weights.abs().T + bias.abs()
            if logits.ndim == 2 and ((means @ weights.T + bias - logits).abs() <= tolerance * size).all():
                return weights
        raise ValueError(self._refusal())

    def _candidates(self, channels: int, logits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for layer in reversed(list(self.model.modules())):
            weight = layer.weight.flatten(1) if isinstance(layer, nn.Linear | nn.Conv2d) else None
            if weight is not None and weight.shape == (logits.shape[1], channels):
                bias = getattr(layer, "bias", None)
                yield in_full(weight).to(logits), logits.new_zeros(len(weight)) if bias is None else bias.to(logits)
        if logits.shape[1] == channels:
            yield torch.eye(channels).to(logits), logits.new_zeros(channels)

    def _refusal(self) -> str:
        where = "" if self.layer is None else f" of layer {self.layer!r}"
        return (
            f"CAM needs global average pooling{where} followed by one linear layer, and {type(self.model).__name__} is"
            " not built so; use GradCAM."
        )


class LastAveragedMap(TorchFunctionMode):
    """A context that records the last map of more than one cell of which a forward pass takes a mean, as (B, C, h, w)."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.inputs = inputs
        self.map: Tensor | None = None
        self.layout: MapLayout = channels_first
        self.edge: GradientEdge | None = None
        """Of the map in the graph, where there is one."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        operand = call.operand if call.name in MEANS else None
        if isinstance(operand, Tensor) and operand.ndim == 4 and len(operand) == len(self.inputs):
            self._record(operand)
        return call()

    def _record(self, operand: Tensor) -> None:
        layout = layout_of_map(operand.shape, self.inputs.shape[1:]) or channels_first
        maps = layout(operand)
        if maps.shape[2:].numel() > 1:
            self.map, self.layout = maps, layout
            self.edge = get_gradient_edge(operand) if operand.requires_grad else None
