"""Lasso selection of dimensions of Z: the second moments of many classes, batch by batch, and their solution."""

import torch
from torch import Tensor

from vitrine.core.distributed import sum_over_ranks
from vitrine.solvers.lasso import solve_lasso


class LassoSelection:
    """Fits sparse linear estimates of logits from Z, each class's own images weighted against all others.

    Kept are sums over all images, D² numbers, and Z of each class's own, so that any weight can be taken of these. Where each
    class is fitted on images of its own, the sums are kept for each class.

    Args:
        classes: J.
        features: D.
        device: where to keep the sums.
        sampled: whether each class is fitted on images of its own.
    """

    def __init__(
        self, classes: int, features: int, device: torch.device | str = "cpu", *, sampled: bool = False
    ) -> None:
        # Rows of the moments: D features, then 1, then the class's logit.
        sets = classes if sampled else 1
        self.everything = torch.zeros(sets, features + 1, features + 1, dtype=torch.float64, device=device)
        self.with_logits = torch.zeros(classes, features + 2, dtype=torch.float64, device=device)
        self.positives: list[list[Tensor]] = [[torch.zeros(0, features + 2, device=device)] for _ in range(classes)]

    def update(self, features: Tensor, logits: Tensor, positive: Tensor, sampled: Tensor | None = None) -> None:
        """Takes in a batch.

        Args:
            features: (B, D) Z.
            logits: (B, J).
            positive: (B, J) bool: whether an image is of the class.
            sampled: (B, J) bool: whether the class is fitted on it; all of them without it.
        """
        single = torch.cat([features.float(), torch.ones_like(features[:, :1], dtype=torch.float32)], dim=1)
        own = positive if sampled is None else positive & sampled
        for number, positives in enumerate(self.positives):
            of_class = own[:, number]
            positives.append(torch.cat([single[of_class], logits[of_class, number, None].float()], dim=1))
        rows, logits = single.double(), logits.double()
        if sampled is None:
            self.everything += rows.T @ rows
        else:
            logits = logits * sampled
            for number in range(len(self.everything)):
                of_class = rows[sampled[:, number]]
                self.everything[number] += of_class.T @ of_class
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
            count, every = positive[-2, -2], everything[number % len(everything)]
            balanced = float((every[-1, -1] - count).clamp(min=1) / count.clamp(min=1))
            weight = balanced if positive_weight is None else positive_weight
            moments = positive * (weight - 1)
            moments[:-1, :-1] += every
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


def all_used(weights: Tensor, contributions: Tensor) -> Tensor:
    """(J, n) int64: every dimension with a weight, by falling mean contribution (J, D); −1 where a class has fewer than n."""
    used = weights != 0
    order = contributions.masked_fill(~used, -torch.inf).argsort(dim=1, descending=True, stable=True)
    count = max(int(used.sum(dim=1).max()), 1)
    return order.where(used.gather(1, order), -1)[:, :count]


def drawn_dimensions(classes: int, features: int, count: int, seed: int) -> Tensor:
    """(J, count) int64: different dimensions for each class, drawn by the seed."""
    generator = torch.Generator().manual_seed(seed)
    draws = [torch.randperm(features, generator=generator)[:count] for _ in range(classes)]
    return torch.stack(draws)
