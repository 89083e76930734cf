"""The filter responses x of an image (section 3.1 of Oramas et al.)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.core.batch import Features
from vitrine.core.precision import in_full
from vitrine.filters.layers import Layers, ResponseLayer, traced_layers

Norm = Literal["l2", "squared"]
Normalization = Literal["layer", "whole"]


class FilterResponses(nn.Module):
    """Every filter of the network as one number: how strongly it answers an image.

    Of each layer's output the norm of every channel over its places (a token is a place) is taken, and the layer's vector
    is divided by its sum; the vectors of all layers in a row are x. One forward pass gives x and the logits; what is
    kept of it are the norms, taken as a layer gives its output, so that an in-place operator behind it changes nothing.
    Of a layer that runs several times the last output counts.

    Args:
        backbone: the frozen classifier.
        layers: as in `response_layers`.
        norm: ``"l2"``, as in the paper, or ``"squared"`` for the sum of squares.
        normalization: ``"layer"`` as above; ``"whole"`` leaves the layers' vectors as they are and divides all of them
            together by their L2 norm. Zeros stay zeros.
        image_size: the side of the square images that the layers are found with.

    Raises:
        ValueError: for an unknown norm or normalization, and as in `response_layers`.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        layers: Layers = "all",
        norm: Norm = "l2",
        normalization: Normalization = "layer",
        image_size: int = 224,
    ) -> None:
        super().__init__()
        _check_choice("norm", norm, get_args(Norm))
        _check_choice("normalization", normalization, get_args(Normalization))
        self.backbone = backbone
        self.norm = norm
        self.normalization = normalization
        self.layers, self.num_classes = traced_layers(backbone.model, image_size, layers)

    layers: list[ResponseLayer]
    """In the order in which they run, which is their order in x."""
    num_classes: int
    """Number of logits."""

    @property
    def num_filters(self) -> int:
        """The length m of x."""
        return self.layers[-1].start + self.layers[-1].width

    @property
    def key(self) -> str:
        """Text that differs whenever the responses could."""
        names = ",".join(layer.name for layer in self.layers)
        return f"{self.backbone.digest} filter responses {names} {self.norm} {self.normalization}"

    def forward(self, images: Tensor) -> Features:
        """Responses x (B, m) in float32 and logits of (B, 3, H, W) images, in one pass.

        Raises:
            ValueError: where a layer gives another number of filters for images of this size, or is not run.
        """
        model = self.backbone.model
        with eval_guard(model), self._norms_taken(len(images)) as norms:
            logits = model(images)
        parts = [self._checked(norms, layer) for layer in self.layers]
        if self.normalization == "layer":
            x = torch.cat([_divided(part, part.sum(dim=1, keepdim=True)) for part in parts], dim=1)
        else:
            x = torch.cat(parts, dim=1)
            x = _divided(x, torch.linalg.vector_norm(x, dim=1, keepdim=True))
        return Features(features=x.float(), logits=logits)

    def filter_of(self, index: int) -> tuple[ResponseLayer, int]:
        """The layer and the channel that ``x[:, index]`` comes from.

        Raises:
            ValueError: for an index that x does not have.
        """
        if not 0 <= index < self.num_filters:
            raise ValueError(f"filter {index} is out of range: x has filters 0 to {self.num_filters - 1}.")
        layer = next(layer for layer in reversed(self.layers) if layer.start <= index)
        return layer, index - layer.start

    def widths(self) -> Tensor:
        """(m,) int64: for each filter the number of filters of its own layer."""
        widths = torch.tensor([layer.width for layer in self.layers])
        return widths.repeat_interleave(widths)

    def extra_repr(self) -> str:
        """What x is made of."""
        return f"{self.num_filters} filters of {len(self.layers)} layers, {self.norm}, {self.normalization}"

    @contextmanager
    def _norms_taken(self, batch: int) -> Iterator[dict[str, Tensor]]:
        norms: dict[str, Tensor] = {}
        handles = []
        try:
            for layer in self.layers:
                module = self.backbone.model.get_submodule(layer.name)
                handles.append(module.register_forward_hook(self._taker(norms, layer, batch)))
            yield norms
        finally:
            for handle in handles:
                handle.remove()

    def _taker(self, norms: dict[str, Tensor], layer: ResponseLayer, batch: int) -> Any:
        def take(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or len(output) != batch:
                raise ValueError(f"Layer {layer.name!r} does not give one output an image; leave it out of layers.")
            norms[layer.name] = self._channel_norms(output, layer.axis)

        return take

    def _channel_norms(self, output: Tensor, axis: int) -> Tensor:
        """(B, C), in float32 or wider."""
        places = [dimension for dimension in range(1, output.ndim) if dimension != axis]
        # The graph of a norm reads its operand again on the way back, when an in-place ReLU may have changed it.
        values = in_full(output.clone() if output.requires_grad else output)
        norms = torch.linalg.vector_norm(values, dim=places) if places else values.abs()
        return norms.square() if self.norm == "squared" else norms

    @staticmethod
    def _checked(norms: dict[str, Tensor], layer: ResponseLayer) -> Tensor:
        if layer.name not in norms:
            raise ValueError(f"Layer {layer.name!r} gave no output: the forward pass did not go through it.")
        if norms[layer.name].shape[1] != layer.width:
            raise ValueError(
                f"Layer {layer.name!r} has {norms[layer.name].shape[1]} filters for images of this size and"
                f" {layer.width} for those of image_size; set image_size to the size of the images."
            )
        return norms[layer.name]


def _divided(values: Tensor, by: Tensor) -> Tensor:
    return torch.where(by > 0, values / torch.where(by > 0, by, 1), values)


def _check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"{name} {value!r} is unknown; choose one of {', '.join(choices)}.")
