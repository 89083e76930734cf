"""Groups of classes whose heads are fitted together on a rank, and what memory that takes."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class ClassGroups:
    """J classes, dealt out to the ranks one by one; each rank fits at most k of its classes at once, group after group.

    Args:
        classes: J.
        at_once: k.
        rank: of this process.
        world: number of processes.
    """

    classes: int
    at_once: int
    rank: int = 0
    world: int = 1

    @property
    def count(self) -> int:
        """Number of groups, the same on all ranks."""
        return math.ceil(math.ceil(self.classes / self.world) / self.at_once)

    def rows(self, group: int) -> list[int]:
        """This rank's classes of a group; the last one may be empty."""
        return list(range(self.rank, self.classes, self.world))[group * self.at_once : (group + 1) * self.at_once]

    def owner(self, row: int) -> int:
        """The rank that fits a class."""
        return row % self.world

    def begun(self, group: int) -> list[int]:
        """The classes of all ranks in this group and those before it."""
        return list(range(min((group + 1) * self.at_once * self.world, self.classes)))


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
