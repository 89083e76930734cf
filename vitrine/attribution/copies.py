"""Methods that run many copies of each image, perturbed or noisy, in full batches."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vitrine.attribution.base import Method, batch_slices
from vitrine.attribution.gradient.saliency import gradients
from vitrine.attribution.targets import Target
from vitrine.core.precision import in_full

Baseline = float | Tensor
"""The value of a missing pixel: a number, or a tensor that broadcasts to (B, C, H, W)."""


class MethodOfCopies(Method):
    """A method that runs copies of each image.

    The copies of all images are one row of inputs, of which each forward pass takes the next ``internal_batch_size``, so that
    all batches but the last are full, whatever the number of copies. The map of an image depends on it alone.
    """

    handles_batch_size = True
    slow = True

    def copies_of(self, num_images: int, count: int, at_once: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Which copies of which images run together.

        Args:
            num_images: B.
            count: copies of each image.
            at_once: the most copies that run together if ``internal_batch_size`` is None.

        Yields:
            (R,) indices of images, and the (R,) numbers of their copies, 0 … count − 1.
        """
        copies = torch.arange(num_images * count)
        for rows in batch_slices(len(copies), self.internal_batch_size or at_once):
            yield copies[rows] // count, copies[rows] % count

    def with_indices(self, inputs: Tensor, target: Target) -> Target:
        """The target, with the classes that the model predicts for the images themselves where none are given."""
        if target.indices is not None:
            return target
        return target._replace(indices=self.target_indices(inputs, target)[:, 0])

    def summed_gradients(
        self, copies: Tensor, images: Tensor, weights: Tensor | None, target: Target, total: Tensor
    ) -> None:
        """Adds the weighted gradients of copies, of all K targets, to the total of their images.

        Args:
            copies: (R, C, H, W).
            images: (R,) rising indices of the images that they are of.
            weights: (R,) factors of the gradients; their own values, which squares them, if it is None.
            target: of the images.
            total: (B, K, C, H, W).
        """
        found = gradients(self, copies, target.select(images))
        found = found.square_() if weights is None else found.mul_(weights.to(found).view(-1, 1, 1, 1, 1))
        for image in sorted(set(images.tolist())):  # and no index_add, whose order of summation a GPU does not keep
            total[image] += found[images == image].sum(dim=0)


def no_maps(method: Method, inputs: Tensor, target: Target) -> Tensor:
    """(B, K, C, H, W) or (B, K, 1, H, W) zeros in float32 or wider, to which maps are added."""
    channels = inputs.shape[1] if method.gradient_like else 1
    return in_full(inputs[:0]).new_zeros(len(inputs), target.num_maps, channels, *inputs.shape[2:])


def expand_baseline(baseline: Baseline, inputs: Tensor) -> Tensor:
    """The baseline of each of the (B, C, H, W) inputs, with their shape, type and device.

    Raises:
        ValueError: if it does not broadcast to them, or holds NaN or infinity.
    """
    values = torch.as_tensor(baseline, dtype=inputs.dtype, device=inputs.device)
    if not values.isfinite().all():
        shown = "a tensor with NaN or infinity" if isinstance(baseline, Tensor) else baseline
        raise ValueError(f"baseline is {shown}; give finite numbers.")
    try:
        return values.expand_as(inputs)
    except RuntimeError as error:
        raise ValueError(
            f"baseline of shape {tuple(values.shape)} does not fit inputs of shape {tuple(inputs.shape)};"
            " give a number, (1, C, H, W) or (B, C, H, W)."
        ) from error
