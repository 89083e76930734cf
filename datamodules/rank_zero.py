"""Work of rank zero that the other ranks wait for, however long it takes, and whose failure they all report."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from pytorch_lightning import Trainer

T = TypeVar("T")
SIGN_OF_LIFE_SECONDS = 20.0
"""How often waiting ranks hear of rank zero; a process group takes silence of some minutes for a failure."""


def on_rank_zero(trainer: Trainer, work: Callable[[], T]) -> T:
    """Does work on rank zero alone and gives its value to all ranks, which all have to call this.

    With several ranks the work runs in a thread, so that rank zero can tell the others that it goes on.

    Args:
        trainer: whose ranks wait.
        work: the work; its value can be pickled.

    Raises:
        ValueError: on all ranks, with rank zero's sentence, where the work raised one or an OSError.
    """
    if trainer.world_size == 1:
        return work()
    outcome: dict[str, Any] = {}
    thread = threading.Thread(target=_note, args=(work, outcome), daemon=True)  # Ctrl-C does not wait for it
    if trainer.is_global_zero:
        thread.start()
    while True:
        if trainer.is_global_zero:
            thread.join(SIGN_OF_LIFE_SECONDS)
        told: dict[str, Any] = trainer.strategy.broadcast({} if thread.is_alive() else outcome)
        if "value" in told:
            value: T = told["value"]
            return value
        if "failure" in told:
            raise ValueError(told["failure"]) from outcome.get("error")


def _note(work: Callable[[], Any], outcome: dict[str, Any]) -> None:
    try:
        outcome.update(value=work())
    except Exception as error:  # noqa: BLE001 - raised again on all ranks
        known = isinstance(error, ValueError | OSError)
        outcome.update(failure=str(error) if known else f"Rank zero failed: {error!r}.", error=error)
