"""The progress of a single long step, shown beside the progress bar."""

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
