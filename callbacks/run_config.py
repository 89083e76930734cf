"""Writes the resolved configuration beside what the run leaves."""

from pathlib import Path

import yaml
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.cli import SaveConfigCallback
from pytorch_lightning.trainer.states import TrainerFn
from typing_extensions import override

from vitrine.whole import whole_file


class RunConfig(SaveConfigCallback):
    """Leaves ``config-fit.yaml`` (or -test, …) in the run's folder, and the same values with the logger.

    Lightning's own callback writes into the logger's shared folder and stops a second run there; the run's folder is the
    run's own, so here a second run of the same stage replaces the first one's file.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__(*args, **{**kwargs, "save_to_log_dir": False})  # type: ignore[arg-type]

    @override
    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        name = f"config-{TrainerFn(stage).value}.yaml"
        text = self.parser.dump(self.config, skip_unset=False)
        with whole_file(Path(trainer.default_root_dir, name)) as partial:
            partial.write_text(text, encoding="utf-8")
        for logger in trainer.loggers:
            logger.log_hyperparams(yaml.safe_load(text))
