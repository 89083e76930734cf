"""SRAE losses: faithfulness, sparse reconstruction, pull-away (equations 1 to 5 of Qi et al.), greedy pretraining."""

import torch
from torch import Tensor, nn

from vitrine.core.distributed import sum_over_ranks


def pull_away(embedding: Tensor, *, over: str = "images", across_ranks: bool = False) -> Tensor:
    """Mean squared cosine between different x-features (equation 3).

    Args:
        embedding: (N, n) activations E of n x-features on N images; (J, N, n) of J heads, over ``"images"`` alone.
        over: ``"images"``: the n columns are compared, as in the paper; ``"features"``: the N rows are, as in the
            energy-based GAN that the term comes from.
        across_ranks: whether the N images of all ranks are meant.

    Returns:
        A scalar in [0, 1], or (J,). A vector of zeros has cosine 0 with all; a single vector gives 0.

    Raises:
        ValueError: for another value of ``over``.

    Example:
        >>> pull_away(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])).item()  # (N, n): two orthogonal x-features
        0.0
        >>> pull_away(torch.rand(5, 32, 4)).shape  # (J, N, n)
        torch.Size([5])
    """
    if over == "images":
        gram = _total(_product(embedding.mT, embedding), across_ranks)
        scale = _inverse_root(gram.diagonal(dim1=-2, dim2=-1))
        squared_cosines = (gram * scale[..., :, None] * scale[..., None, :]).square()
        between = squared_cosines.sum(dim=(-2, -1)) - squared_cosines.diagonal(dim1=-2, dim2=-1).sum(dim=-1)
        return between / max(gram.shape[-1] * (gram.shape[-1] - 1), 1)
    if over == "features":
        # Σᵢⱼ cos²(eᵢ, eⱼ) = ‖ÊÊᵀ‖² = ‖ÊᵀÊ‖², an (n, n) matrix that sums over ranks where (N, N) would not.
        unit = embedding * _inverse_root(embedding.square().sum(dim=1, keepdim=True))
        squared_cosines = _total(_product(unit.T, unit), across_ranks).square()
        count = _total(embedding.new_tensor(float(len(embedding))), across_ranks)
        alive = _total(unit.square().sum(), across_ranks)
        return (squared_cosines.sum() - alive) / (count * (count - 1)).clamp(min=1)
    raise ValueError(f"pull-away over {over!r} is unknown; choose 'images' or 'features'")


def sparse_reconstruction(
    decoded: Tensor, target: Tensor, q: float, *, weights: Tensor | None = None, across_ranks: bool = False
) -> Tensor:
    """Log penalty on each dimension's mean squared reconstruction error (equation 4).

    mean_k log(1 + q·Q_k) with Q_k = mean_i (decoded_ik − target_ik)²: a dimension that cannot be reconstructed costs
    little more for being far off, so the head picks the dimensions that matter to it.

    Args:
        decoded: (N, D) the decoder's output; (J, N, D) of J heads, of which each has a value.
        target: (N, D) the features Z.
        q: sparsity, above 0.
        weights: (N,) non-negative weights that turn the mean over images into a weighted mean; (N, J) of J heads.
        across_ranks: whether the N images of all ranks are meant.

    Raises:
        ValueError: where q is not positive.

    Example:
        >>> decoded, target = torch.zeros(4, 2), torch.tensor([[0.0, 1.0]] * 4)  # (N, D): Q = 0 and 1
        >>> round(sparse_reconstruction(decoded, target, q=9.0).item(), 4)  # (log 1 + log 10) / 2
        1.1513
    """
    if not q > 0:
        raise ValueError(f"q is {q}; the log penalty needs q > 0")
    error = _mean_errors(decoded, target, weights, across_ranks=across_ranks)
    return torch.log1p(q * error).mean(dim=-1)


def plain_reconstruction(
    decoded: Tensor, target: Tensor, *, weights: Tensor | None = None, across_ranks: bool = False
) -> Tensor:
    """Mean squared reconstruction error over images and dimensions: `sparse_reconstruction` / q as q → 0.

    The arguments are those of `sparse_reconstruction`.
    """
    return _mean_errors(decoded, target, weights, across_ranks=across_ranks).mean(dim=-1)


def _mean_errors(decoded: Tensor, target: Tensor, weights: Tensor | None, *, across_ranks: bool) -> Tensor:
    """(D,) squared errors, mean over images; (J, D) of J heads' (J, N, D) with weights (N, J)."""
    squared = (decoded - target).square()
    if squared.ndim == 2:
        return weighted_mean(squared, weights, across_ranks=across_ranks)
    if weights is None:
        weights = squared.new_ones(squared.shape[1], len(squared))
    numerator = _total(_product(weights.T.unsqueeze(1), squared).squeeze(1), across_ranks)
    total = _total(weights.sum(dim=0), across_ranks).clamp(min=torch.finfo(numerator.dtype).tiny)
    return numerator / total[:, None]


def faithfulness(
    predicted: Tensor, logits: Tensor, *, weights: Tensor | None = None, across_ranks: bool = False
) -> Tensor:
    """Mean squared difference of the head's estimate vᵀE and the logit ŷ (first term of equation 5).

    Args:
        predicted: (N,) vᵀE of each image.
        logits: (N,) the backbone's logit, before softmax.
        weights: (N,) non-negative weights of the images.
        across_ranks: whether the N images of all ranks are meant.
    """
    return weighted_mean((predicted - logits).square(), weights, across_ranks=across_ranks)


def weighted_mean(values: Tensor, weights: Tensor | None = None, *, across_ranks: bool = False) -> Tensor:
    """Mean of (N, …) values over their first dimension; weights are (N,) or one a value, and a sum of 0 gives 0."""
    if weights is None:
        weights = values.new_ones(len(values))
    if weights.ndim == 1:
        with torch.autocast(values.device.type, enabled=False):
            weighted = torch.tensordot(weights, values, dims=1)
    else:
        weighted = (weights * values).sum(dim=0)
    numerator = _total(weighted, across_ranks)
    return numerator / _total(weights.sum(dim=0), across_ranks).clamp(min=torch.finfo(numerator.dtype).tiny)


def _product(one: Tensor, other: Tensor) -> Tensor:
    """Matrix product, a sum over images; not under autocast, which would round it."""
    with torch.autocast(one.device.type, enabled=False):
        return one @ other


def _total(tensor: Tensor, across_ranks: bool) -> Tensor:
    return sum_over_ranks(tensor) if across_ranks else tensor


def _inverse_root(squared_norms: Tensor) -> Tensor:
    """1/√x, and 0 for x = 0, with a gradient of 0 there and not NaN."""
    alive = squared_norms > 0
    return torch.where(alive, torch.where(alive, squared_norms, 1).rsqrt(), 0)


def greedy_loss(
    encoder: nn.Sequential,
    decoder: nn.Sequential,
    inputs: Tensor,
    depth: int,
    *,
    weights: Tensor | None = None,
    across_ranks: bool = False,
) -> Tensor:
    """Mean squared error of one layer and its mirror as an autoencoder of what the layers before it give.

    Args:
        encoder: linear layers, each followed by a ReLU.
        decoder: linear layers of the mirrored widths, with a ReLU between any two.
        inputs: (N, d).
        depth: which of the encoder's linear layers, from 0 on.
        weights: (N,) weights of the inputs; all alike without them.
        across_ranks: whether the inputs of all ranks are meant.

    Returns:
        A scalar, whose gradient reaches this layer and its mirror alone.
    """
    layers = [layer for layer in encoder if isinstance(layer, nn.Linear)]
    mirrors = [layer for layer in decoder if isinstance(layer, nn.Linear)][::-1]
    with torch.no_grad():
        before = inputs
        for layer in layers[:depth]:
            before = layer(before).relu()
    rebuilt = mirrors[depth](layers[depth](before).relu())
    return plain_reconstruction(rebuilt.float(), before.float(), weights=weights, across_ranks=across_ranks)
