"""CAM: the classifier's own weights over the maps that it pools (Zhou et al., CVPR 2016)."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import override

from vitrine.attribution.autograd.interception import Call
from vitrine.attribution.autograd.rules import MEANS
from vitrine.attribution.base import Unit, checked_output
from vitrine.attribution.cam.class_activation import ClassActivation, layout_of_layer
from vitrine.attribution.layouts import layout_of_map
from vitrine.backbones.taps import captured
from vitrine.core.precision import in_full, without_autocast


class CAM(ClassActivation):
    """Σ_k w_k A_k, where the class's logit is Σ_k w_k mean(A_k) + b: global average pooling, then one linear layer.

    Where the pooled maps are the logits themselves, as in SqueezeNet, a class's map is its own channel, behind the ReLU that
    SqueezeNet has there. Either way the mean of a map, before it is upsampled, is the logit without its bias.

    Args:
        model: as in `ClassActivation`.
        layer: the layer that is pooled; without it, the last map of more than one cell that the forward pass takes a mean
            of, whether a module gives it or not.
        relu: as in `ClassActivation`.
        internal_batch_size: as in `Method`.

    Raises:
        ValueError: for an unknown layer, and of ``attribute`` for a network that is not built so, and for a channel.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = False,
        *,
        internal_batch_size: int | None = None,
    ) -> None:
        super().__init__(model, layer, relu, internal_batch_size=internal_batch_size)

    @override
    def coarse_maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        with torch.no_grad():
            activations, logits = self._pooled(inputs) if self.layer is None else self._captured(inputs, self.layer)
            eps = max(torch.finfo(activations.dtype).eps, torch.finfo(logits.dtype).eps)
        activations, logits = in_full(activations), in_full(logits)
        with torch.no_grad(), without_autocast(inputs):
            weights = self._weights(activations, logits, eps**0.5)
            return torch.einsum("bkc,bchw->bkhw", weights[unit.of(logits)], activations)

    def _captured(self, inputs: Tensor, layer: str) -> tuple[Tensor, Tensor]:
        with captured(self.model, [layer]) as outputs:
            logits = checked_output(self.model(inputs), len(inputs), None)
        return layout_of_layer(self.model, layer, outputs[layer], inputs)(outputs[layer]), logits

    def _pooled(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        with PooledMap(inputs) as pooled:
            logits = checked_output(self.model(inputs), len(inputs), None)
        if pooled.map is None:
            raise ValueError(self._unfit())
        return pooled.map, logits

    def _weights(self, activations: Tensor, logits: Tensor, tolerance: float) -> Tensor:
        """(n, C): those of the classifier, or the identity where the pooled maps are the logits."""
        means = activations.mean(dim=(2, 3))
        for weights, bias in self._candidates(activations.shape[1], logits):
            # A sum of products is off by their sizes, whatever they leave of each other.
            size = means.abs() @ weights.abs().T + bias.abs()
            if logits.ndim == 2 and ((means @ weights.T + bias - logits).abs() <= tolerance * size).all():
                return weights
        raise ValueError(self._unfit())

    def _candidates(self, channels: int, logits: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        for layer in reversed(list(self.model.modules())):
            weight = layer.weight.flatten(1) if isinstance(layer, nn.Linear | nn.Conv2d) else None
            if weight is not None and weight.shape == (logits.shape[1], channels):
                bias = getattr(layer, "bias", None)
                yield in_full(weight).to(logits), logits.new_zeros(len(weight)) if bias is None else bias.to(logits)
        if logits.shape[1] == channels:
            yield torch.eye(channels).to(logits), logits.new_zeros(channels)

    def _unfit(self) -> str:
        where = "" if self.layer is None else f" of layer {self.layer!r}"
        return (
            f"CAM needs global average pooling{where} followed by one linear layer, and {type(self.model).__name__} is"
            " not built so; use GradCAM."
        )


class PooledMap(TorchFunctionMode):
    """Keeps the last map of more than one cell that a forward pass within it takes a mean of, as (B, C, h, w)."""

    def __init__(self, inputs: Tensor) -> None:
        super().__init__()
        self.inputs = inputs
        self.map: Tensor | None = None

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        call = Call(func, args, kwargs or {})
        operand = call.operand if call.name in MEANS else None
        if isinstance(operand, Tensor) and operand.ndim == 4 and len(operand) == len(self.inputs):
            self._keep(operand)
        return call()

    def _keep(self, operand: Tensor) -> None:
        layout = layout_of_map(operand.shape, self.inputs.shape[1:])
        pooled = operand if layout is None else layout(operand)
        if pooled.shape[2:].numel() > 1:
            self.map = pooled
