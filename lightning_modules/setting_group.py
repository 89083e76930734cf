"""Setting groups: settings of an SRAE whose heads have equal shapes, read the same layer, and pass batches together."""

from collections.abc import Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor

from lightning_modules.class_weights import image_weights
from lightning_modules.grouped_fit import Samples
from vitrine.explainers.srae.explainer import SRAEExplainer
from vitrine.explainers.srae.heads import SeparateHeads
from vitrine.explainers.srae.objectives import Terms
from vitrine.explainers.srae.settings import Setting
from vitrine.explainers.srae.training_pass import TrainingPass
from vitrine.metrics.alive_features import AliveFeatures
from vitrine.metrics.functional import absolute_difference, decision_kept


class SettingGroup:
    """S settings with J heads each, all of equal shapes and terms.

    Args:
        settings: by name.
        explainers: by name, of these settings.
        place: of the layer that they read among those of the fit.
    """

    def __init__(self, settings: Mapping[str, Setting], explainers: Mapping[str, SRAEExplainer], place: int) -> None:
        self.settings, self.place, self.names = dict(settings), place, list(settings)
        of_each = [heads_of(explainers[name]) for name in self.names]
        self._heads = [head for heads in of_each for head in heads]
        self.classes = len(of_each[0])
        self.alive = AliveFeatures(len(self.names) * self.classes, of_each[0].num_features)

    @cached_property
    def pass_of(self) -> TrainingPass:
        """Made in the first step, as how heads pass depends on the device to which a trainer moves them after its setup."""
        first = next(iter(self.settings.values())).training
        return TrainingPass(self._heads, first.terms, first.q, first.pull_away_over)

    def step(
        self, features: Tensor, samples: Samples, of_classes: Sequence[Sequence[float]], explained: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Equation 5 summed over settings and heads, and the means that are logged, by name.

        Args:
            features: (B, D) Z of the layer that the group reads.
            samples: logits and labels of the batch.
            of_classes: by setting, the weight of each class's own images.
            explained: (J,) the explained classes.
        """
        count = len(self.names)
        weights = torch.cat([image_weights(samples, one) for one in of_classes], dim=1)
        passed = self.pass_of(features, samples.logits.repeat(1, count), weights, across_ranks=True)
        self.alive.update(passed.contributions, samples.positive.repeat(1, count))
        terms = Terms(*(torch.unflatten(term, 0, (count, -1)).sum(dim=1) for term in passed.terms))
        training = [setting.training for setting in self.settings.values()]
        beta, eta = (features.new_tensor([getattr(one, name) for one in training]) for name in ("beta", "eta"))
        losses = terms.faithfulness + beta * terms.reconstruction + eta * terms.pull_away
        means = {"loss": losses} | {f"loss/{name}": term for name, term in terms._asdict().items()}
        of_heads = {name: value.detach() / self.classes for name, value in means.items()}
        return losses.sum(), self._by_name(of_heads | self._faithfulness(passed.estimates, samples, explained))

    @torch.no_grad()
    def _faithfulness(self, estimates: Tensor, samples: Samples, explained: Tensor) -> dict[str, Tensor]:
        arguments = estimates.detach(), samples.all_logits, explained.repeat(len(self.names))
        found = {"f_reg": absolute_difference(*arguments), "f_cls": decision_kept(*arguments)}
        share = 1 / max(len(estimates) * self.classes, 1)
        return {
            name: torch.unflatten(value.double(), 1, (-1, self.classes)).sum(dim=(0, 2)) * share
            for name, value in found.items()
        }

    def _by_name(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of (S,) values, each setting's under its name."""
        return {
            f"train/{setting}/{name}": one
            for name, value in values.items()
            for setting, one in zip(self.names, value.unbind(), strict=True)
        }

    def contributions(self) -> dict[str, Tensor]:
        """By setting, (J, n) mean contributions in this epoch over all ranks; a collective."""
        return dict(zip(self.names, torch.split(self.alive.compute(), self.classes), strict=True))


def heads_of(explainer: SRAEExplainer) -> SeparateHeads:
    """The heads of a setting, which share no trunk."""
    if not isinstance(explainer.heads, SeparateHeads):
        raise ValueError("Settings are fitted with heads apart; take model.init_args.srae.trunk: separate.")
    return explainer.heads


def grouped(settings: Mapping[str, Setting], explainers: Mapping[str, SRAEExplainer]) -> list[SettingGroup]:
    """Settings that can pass batches together, in groups."""
    groups: dict[object, list[str]] = {}
    for name, setting in settings.items():
        training, options = setting.training, setting.srae
        shape = options.layer, options.pooling, tuple(options.hidden), options.num_features
        groups.setdefault((shape, training.terms, training.q, training.pull_away_over), []).append(name)
    places = {name: number for number, name in enumerate(settings)}
    return [
        SettingGroup({name: settings[name] for name in names}, explainers, places[names[0]])
        for names in groups.values()
    ]
