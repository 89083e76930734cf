"""MapMeasures: infidelity, max-sensitivity, ROAD, pixel flipping and other measures of heatmaps beside a test."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self, get_args

import pytorch_lightning as pl
from torch import nn
from typing_extensions import override

from callbacks.metric_callback import MetricCallback, classifier, explainer_of, explaining
from callbacks.run_access import Run
from callbacks.sanity import on_backbone
from vitrine.attribution.sanity import randomized
from vitrine.backbones.guard import eval_guard
from vitrine.core.options import OptionError, checked
from vitrine.metrics import (
    Complexity,
    ExplanationMetric,
    Infidelity,
    InfidelityOptions,
    MaxSensitivity,
    MaxSensitivityOptions,
    ParameterRandomization,
    PixelFlipping,
    PixelFlippingOptions,
    RandomizationOptions,
    Road,
    RoadOptions,
    Sparseness,
)

Measure = Literal[
    "infidelity", "max_sensitivity", "road", "pixel_flipping", "sparseness", "complexity", "parameter_randomization"
]

EXPLAINING_AGAIN = {"max_sensitivity", "parameter_randomization"}


class MapMeasures(MetricCallback):
    """Measures the aggregated map of every image of a test, for any explainer on a frozen backbone.

    It logs, of the measures that are wanted, ``test/infidelity``; ``test/max_sensitivity``; ``test/road/morf``, ``…/lerf``
    and ``…/gap``; ``test/pixel_flipping/aopc`` and ``…/auc``; ``test/sparseness``; ``test/complexity``;
    ``test/parameter_randomization``; and of each the number of images left out, such as ``test/road/degenerate``. What they
    measure is in docs/metrics.md. An image's value depends on the seeds and its key, not on its batch or rank.

    Each image costs, on the rank that tests it: for infidelity, ``num_samples`` + 1 forward passes; for max-sensitivity,
    ``num_samples`` explanations; for ROAD, two forward passes and two imputations a share; for pixel flipping, ``steps`` + 1
    forward passes; for parameter randomisation, one explanation a stage; for the other two, none.

    Args:
        measures: Which of them.
        infidelity: How it is measured.
        max_sensitivity: How it is measured.
        road: How it is measured.
        pixel_flipping: How it is measured.
        parameter_randomization: How it is measured.

    Raises:
        ValueError: For other options; before the run, for a module without an explainer that can explain images again.
    """

    @checked
    def __init__(
        self,
        measures: Sequence[Measure] = (
            "infidelity",
            "max_sensitivity",
            "road",
            "pixel_flipping",
            "sparseness",
            "complexity",
        ),
        infidelity: InfidelityOptions = InfidelityOptions(),  # noqa: B008 - frozen
        max_sensitivity: MaxSensitivityOptions = MaxSensitivityOptions(),  # noqa: B008 - frozen
        road: RoadOptions = RoadOptions(),  # noqa: B008 - frozen
        pixel_flipping: PixelFlippingOptions = PixelFlippingOptions(),  # noqa: B008 - frozen
        parameter_randomization: RandomizationOptions = RandomizationOptions(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__()
        if not measures or len(set(measures)) < len(measures):
            raise OptionError("measures", list(measures), f"one or more of {', '.join(get_args(Measure))}, each once")
        self.measures = tuple(measures)
        self.infidelity, self.max_sensitivity, self.road = infidelity, max_sensitivity, road
        self.pixel_flipping, self.parameter_randomization = pixel_flipping, parameter_randomization
        self._redrawn = RedrawnNetworks()

    @property
    @override
    def settings(self) -> Mapping[str, str]:
        told = {
            "infidelity": _infidelity_told(self.infidelity),
            "max_sensitivity": f"{self.max_sensitivity.num_samples} changes within {self.max_sensitivity.radius:g}",
            "road": f"{self.road.score}, {', '.join(f'{100 * share:g}' for share in self.road.shares)} % removed",
            "pixel_flipping": f"{100 * self.pixel_flipping.share:g} % of the regions of {self.pixel_flipping.region} px",
            "parameter_randomization": f"{self.parameter_randomization.stages} stages",
        }
        return {measure: text for measure, text in told.items() if measure in self.measures}

    @override
    def check(self, run: Run) -> None:
        super().check(run)
        if EXPLAINING_AGAIN & set(self.measures):
            explainer_of(run)

    @override
    def make_metrics(self, run: Run) -> Sequence[ExplanationMetric]:
        classify = classifier(run)
        makers: dict[Measure, Callable[[], ExplanationMetric]] = {
            "infidelity": lambda: Infidelity(classify, self.infidelity),
            "max_sensitivity": lambda: MaxSensitivity(explaining(run, explainer_of(run)), self.max_sensitivity),
            "road": lambda: Road(classify, self.road),
            "pixel_flipping": lambda: PixelFlipping(classify, self.pixel_flipping),
            "sparseness": Sparseness,
            "complexity": Complexity,
            "parameter_randomization": lambda: self._randomization(run),
        }
        return [make() for measure, make in makers.items() if measure in self.measures]

    def _randomization(self, run: Run) -> ParameterRandomization:
        """The metric with explainers on copies of the backbone, which are the same on all ranks."""
        explainer = explainer_of(run)
        networks = self._redrawn.of(explainer.backbone.model, lambda: self._drawn(run, explainer.backbone.model))
        return ParameterRandomization([explaining(run, on_backbone(explainer, network)) for network in networks])

    def _drawn(self, run: Run, model: nn.Module) -> Sequence[nn.Module]:
        options = self.parameter_randomization
        with eval_guard(run.module, freeze=False, every_generator=True):
            image = run.trainer.precision_plugin.convert_input(run.datamodule.panel(1)["image"].to(run.module.device))
            return [network for _, network in randomized(model, image, options.seed, options.stages)]

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._redrawn.clear()
        super().setup(trainer, pl_module, stage)

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().teardown(trainer, pl_module, stage)
        self._redrawn.clear()


class RedrawnNetworks:
    """Copies of networks with weights drawn anew, which the copies of a callback share."""

    def __init__(self) -> None:
        self._of: list[tuple[nn.Module, Sequence[nn.Module]]] = []

    def __deepcopy__(self, memo: object) -> Self:
        """Itself, so that explainers on one network draw once."""
        return self

    def of(self, model: nn.Module, draw: Callable[[], Sequence[nn.Module]]) -> Sequence[nn.Module]:
        """The copies of a network, which ``draw`` makes the first time."""
        found = next((networks for known, networks in self._of if known is model), None)
        if found is None:
            found = draw()
            self._of.append((model, found))
        return found

    def clear(self) -> None:
        """Frees the copies."""
        self._of.clear()


def _infidelity_told(options: InfidelityOptions) -> str:
    kind = (
        f"squares of {options.size} px" if options.perturbation == "square" else f"draws of noise of {options.sigma:g}"
    )
    return f"{options.num_samples} {kind}, {options.score}"
