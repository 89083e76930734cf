"""ValidatedAlphaModule: a validation outside of a fit explains images with boxes, and chooses the localisation error's α."""

from abc import abstractmethod
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from typing_extensions import override

from lightning_modules.alpha_choice import AlphaChoice, alpha_for_test, forget_choice, identity_of, write_choice
from lightning_modules.explained import Explain
from lightning_modules.resumable import ResumableModule
from vitrine.core.batch import Batch
from vitrine.core.explanation import Explanation
from vitrine.explainers import Explainer
from vitrine.metrics import LocalizationError, MetricOptions


class ValidatedAlphaModule(ResumableModule):
    """A module whose ``validate`` finds the α of the lowest localisation error, and whose ``test`` takes it over.

    Where ``metrics.localization_alpha`` is null and validation images have boxes, ``validate`` explains them, logs
    ``val/localization/alpha`` and ``val/localization/error``, and writes ``validation.json`` into the run's folder. A fit
    removes the file, as the explainer is another then, and a test of an explainer with other options leaves it aside.
    """

    explainer: Explainer
    metric_options: MetricOptions
    explain: Explain
    _alphas: AlphaChoice | None = None

    @abstractmethod
    def explanations(self, batch: Batch) -> Iterator[tuple[str, Explanation, Batch]]:
        """By explainer, whose name is empty where there is one alone, the explanation of a batch, and its rows."""

    @property
    def explainer_folders(self) -> dict[str, Path]:
        """By explainer, the folder that has what is written of it."""
        return {"": Path(self.trainer.default_root_dir)}

    def explainer_named(self, name: str) -> Explainer:  # noqa: ARG002 - of a module with several
        """The explainer of a name in `explainer_folders`."""
        return self.explainer

    @property
    def chooses_alpha(self) -> bool:
        """Whether this run is a validation, outside of a fit, that chooses α."""
        if self._trainer is None or self._trainer.state.fn != TrainerFn.VALIDATING:
            return False
        data = getattr(self._trainer, "datamodule", None)
        annotations = getattr(data, "validation_annotations", getattr(data, "annotations", ()))
        return self.metric_options.localization_alpha is None and "boxes" in annotations

    @property
    def explains_in_validation(self) -> bool:
        """Whether a validation, outside of a fit, explains its images."""
        return self.chooses_alpha

    def metric_options_of(self, annotations: AbstractSet[str], name: str = "") -> MetricOptions:
        """The options of an explainer's metrics; in a test of images with boxes, with the α that was chosen for it."""
        options, trainer = self.metric_options, self._trainer
        is_test = trainer is not None and trainer.state.fn == TrainerFn.TESTING
        if options.localization_alpha is not None or not is_test or "boxes" not in annotations:
            return options
        folders = self.explainer_folders
        is_first = name == next(iter(folders))
        identity = identity_of(self.explainer_named(name), self.explain)
        alpha = alpha_for_test(folders[name], data_name(trainer), identity, told=not is_first)
        return replace(options, localization_alpha=alpha)

    @override
    def on_fit_start(self) -> None:
        super().on_fit_start()
        for folder in self.explainer_folders.values():
            forget_choice(folder)

    def on_validation_batch_end(
        self,
        outputs: Any,  # noqa: ARG002
        batch: Batch,
        batch_idx: int,  # noqa: ARG002
        dataloader_idx: int = 0,  # noqa: ARG002
    ) -> None:
        """Explains the batch's images, where the validation does."""
        if self.trainer.state.fn != TrainerFn.VALIDATING or not self.explains_in_validation:
            return
        with self.trainer.precision_plugin.forward_context():  # as in the steps
            for name, explanation, rows in self.explanations(batch):
                if self.chooses_alpha and "boxes" in rows:
                    self._choice().update(name, explanation, rows)

    def on_validation_epoch_end(self) -> None:
        """Logs and writes what was chosen over all ranks."""
        if not self.chooses_alpha:
            return
        figures, self._alphas = self._choice().figures(), None
        if not figures:
            rank_zero_warn("No validation image has a box of what is explained, so that no localisation α is chosen.")
        for name, of_explainer in figures.items():
            prefix = f"val/{name}/localization" if name else "val/localization"
            chosen = {key: of_explainer[f"localization_{key}"] for key in ("alpha", "error")}
            self.log_dict({f"{prefix}/{key}": value for key, value in chosen.items()}, rank_zero_only=True)
            if self.trainer.is_global_zero and not vars(self.trainer).get("fast_dev_run"):
                write_choice(self.explainer_folders[name], of_explainer)

    def _choice(self) -> AlphaChoice:
        if self._alphas is None:
            metrics = {name: LocalizationError().to(self.device) for name in self.explainer_folders}
            identities = {name: identity_of(self.explainer_named(name), self.explain) for name in metrics}
            self._alphas = AlphaChoice(data_name(self.trainer), self.explain, metrics, identities)
        return self._alphas


def data_name(trainer: Any) -> str:
    """The name of a trainer's data set: that of its shards, where they have one, and the class of its datamodule."""
    data = getattr(trainer, "datamodule", None)
    return " ".join(filter(None, (getattr(data, "dataset", ""), f"({type(data).__name__})")))
