"""Signals of worker processes: a scheduler signals all processes of a job, and workers go on until their parent ends them."""

import os
import signal
import threading

LEFT_TO_PARENT = {signal.SIGTERM, signal.SIGUSR1}


def leave_signals_to_parent(worker: int = 0) -> None:  # noqa: ARG001 - as DataLoader's worker_init_fn is called
    """Makes this process deaf to SIGTERM and SIGUSR1, unless they come from its parent.

    To be called in a loader's worker. There a SIGTERM from elsewhere would otherwise end it, and with it the parent's batch,
    which is to come to its end before the run stops.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, LEFT_TO_PARENT)
    threading.Thread(target=_await_parent, args=(os.getppid(),), name="signals of the parent", daemon=True).start()


def _await_parent(parent: int) -> None:
    while True:
        if signal.sigwaitinfo(LEFT_TO_PARENT).si_pid == parent:
            os._exit(0)
