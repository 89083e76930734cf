"""Classes in groups: the solution is that of all together, over ranks and from a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.helpers.ranks import RankPool
from vitrine.solvers import MuLassoSolution, class_groups, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.class_groups import ClassGroups, read_group
from vitrine.solvers.least_squares import DataLeastSquares, GramLeastSquares, LeastSquares
from vitrine.solvers.working_set import LassoPaths

Make = Callable[..., tuple[Tensor, Tensor]]
MU = np.array([0.5, 2.0, 4.0, 1.0, 3.0])


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 30, dtype=torch.float64, generator=generator)
    labels = x[:, :5] + torch.randn(60, 5, dtype=torch.float64, generator=generator)
    return x, labels


def problems() -> dict[str, LeastSquares]:
    x, labels = data()
    return {
        "sums": GramLeastSquares(x.T @ x, x.T @ labels, (labels**2).sum(dim=0)),
        "data": DataLeastSquares(x, labels),
    }


@pytest.mark.parametrize("kind", ["sums", "data"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_groups_give_what_all_classes_together_give(kind: str, size: int) -> None:
    told: list[None] = []
    whole = ClassGroups(problems()[kind]).solve(MU, 1e-9, lambda: None)
    found = ClassGroups(problems()[kind], size).solve(MU, 1e-9, lambda: told.append(None))
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)
    assert len(told) == 5


def solved(folder: Path | None, told: list[None], mu: float = 2.0) -> MuLassoSolution:
    x, labels = data()
    return solve_mu_lasso(
        x.T @ x, x.T @ labels, (labels**2).sum(dim=0), mu, advance=lambda: told.append(None), folder=folder
    )


@pytest.mark.parametrize("kind", problems())
def test_groups_share_one_spectrum(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, decompose = list[int](), np.linalg.eigh

    def counted(matrix: Any) -> Any:
        calls.append(len(matrix))
        return decompose(matrix)

    monkeypatch.setattr(np.linalg, "eigh", counted)
    problem = problems()[kind]
    parts = [problem.of_classes(np.array([number])) for number in range(3)]
    assert all(part.spectrum[0] is problem.spectrum[0] for part in (*parts, parts[0].of_classes(np.array([0]))))
    assert len(calls) == 1


def test_what_was_solved_is_read_and_not_solved_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrine.solvers.mu_lasso.GROUP", 2)
    whole, told = solved(None, []), list[None]()

    class KilledError(Exception):
        pass

    def kill() -> None:
        told.append(None)
        if len(told) == 3:
            raise KilledError

    x, labels = data()
    with pytest.raises(KilledError):
        solve_mu_lasso(x.T @ x, x.T @ labels, (labels**2).sum(dim=0), 2.0, advance=kill, folder=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["classes-00000-00001.safetensors"]
    calls: list[LeastSquares] = []

    class Counted(LassoPaths):
        def __init__(self, problem: LeastSquares) -> None:
            calls.append(problem)
            super().__init__(problem)

    monkeypatch.setattr(class_groups, "LassoPaths", Counted)
    found = solved(tmp_path, told := [])
    assert len(calls) == 2
    assert len(told) == 5
    for name in ("weights", "objective", "gap"):
        assert torch.equal(getattr(found, name), getattr(whole, name)), name
    solved(tmp_path, [])
    assert len(calls) == 2
    solved(tmp_path, [], mu=1.0)
    assert len(calls) == 5, "another problem is not read from the files"
    torch.testing.assert_close(found.at(1.0).weights, whole.at(1.0).weights, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_a_damaged_file_is_solved_again(tmp_path: Path, content: bytes) -> None:
    whole = solved(tmp_path, [])
    (path,) = tmp_path.iterdir()
    path.write_bytes(content)
    assert read_group(path, "") is None
    assert torch.equal(solved(tmp_path, []).weights, whole.weights)


def on_rank(_: int) -> dict[str, list[Tensor]]:
    x, labels = data()
    sums = x.T @ x, x.T @ labels, (labels**2).sum(dim=0)
    told: list[None] = []
    found = {
        "sums": solve_mu_lasso(*sums, 2.0, 1e-9, over_ranks=True, advance=lambda: told.append(None)),
        "rows": solve_mu_lasso_rows(x, labels, 2.0, 1e-9, over_ranks=True),
    }
    assert 2 <= len(told) <= 3, "each rank solves its share"
    return {name: [one.weights, one.gap, one.at(1.0).weights] for name, one in found.items()}


def test_ranks_share_the_classes(ranks: RankPool) -> None:
    alone = solved(None, [])
    first, second = ranks.run(on_rank)
    for name, tensors in first.items():
        for one, other in zip(tensors, second[name], strict=True):
            assert torch.equal(one, other), name
        torch.testing.assert_close(tensors[0], alone.weights, atol=1e-7, rtol=1e-6)
        torch.testing.assert_close(tensors[2], alone.at(1.0).weights, atol=1e-7, rtol=1e-6)
