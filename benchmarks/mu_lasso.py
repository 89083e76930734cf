"""Seconds that the μ-Lasso of all classes takes to a certified relative gap, against spgl1 class by class.

    python -m benchmarks.mu_lasso --responses data/features/8b1f…

A folder of responses is one in which a fit of a μ-Lasso has kept features; without one, a random problem is solved:
Gaussian responses, and labels that some of them make, with noise. X Xᵀ, or what is needed of it, is part of the time. spgl1
solves the first classes (--spgl1-classes), and its mean counts for all. The gaps of both are taken in the same way, in
float64. Prints tables and writes one JSON.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file
from torch import Tensor

from benchmarks.common import add_common_options, machine, show, write_figures
from benchmarks.rounds import ratio, side_by_side
from vitrine.solvers import MuLassoSolution, MuLassoSums, solve_mu_lasso, solve_mu_lasso_rows

BATCH = 512
WIDEST_SUMS = 2000
SMOKE_ROWS, SMOKE_FILTERS = 4096, 2048


class Problem(NamedTuple):
    """Responses x (N, m), labels (N, C) and the bound μ of each class (C,)."""

    name: str
    x: Tensor
    labels: Tensor
    mu: Tensor


@dataclass
class Figures:
    """What was measured of one way to solve one problem; lists have a number a round."""

    samples: int
    filters: int
    classes: int
    first_solve: list[float] = field(default_factory=list)
    further_mu: list[float] = field(default_factory=list)
    smaller_mu: list[float] = field(default_factory=list)
    spgl1: list[float] = field(default_factory=list)
    relative_gaps: list[float] = field(default_factory=list)
    spgl1_relative_gaps: list[float] = field(default_factory=list)
    spgl1_steps: list[int] = field(default_factory=list)
    converged: int = 0
    mean_nonzero: float = 0.0

    def ratios(self) -> dict[str, float]:
        """Medians over rounds of what was measured side by side."""
        pairs = zip(self.first_solve, self.further_mu, self.smaller_mu, self.spgl1, strict=True)
        further, smaller, spgl1 = zip(
            *[(more / one, less / one, other / one) for one, more, less, other in pairs], strict=True
        )
        return {
            "spgl1 / first solve": statistics.median(spgl1),
            "further μ / first solve": statistics.median(further),
            "smaller μ / first solve": statistics.median(smaller),
        }


def gaussian(args: argparse.Namespace) -> Problem:
    """A dense problem with a sparse truth."""
    generator = torch.Generator().manual_seed(args.seed)
    x = torch.randn(args.samples, args.filters, dtype=torch.float64, generator=generator)
    truth = torch.zeros(args.filters, args.classes, dtype=torch.float64)
    for column in truth.T:
        relevant = torch.randperm(args.filters, generator=generator)[: args.relevant]
        column[relevant] = torch.randn(len(relevant), dtype=torch.float64, generator=generator)
    noise = torch.randn(args.samples, args.classes, dtype=torch.float64, generator=generator)
    return Problem(
        "random", x, x @ truth + args.noise * noise, torch.full((args.classes,), args.mu, dtype=torch.float64)
    )


def read_responses(path: Path, mu: float) -> Problem:
    """Responses and labels from the chunks of a folder of kept features, without classes that no sample has."""
    chunks = [load_file(chunk) for chunk in sorted(path.glob("chunk-*.safetensors"))]
    if not chunks:
        raise ValueError(
            f"{path} holds no chunks of features; give one of the folders of data.init_args.features.folder."
        )
    x, labels = (torch.cat([chunk[name] for chunk in chunks]) for name in ("features", "labels"))
    labels = torch.nn.functional.one_hot(labels).float() if labels.ndim == 1 else labels
    labels = labels[:, labels.any(dim=0)]
    return Problem(path.name, x, labels, torch.full((labels.shape[1],), mu, dtype=torch.float64))


def solve_sums(x: Tensor, labels: Tensor, mu: Tensor, tol: float) -> MuLassoSolution:
    """By the whole X Xᵀ, taken in batches."""
    sums = MuLassoSums(x.shape[1], labels.shape[1], x.device)
    for start in range(0, len(x), BATCH):
        sums.update(x[start : start + BATCH], labels[start : start + BATCH])
    return solve_mu_lasso(sums.gram, sums.cross, sums.label_sq, mu, tol)


def seconds_of(solve: Callable[[], MuLassoSolution]) -> tuple[float, MuLassoSolution]:
    """Wall clock; the solution is on the CPU, so that no device is left to wait for."""
    started = time.perf_counter()
    solution = solve()
    return time.perf_counter() - started, solution


def measure(problem: Problem, solve: Callable[..., MuLassoSolution], args: argparse.Namespace, title: str) -> Figures:
    """All rounds of one way, beside spgl1."""
    x, labels = problem.x.to(args.device), problem.labels.to(args.device)
    figures = Figures(len(x), x.shape[1], labels.shape[1])
    for _ in track(range(args.rounds), description=title, console=Console(stderr=True)):
        seconds, solution = seconds_of(lambda: solve(x, labels, problem.mu, args.tol))
        figures.first_solve.append(seconds)
        figures.further_mu.append(seconds_of(lambda: solution.at(problem.mu * args.further))[0])  # noqa: B023
        figures.smaller_mu.append(seconds_of(lambda: solution.at(problem.mu * args.smaller))[0])  # noqa: B023
        figures.spgl1.append(spgl1_seconds(problem, args, figures))
    figures.relative_gaps = solution.relative_gap.tolist()
    figures.converged = int(solution.converged.sum())
    figures.mean_nonzero = float((solution.weights != 0).sum(dim=0).double().mean())
    return figures


def spgl1_seconds(problem: Problem, args: argparse.Namespace, figures: Figures) -> float:
    """Seconds of spgl1 for all classes, from those that it solves."""
    from spgl1 import spg_lasso  # noqa: PLC0415 - an extra for developers

    x, labels = problem.x.double().numpy(), problem.labels.double().numpy()
    count = min(args.spgl1_classes or len(problem.mu), len(problem.mu))
    figures.spgl1_relative_gaps, figures.spgl1_steps = [], []
    total = 0.0
    for index in range(count):
        mu = float(problem.mu[index])
        started = time.perf_counter()
        w, *_, told = spg_lasso(x, labels[:, index], mu, opt_tol=args.spgl1_tol, iter_lim=args.spgl1_steps)
        total += time.perf_counter() - started
        figures.spgl1_relative_gaps.append(relative_gap(x, labels[:, index], w, mu))
        figures.spgl1_steps.append(int(told["niters"]))
    return total / count * len(problem.mu)


def relative_gap(x: Any, label: Any, w: Any, mu: float) -> float:
    """The duality gap that is asked of our weights, for others; infinite where they leave the ball."""
    residual = label - x @ w
    correlations = x.T @ residual
    gap = 2 * (mu * np.abs(correlations).max() - correlations @ w)
    relative = float(max(gap, 0) / (residual @ residual))
    return relative if np.abs(w).sum() <= mu * (1 + 1e-9) else float("inf")


def smoke() -> Mapping[str, float]:
    """Ratios of small problems: a bare product over the sums, and spgl1 over the solve."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(SMOKE_ROWS, SMOKE_FILTERS, generator=generator)
    labels = torch.nn.functional.one_hot(torch.arange(SMOKE_ROWS) % 10)

    def taken() -> Tensor:
        sums = MuLassoSums(SMOKE_FILTERS, 10, products="float32")
        for rows, hot in zip(torch.split(x, BATCH), torch.split(labels, BATCH), strict=True):
            sums.update(rows, hot)
        return sums.gram

    sums = side_by_side({"bare": lambda: x.T @ x, "ours": taken}, 3)
    args = argparse.Namespace(
        samples=1500, filters=600, classes=4, relevant=20, noise=1.0, mu=10.0, seed=0, tol=1e-6,
        spgl1_classes=1, spgl1_tol=1e-6, spgl1_steps=20000,
    )  # fmt: skip
    problem = gaussian(args)
    figures = Figures(args.samples, args.filters, args.classes)
    solves = side_by_side(
        {
            "spgl1": lambda: figures.spgl1.append(spgl1_seconds(problem, args, figures)),
            "ours": lambda: solve_mu_lasso_rows(problem.x, problem.labels, problem.mu, args.tol),
        },
        3,
    )
    of_all = statistics.median(
        whole / ours for whole, ours in zip(figures.spgl1[1:], solves["ours"], strict=True)
    )  # spgl1 solved some of the classes
    return {"μ-Lasso sums: bare product / ours": ratio(sums, "bare", "ours"), "μ-Lasso: spgl1 / ours": of_all}


def report(figures: dict[str, Figures], args: argparse.Namespace) -> None:
    """Prints the tables."""
    columns = ["", "N × m", "C", "s", "spgl1 s", "spgl1 / ours", "further μ %", "smaller μ %"]
    rows = []
    for name, found in figures.items():
        ratios = list(found.ratios().values())
        times = [f"{statistics.median(seconds):.3f}" for seconds in (found.first_solve, found.spgl1)]
        shares = [f"{100 * ratio:.1f}" for ratio in ratios[1:]]
        size = f"{found.samples} × {found.filters}"
        rows.append([name, size, str(found.classes), *times, f"{ratios[0]:.1f}", *shares])
    show(f"μ-Lasso of all classes to a relative gap of {args.tol:g} ({machine()})", columns, rows)
    columns = ["", "converged", "largest gap", "non-zero", "spgl1's largest gap", "its steps"]
    rows = [
        [
            name,
            f"{found.converged} of {found.classes}",
            f"{max(found.relative_gaps):.1e}",
            f"{found.mean_nonzero:.0f}",
            f"{max(found.spgl1_relative_gaps):.1e}",
            f"{statistics.mean(found.spgl1_steps):.0f}",
        ]
        for name, found in figures.items()
    ]
    show(f"What was reached (spgl1: opt_tol {args.spgl1_tol:g}, at most {args.spgl1_steps} steps)", columns, rows)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mu_lasso", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--responses", type=Path, nargs="+", default=[], metavar="DIR", help="of kept features (random)"
    )
    parser.add_argument("--mu", type=float, default=10.0, help="bound of ‖w‖₁ (%(default)s)")
    parser.add_argument("--samples", type=int, default=10000, help="N of the random problem (%(default)s)")
    parser.add_argument("--filters", type=int, default=5000, help="its m (%(default)s)")
    parser.add_argument("--classes", type=int, default=20, help="its C (%(default)s)")
    parser.add_argument("--relevant", type=int, default=50, help="filters that make a label (%(default)s)")
    parser.add_argument("--noise", type=float, default=1.0, help="standard deviation of its noise (%(default)s)")
    parser.add_argument("--tol", type=float, default=1e-6, help="largest relative gap (%(default)s)")
    parser.add_argument("--further", type=float, default=1.2, help="a further μ, as a multiple (%(default)s)")
    parser.add_argument("--smaller", type=float, default=0.5, help="a smaller μ, as a multiple (%(default)s)")
    parser.add_argument("--spgl1-classes", type=int, default=5, help="that spgl1 solves, 0 for all (%(default)s)")
    parser.add_argument("--spgl1-tol", type=float, default=1e-6, help="its opt_tol (%(default)s)")
    parser.add_argument("--spgl1-steps", type=int, default=20000, help="its iter_lim (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    add_common_options(parser, "runs/benchmarks/mu_lasso.json")
    return parser.parse_args()


def main() -> None:
    """Solves all problems in all ways."""
    args = parse_args()
    figures: dict[str, Figures] = {}
    for path in args.responses or [None]:
        problem = read_responses(path, args.mu) if path else gaussian(args)
        ways: dict[str, Callable[..., MuLassoSolution]] = {"rows": solve_mu_lasso_rows}
        if problem.x.shape[1] <= WIDEST_SUMS:
            ways["sums"] = solve_sums
        for way, solve in ways.items():
            title = f"{problem.name}, {way}"
            figures[title] = measure(problem, solve, args, title)
            problems = {name: asdict(found) | found.ratios() for name, found in figures.items()}
            write_figures(args.out, args, {"problems": problems})
    report(figures, args)


if __name__ == "__main__":
    main()
