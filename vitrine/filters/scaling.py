"""Scaling of filter responses before a linear model is fitted on them."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vitrine.core.options import Count, checked

Scaling = Literal["paper", "width", "unit", "standardized"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)

_ROUNDING = 1e-6
"""A standard deviation below this share of the root mean square is taken for a rounding error of float32."""


class ResponseScaling(nn.Module):
    """The affine map (x − shift) · factor of each filter response, which `fit` determines from sums over the data.

    * ``"paper"``: x unchanged.
    * ``"width"``: times the number of filters of the layer, so that the mean response of a layer is 1.
    * ``"unit"``: divided by the L2 norm of the filter's responses over the data.
    * ``"standardized"``: minus the mean, divided by the population standard deviation. A linear model on it needs the mean of
      the labels as its intercept.

    Filters that never respond, or with ``"standardized"`` respond equally to all images, become 0. Until it is fitted, the
    map is the identity.

    Args:
        num_filters: the length m of x.
        scaling: one of `SCALINGS`.

    Raises:
        OptionError: for an unknown scaling.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        >>> scaling = ResponseScaling(num_filters=2, scaling="standardized")
        >>> scaling.fit(2, x.sum(dim=0), x.square().sum(dim=0), torch.tensor([2, 2]))
        >>> scaling(x).tolist()
        [[-1.0, 0.0], [1.0, 0.0]]
    """

    @checked
    def __init__(self, num_filters: Count, scaling: Scaling = "paper") -> None:
        super().__init__()
        self.scaling = scaling
        self.register_buffer("shift", torch.zeros(num_filters))
        self.register_buffer("factor", torch.ones(num_filters))

    shift: Tensor
    """(m,) float32."""
    factor: Tensor
    """(m,) float32."""

    @property
    def has_intercept(self) -> bool:
        """Whether the labels have to be centred, with their mean as the intercept."""
        return self.scaling == "standardized"

    @torch.no_grad()
    def fit(self, n_samples: int, total: Tensor, squares: Tensor, widths: Tensor) -> None:
        """Sets shift and factor.

        Args:
            n_samples: number of images.
            total: (m,) sum of x over the images, in float64.
            squares: (m,) sum of x² over the images, in float64: the diagonal of their Gram matrix.
            widths: (m,) number of filters in each filter's layer.
        """
        total, squares = total.double(), squares.double()
        shift, factor = torch.zeros_like(total), torch.ones_like(total)
        if self.scaling == "width":
            factor = widths.to(total)
        elif self.scaling == "unit":
            factor = _inverse(squares.sqrt())
        elif self.scaling == "standardized":
            shift = total / n_samples
            deviation = (squares / n_samples - shift**2).clamp(min=0).sqrt()
            factor = _inverse(torch.where(deviation > _ROUNDING * (squares / n_samples).sqrt(), deviation, 0))
        self.shift.copy_(shift)
        self.factor.copy_(factor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, m) from (B, m)."""
        return (x - self.shift) * self.factor

    def extra_repr(self) -> str:
        """The scaling and the number of filters."""
        return f"{self.scaling}, {len(self.shift)} filters"


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values > 0, 1 / torch.where(values > 0, values, 1), 0)
