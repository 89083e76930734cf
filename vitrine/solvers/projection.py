"""Euclidean projection onto the ℓ1 ball."""

import torch
from torch import Tensor

from vitrine.core.options import OptionError
from vitrine.core.precision import in_full

_ROUNDINGS = 16


def project_l1_ball(w: Tensor, radius: float | Tensor, dim: int = 0) -> Tensor:
    """Projects the vectors along one dimension onto the ℓ1 ball.

    Solves min ‖v − w‖₂ subject to ‖v‖₁ ≤ radius exactly, by sorting (Duchi et al., Efficient Projections onto the ℓ1-Ball,
    ICML 2008): a vector outside the ball becomes sign(w) max(|w| − θ, 0) with the θ for which its ℓ1 norm is the radius.

    Differentiable in ``w`` and ``radius``: inside the ball the gradient passes as it is; outside, it is projected onto the
    tangent space of the face that holds the result, g − s (sᵀg) / k on the k entries that stay, with signs s, and 0 on the
    others. Where the projection has a kink, one of its two derivatives is taken: on the sphere, up to 16 roundings of the
    radius, that of the inside, so that projected vectors get the whole gradient; and an entry of |w| = θ counts as one that
    does not stay. A radius of 0 gives 0 and no gradient in ``w``.

    Args:
        w: vectors along ``dim``, of any floating-point type, on any device.
        radius: 0 or more; a number, or a tensor that broadcasts to the shape of ``w`` without ``dim``.
        dim: dimension of the vectors' entries.

    Returns:
        The projections, of the shape and type of ``w``.

    Raises:
        ValueError: where ``w`` is not floating-point or holds NaN or infinity, a radius is negative or NaN, or the radii
            have another shape.

    Example:
        >>> project_l1_ball(torch.tensor([3.0, -1.0, 0.5]), radius=3.0)
        tensor([ 2.5000, -0.5000,  0.0000])
        >>> project_l1_ball(torch.rand(512, 10), radius=torch.linspace(1, 2, 10)).abs().sum(dim=0).shape  # 10 vectors
        torch.Size([10])
    """
    if not w.is_floating_point():
        raise ValueError(f"w is of type {w.dtype}; give floating-point vectors, such as w.float().")
    if not w.isfinite().all():
        raise ValueError("w holds NaN or infinity; give finite vectors.")
    wide = in_full(w)
    radii = torch.as_tensor(radius, dtype=wide.dtype, device=w.device)
    if not (radii >= 0).all():
        raise OptionError("radius", radii.min().item(), "0 or more")
    if not w.shape[dim]:
        return w
    batch_shape = w.movedim(dim, 0).shape[1:]
    try:
        radii = radii.expand(batch_shape).unsqueeze(dim)
    except RuntimeError:
        raise ValueError(
            f"radius is of shape {tuple(radii.shape)}; give a shape that broadcasts to {tuple(batch_shape)}."
        ) from None
    inside = wide.detach().abs().sum(dim, keepdim=True) <= radii * (1 + _ROUNDINGS * torch.finfo(wide.dtype).eps)
    finite_radii = radii.masked_fill(inside, 0.0)  # an infinite radius would leave NaN in the gradient
    threshold, support = _threshold(wide, finite_radii, dim)
    shrunk = wide.sign() * (wide.abs() - threshold).clamp(min=0)
    return torch.where(inside, wide, torch.where(support & (radii > 0), shrunk, 0)).to(w.dtype)


def _threshold(w: Tensor, radii: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """θ with Σ max(|wᵢ| − θ, 0) = radius, and where |wᵢ| > θ; meaningless for vectors inside the ball."""
    with torch.no_grad():
        sorted_sizes = w.abs().sort(dim, descending=True).values
        ranks = torch.ones_like(sorted_sizes).cumsum(dim)
        # The support: the largest entries, as many of them as exceed the θ that they imply.
        in_support = sorted_sizes * ranks > sorted_sizes.cumsum(dim) - radii
        count = in_support.sum(dim, keepdim=True).clamp(min=1)
        support = w.abs() >= sorted_sizes.gather(dim, count - 1)
    # A new sum, for the gradient and because the cumulative sum is rounded; including all ties does not change θ.
    threshold = ((w.abs() * support).sum(dim, keepdim=True) - radii) / support.sum(dim, keepdim=True)
    return threshold, support
