"""Score-CAM: channels weighted by the logit of the input that they mask (Wang et al., CVPRW 2020)."""

import torch
from torch import Tensor, nn
from typing_extensions import override

from vitrine.attribution.base import checked_output
from vitrine.attribution.cam.alignment import Alignment
from vitrine.attribution.cam.class_activation import ClassActivation
from vitrine.attribution.layouts import layout_of_layer
from vitrine.attribution.targets import Target
from vitrine.backbones.outputs import OutputChoice
from vitrine.backbones.taps import captured
from vitrine.core.image_ops import constant
from vitrine.core.options import Count, checked
from vitrine.core.precision import in_full, without_autocast


class ScoreCAM(ClassActivation):
    """ReLU(Σ_k α_k A_k) with α = softmax over the channels of y(x ∘ H_k), where y is the class's logit.

    H_k is A_k upsampled to the input and min–max normalised; 0 everywhere if A_k is constant. The paper's channel-wise
    increase of confidence, y(x ∘ H_k) − y(baseline), gives the same α, as softmax does not change by a constant. K classes
    share the forward passes.

    Args:
        model: as in `ClassActivation`.
        layer: as in `ClassActivation`.
        relu: as in `ClassActivation`.
        internal_batch_size: the most inputs, masked ones included, that go through the model at once; all channels of an
            input if it is None.
        output: as in `Method`.
        alignment: as in `Alignment`, of the masks too.

    Raises:
        ValueError: as in `ClassActivation`.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
        >>> ScoreCAM(model).attribute(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1, 8, 8])
    """

    slow = True
    paper = "Wang et al. 2020"

    @checked
    def __init__(
        self,
        model: nn.Module,
        layer: str | nn.Module | None = None,
        relu: bool = True,
        *,
        internal_batch_size: Count | None = 32,
        output: OutputChoice | None = None,
        alignment: Alignment = "receptive_field",
    ) -> None:
        super().__init__(
            model, layer, relu, internal_batch_size=internal_batch_size, output=output, alignment=alignment
        )

    @override
    def coarse_maps(self, inputs: Tensor, target: Target, layer: str | None) -> Tensor:
        layer = layer or ""
        with torch.no_grad():
            with captured(self.model, [layer]) as outputs:
                logits = checked_output(self.model(inputs), len(inputs), None)
            layout = layout_of_layer(self.model, layer, outputs[layer], inputs)
            activations = layout(outputs[layer])
            scores = self._scores(inputs, activations, target.resolve(logits), layer)
        with without_autocast(inputs):
            alpha = in_full(scores).softmax(dim=1)
            return torch.einsum("bck,bchw->bkhw", alpha.double(), self.summands(activations)).to(alpha)

    def _scores(self, inputs: Tensor, activations: Tensor, class_indices: Tensor, layer: str) -> Tensor:
        """(B, C, K) logits of the classes where a channel masks the input."""
        size = self.internal_batch_size or max(activations.shape[1], 1)
        # Image by image, so that no image is copied for each of its channels.
        scores = [
            self.model(image * self._masks(channels, image[None], layer)).gather(1, classes.expand(len(channels), -1))
            for image, maps, classes in zip(inputs, activations, class_indices, strict=True)
            for channels in torch.split(maps, size)
        ]
        empty = inputs.new_zeros(0, class_indices.shape[1])
        return torch.cat([empty, *scores]).view(*activations.shape[:2], class_indices.shape[1])

    def _masks(self, channels: Tensor, image: Tensor, layer: str) -> Tensor:
        """(N, 1, H, W) in [0, 1] from (N, h, w); 0 for constant channels."""
        return min_max_normalised(self.upsampled(in_full(channels[:, None]), image, layer)).to(image)


def min_max_normalised(maps: Tensor) -> Tensor:
    """Each of the (…, h, w) maps linearly scaled to [0, 1]; `constant` ones become 0."""
    lowest, highest = (extreme[..., None, None] for extreme in maps.flatten(-2).aminmax(dim=-1))
    return (maps - lowest).div_(highest - lowest).masked_fill_(constant(maps)[..., None, None], 0)
