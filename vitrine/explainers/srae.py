"""Sparse reconstruction autoencoder heads: a few x-features a class (Qi, Khorram and Li 2018)."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from vitrine.attribution.excitation_backprop import excitation_maps
from vitrine.backbones import FrozenBackbone
from vitrine.explainers.base import Explainer, Target, target_classes
from vitrine.explanation import Explanation
from vitrine.features import TappedFeatures
from vitrine.preprocessing import Preprocessing


class SRAEHead(nn.Module):
    """The explanation module of one class (section 2.3): encoder E_θ, its mirror E_θ̃⁻¹, and a linear predictor v.

    Args:
        features: d, size of Z.
        x_features: n, size of the explanation space.
        hidden: widths between them.
    """

    def __init__(self, features: int, x_features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        widths = [features, *hidden, x_features]
        self.encoder = _perceptron(widths)
        self.encoder.append(nn.ReLU())
        self.decoder = _perceptron(widths[::-1])
        self.predictor = nn.Linear(x_features, 1, bias=False)
        self._bring_to_life()

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of Z (N, d): the x-features E (N, n), the decoded Z (N, d), and ȳ = vᵀE (N,)."""
        embedding = self.encoder(features)
        return embedding, self.decoder(embedding), self.predict(embedding)

    def predict(self, embedding: Tensor) -> Tensor:
        """ȳ = vᵀE of (N, n) x-features: (N,)."""
        estimate: Tensor = self.predictor(embedding)
        return estimate.squeeze(1)

    def contributions(self, embedding: Tensor) -> Tensor:
        """vᵢEᵢ of (N, n) x-features: (N, n); their sum is ȳ."""
        return embedding * self.predictor.weight

    def reset(self, generator: torch.Generator) -> None:
        """Draws all weights anew, from the generator alone."""
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                bound = layer.in_features**-0.5
                for parameter in layer.parameters(recurse=False):
                    fresh = torch.empty(parameter.shape).uniform_(-bound, bound, generator=generator)
                    parameter.data.copy_(fresh)
        self._bring_to_life()

    @torch.no_grad()
    def _bring_to_life(self) -> None:
        """Lets every x-feature fire at first, and nearly all of them speak for the class.

        The pull-away term is lowest for x-features that never fire, and a ReLU that has once fallen silent stays so. One in
        five starts against the class: logits may be negative, which no sum of positive contributions can follow.
        """
        last, weight = self.encoder[-2], self.predictor.weight
        if isinstance(last, nn.Linear):
            last.bias.fill_(1.0)
        x_features = weight.shape[1]
        against = max(x_features // 5, 1) if x_features > 1 else 0
        signs = torch.ones_like(weight)
        signs[:, x_features - against :] = -1
        weight.copy_(weight.abs() * signs)


def _perceptron(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class SRAEExplainer(Explainer):
    """One-vs-all SRAE heads for chosen classes, each x-feature drawn by (contrastive) excitation backprop.

    Args:
        backbone: the classifier behind glass.
        layer: the layer whose output is Z.
        classes: names of the backbone's logits.
        preprocessing: how images are made ready for the backbone.
        explained_classes: indices of the classes that get a head; all without it.
        x_features: n, heatmaps a class.
        hidden: widths of the encoder between Z and the x-features.
        pooling: how an activation becomes a vector, see `TappedFeatures`.
        contrastive: whether heatmaps are c-MWP, as in the paper, or plain MWP.
        negative_activations: how excitation backprop treats negative activations: clamp, raw or zplus.
        image_size: side of the backbone's input, used once to find the sizes of Z and of the logits.
    """

    def __init__(
        self,
        backbone: FrozenBackbone,
        layer: str,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
        explained_classes: Sequence[int] | None = None,
        x_features: int = 5,
        hidden: Sequence[int] = (800, 100),
        pooling: str = "average",
        contrastive: bool = True,
        negative_activations: str = "clamp",
        image_size: int = 224,
    ) -> None:
        super().__init__(backbone, classes, preprocessing)
        self.features = TappedFeatures(backbone, layer, pooling)
        width, num_classes = self.features.sizes(image_size)
        self.num_classes = num_classes
        self.explained_classes = _checked(explained_classes, num_classes)
        self.x_features = x_features
        self.hidden = tuple(hidden)
        self.contrastive = contrastive
        self.negative_activations = negative_activations
        self.image_size = image_size
        self.heads = nn.ModuleList(SRAEHead(width, x_features, hidden) for _ in self.explained_classes)

    def options(self) -> dict[str, Any]:
        """See `Explainer.options`."""
        return {
            "layer": self.features.layer,
            "explained_classes": self.explained_classes,
            "x_features": self.x_features,
            "hidden": list(self.hidden),
            "pooling": self.features.pooling,
            "contrastive": self.contrastive,
            "negative_activations": self.negative_activations,
            "image_size": self.image_size,
        }

    @property
    def cacheable_features(self) -> TappedFeatures:
        """Z, which one pass over the data gives once for all."""
        return self.features

    def reconstruct_logits(self, features: Tensor) -> Tensor:
        """(N, J) estimates ȳ of the explained classes' logits from (N, d) features."""
        return torch.stack([head.predict(head.encoder(features)) for head in self._heads()], dim=1)

    def explain_at_once(self, images: Tensor, target: Target) -> Explanation:
        """N heatmaps an image, those of its target's head, with vᵢEᵢ as scores; see `Explainer.explain`.

        Where the predicted class has no head, the explained class with the highest logit is taken.
        """
        seen: dict[str, Tensor] = {}

        def embed(inputs: Tensor) -> Tensor:
            output = self.features(inputs)
            seen.update(logits=output["logits"].detach(), features=output["features"].detach())
            seen["rows"] = self._rows(seen["logits"], target)
            return self._encode(output["features"], seen["rows"])

        units = torch.arange(self.x_features, device=images.device).expand(len(images), -1)
        heatmaps, embedding = excitation_maps(
            embed, images, units, contrastive=self.contrastive, negative_activations=self.negative_activations
        )
        explained = torch.tensor(self.explained_classes, device=images.device)
        with torch.no_grad():
            return Explanation(
                heatmaps=heatmaps,
                scores=self._contributions(embedding.detach(), seen["rows"]),
                labels=[[f"x-feature {i + 1}" for i in range(self.x_features)]] * len(images),
                prediction=seen["logits"].argmax(dim=1),
                target=explained[seen["rows"]],
                logits=seen["logits"],
                reconstruction=self.reconstruct_logits(seen["features"]),
                explained_classes=explained,
            )

    def _heads(self) -> list[SRAEHead]:
        return [head for head in self.heads if isinstance(head, SRAEHead)]

    def _rows(self, logits: Tensor, target: Target) -> Tensor:
        """(B,) position of each image's head among the heads."""
        explained = torch.tensor(self.explained_classes, device=logits.device)
        best = explained[logits[:, explained].argmax(dim=1)]
        classes = target_classes(target, best, self.num_classes)
        matches = classes[:, None] == explained
        if not bool(matches.any(dim=1).all()):
            missing = int(classes[~matches.any(dim=1)][0])
            names = ", ".join(self.class_name(i) for i in self.explained_classes)
            raise ValueError(f"There is no head for {self.class_name(missing)!r} (class {missing}); heads: {names}.")
        return matches.int().argmax(dim=1)

    def _encode(self, features: Tensor, rows: Tensor) -> Tensor:
        """(B, n) x-features, each image's by its own head; images of one head go through it together."""
        heads = self._heads()
        groups = [(heads[row], (rows == row).nonzero().squeeze(1)) for row in sorted(set(rows.tolist()))]
        encoded = torch.cat([head.encoder(features[index]) for head, index in groups])
        order = torch.cat([index for _, index in groups]).argsort()
        return encoded[order]

    def _contributions(self, embedding: Tensor, rows: Tensor) -> Tensor:
        predictors = torch.stack([head.predictor.weight[0] for head in self._heads()])
        return embedding * predictors[rows] + 0.0  # an x-feature that does not fire contributes 0, not −0


def _checked(explained_classes: Sequence[int] | None, num_classes: int) -> list[int]:
    chosen = list(range(num_classes)) if explained_classes is None else list(explained_classes)
    wrong = [index for index in chosen if not 0 <= index < num_classes]
    if wrong or not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"explained_classes {chosen} must be different class indices from 0 to {num_classes - 1}, at least one."
        )
    return chosen
