"""The time on the wall, once a device has done what it was given."""

import time

import torch


def now(device: str) -> float:
    """Seconds, of no particular beginning."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()
