"""Run folder: the configuration, metrics and exported explainer that every run writes."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, cast

import yaml
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.trainer.states import TrainerFn
from pytorch_lightning.utilities import rank_zero_warn
from typing_extensions import override

from callbacks.explainer_artifact import log_exported
from callbacks.run_access import Run, is_trial
from vitrine.core.atomic_io import atomic_file
from vitrine.core.credentials import hide_credentials


class EpochMetrics(Callback):
    """Computes an epoch's logged metrics on all ranks, before the progress bar asks for them on rank zero alone.

    Computing them is a collective, which Lightning puts off until they are read, and whose result it keeps. It has to come
    before the progress bar among the trainer's callbacks.
    """

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _ = trainer.callback_metrics


SAFE_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Of libyaml where PyYAML has it, which is ten times as fast."""

METRICS_NAME, LIMITED_METRICS_NAME, FIT_METRICS_NAME = "metrics.json", "metrics-limited.json", "metrics-fit.json"


class MetricsFile(Callback):
    """Writes ``metrics.json`` into the run's folder after a test: one flat object of names and numbers, null for NaN.

    A test under ``limit_test_batches`` writes ``metrics-limited.json`` instead, and one of a ``fast_dev_run`` nothing.
    After a fit, ``metrics-fit.json`` holds what was logged last of training and validation.
    """

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _write_metrics(trainer, METRICS_NAME if tests_all(trainer) else LIMITED_METRICS_NAME)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _write_metrics(trainer, FIT_METRICS_NAME)


def _write_metrics(trainer: Trainer, name: str) -> None:
    # Asked for on all ranks: what Lightning has not computed by now is a collective.
    values = {metric: float(value) for metric, value in trainer.callback_metrics.items()}
    if not values and name == FIT_METRICS_NAME:
        return  # a finished fit that is called again logs nothing, and what it logged stays
    if trainer.is_global_zero and not is_trial(trainer):
        write_figures(Path(trainer.default_root_dir, name), values)


def tests_all(trainer: Trainer) -> bool:
    """Whether a test sees the whole set, and not a part of it by ``limit_test_batches``."""
    limit = trainer.limit_test_batches
    return isinstance(limit, float) and limit == 1  # a whole number counts batches


def write_figures(path: Path, values: Mapping[str, float]) -> None:
    """Writes one flat JSON object of names and numbers, null for NaN and infinity."""
    finite = {metric: value if math.isfinite(value) else None for metric, value in sorted(values.items())}
    with atomic_file(path) as partial:
        partial.write_text(json.dumps(finite, indent=2) + "\n", encoding="utf-8")


class RunConfig(SaveConfigCallback):
    """Writes ``config-fit.yaml`` (or -test, …) into the run's folder, and sends the same values to the logger.

    Values of environment variables and other resolvers stay interpolations in both, so that they are read anew where the
    file is used; passwords in URLs are not sent.

    Lightning's own callback writes into the logger's shared folder and stops a second run there; the run's folder is the
    run's own, so here a second run of the same stage replaces the first one's file.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})  # type: ignore[arg-type]

    @override
    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        name = f"config-{TrainerFn(stage).value}.yaml"
        config = self.config.clone()
        for of_this_call in ("overwrite", "verbose", "quiet"):  # repeated, a fit is not to remove this run
            config.pop(of_this_call, None)
        text = self.parser.dump(config, skip_unset=False, skip_validation=True)  # it was validated as it was read
        with atomic_file(Path(trainer.default_root_dir, name)) as partial:
            partial.write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.load(hide_credentials(text), Loader=SAFE_LOADER))  # noqa: S506


class Exports(Protocol):
    """A module that writes what it has learned for use elsewhere."""

    def export(self, folder: Path) -> Path:
        """Writes it into a folder, and returns where it is."""


class Export(Callback):
    """After fitting, writes the explainer (or classifier) into the run's folder, and to W&B as an artifact.

    A module's ``check_export``, where it has one, refuses before the training a folder in which something would be lost.
    Of a fit that has taken no batch it writes nothing, and says so.

    Args:
        artifact: whether a W&B logger, where there is one, gets the artifact.
    """

    def __init__(self, artifact: bool = True) -> None:
        self.artifact = artifact

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses, before the training and on all ranks, to replace what was not exported.

        Raises:
            FileExistsError: where the run's folder holds such a thing in the place of the export.
        """
        if stage == TrainerFn.FITTING.value and not is_trial(trainer):
            run, check = Run(trainer, pl_module, self), getattr(pl_module, "check_export", None)
            if callable(check):
                run.on_zero(lambda: check(run.folder))

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero or is_trial(trainer):
            return
        if not trainer.fit_loop.epoch_loop.batch_progress.total.ready:
            rank_zero_warn(
                "No batch was trained on, so that nothing is exported; give the fit more epochs, steps or time."
            )
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path = cast("Exports", pl_module).export(folder)
        if self.artifact:
            log_exported(trainer, pl_module, path)
