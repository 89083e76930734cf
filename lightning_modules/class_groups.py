"""Groups of classes whose heads are fitted together on a rank."""

import math
from dataclasses import dataclass


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
