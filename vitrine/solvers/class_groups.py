"""The μ-Lasso of many classes in groups: bounded memory, shared out over ranks, and kept on disk as they are solved."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from vitrine.core.atomic_io import atomic_file
from vitrine.core.distributed import gather_over_ranks, global_rank, world_size
from vitrine.solvers.least_squares import Floats, Indices, LeastSquares
from vitrine.solvers.working_set import Advance, LassoPaths, Solution

GROUP = 32
"""Classes that are certified together by one product with X Xᵀ."""
GROUP_OF_ROWS = 256
"""The same for one pass over the samples themselves, of which more classes need fewer."""


class Solved(NamedTuple):
    """What was found for a group of classes: the weights other than 0, and the certificates.

    Attributes:
        places: (2, n) filter and class of each weight.
        values: (n,).
        objective: (J,).
        gap: (J,).
    """

    places: Tensor
    values: Tensor
    objective: Tensor
    gap: Tensor

    @classmethod
    def of(cls, solution: Solution, classes: Indices) -> "Solved":
        """The solution of a group."""
        filters, columns = np.nonzero(solution.weights)
        arrays = (np.stack([filters, classes[columns]]), solution.weights[filters, columns], *solution[1:])
        return cls(*(torch.from_numpy(array) for array in arrays))


class ClassGroups:
    """The paths of all classes, group by group.

    Args:
        problem: the least-squares problems of all classes.
        size: most classes of a group; all in one without it.
        over_ranks: whether groups are shared out over the processes, which all hold the same problem; `solve` then is a
            collective.
        folder: where each group is written when it is solved, and read instead where it was solved before; its paths are
            not kept in memory then.
    """

    def __init__(
        self, problem: LeastSquares, size: int | None = None, *, over_ranks: bool = False, folder: Path | None = None
    ) -> None:
        self.problem, self.folder, self.over_ranks = problem, folder, over_ranks
        count = self.num_classes
        shares = world_size() if over_ranks else 1
        size = max(min(size or count, -(-count // shares)), 1)
        self.groups = [np.arange(start, min(start + size, count)) for start in range(0, count, size)]
        self._paths: dict[int, LassoPaths] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def num_classes(self) -> int:
        """C."""
        return len(self.problem.label_sq)

    def solve(self, mu: Floats, tol: float, advance: Advance) -> Solution:
        """Weights for (C,) μ, as of `LassoPaths.solve`."""
        step, first = (world_size(), global_rank()) if self.over_ranks else (1, 0)
        own = {index: self._solved(index, mu, tol, advance) for index in range(first, len(self.groups), step)}
        found = gather_over_ranks(own) if self.over_ranks else [own]
        return self._joined({index: solved for of_rank in found for index, solved in of_rank.items()})

    def _solved(self, index: int, mu: Floats, tol: float, advance: Advance) -> Solved:
        classes = self.groups[index]
        if self.folder is None:
            if index not in self._paths:
                self._paths[index] = LassoPaths(self.problem.of_classes(classes))
            return Solved.of(self._paths[index].solve(mu[classes], tol, advance), classes)
        problem = self.problem.of_classes(classes)
        path = self.folder / f"classes-{classes[0]:05}-{classes[-1]:05}.safetensors"
        key = _digest(problem, mu[classes], tol)
        solved = read_group(path, key)
        if solved is None:
            solved = Solved.of(LassoPaths(problem).solve(mu[classes], tol, advance), classes)
            write_group(path, key, solved)
        else:
            for _ in classes:
                advance()
        return solved

    def _joined(self, found: dict[int, Solved]) -> Solution:
        in_order: Sequence[Solved] = [found[index] for index in range(len(self.groups))]
        weights = np.zeros(self.problem.cross.shape, order="F")
        for solved in in_order:
            filters, classes = solved.places.numpy()
            weights[filters, classes] = solved.values.numpy()
        objective, gap = (
            torch.cat([getattr(solved, name) for solved in in_order]).numpy() for name in ("objective", "gap")
        )
        return Solution(weights, objective, gap)


def read_group(path: Path, key: str) -> Solved | None:
    """What a file holds of a group, if it is whole and of the same problem."""
    try:
        with safe_open(path, framework="pt") as file:
            same = (file.metadata() or {}).get("problem") == key
            return Solved(*(file.get_tensor(name) for name in Solved._fields)) if same else None
    except (FileNotFoundError, SafetensorError):
        return None


def write_group(path: Path, key: str, solved: Solved) -> None:
    """Writes a group's file, whole or not at all."""
    with atomic_file(path) as partial:
        tensors = {name: value.contiguous() for name, value in solved._asdict().items()}
        save_file(tensors, partial, metadata={"problem": key})


def _digest(problem: LeastSquares, mu: Floats, tol: float) -> str:
    """Of what a group's solution follows from; X Xᵀ is represented by its diagonal."""
    digest = hashlib.sha256(repr(tol).encode())
    for array in (problem.cross, problem.label_sq, problem.norms, mu):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
