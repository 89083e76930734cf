"""X-features that are chosen dimensions of Z itself, with nothing learned in between: the baselines of Qi et al. (2018)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.options import Count, NonNegative, OptionError, Options
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.objectives import PositiveWeight
from vitrine.explainers.srae.x_features import XFeatureExplainer, XFeatureHeads, XFeatureOptions


@dataclass(frozen=True)
class SelectionOptions(Options):
    """How dimensions of Z are chosen for each class.

    Args:
        kind: ``lasso``, those of largest contribution in a sparse estimate of the logit; ``random``, drawn by the seed; or
            ``logit``, for the classifier's last layer as Z, the class's own logit.
        alpha: α of the Lasso, as scikit-learn counts it.
        positive_weight: weight of a class's own images in the Lasso, ``balanced`` for as much as all others together.
        seed: of ``random``.
        num_shown: dimensions that are drawn of a class, ``srae.num_features`` without it; ``all`` for every one that the
            Lasso uses, however many that are.

    Example:
        >>> SelectionOptions(kind="random", seed=3).alpha
        0.5
    """

    kind: Literal["lasso", "random", "logit"] = "lasso"
    alpha: NonNegative = 0.5
    positive_weight: PositiveWeight = "balanced"
    seed: int = 0
    num_shown: Count | Literal["all"] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_shown == "all" and self.kind != "lasso":
            raise OptionError("num_shown", "all", f"a number: kind {self.kind} uses all dimensions that it draws")


class SelectedFeatures(XFeatureHeads):
    """n chosen dimensions of Z a class, and a linear estimate of the logit from all of Z.

    The weights are sparse where a Lasso gave them, and zero where nothing is estimated.

    Args:
        classes: J.
        features: D, size of Z.
        num_features: n.
    """

    is_alive: Tensor
    indices: Tensor
    """(J, n) int64: the dimensions shown."""
    weights: Tensor
    """(J, D) w of the estimate w · Z + b."""
    bias: Tensor
    """(J,) b."""

    def __init__(self, classes: int, features: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("is_alive", torch.ones(classes, num_features, dtype=torch.bool))
        self.register_buffer("indices", torch.zeros(classes, num_features, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(classes, features))
        self.register_buffer("bias", torch.zeros(classes))

    @property
    @override
    def alive(self) -> Tensor:
        return self.is_alive

    def resize(self, num_features: int) -> None:
        """Makes room for another number of dimensions a class, none of which is shown yet."""
        classes = len(self.bias)
        self.is_alive = self.is_alive.new_zeros(classes, num_features)
        self.indices = self.indices.new_zeros(classes, num_features)

    @override
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        images = torch.arange(len(features), device=features.device)
        return features[images[:, None], self.indices[rows]] * self.is_alive[rows]

    @override
    def embed_all(self, features: Tensor) -> Tensor:
        return features[:, self.indices] * self.is_alive

    @override
    def predictors(self) -> Tensor:
        chosen = self.weights.gather(1, self.indices)
        return chosen if self._estimates_logits else torch.ones_like(chosen)

    @override
    def estimates(self, features: Tensor) -> Tensor | None:
        return features @ self.weights.T + self.bias if self._estimates_logits else None

    @property
    def _estimates_logits(self) -> bool:
        return bool(self.weights.any() or self.bias.any())  # a Lasso with a large α leaves the intercept alone


class SelectedFeaturesExplainer(XFeatureExplainer):
    """Chosen dimensions of Z, drawn by excitation backprop as x-features are.

    With the classifier's last layer as Z and each class's own logit chosen, this is excitation backprop on ŷ.

    Args:
        backbone: as in `XFeatureExplainer`.
        options: as in `XFeatureExplainer`; ``num_features`` n are the dimensions shown of a class.
        classes: as in `XFeatureExplainer`.
        preprocessing: as in `XFeatureExplainer`.

    Raises:
        ValueError: as in `XFeatureExplainer`, and for more x-features than Z has dimensions.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from vitrine.backbones import FrozenBackbone
        >>> features = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> model = nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 2))
        >>> options = XFeatureOptions(layer="0", num_features=3, image_size=16)
        >>> explainer = SelectedFeaturesExplainer(FrozenBackbone(model), options)
        >>> explainer.select(torch.tensor([[0, 1, 2], [5, 6, 7]]))
        >>> explainer.explain(torch.rand(2, 3, 16, 16), target=1).heatmaps.shape
        torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: XFeatureOptions,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        dimensions = self.width * self.positions
        if options.num_features > dimensions:
            raise ValueError(
                f"num_features is {options.num_features}, but layer {options.layer!r} has {dimensions} dimensions; give at"
                " most so many."
            )
        self.heads: SelectedFeatures = self.make_heads()

    @override
    def make_heads(self) -> SelectedFeatures:
        dimensions = self.width * self.positions
        return SelectedFeatures(len(self.explained_classes), dimensions, self.options.num_features)

    @property
    @override
    def class_axes(self) -> Mapping[str, int]:
        return dict.fromkeys((f"heads.{name}" for name in ("is_alive", "indices", "weights", "bias")), 0)

    @override
    def load_head_state(self, state: dict[str, Tensor]) -> None:
        self.resize_for(self.with_current_names(state))
        super().load_head_state(state)

    def resize_for(self, state: Mapping[str, Tensor], prefix: str = "") -> None:
        """Makes room for the dimensions of saved heads, which may be more or fewer than ``num_features``.

        Args:
            state: their tensors.
            prefix: of the names of this explainer's tensors there.
        """
        saved = state.get(f"{prefix}heads.indices")
        if saved is not None and saved.ndim == 2 and len(saved) == len(self.heads.bias):
            self.heads.resize(saved.shape[1])

    def select(self, indices: Tensor, weights: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Takes over what to show, and how logits are estimated.

        Args:
            indices: (J, n') int64 dimensions; −1 where a class has fewer. For n' above n there are n' from now on.
            weights: (J, D); without them nothing is estimated, and each dimension contributes its own value.
            bias: (J,).
        """
        heads = self.heads
        if indices.shape[1] > heads.num_features:
            heads.resize(indices.shape[1])
        heads.is_alive.zero_()
        heads.is_alive[:, : indices.shape[1]] = indices >= 0
        heads.indices.zero_()
        heads.indices[:, : indices.shape[1]] = indices.clamp(min=0)
        heads.weights.copy_(torch.zeros_like(heads.weights) if weights is None else weights)
        heads.bias.copy_(torch.zeros_like(heads.bias) if bias is None else bias)
