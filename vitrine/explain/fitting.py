"""Fits SRAE and μ-Lasso explainers to the pictures themselves, for ``vitrine explain --with SRAE,MuLasso``."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vitrine.attribution.target_layer import target_layer
from vitrine.backbones.features import TappedFeatures
from vitrine.backbones.guard import eval_guard
from vitrine.backbones.image_sizes import blank_image
from vitrine.backbones.outputs import logits_given
from vitrine.backbones.pooling import POOLINGS, Pooling
from vitrine.core.progress import progress_bar
from vitrine.data.feature_store import FeatureExtractor
from vitrine.explain.network import ExplainedNetwork
from vitrine.explain.options import ExplainOptions
from vitrine.explain.pictures import Picture, Pictures, stacked
from vitrine.explainers import Explainer, MuLassoExplainer, MuLassoOptions, SRAEExplainer, SRAEOptions
from vitrine.explainers.mu_lasso.fit import MuLassoFit
from vitrine.explainers.srae.fit import fit_heads

MOST_CLASSES = 50
"""Classes that get a head at most: those with the most pictures."""
HIDDEN = (100,)
"""Widths of the encoders; a folder of pictures is too few for the paper's 800 and 100."""
STEP_PICTURES, LEARNING_RATE = 16, 3e-3
"""Of SRAE's steps: small and large, as a folder has few pictures."""


class Fitted(NamedTuple):
    """An explainer, and what is told of its fit."""

    explainer: Explainer
    told: str


class Passed(NamedTuple):
    """What one pass over the N pictures that can be read gives."""

    features: Tensor
    """(N, d)."""
    logits: Tensor
    """(N, C)."""
    classes: Tensor
    """(N,) int64: the class of each picture, as its label or else its prediction says."""


@dataclass(frozen=True)
class PictureFit:
    """Fits explainers of a network to pictures.

    Args:
        network: that is explained.
        pictures: that they are fitted on.
        label_of: the class of a picture; None where it is not known, and its prediction is taken.
        options: of the run: batch size, epochs, least pictures of a class, seed.

    Raises:
        ValueError: where no class has enough pictures, no picture can be read, or the network has no layer to fit on.
    """

    network: ExplainedNetwork
    pictures: Pictures
    label_of: Callable[[Picture], int | None]
    options: ExplainOptions

    def fitted(self, name: str) -> Fitted:
        """The explainer of a name, ``SRAE`` or ``MuLasso``, fitted."""
        makers: Mapping[str, Callable[[], Fitted]] = {"SRAE": self.srae, "MuLasso": self.mu_lasso}
        torch.manual_seed(self.options.seed)  # of the heads' first weights
        found = makers[name]()
        found.explainer.eval()
        return found

    def srae(self) -> Fitted:
        """Heads for the classes with enough pictures, at the layer of class activation maps."""
        layer, pooling = feature_layer(self.network)
        passed = self._passed(TappedFeatures(self.network.backbone, layer, pooling))
        explained, size = self._classes(passed.classes), self.network.preprocessing.size
        srae = SRAEOptions(layer, pooling, explained_classes=explained, hidden=HIDDEN, image_size=size)
        explainer = SRAEExplainer(self.network.backbone, srae, *self.network.known).to(passed.features.device)
        epochs, seed = self.options.epochs, self.options.seed
        with progress_bar(f"SRAE of {len(explained)} classes", epochs, shown=True, transient=True) as advance:
            error = fit_heads(
                explainer,
                *passed,
                epochs=epochs,
                lr=LEARNING_RATE,
                batch_size=STEP_PICTURES,
                seed=seed,
                advance=advance,
            )
        spread = float(passed.logits[:, explained].std())
        told = f"{len(explained)} classes at {layer}; F_reg {error:.2g} of logits that vary by {spread:.2g}"
        return Fitted(explainer, told)

    def mu_lasso(self) -> Fitted:
        """Weights of the filters for the classes with enough pictures."""
        settings = MuLassoOptions(mu=0.5, scaling="standardized", image_size=self.network.preprocessing.size)
        explainer = MuLassoExplainer(self.network.backbone, settings, *self.network.known)
        passed = self._passed(explainer.responses)
        explained = self._classes(passed.classes)
        hot = torch.nn.functional.one_hot(passed.classes.cpu(), self.network.classes.count).float()
        others = torch.ones(self.network.classes.count, dtype=torch.bool)
        others[explained] = False
        hot[:, others] = 0
        fit = MuLassoFit(explainer, len(hot))
        fit.update(passed.features.cpu(), hot)
        with progress_bar("μ-Lasso", self.network.classes.count, shown=True, transient=True) as advance:
            fit.finish(advance=lambda: advance(1))
        filters = int(explainer.weights.detach().any(dim=1).sum())
        return Fitted(explainer.to(passed.features.device), f"{len(explained)} classes rest on {filters} filters")

    def _classes(self, classes: Tensor) -> list[int]:
        """The classes with enough pictures, in the order of their indices."""
        least, counts = self.options.min_pictures, Counter(classes.tolist()).most_common(MOST_CLASSES)
        found = sorted(index for index, count in counts if count >= least)
        if not found:
            raise ValueError(
                f"SRAE and MuLasso are fitted on classes with {least} pictures or more (--min-pictures), and no class has"
                f" more than {counts[0][1]} here; give more pictures, or leave them out of --with."
            )
        return found

    def _passed(self, extractor: FeatureExtractor) -> Passed:
        features, logits, classes = [], [], []
        with progress_bar("reading pictures", len(self.pictures), shown=True, transient=True) as advance:
            for batch, count in self.pictures.batches(self.network.preprocessing, self.options.batch_size):
                if batch:
                    found = extractor(stacked(batch, self.network.device))
                    features.append(found["features"])
                    logits.append(found["logits"])
                    classes += self._classes_of(batch, found["logits"])
                advance(count)
        self.pictures.check_any_read()
        return Passed(torch.cat(features), torch.cat(logits), torch.tensor(classes, device=features[0].device))

    def _classes_of(self, batch: list[Picture], logits: Tensor) -> list[int]:
        pairs = zip(map(self.label_of, batch), logits.argmax(dim=1).tolist(), strict=True)
        return [predicted if label is None else label for label, predicted in pairs]


def feature_layer(network: ExplainedNetwork) -> tuple[str, Pooling]:
    """The layer that class activation maps are drawn at, and the first pooling of it that the logits depend on.

    Raises:
        ValueError: where there is none.
    """
    model, size = network.backbone.model, network.preprocessing.size
    image = blank_image(model, size)
    with eval_guard(model), logits_given(model), torch.inference_mode(mode=False):
        layer = target_layer(model, image)
    pooling = next((one for one in POOLINGS if _is_read(TappedFeatures(network.backbone, layer, one), image)), None)
    if pooling is None:
        raise ValueError(
            f"SRAE can be fitted at no pooling of layer {layer}; train one with train.py, which takes any layer."
        )
    return layer, pooling


def _is_read(features: TappedFeatures, image: Tensor) -> bool:
    try:
        features.sizes(image.shape[-1])
        return features.is_read(image)
    except ValueError:
        return False
