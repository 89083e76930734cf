"""MuLassoLayer: a linear layer that selects features, with each class's weights in an ℓ1 ball, for a loss of one's own."""

import torch
from torch import Tensor, nn

from vitrine.core.options import Count, Positive, checked
from vitrine.core.precision import in_full, without_autocast
from vitrine.solvers import project_l1_ball


class MuLassoLayer(nn.Module):
    """Scores Wᵀx + b of C classes, with ‖w_j‖₁ ≤ μ for each class j: a selector that is trained within any loss.

    The forward pass uses the projection of `weight` onto the balls, which is differentiable (see `project_l1_ball`). Outside
    of the ball a weight whose projection is 0 has no gradient, so call `project_` after each step of the optimizer: then all
    weights have one, steps are those of projected gradient descent, and features come and go.

    With the squared error this is equation 1 of Oramas et al., which `MuLassoFit` solves exactly. ``weights`` of responses
    that are scaled by an explainer's ``scaling`` are what `MuLassoExplainer` draws:
    ``explainer.weights.data.copy_(layer.weights)``, and the same for ``intercept`` and ``bias``.

    Args:
        num_features: m.
        num_classes: C.
        mu: μ.
        bias: whether there is a b, which is not bounded.

    Raises:
        OptionError: for a μ that is not above 0, or no features or classes.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> x = torch.randn(400, 30, generator=generator)
        >>> labels = x[:, :3].argmax(dim=1)  # 3 of 30 features tell the class
        >>> layer = MuLassoLayer(num_features=30, num_classes=3, mu=2.0)
        >>> optimizer = torch.optim.SGD(layer.parameters(), lr=0.3, momentum=0.9, nesterov=True)
        >>> for _ in range(300):
        ...     optimizer.zero_grad()
        ...     torch.nn.functional.cross_entropy(layer(x), labels).backward()
        ...     optimizer.step()
        ...     layer.project_()
        >>> layer.selected.nonzero()[:, 0].unique().tolist()
        [0, 1, 2]
    """

    @checked
    def __init__(self, num_features: Count, num_classes: Count, mu: Positive = 1.0, *, bias: bool = True) -> None:
        super().__init__()
        self.mu = mu
        self.weight = nn.Parameter(torch.zeros(num_features, num_classes))
        self.bias = nn.Parameter(torch.zeros(num_classes)) if bias else None

    weight: nn.Parameter
    """(m, C) what an optimizer steps on; `weights` is its projection."""

    @property
    def weights(self) -> Tensor:
        """(m, C) W, in the product of the balls, with exact zeros; differentiable."""
        return project_l1_ball(self.weight, self.mu)

    @property
    def selected(self) -> Tensor:
        """(m, C) bool: the features that each class rests on."""
        return self.weights.detach() != 0

    def forward(self, x: Tensor) -> Tensor:
        """(B, C) scores of (B, m) features, in the precision of the weights also under autocast."""
        with without_autocast(x):
            scores = x.to(self.weight.dtype) @ self.weights
        return scores if self.bias is None else scores + self.bias

    @torch.no_grad()
    def project_(self) -> None:
        """Brings `weight` into the balls, to the nearest point; to be called after each step of an optimizer."""
        projected = self.weights
        norms = in_full(projected.abs()).sum(dim=0)
        # A rounding within the ball, where the gradient is whole, however the next sum is rounded.
        bound = self.mu * (1 - torch.finfo(projected.dtype).eps)
        self.weight.copy_(projected * (bound / norms.clamp(min=bound)))

    def extra_repr(self) -> str:
        """Features, classes and μ."""
        features, classes = self.weight.shape
        return f"{features}, {classes}, mu={self.mu:g}, bias={self.bias is not None}"
