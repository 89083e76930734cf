"""Filter responses x of an image (section 3.1 of Oramas et al., ICLR 2019)."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard, guarded_once
from vitrine.backbones.outputs import class_logits
from vitrine.core.batch import Features
from vitrine.core.options import Count, checked
from vitrine.filters.channel_norms import channel_norms
from vitrine.filters.layers import Layers, ResponseLayer, traced_layers
from vitrine.filters.token_layers import Tokens

Norm = Literal["l2", "squared"]
Normalization = Literal["layer", "whole"]


class FilterResponses(nn.Module):
    """One number for every filter of the network: how strongly it responds to an image.

    For each layer, the norm of each channel over its locations (or tokens) is taken, and the vector of norms is divided by
    its sum; x concatenates the vectors of all layers. One forward pass computes x and the logits and stores the norms alone;
    they are computed in a forward hook, before an in-place operator can change the output. If a layer runs several times,
    its last output is used.

    Args:
        backbone: the frozen classifier.
        layers: as in `response_layers`.
        norm: ``"l2"``, as in the paper, or ``"squared"`` for the sum of squares.
        normalization: ``"layer"`` as above; ``"whole"`` divides the unnormalised vectors of all layers together by their L2
            norm. Zeros stay zeros.
        image_size: side of the square images that the layers are found with.
        tokens: of layers of tokens, see `Tokens`.

    Raises:
        OptionError: for an unknown norm or normalization.
        ValueError: as in `response_layers`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        >>> responses = FilterResponses(FrozenBackbone(model), image_size=8)
        >>> responses(torch.rand(5, 3, 8, 8))["features"].shape
        torch.Size([5, 4])
    """

    @checked
    def __init__(
        self,
        backbone: FrozenBackbone,
        layers: Layers = "all",
        norm: Norm = "l2",
        normalization: Normalization = "layer",
        image_size: Count = 224,
        tokens: Tokens = "apart",
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = norm
        self.normalization = normalization
        self.layers, self.num_classes = traced_layers(backbone.model, image_size, layers, tokens)

    layers: list[ResponseLayer]
    """The layers in the order of the forward pass, which is their order in x."""
    num_classes: int
    """Number of logits."""

    @property
    def num_filters(self) -> int:
        """Length m of x."""
        return self.layers[-1].start + self.layers[-1].width

    @property
    def key(self) -> str:
        """Cache key: a text that differs whenever the responses could differ."""
        responses = {"layers": [layer.name for layer in self.layers], "norm": self.norm, "each": self.normalization}
        over_patches = [layer.name for layer in self.layers if layer.grid is not None]
        responses |= {"over patches": over_patches} if over_patches else {}
        return json.dumps({**self.backbone.identity, "filter responses": responses}, sort_keys=True)

    @property
    def belongs_to(self) -> dict[str, str]:
        """Network, weights and layers as people know them, as text by name."""
        layers = ", ".join(layer.name for layer in self.layers)
        named = f"{len(self.layers)} layers" if len(self.layers) > 3 else layers
        return {**self.backbone.belongs_to, "layer": f"filter responses of {named}"}

    def many_passes(self) -> AbstractContextManager[None]:
        """Within it, calls guard the network once, see `guarded_once`."""
        return guarded_once(self.backbone.model)

    def forward(self, images: Tensor) -> Features:
        """Responses x (B, m) in float32 and logits of (B, 3, H, W) images, in one pass.

        Raises:
            ValueError: where a layer has another number of filters for images of this size, or is not run.
        """
        return self._run(images, None)

    def with_maxima(self, images: Tensor) -> tuple[Features, Tensor]:
        """What the forward pass gives, and each filter's largest activation over its places, signed (B, m), in one pass.

        Raises:
            ValueError: as of the forward pass.
        """
        maxima: dict[str, Tensor] = {}
        features = self._run(images, maxima)
        return features, torch.cat([maxima[layer.name] for layer in self.layers], dim=1)

    def _run(self, images: Tensor, maxima: dict[str, Tensor] | None) -> Features:
        model = self.backbone.model
        with eval_guard(model), self._recording(len(images), maxima) as norms:
            logits = class_logits(model(images), len(images))
        parts = [self._checked(norms, layer) for layer in self.layers]
        x = torch.cat(parts, dim=1)
        if self.normalization == "layer":
            by = torch.cat([part.sum(dim=1, keepdim=True).expand_as(part) for part in parts], dim=1)
        else:
            by = torch.linalg.vector_norm(x, dim=1, keepdim=True)
        return Features(features=_divided(x, by).float(), logits=logits)

    def filter_of(self, index: int) -> tuple[ResponseLayer, int]:
        """The layer and the channel of ``x[:, index]``.

        Raises:
            ValueError: for an index that x does not have.
        """
        if not 0 <= index < self.num_filters:
            raise ValueError(f"filter {index} is out of range: x has filters 0 to {self.num_filters - 1}.")
        layer = next(layer for layer in reversed(self.layers) if layer.start <= index)
        return layer, index - layer.start

    def widths(self) -> Tensor:
        """(m,) int64: number of filters in the layer of each filter."""
        widths = torch.tensor([layer.width for layer in self.layers])
        return widths.repeat_interleave(widths)

    def extra_repr(self) -> str:
        """Number of filters and layers, and the options."""
        return f"{self.num_filters} filters of {len(self.layers)} layers, {self.norm}, {self.normalization}"

    @contextmanager
    def _recording(self, batch: int, maxima: dict[str, Tensor] | None) -> Iterator[dict[str, Tensor]]:
        norms: dict[str, Tensor] = {}
        handles = []
        try:
            for layer in self.layers:
                module = self.backbone.model.get_submodule(layer.module)
                handles.append(module.register_forward_hook(self._recorder(norms, maxima, layer, batch)))
            yield norms
        finally:
            for handle in handles:
                handle.remove()

    def _recorder(
        self, norms: dict[str, Tensor], maxima: dict[str, Tensor] | None, layer: ResponseLayer, batch: int
    ) -> Any:
        def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor) or len(output) != batch:
                raise ValueError(f"Layer {layer.name!r} does not give one output an image; leave it out of layers.")
            filters = layer.filters_first(output)
            # Cloned, as the backward pass of a norm reads its operand again, which an in-place ReLU may have changed by then.
            kept = filters.clone() if filters.requires_grad else filters
            norms[layer.name] = channel_norms(kept, squared=self.norm == "squared")
            if maxima is not None:
                maxima[layer.name] = filters.reshape(*filters.shape[:2], -1).amax(dim=2).float()

        return record

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
