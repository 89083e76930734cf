"""The masking network's decoder: U-Net-like upsampling of a backbone's features, with a selector of the class."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST_WIDTH = 8
GROUPS = 4


class MaskDecoder(nn.Module):
    """Maps a backbone's feature maps, and a class, to a mask of the size of the finest map.

    Of the coarsest map X, the places that look like the class s are kept, X · σ(Xᵀ C_s), with C_s a learned embedding of the
    class. Then the map is enlarged step by step and joined with the next finer one. The last step gives two channels a and b,
    of which the mask is |a| / (|a| + |b|), which does not saturate as a sigmoid does.

    Norms are over the channels of one image, so that no mask depends on its batch.

    Args:
        channels: of each feature map, from fine to coarse.
        num_classes: classes that have an embedding.
        width: channels after the coarsest map; half as many after each finer one, but 8 or more.

    Example:
        >>> decoder = MaskDecoder([8, 16], num_classes=5, width=16)
        >>> decoder([torch.rand(2, 8, 12, 12), torch.rand(2, 16, 6, 6)], torch.tensor([3, 0])).shape
        torch.Size([2, 1, 12, 12])
    """

    def __init__(self, channels: Sequence[int], num_classes: int, width: int = 64) -> None:
        super().__init__()
        self.selector = nn.Embedding(num_classes, channels[-1])
        nn.init.normal_(self.selector.weight, std=channels[-1] ** -0.5)
        widths = [max(width >> step, SMALLEST_WIDTH) for step in reversed(range(len(channels)))]
        self.norms = nn.ModuleList(nn.GroupNorm(1, count) for count in channels)
        self.inputs = nn.ModuleList(nn.Conv2d(count, w, 1) for count, w in zip(channels, widths, strict=True))
        self.steps = nn.ModuleList(_block(coarse + fine, fine) for fine, coarse in pairwise(widths))
        self.last = nn.Conv2d(widths[0], 2, 3, padding=1)

    def forward(self, maps: Sequence[Tensor], classes: Tensor) -> Tensor:
        """(R, 1, h, w) masks in [0, 1].

        Args:
            maps: (R, nₗ, hₗ, wₗ) feature maps from fine to coarse; h and w are those of the first.
            classes: (R,) int64.
        """
        normed = [norm(features) for norm, features in zip(self.norms, maps, strict=True)]
        selected = torch.einsum("rnhw,rn->rhw", normed[-1], self.selector(classes)).sigmoid()
        normed[-1] = normed[-1] * selected[:, None]
        found = self.inputs[-1](normed[-1])
        for step in reversed(range(len(self.steps))):
            finer = self.inputs[step](normed[step])
            enlarged = F.interpolate(found, finer.shape[2:], mode="bilinear", align_corners=False)
            found = self.steps[step](torch.cat([enlarged, finer], dim=1))
        sizes: Tensor = self.last(found).abs()
        mask: Tensor = sizes[:, :1] / sizes.sum(dim=1, keepdim=True).clamp(min=torch.finfo(sizes.dtype).tiny)
        return mask


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.GroupNorm(GROUPS, outputs), nn.LeakyReLU(0.05))
