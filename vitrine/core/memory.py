"""Memory and disk space: what a fit takes of them, what is free, and counts with a unit."""

import shutil
from pathlib import Path

import torch

FLOAT = 4
"""Bytes of a float32."""
STATES = 3
"""A gradient and Adam's two moments for each parameter that is trained."""


def fit_bytes(parameters: int, trained: int, activations: int) -> int:
    """Bytes for weights, gradients, Adam's moments and activations in float32.

    Args:
        parameters: of all heads.
        trained: of the heads that are trained at once.
        activations: numbers that a step keeps for its backward pass.
    """
    return FLOAT * (parameters + STATES * trained + activations)


def free_bytes(device: torch.device) -> int | None:
    """Bytes that are free where a module lies; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    table = Path("/proc/meminfo")
    if device.type != "cpu" or not table.is_file():
        return None
    lines = dict(line.split(":", 1) for line in table.read_text(encoding="utf-8").splitlines() if ":" in line)
    available = lines.get("MemAvailable")
    return None if available is None else int(available.split()[0]) * 1024


def amount(count: float) -> str:
    """A count with a unit: 12.3 M."""
    for unit in ("", "k", "M"):
        if count < 1000:
            return f"{count:.3g} {unit}".rstrip()
        count /= 1000
    return f"{count:.3g} G"


def readable_size(size: float) -> str:
    """Bytes as people read them: ``1.5 GB``."""
    for unit in ("B", "kB", "MB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB" if size < 999.5 else f"{size / 1000:.3g} TB"


def free_disk_bytes(folder: Path) -> int:
    """Bytes that are free on the disk where a folder is, or would be made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free
