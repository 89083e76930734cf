"""The progress of a single long step, shown beside the progress bar, and the number of steps of a run."""

import math

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import RichProgressBar, TQDMProgressBar
from pytorch_lightning.trainer.states import RunningStage

BARS = {
    RunningStage.VALIDATING: ("val_progress_bar", "validation_description"),
    RunningStage.TESTING: ("test_progress_bar", "test_description"),
    RunningStage.PREDICTING: ("predict_progress_bar", "predict_description"),
}


def show_beside_bar(trainer: Trainer, text: str) -> None:
    """Writes a text beside the progress bar of a validation, test or prediction, where Lightning shows no metrics."""
    bar, stage = trainer.progress_bar_callback, trainer.state.stage
    if not isinstance(bar, TQDMProgressBar | RichProgressBar) or bar.is_disabled or stage not in BARS:
        return
    name, description = BARS[stage]
    if isinstance(bar, TQDMProgressBar):
        getattr(bar, name).set_postfix_str(text)
    elif bar.progress is not None:
        bar.progress.update(getattr(bar, f"{name}_id"), description=f"{getattr(bar, description)}  {text}")


def batches_of_run(trainer: Trainer) -> int:
    """The batches of a validation, test or prediction over all of its loaders; 1 where their number is not known."""
    counts = {
        RunningStage.VALIDATING: trainer.num_val_batches,
        RunningStage.TESTING: trainer.num_test_batches,
        RunningStage.PREDICTING: trainer.num_predict_batches,
    }
    numbers = counts.get(trainer.state.stage or RunningStage.SANITY_CHECKING, [1])
    return int(sum(numbers)) if all(map(math.isfinite, numbers)) else 1
