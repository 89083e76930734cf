"""Score-CAM: channels weighted by the score of the input that they leave visible (Wang et al., CVPRW 2020)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import Unit, checked_output
from vitrine.attribution.cam.class_activation import ClassActivation, layout_of_layer
from vitrine.backbones.taps import captured
from vitrine.core.image_ops import upsampled
from vitrine.core.precision import in_full, without_autocast


class ScoreCAM(ClassActivation):
    """ReLU(Σ_k α_k A_k) with α = softmax over the channels of y(x ∘ H_k), where y is the class's logit.

    H_k is A_k upsampled to the input and min–max normalised, 0 everywhere where A_k is constant. The paper's channel-wise
    increase of confidence, y(x ∘ H_k) − y(baseline), gives the same α: softmax does not see the baseline. K classes share
    the forward passes.

    Args:
        model: as in `ClassActivation`.
        layer: as in `ClassActivation`.
        relu: as in `ClassActivation`.
        internal_batch_size: at most so many inputs, masked ones among them, go through the model at once; without it, all
            channels of an input.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = True,
        *,
        internal_batch_size: int | None = 32,
    ) -> None:
        super().__init__(model, layer, relu, internal_batch_size=internal_batch_size)

    @override
    def coarse_maps(self, inputs: Tensor, unit: Unit) -> Tensor:
        layer = self.found_layer(inputs)
        with torch.no_grad():
            with captured(self.model, [layer]) as outputs:
                logits = checked_output(self.model(inputs), len(inputs), None)
            layout = layout_of_layer(self.model, layer, outputs[layer], inputs)
            activations = layout(outputs[layer])
            scores = self._scores(inputs, activations, unit.of(logits))
        with without_autocast(inputs):
            return torch.einsum("bck,bchw->bkhw", in_full(scores).softmax(dim=1), in_full(activations))

    def _scores(self, inputs: Tensor, activations: Tensor, units: Tensor) -> Tensor:
        """(B, C, K): the logits of the classes where a channel masks the input."""
        size = self.internal_batch_size or max(activations.shape[1], 1)
        # Image by image, so that no image is copied for each of its channels.
        scores = [
            self.model(image * self._masks(channels, image)).gather(1, classes.expand(len(channels), -1))
            for image, maps, classes in zip(inputs, activations, units, strict=True)
            for channels in torch.split(maps, size)
        ]
        empty = inputs.new_zeros(0, units.shape[1])
        return torch.cat([empty, *scores]).view(*activations.shape[:2], units.shape[1])

    def _masks(self, channels: Tensor, image: Tensor) -> Tensor:
        """(N, 1, H, W) in [0, 1] from (N, h, w)."""
        return min_max_normalised(upsampled(in_full(channels[:, None]), image)).to(image)


def min_max_normalised(maps: Tensor) -> Tensor:
    """(…, h, w) to [0, 1] one by one; constant ones become 0."""
    lowest, highest = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    return ((maps - lowest) / (highest - lowest)).where(highest > lowest, 0)
