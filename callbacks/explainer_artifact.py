"""The exported explainer as a versioned W&B artifact, with the figures of its fit, and ``best`` for the best version."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer

from callbacks.checkpoint import RunCheckpoint
from callbacks.loggers import log_artifact, wandb_loggers
from callbacks.run_name import RunName
from callbacks.tracking import is_online
from vitrine.core.figures import better_of

BEST = "best"


def log_exported(trainer: Trainer, module: LightningModule, path: Path) -> None:
    """Sends an exported explainer or classifier to each W&B logger, as the next version of ``EXPLAINER-NETWORK-DATA``.

    Its type is ``explainer`` or ``classifier``, its metadata are the last figures of the fit. It is the version ``best``
    where its `monitored` figure is at least as good as that of the version that is called so.
    """
    loggers = wandb_loggers(trainer)
    if not loggers:
        return
    name = RunName.of(module, trainer.datamodule)  # type: ignore[attr-defined]
    figures = {metric: float(value) for metric, value in trainer.callback_metrics.items()}
    finite = {metric: value for metric, value in figures.items() if math.isfinite(value)}
    metric, smaller = monitored(trainer, finite)
    entries = {**finite, "explainer": name.explainer, "backbone": name.backbone, "data": name.data, "monitor": metric}
    run = loggers[0].experiment
    earlier = best_version(f"{run.entity}/{run.project}/{name}:{BEST}") if is_online() else {}
    aliases = [BEST] if is_best(finite, earlier, metric, smaller=smaller) else []
    log_artifact(trainer, [path], str(name), path.stem, aliases, entries)


def monitored(trainer: Trainer, figures: Mapping[str, float]) -> tuple[str, bool]:
    """The figure by which versions are compared, and whether smaller is better.

    That is ``checkpoint.monitor``, or else the first figure of the validation that has a better side; empty without one.
    """
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, RunCheckpoint) and callback.monitor is not None:
            return callback.monitor, callback.mode == "min"
    known = {name: better_of(name.removeprefix("val/")) for name in sorted(figures) if name.startswith("val/")}
    return next(((name, better == "lower") for name, better in known.items() if better), ("", True))


def is_best(figures: Mapping[str, float], earlier: Mapping[str, Any], metric: str, *, smaller: bool) -> bool:
    """Whether no earlier version is better.

    Args:
        figures: of this version.
        earlier: metadata of the version that is the best so far; empty where there is none, or it cannot be asked for.
        metric: name of the figure that is compared.
        smaller: whether smaller is better.
    """
    if metric not in figures:
        return False
    other = earlier.get(metric)
    if not isinstance(other, int | float):
        return True
    return figures[metric] <= other if smaller else figures[metric] >= other


def best_version(path: str) -> Mapping[str, Any]:
    """Metadata of a version of an artifact; empty where W&B has none or does not answer."""
    import wandb  # noqa: PLC0415 - starts slowly

    try:
        metadata: Mapping[str, Any] = wandb.Api().artifact(path).metadata
    except (wandb.errors.Error, ValueError):  # such as of the first version
        return {}
    return metadata
