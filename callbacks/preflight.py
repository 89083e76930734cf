"""Preflight: checks a run before anything is computed or written, and shows what it will take."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from pytorch_lightning.trainer.states import TrainerFn
from rich import box
from rich.table import Table
from typing_extensions import override

from callbacks.checkpoint import RunCheckpoint
from callbacks.evaluation import EvaluationCallback
from callbacks.preflight_facts import Row, cached_bytes, rows_of_run, samples
from callbacks.quiet_output import terminal_or_log
from callbacks.run_access import asked
from callbacks.skipped_samples import SkippedSamples
from callbacks.stop_signals import StopSignals
from vitrine.core.credentials import hide_credentials
from vitrine.core.distributed import gather_over_ranks
from vitrine.core.memory import free_disk_bytes, readable_size
from vitrine.core.verbosity import is_quiet, is_verbose


class Preflight(pl.Callback):
    """Stops a run that cannot work, and shows what one that can is about, before its first step; all of it with ``-v``.

    It asks the datamodule for whatever it has of ``splits``, ``loading``, ``features``, ``num_samples``, ``cached_samples``
    (samples of a split whose features are kept) and ``check_shards`` (which refuses damaged ones), and the module for
    ``check_data``; what they do not say is left out.
    """

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses what cannot work.

        Raises:
            ValueError: for classes that do not go together, no samples, and features for which the disk is too small.
        """
        check = getattr(pl_module, "check_data", None)
        if callable(check):
            check(stage)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        check_is_worth_it(trainer, data, stage)
        if data is None or stage == TrainerFn.PREDICTING.value:
            return
        part = {"fit": "train", "validate": "held out"}.get(stage, stage)
        if samples(data, part) == 0:
            raise ValueError(
                f"{type(data).__name__} has no samples for {TrainerFn(stage).value}"
                f" ({asked(data, 'shards') or 'its data set is empty'}); give another data set"
                + (", or a data.init_args.loading.val_fraction above 0." if stage == "validate" else ".")
            )
        if stage == TrainerFn.FITTING.value:
            _check_disk(data, pl_module)

    @override
    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        show(trainer, pl_module, "fit")

    @override
    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        show(trainer, pl_module, "test")

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.VALIDATING:
            show(trainer, pl_module, "validate")

    @override
    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        show(trainer, pl_module, "predict")


def check_is_worth_it(trainer: pl.Trainer, data: object, stage: str) -> None:
    """Refuses a run of which nothing would be left.

    Raises:
        ValueError: for a test, validation or prediction of no batches, a prediction that nobody writes, and a best checkpoint
            by a validation that does not take place.
    """
    stage = TrainerFn(stage).value
    option = f"limit_{'val' if stage == 'validate' else stage}_batches"
    if stage != TrainerFn.FITTING.value and getattr(trainer, option) == 0:
        raise ValueError(f"trainer.{option} is 0, so that {stage} would do nothing; give 1 or more, or leave it out.")
    if stage == TrainerFn.PREDICTING.value and not any(map(_takes_predictions, trainer.callbacks)):  # type: ignore[attr-defined]
        raise ValueError(f"predict would write nothing: {_how_to_keep_predictions(trainer)}")
    for callback in trainer.checkpoint_callbacks if stage == TrainerFn.FITTING.value else []:
        monitor = getattr(callback, "monitor", None) or ""
        is_validated = trainer.limit_val_batches != 0 and (data is None or samples(data, "held out") != 0)
        if monitor.startswith("val/") and not is_validated and isinstance(callback, RunCheckpoint):
            raise ValueError(
                f"checkpoint.monitor is {monitor!r}, but nothing is validated; give data.init_args.loading.val_fraction or"
                " trainer.limit_val_batches above 0, or leave the monitor out."
            )


def _how_to_keep_predictions(trainer: pl.Trainer) -> str:
    if hasattr(trainer.lightning_module, "explainer"):
        return "add PredictionWriter to trainer.callbacks, by callbacks+: in a file."
    kind = type(trainer.lightning_module).__name__
    return (
        f"PredictionWriter writes explanations, and {kind} makes none; take an explainer's module, such as SRAEModule."
    )


def _takes_predictions(callback: pl.Callback) -> bool:
    """Whether a callback does anything with predictions."""
    if isinstance(callback, EvaluationCallback):
        return callback.stage == TrainerFn.PREDICTING.value
    hooks = ("on_predict_batch_end", "on_predict_epoch_end")
    of_its_own = [getattr(type(callback), hook) is not getattr(pl.Callback, hook) for hook in hooks]
    return any(of_its_own) and not isinstance(callback, StopSignals | SkippedSamples | ProgressBar)


def show(trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
    """Checks the shards and prints the table, on rank zero; neither needs the other ranks.

    Raises:
        ValueError: for shards that are not those of their index. All that refuses a run without reading them comes before.
    """
    check_shards = getattr(trainer.datamodule, "check_shards", None)  # type: ignore[attr-defined]
    if trainer.is_global_zero:
        if callable(check_shards):
            check_shards(stage)
        rows = rows_of_run(trainer, module, stage)
        table = preflight_table(stage, rows) if is_verbose() else preflight_lines(stage, rows)
        if not is_quiet() or any(map(_is_warning, rows)):
            terminal_or_log().print(table)


SHORT = ("data", "samples", "network", "class map", "export", "results")
"""Rows that are shown in any case, beside the module's and warnings."""


def preflight_lines(stage: str, rows: list[Row]) -> Table:
    """The few rows that say what is run on what, under the stage's name."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column()
    shown = [row for row in rows if row[0] in SHORT or row[0].endswith("Module") or _is_warning(row)]
    for name, value in [(stage, dict(rows).get("strategy", "")), *shown]:
        table.add_row(name, hide_credentials(value), style="bold" if _is_warning((name, value)) else None)
    return table


def _is_warning(row: Row) -> bool:
    return row[1].startswith("WARNING")


def preflight_table(stage: str, rows: list[Row]) -> Table:
    """The table of a run's rows."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(stage, no_wrap=True)
    table.add_column("before the first step")
    for name, value in rows:
        table.add_row(name, hide_credentials(value), style="bold" if _is_warning((name, value)) else None)
    return table


def _check_disk(data: Any, module: pl.LightningModule) -> None:
    """Raises ValueError on all ranks where features do not fit on a rank's disk."""
    folder = asked(data, "features.folder")
    if folder is None or asked(module, "feature_extractor") is None or asked(data, "augment"):
        return
    needed = cached_bytes(data, module, "train") or 0
    free = min(gather_over_ranks(free_disk_bytes(Path(folder))))
    if needed > free:
        raise ValueError(
            f"Features of {data.num_samples('train')} images take {readable_size(needed)} and {readable_size(free)} are free"
            f" in {folder};"
            " free some, give data.init_args.features.folder on another disk, or set data.init_args.features.cache: false."
        )
