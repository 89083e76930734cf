"""Lasso selection of dimensions of Z: the second moments of many classes, batch by batch, and their solution."""

import torch
from torch import Tensor

from vitrine.core.distributed import sum_over_ranks
from vitrine.solvers.lasso import solve_lasso


class LassoSelection:
    """Fits sparse linear estimates of logits from Z, each class's own images weighted against all others.

    Kept are sums over all images, D² numbers, and Z of each class's own, so that any weight can be taken of these.

    Args:
        classes: J.
        features: D.
        device: where to keep the sums.
    """

    def __init__(self, classes: int, features: int, device: torch.device | str = "cpu") -> None:
        # Rows of the moments: D features, then 1, then the class's logit.
        self.everything = torch.zeros(features + 1, features + 1, dtype=torch.float64, device=device)
        self.with_logits = torch.zeros(classes, features + 2, dtype=torch.float64, device=device)
        self.positives: list[list[Tensor]] = [[torch.zeros(0, features + 2, device=device)] for _ in range(classes)]

    def update(self, features: Tensor, logits: Tensor, positive: Tensor) -> None:
        """Takes in Z (B, D), logits (B, J) and (B, J) bool: whether an image is of the class."""
        single = torch.cat([features.float(), torch.ones_like(features[:, :1], dtype=torch.float32)], dim=1)
        for number, positives in enumerate(self.positives):
            of_class = positive[:, number]
            positives.append(torch.cat([single[of_class], logits[of_class, number, None].float()], dim=1))
        rows, logits = single.double(), logits.double()
        self.everything += rows.T @ rows
        self.with_logits[:, :-1] += logits.T @ rows
        self.with_logits[:, -1] += logits.square().sum(dim=0)

    def finish(self, alpha: float, positive_weight: float | None) -> tuple[Tensor, Tensor, Tensor]:
        """Solves each class's Lasso, over all ranks' images.

        Args:
            alpha: α.
            positive_weight: weight of a class's own images; as much as all others together without it.

        Returns:
            (J, D) w, (J,) b, and (J, D) the mean of w_k Z_k over each class's own images.
        """
        everything, with_logits = sum_over_ranks(self.everything), sum_over_ranks(self.with_logits)
        results = []
        for number, of_class in enumerate(self.positives):
            rows = torch.cat(of_class).double()
            positive = sum_over_ranks(rows.T @ rows)
            count = positive[-2, -2]
            balanced = float((everything[-1, -1] - count).clamp(min=1) / count.clamp(min=1))
            weight = balanced if positive_weight is None else positive_weight
            moments = positive * (weight - 1)
            moments[:-1, :-1] += everything
            moments[-1, :] += with_logits[number]
            moments[:-1, -1] += with_logits[number, :-1]
            w, b = _solved(moments / moments[-2, -2], alpha)
            results.append((w, b, w * positive[:-2, -2] / count.clamp(min=1)))
        w, b, contributions = (torch.stack(column).float() for column in zip(*results, strict=True))
        return w, b, contributions


def _solved(moments: Tensor, alpha: float) -> tuple[Tensor, Tensor]:
    """Weights w and intercept b from weighted means of products of (Z, 1, ŷ): the intercept is free, so all is centred."""
    means = moments[:, -2]
    centred = moments - torch.outer(means, means)
    w = solve_lasso(centred[:-2, :-2], centred[:-2, -1], centred[-1, -1], alpha)
    return w, means[-1] - w @ means[:-2]


def strongest(contributions: Tensor, count: int) -> Tensor:
    """(J, count) int64: the dimensions of the largest positive mean contributions (J, D); −1 where there are fewer."""
    values, dimensions = contributions.topk(min(count, contributions.shape[1]), dim=1)
    return dimensions.where(values > 0, -1)


def drawn_dimensions(classes: int, features: int, count: int, seed: int) -> Tensor:
    """(J, count) int64: different dimensions for each class, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randperm(features, generator=generator)[:count] for _ in range(classes)]
    return torch.stack(draws)
