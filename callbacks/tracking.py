"""Tracking: one W&B run for all stages of a run's folder, hyperparameters with figures for TensorBoard, pages for W&B."""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning_fabric.utilities.logger import _flatten_dict, _sanitize_params
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from rich.console import Console
from typing_extensions import override

from callbacks.csv_log import RunCSVLogger
from callbacks.loggers import log_artifact, log_page, wandb_loggers
from callbacks.run_access import is_trial
from callbacks.run_name import RunName
from vitrine.core.atomic_io import atomic_file

WANDB_RUN = "wandb-run.json"
"""File of the run's folder that says which W&B run it is."""
PAGES = ("report", "x_features", "average_images", "compare.html", "compare_images.jpg")
"""What a test leaves to be looked at, in the run's folder."""


def with_csv(given: Any, folder: str, stage: str) -> list[Logger] | bool:
    """The loggers of a configuration, with a CSV beside them; False where none are wanted.

    Args:
        given: ``trainer.logger``: one, several, or a boolean.
        folder: of the run.
        stage: that runs.
    """
    if given is False:
        return False
    loggers = [one for one in (given if isinstance(given, Iterable) else [given]) if isinstance(one, Logger)]
    has_csv = any(type(one).__name__.endswith("CSVLogger") for one in loggers)
    return loggers if has_csv else [*loggers, RunCSVLogger(folder, stage)]


def folder_of_sweep(folder: str | None) -> str | None:
    """The run's folder; under an agent of W&B a folder of its own within it, called after the run's id."""
    run_id = os.environ.get("WANDB_RUN_ID")
    if not os.environ.get("WANDB_SWEEP_ID") or not run_id or Path(folder or ".").name == run_id:
        return folder
    return str(Path(folder or ".", run_id))


def prepare_wandb(trainer: Trainer, name: RunName) -> None:
    """Names the W&B run before it begins, by what is run, and goes on with that of the run's folder where there is one.

    What the configuration says comes first.
    """
    for logger in wandb_loggers(trainer):
        _prepare(logger, Path(trainer.default_root_dir), name)


def _prepare(logger: WandbLogger, folder: Path, name: RunName) -> None:
    options: dict[str, Any] = logger._wandb_init  # noqa: SLF001 - there is no public way
    options["name"] = options.get("name") or os.environ.get("WANDB_NAME") or str(name)
    if options.get("anonymous") is None:
        options.pop("anonymous", None)  # W&B warns of the option, whatever its value
    options["tags"] = options.get("tags") or name.tags
    earlier = wandb_run_of(folder)
    if not options.get("id") and not os.environ.get("WANDB_RUN_ID") and earlier.get("project") == options["project"]:
        options["id"] = earlier["id"]
    if not is_online():
        options["resume"] = None  # W&B would warn that it does nothing; `wandb sync` joins the files of one id
        os.environ.setdefault("WANDB_SILENT", "true")  # `Tracking` says where its files are


def is_online() -> bool:
    """Whether W&B sends what it is given."""
    return os.environ.get("WANDB_MODE", "online") == "online"


def wandb_run_of(folder: Path) -> dict[str, str]:
    """Id and project of the W&B run of a run's folder; empty where it has none."""
    path = folder / WANDB_RUN
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if isinstance(found, dict) and "id" in found else {}


class Tracking(Callback):
    """Keeps what trackers need beside their figures.

    The id of the W&B run is kept in the run's folder, so that fit, validation and test are one W&B run; a fit with
    ``--overwrite true`` begins another one. After a test the pages that it left go to W&B, as an artifact and the report as
    one page. TensorBoard gets the run's values with the last figures of each fit and test.
    """

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        loggers = wandb_loggers(trainer)
        if loggers and trainer.is_global_zero and not is_trial(trainer):
            run = loggers[0].experiment
            with atomic_file(Path(trainer.default_root_dir, WANDB_RUN)) as partial:
                entries = {"id": run.id, "project": loggers[0].name, "name": run.name}
                partial.write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _log_hyperparameters(trainer)

    @override
    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        _log_hyperparameters(trainer)
        pages = existing(Path(trainer.default_root_dir), PAGES)
        if pages and wandb_loggers(trainer) and trainer.is_global_zero and not is_trial(trainer):
            name = RunName.of(pl_module, trainer.datamodule)  # type: ignore[attr-defined]
            log_artifact(trainer, pages, f"{name}-report", "report")
            log_page(trainer, "report", Path(trainer.default_root_dir, "report", "index.html"))

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Says how to send what was kept offline."""
        if trainer.is_global_zero and not is_trial(trainer) and not is_online():
            for logger in wandb_loggers(trainer):
                folder = Path(logger.experiment.dir).parent
                said = f"W&B: {logger.experiment.name}, offline; to send it: wandb sync {folder}"
                Console(soft_wrap=True, highlight=False, markup=False).print(said)


def existing(folder: Path, names: Sequence[str]) -> list[Path]:
    """Those of the names that a folder has."""
    return [folder / name for name in names if (folder / name).exists()]


def _log_hyperparameters(trainer: Trainer) -> None:
    # Asked for on all ranks: what Lightning has not computed by now is a collective.
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger) and figures and trainer.is_global_zero:
            from torch.utils.tensorboard.summary import hparams  # noqa: PLC0415 - starts slowly

            # Not by Lightning's log_hyperparams, which would log the figures once more.
            writer = logger.experiment._get_file_writer()  # noqa: SLF001 - as Lightning does it
            values = _sanitize_params(_flatten_dict(dict(logger.hparams)))
            for summary in hparams(values, figures):  # type: ignore[no-untyped-call]
                writer.add_summary(summary, trainer.global_step)
