"""RunIndex: a page of everything that a run has written, and the line that says where it is."""

from pathlib import Path

import pytorch_lightning as pl
from pytorch_lightning.utilities import rank_zero_warn
from rich.console import Console
from typing_extensions import override

from callbacks.run_access import is_trial
from vitrine.visualization.run_pages import write_run_index


class RunIndex(pl.Callback):
    """Writes ``index.html`` into the run's folder when a run has ended, and tells where it is.

    It lists what the folder holds, whichever runs have written it. It has to come after the callbacks that write.
    """

    @override
    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)
        if trainer.is_global_zero and not is_trial(trainer) and folder.is_dir():
            self._write(folder)

    def _write(self, folder: Path) -> None:
        try:
            page = write_run_index(folder)
        except (ValueError, OSError) as error:  # of a file that an earlier run has left; this one has ended well
            rank_zero_warn(f"No index of {folder} is written: {error}")
        else:
            Console(soft_wrap=True, highlight=False, markup=False).print(f"Results: {page}")
