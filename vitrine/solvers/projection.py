"""Euclidean projection onto the ℓ1 ball."""

import torch
from torch import Tensor


def project_l1_ball(w: Tensor, radius: float | Tensor, dim: int = 0) -> Tensor:
    """The nearest point of the ℓ1 ball to every vector along a dimension.

    Solves min ‖v − w‖₂ subject to ‖v‖₁ ≤ radius exactly, by sorting (Duchi et al., Efficient Projections onto the ℓ1-Ball,
    ICML 2008): a vector outside of the ball becomes sign(w) max(|w| − θ, 0) with the θ that brings it onto the ball.
    Differentiable in ``w`` and ``radius``.

    Args:
        w: vectors along ``dim``, of any floating-point type, on any device.
        radius: 0 or more; a number, or a tensor that broadcasts to the shape of ``w`` without ``dim``.
        dim: dimension that the vectors lie along.

    Returns:
        The projections, of the shape and type of ``w``.

    Raises:
        ValueError: ``w`` is not floating-point, has NaN or infinity in it, or a radius is negative or NaN, or the
            radii are of another shape.
    """
    if not w.is_floating_point():
        raise ValueError(
            f"Vectors to be projected are floating-point numbers, not {w.dtype}: convert them with .float()."
        )
    if not w.isfinite().all():
        raise ValueError("Vectors to be projected have NaN or infinity in them.")
    wide = w.to(torch.promote_types(w.dtype, torch.float32))
    radii = torch.as_tensor(radius, dtype=wide.dtype, device=w.device)
    if not (radii >= 0).all():
        raise ValueError(f"The radius of an ℓ1 ball is 0 or more, not {radii.min().item()}.")
    if not w.shape[dim]:
        return w
    vectors = w.movedim(dim, 0).shape[1:]
    try:
        radii = radii.expand(vectors).unsqueeze(dim)
    except RuntimeError:
        raise ValueError(f"Radii of shape {tuple(radii.shape)} do not fit vectors of shape {tuple(vectors)}.") from None
    inside = wide.detach().abs().sum(dim, keepdim=True) <= radii
    outer = radii.masked_fill(inside, 0.0)  # an infinite radius would leave NaN in the gradient
    shrunk = wide.sign() * (wide.abs() - _threshold(wide, outer, dim)).clamp(min=0)
    return torch.where(inside, wide, shrunk).to(w.dtype)


def _threshold(w: Tensor, radii: Tensor, dim: int) -> Tensor:
    """θ with Σ max(|wᵢ| − θ, 0) = radius; without meaning inside of the ball."""
    with torch.no_grad():
        falling = w.abs().sort(dim, descending=True).values
        ranks = torch.ones_like(falling).cumsum(dim)
        # The largest entries stay, as many of them as are above the θ that they give themselves.
        stays = falling * ranks > falling.cumsum(dim) - radii
        count = stays.sum(dim, keepdim=True).clamp(min=1)
        kept = w.abs() >= falling.gather(dim, count - 1)
    # Summed anew, for the gradient and for the running sum's rounding; equal entries count all, which leaves θ as it is.
    return ((w.abs() * kept).sum(dim, keepdim=True) - radii) / kept.sum(dim, keepdim=True)
