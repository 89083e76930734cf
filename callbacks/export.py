"""Leaves what was trained in a form that can be used elsewhere."""

from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from typing_extensions import override


class Export(Callback):
    """After fitting, writes the explainer (or classifier) into the run's folder, and to W&B as an artifact.

    Args:
        artifact: whether a W&B logger, where there is one, gets the artifact.
    """

    def __init__(self, artifact: bool = True) -> None:
        self.artifact = artifact

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        folder = Path(trainer.default_root_dir)
        folder.mkdir(parents=True, exist_ok=True)
        path: Path = pl_module.export(folder)  # type: ignore[operator]
        for logger in trainer.loggers:
            if self.artifact and isinstance(logger, WandbLogger):
                _log_artifact(logger, path)


def _log_artifact(logger: WandbLogger, path: Path) -> None:
    import wandb  # noqa: PLC0415 - starts slowly, and only runs with this logger need it

    artifact = wandb.Artifact(f"{path.stem}-{logger.experiment.id}", type=path.stem)
    if path.is_dir():
        artifact.add_dir(str(path))
    else:
        artifact.add_file(str(path))
    logger.experiment.log_artifact(artifact)
