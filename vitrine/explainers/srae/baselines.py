"""X-features that are chosen dimensions of Z itself, with nothing learned in between: the baselines of Qi et al. (2018)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.srae.x_features import XFeatureExplainer, XFeatureHeads, check_sizes


class SelectedFeatures(XFeatureHeads):
    """n chosen dimensions of Z a class, and a linear estimate of the logit from all of Z.

    The weights are sparse where a Lasso gave them, and zero where nothing is estimated.

    Args:
        classes: J.
        features: D, size of Z.
        num_features: n.
    """

    taking_part: Tensor
    indices: Tensor
    """(J, n) int64: the dimensions shown."""
    weights: Tensor
    """(J, D) w of the estimate w · Z + b."""
    bias: Tensor
    """(J,) b."""

    def __init__(self, classes: int, features: int, num_features: int) -> None:
        super().__init__()
        self.register_buffer("taking_part", torch.ones(classes, num_features, dtype=torch.bool))
        self.register_buffer("indices", torch.zeros(classes, num_features, dtype=torch.int64))
        self.register_buffer("weights", torch.zeros(classes, features))
        self.register_buffer("bias", torch.zeros(classes))

    @property
    @override
    def live(self) -> Tensor:
        return self.taking_part

    @override
    def embed(self, features: Tensor, rows: Tensor) -> Tensor:
        images = torch.arange(len(features), device=features.device)
        return features[images[:, None], self.indices[rows]] * self.taking_part[rows]

    @override
    def predictors(self) -> Tensor:
        chosen = self.weights.gather(1, self.indices)
        return chosen if self._estimates_logits else torch.ones_like(chosen)

    @override
    def estimates(self, features: Tensor) -> Tensor | None:
        return features @ self.weights.T + self.bias if self._estimates_logits else None

    @property
    def _estimates_logits(self) -> bool:
        return bool(self.weights.any())


class SelectedFeaturesExplainer(XFeatureExplainer):
    """Chosen dimensions of Z, drawn by excitation backprop as x-features are.

    With the classifier's last layer as Z and each class's own logit chosen, this is excitation backprop on ŷ.

    Args:
        backbone: as in `XFeatureExplainer`.
        layer: as in `XFeatureExplainer`.
        classes: as in `XFeatureExplainer`.
        preprocessing: as in `XFeatureExplainer`.
        explained_classes: as in `XFeatureExplainer`.
        num_features: n, dimensions shown a class.
        pooling: as in `XFeatureExplainer`.
        contrastive: as in `XFeatureExplainer`.
        negative_activations: as in `XFeatureExplainer`.
        draw_inactive: as in `XFeatureExplainer`.
        image_size: as in `XFeatureExplainer`.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        layer: str,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        explained_classes: Sequence[int] | None = None,
        num_features: int = 5,
        pooling: str = "average",
        contrastive: bool = True,
        negative_activations: str = "clamp",
        draw_inactive: bool = False,
        image_size: int = 224,
    ) -> None:
        super().__init__(
            backbone,
            layer,
            classes,
            preprocessing,
            explained_classes,
            pooling,
            contrastive,
            negative_activations,
            draw_inactive,
            image_size,
        )
        check_sizes(num_features)
        dimensions = self.width * self.positions
        if num_features > dimensions:
            raise ValueError(
                f"num_features is {num_features}, but layer {layer!r} has {dimensions} dimensions; give at most so many."
            )
        self.heads: SelectedFeatures = SelectedFeatures(len(self.explained_classes), dimensions, num_features)

    @override
    def options(self) -> dict[str, Any]:
        return super().options() | {"num_features": self.num_features}

    def select(self, indices: Tensor, weights: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Takes over what to show, and how logits are estimated.

        Args:
            indices: (J, n') int64 dimensions, n' ≤ n; −1 where a class has fewer.
            weights: (J, D); without them nothing is estimated, and each dimension contributes its own value.
            bias: (J,).
        """
        heads = self.heads
        heads.taking_part.zero_()
        heads.taking_part[:, : indices.shape[1]] = indices >= 0
        heads.indices.zero_()
        heads.indices[:, : indices.shape[1]] = indices.clamp(min=0)
        heads.weights.copy_(torch.zeros_like(heads.weights) if weights is None else weights)
        heads.bias.copy_(torch.zeros_like(heads.bias) if bias is None else bias)
