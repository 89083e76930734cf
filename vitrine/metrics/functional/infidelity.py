"""Infidelity of explanations (Yeh, Hsieh, Suggala, Inouye and Ravikumar, NeurIPS 2019)."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from vitrine.core.key_noise import KeyNoise
from vitrine.core.options import Count, Positive, checked
from vitrine.core.precision import in_full
from vitrine.metrics.functional.checks import checked_classes, checked_images, checked_tensor
from vitrine.metrics.functional.class_scores import Classify, Score, class_scores


@checked
def infidelity(
    classify: Classify,
    images: Tensor,
    attributions: Tensor,
    targets: Tensor,
    perturbations: Iterable[Tensor],
    score: Score = "logit",
    *,
    normalize: bool = False,
    multi_label: bool = False,
) -> Tensor:
    """How far an attribution is from telling by how much the class's score falls when the image is perturbed.

    INFD(Φ, f, x) = E_I [(Iᵀ Φ − (f(x) − f(x − I)))²], the mean over perturbations I. It is 0 for an attribution that
    foretells each fall exactly, such as the gradient of a linear network.

    Args:
        classify: the network.
        images: (B, C, H, W), normalised for the network.
        attributions: (B, C, H, W), or (B, H, W) that hold for all channels.
        targets: (B,) classes.
        perturbations: N times I (B, C, H, W), which is taken away from the images; made as they are needed.
        score: f.
        normalize: whether each attribution is scaled by the β that is best for it, Σ Iᵀ Φ · Δf / Σ (Iᵀ Φ)², so that the
            scale of a map does not count.
        multi_label: whether an image may have several classes, as in `class_probabilities`.

    Returns:
        (B,) float64, in squares of the score; NaN for attributions with NaN or infinity.

    Raises:
        ValueError: for attributions of another size than the images, images that are not finite floats, classes that are not
            one integer an image, and no perturbation.

    Example:
        >>> images, weights = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4)
        >>> def linear(images):
        ...     return torch.einsum("bchw,nchw->bn", images, weights)
        >>> noise = [torch.randn(2, 3, 4, 4) for _ in range(5)]
        >>> infidelity(linear, images, weights, torch.tensor([0, 1]), noise).max().item() < 1e-9
        True
    """
    attributions = in_full(_checked_attributions(attributions, images)).detach().to(images.device)
    targets = checked_classes(targets, len(images)).to(images.device)
    expected: list[Tensor] = []

    def versions() -> Iterator[Tensor]:
        yield images
        for perturbation in perturbations:
            perturbed = (in_full(images) - perturbation.to(images.device)).to(images.dtype)
            removed = (
                in_full(images).double() - in_full(perturbed).double()
            )  # what is left of it in the images' precision
            expected.append((attributions.double() * removed).flatten(1).sum(dim=1))
            yield perturbed

    scores = class_scores(classify, versions(), targets, score, multi_label=multi_label).double()
    if not expected:
        raise ValueError("perturbations is empty; give one or more.")
    falls, sums = scores[:, :1] - scores[:, 1:], torch.stack(expected, dim=1)
    if normalize:
        size = sums.square().sum(dim=1, keepdim=True)
        sums = sums * (sums * falls).sum(dim=1, keepdim=True) / size.where(size != 0, 1)
    values = (sums - falls).square().mean(dim=1)
    return values.where(values.isfinite(), torch.nan)


@checked
def gaussian_perturbations(images: Tensor, noise: KeyNoise, count: Count, sigma: Positive) -> Iterator[Tensor]:
    """Perturbations of all pixels by normal noise of standard deviation σ.

    Args:
        images: (B, C, H, W).
        noise: of these B images.
        count: N.
        sigma: σ, in units of the normalised images.

    Returns:
        An iterator over N tensors (B, C, H, W).
    """
    return (sigma * noise.draw(images.shape[1:]).to(images.device) for _ in range(count))


@checked
def square_perturbations(images: Tensor, noise: KeyNoise, count: Count, size: Count) -> Iterator[Tensor]:
    """Perturbations that remove a square at a random place: what is left there is 0, the mean colour.

    Args:
        images: (B, C, H, W).
        noise: of these B images.
        count: N.
        size: side of the square in pixels; that of the image where it is larger.

    Returns:
        An iterator over N tensors (B, C, H, W).

    Example:
        >>> removed = next(square_perturbations(torch.ones(1, 1, 8, 8), KeyNoise(0, None, 1), count=1, size=3))
        >>> removed.sum().item()
        9.0
    """
    height, width = images.shape[-2:]
    sides = torch.tensor([min(size, height), min(size, width)])
    free = torch.tensor([height, width]) - sides + 1

    def square() -> Tensor:
        corners = (noise.draw((2,), "uniform") * free).long()
        rows, columns = (
            (torch.arange(length) >= corners[:, axis, None])
            & (torch.arange(length) < corners[:, axis, None] + sides[axis])
            for axis, length in enumerate((height, width))
        )
        inside = (rows[:, :, None] & columns[:, None]).to(images.device)
        return torch.where(inside[:, None], in_full(images), 0)

    return (square() for _ in range(count))


def _checked_attributions(attributions: Tensor, images: Tensor) -> Tensor:
    """(B, C or 1, H, W)."""
    if isinstance(attributions, Tensor) and attributions.ndim == 4:
        whole = checked_tensor(attributions, "attributions", "B, C, H, W")
        checked_images(images, whole[:, 0], "attributions")
        if whole.shape[1] not in {1, images.shape[1]}:
            raise ValueError(
                f"attributions has the shape {tuple(whole.shape)} for images {tuple(images.shape)}; give one map an image, or"
                " one a channel."
            )
        return whole
    checked_images(images, attributions, "attributions")
    return attributions[:, None]
