"""CAM and Grad-CAM in closed form, on networks that end in average pooling and one linear layer."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from vitrine.attribution.cam.cam import CAM
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.layouts import layout_of_layer
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.image_sizes import blank_image
from vitrine.backbones.outputs import logits_given
from vitrine.export.tapped_network import TappedNetwork


class ClassMapNetwork(nn.Module):
    """Logits, and the (B, 1, H, W) map of the target, which is a class or −1 for the predicted one.

    The gradient of a class's logit Σ_k w_k mean(A_k) + b is w_k / (h w) at each place, so that both maps are Σ_k w_k A_k,
    Grad-CAM's divided by the number of places. Enlarging a map is linear in its rows and its columns.

    Args:
        backbone: the network.
        method: CAM or Grad-CAM on it.
        side: of the input in pixels.

    Raises:
        ValueError: for a network that is not built so.
    """

    takes_target: ClassVar[bool] = True
    outputs: ClassVar[tuple[str, ...]] = ("logits", "heatmap")

    def __init__(self, backbone: FrozenBackbone, method: ClassActivation, side: int) -> None:
        super().__init__()
        model = backbone.model
        image = torch.rand(blank_image(model, side).shape, generator=torch.Generator().manual_seed(0)).to(
            blank_image(model, 1)
        )
        guards = eval_guard(model), logits_given(model, method.output), torch.inference_mode(mode=False)
        with guards[0], guards[1], guards[2], torch.no_grad():
            self.layer = method.drawn_layer(image) or _last_layer(method, image)
            self.network = TappedNetwork(backbone, (self.layer,))
            logits, seen = self.network(image)
            self.layout = layout_of_layer(model, self.layer, seen[self.layer], image)
            maps = self.layout(seen[self.layer])
            weights = _weights_of(CAM(model, self.layer), maps, logits)
            rows, columns = _enlarging(method, maps, image, self.layer)
        self.relu = method.relu
        places = 1 if isinstance(method, CAM) else maps.shape[2:].numel()
        self.register_buffer("weights", weights.to(maps) / places)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)

    weights: Tensor
    """(n, C)."""
    rows: Tensor
    """(H, h)."""
    columns: Tensor
    """(w, W)."""

    def forward(self, images: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        """Of (B, 3, H, W) images and (B,) int64 targets."""
        logits, seen = self.network(images)
        of_target = self.weights[torch.where(target < 0, logits.argmax(dim=1), target)]
        coarse = (self.layout(seen[self.layer]) * of_target[:, :, None, None]).sum(dim=1, keepdim=True)
        return logits, self.rows @ (coarse.clamp(min=0) if self.relu else coarse) @ self.columns


def _weights_of(cam: CAM, maps: Tensor, logits: Tensor) -> Tensor:
    try:
        return cam.classifier_weights(maps, logits)
    except ValueError as error:
        raise ValueError(
            f"Class maps are exported of networks that end in average pooling of layer {cam.layer!r} and one linear"
            f" layer, and {type(cam.model).__name__} does not; export its backbone alone by logits_only=True (--logits)."
        ) from error


def _last_layer(method: ClassActivation, image: Tensor) -> str:
    from vitrine.attribution.target_layer import target_layer  # noqa: PLC0415 - runs the network, where no layer is named

    return target_layer(method.model, image)


def _enlarging(method: ClassActivation, maps: Tensor, image: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """(H, h) and (w, W) weights by which the method enlarges its coarse maps, read off maps of single rows and columns."""
    height, width = maps.shape[2:]
    rows = torch.eye(height, dtype=maps.dtype)[None, :, :, None].expand(1, height, height, width)
    columns = torch.eye(width, dtype=maps.dtype)[None, :, None, :].expand(1, width, height, width)
    of_rows = method.upsampled(rows.to(maps).contiguous(), image, layer)[0, :, :, 0]
    of_columns = method.upsampled(columns.to(maps).contiguous(), image, layer)[0, :, 0, :]
    return of_rows.T.contiguous(), of_columns.contiguous()
