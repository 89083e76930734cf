"""What filter responses are multiplied with before a linear model is fitted on them."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

Scaling = Literal["paper", "width", "unit", "standardized"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)

_ROUNDING = 1e-6
"""A standard deviation below so much of the root mean square is rounding of float32."""


class ResponseScaling(nn.Module):
    """The affine map (x − shift) · factor of each filter response; what it is, `fit` learns from sums over the data.

    * ``"paper"``: x as it is.
    * ``"width"``: times the number of filters of its layer, so that a layer's mean response is 1.
    * ``"unit"``: divided by the L2 norm of the filter's responses over the data.
    * ``"standardized"``: minus the mean, divided by the population's standard deviation. A linear model on it needs the mean
      of the labels as its intercept.

    A filter without any response, or in ``"standardized"`` with the same one to every image, becomes 0. Until it is
    fitted, x is left as it is.

    Args:
        num_filters: the length m of x.
        scaling: one of `SCALINGS`.

    Raises:
        ValueError: for an unknown scaling.
    """

    def __init__(self, num_filters: int, scaling: Scaling = "paper") -> None:
        super().__init__()
        if scaling not in SCALINGS:
            raise ValueError(f"scaling {scaling!r} is unknown; choose one of {', '.join(SCALINGS)}.")
        self.scaling = scaling
        self.register_buffer("shift", torch.zeros(num_filters))
        self.register_buffer("factor", torch.ones(num_filters))

    shift: Tensor
    """(m,) float32."""
    factor: Tensor
    """(m,) float32."""

    @property
    def has_intercept(self) -> bool:
        """Whether the labels are to be centred, and their mean is the intercept."""
        return self.scaling == "standardized"

    @torch.no_grad()
    def fit(self, count: int, total: Tensor, squares: Tensor, widths: Tensor) -> None:
        """Sets shift and factor.

        Args:
            count: number of images.
            total: (m,) sum of x over the images, in float64.
            squares: (m,) sum of x² over the images, in float64: the diagonal of their Gram matrix.
            widths: (m,) number of filters of each filter's own layer.
        """
        total, squares = total.double(), squares.double()
        shift, factor = torch.zeros_like(total), torch.ones_like(total)
        if self.scaling == "width":
            factor = widths.to(total)
        elif self.scaling == "unit":
            factor = _inverse(squares.sqrt())
        elif self.scaling == "standardized":
            shift = total / count
            deviation = (squares / count - shift**2).clamp(min=0).sqrt()
            factor = _inverse(torch.where(deviation > _ROUNDING * (squares / count).sqrt(), deviation, 0))
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
