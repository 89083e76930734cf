"""AdversarialAttack: whether heatmaps of the true class stay where they are when an image is attacked."""

from collections.abc import Mapping, Sequence
from typing import Annotated

from torch import Tensor
from typing_extensions import override

from callbacks.evaluation import EvaluationCallback
from callbacks.metric_callback import classifier, explainer_of, explaining
from callbacks.run_access import Run
from vitrine.core.batch import Batch
from vitrine.core.options import OptionError, Range, checked
from vitrine.metrics.adversarial import AdversarialAgreement, attack

EPSILONS = (1.0, 2.0, 4.0, 8.0)


class AdversarialAttack(EvaluationCallback[None]):
    """Attacks images by the fast gradient sign method, and explains them again (section 4.1.3 of Du et al., KDD 2018).

    It runs beside a test, on the images whose explained class the network predicts; each is attacked with the smallest ε that
    changes the prediction. It logs ``test/attack/correlation`` and ``overlap`` of the true class's maps before and after,
    ``random_signs`` and ``wrong_class`` for comparison, the share ``flipped``, the mean ``epsilon`` in steps of 1/255, and
    ``degenerate`` maps, see `vitrine.metrics.adversarial.AdversarialAgreement`. An image costs three further explanations.

    Args:
        epsilons: Strengths of the attack in steps of 1/255, in rising order.
        seed: Of the random signs.

    Raises:
        ValueError: For other strengths; before the run, for a module without an explainer or a run without a datamodule.
    """

    @checked
    def __init__(self, epsilons: Sequence[Annotated[float, Range(above=0)]] = EPSILONS, seed: int = 0) -> None:
        super().__init__()
        if not epsilons or sorted(set(epsilons)) != list(epsilons):
            raise OptionError("epsilons", list(epsilons), "numbers above 0 in rising order")
        self.epsilons, self.seed = epsilons, seed
        self._metric: AdversarialAgreement | None = None

    @override
    def check(self, run: Run) -> None:
        explainer_of(run)
        _ = run.datamodule.preprocessing

    @override
    def begin(self, run: Run) -> None:
        self._metric = AdversarialAgreement().to(run.module.device)

    @override
    def take(self, run: Run, batch: Batch, outputs: object) -> None:
        explanation = run.explanation(outputs)
        recognised = (explanation.target == explanation.prediction).nonzero().squeeze(1)
        if not len(recognised) or self._metric is None:
            return
        images = batch["image"][recognised.to(batch["image"].device)]
        labels = explanation.target[recognised].to(images.device)
        strengths, preprocessing = [step / 255 for step in self.epsilons], run.datamodule.preprocessing
        attacked = attack(classifier(run), images, labels, strengths, preprocessing, self.seed)
        fooled = attacked.flipped
        clean = explanation.aggregate()[recognised][fooled.cpu(), 0].to(images.device)
        others = (attacked.images, attacked.noise, attacked.images)
        classes = (labels, labels, attacked.prediction)
        maps = [clean] * 3
        if bool(fooled.any()):
            explain = explaining(run, explainer_of(run))
            maps = [
                explain(of[fooled], target[fooled]).aggregate()[:, 0]
                for of, target in zip(others, classes, strict=True)
            ]
        self._metric.update(attacked, clean, *(one.detach().to(clean) for one in maps))

    @override
    def figures(self, run: Run) -> Mapping[str, Tensor]:
        metric, self._metric = self._metric, None
        return {} if metric is None else metric.compute()
