"""The μ-Lasso at ImageNet's size: sums of the responses beside a bare product, the solve of all classes, and real responses.

    python -m benchmarks.mu_lasso_imagenet --stage sums
    python -m benchmarks.mu_lasso_imagenet --stage solve
    python -m benchmarks.mu_lasso_imagenet --stage real --weights mobilenet_v2.pth --images imagenet_samples

``sums`` takes in synthetic responses of the size of a ResNet-50's convolutions, goes on from the sums in --folder and
keeps them there; beside it stands a bare float32 product of as many multiplications (half of those of X Xᵀ, which is
symmetric). ``solve`` solves all classes from kept sums; a class that was solved before an interruption is not solved again.
``real`` solves the responses of a network to a folder of one image a class, beside spgl1. Each prints its peak memory.
"""

import argparse
import resource
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import track
from safetensors.torch import load_file, save_file

from benchmarks.common import NamedWeights, add_common_options, machine, show, write_figures
from benchmarks.mu_lasso import Problem, measure, report
from benchmarks.synthetic_responses import SyntheticResponses
from datamodules.images import ImageFolder
from vitrine.backbones import FrozenBackbone
from vitrine.core.atomic_io import atomic_file
from vitrine.core.progress import progress_bar
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers import MuLassoExplainer, MuLassoOptions
from vitrine.filters.scaling import SCALINGS, ResponseScaling
from vitrine.solvers import MuLassoSums, solve_mu_lasso, solve_mu_lasso_rows
from vitrine.solvers.gram import BLOCK

SUMS = "sums.safetensors"
BARE_ROWS = 8192


def peak_gigabytes() -> float:
    """The largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def bare_rate(products: str) -> float:
    """Multiplications and additions a second of a bare product of two blocks."""
    block = torch.rand(BARE_ROWS, BLOCK, dtype=getattr(torch, products))
    out = block.new_empty(BLOCK, BLOCK)
    began = time.perf_counter()
    torch.mm(block.T, block, out=out)
    return 2 * BARE_ROWS * BLOCK**2 / (time.perf_counter() - began)


def sums(args: argparse.Namespace) -> Mapping[str, Any]:
    """Takes in the samples that are left, as many as there is time for; a bare product is timed beside each batch."""
    taken = MuLassoSums(args.filters, args.classes, products=args.products)
    if (args.folder / SUMS).exists():
        taken.load(load_file(args.folder / SUMS))
    first, started = taken.n_samples, time.perf_counter()
    seconds, rates = 0.0, [bare_rate(args.products)]
    batches = SyntheticResponses(args.filters, args.classes, args.seed).batches(args.samples, args.rows, first)
    for x, labels in track(batches, "sums", -(-(args.samples - first) // args.rows), console=Console(stderr=True)):
        began = time.perf_counter()
        taken.update(x, labels)
        seconds += time.perf_counter() - began
        rates.append(bare_rate(args.products))
        if time.perf_counter() - started > args.seconds:
            break
    began = time.perf_counter()
    _ = taken.gram
    seconds += time.perf_counter() - began
    count = taken.n_samples - first
    bare = count * args.filters * (args.filters + BLOCK) / statistics.median(rates[1:])
    began = time.perf_counter()
    args.folder.mkdir(parents=True, exist_ok=True)
    with atomic_file(args.folder / SUMS) as partial:
        save_file(taken.state(), partial)
    return {
        "samples now": count,
        "samples in all": taken.n_samples,
        "seconds": seconds,
        "images/s": count / seconds,
        "bare seconds": bare,
        "bare / ours": bare / seconds,
        "checkpoint seconds": time.perf_counter() - began,
    }


def kept_sums(args: argparse.Namespace) -> MuLassoSums:
    """The scaled sums of the stage before.

    Raises:
        FileNotFoundError: where it was not run.
    """
    if not (args.folder / SUMS).exists():
        raise FileNotFoundError(f"{args.folder} holds no {SUMS}; run --stage sums with the same --folder first.")
    kept = MuLassoSums(args.filters, args.classes)
    kept.load(load_file(args.folder / SUMS))
    scaling = ResponseScaling(args.filters, args.scaling)
    widths = torch.tensor(SyntheticResponses(args.filters, args.classes).widths())
    scaling.fit(kept.n_samples, kept.total, kept.gram.diagonal(), widths.repeat_interleave(widths))
    return kept.scale_(scaling.shift, scaling.factor, centre=scaling.has_intercept)


def solve(args: argparse.Namespace) -> Mapping[str, Any]:
    """All classes from the kept sums, or those that are left."""
    began = time.perf_counter()
    kept = kept_sums(args)
    read = time.perf_counter() - began
    solved: list[float] = []
    count = args.classes if args.first_classes is None else min(args.first_classes, args.classes)
    with progress_bar("classes", count, shown=True) as advance:

        def told() -> None:
            solved.append(time.perf_counter())
            advance(1)

        began = time.perf_counter()
        folder = args.folder / f"solved-{args.scaling}-{args.mu:g}"
        parts = kept.gram, kept.cross[:, :count], kept.label_sq[:count]
        found = solve_mu_lasso(*parts, args.mu, args.tol, advance=told, folder=folder)
    seconds = time.perf_counter() - began
    nonzero = (found.weights != 0).sum(dim=0).double()
    return {
        "reading and scaling": read,
        "seconds": seconds,
        "seconds a class": seconds / count,
        "converged": int(found.converged.sum()),
        "classes": count,
        "largest relative gap": float(found.relative_gap.max()),
        "filters a class": float(nonzero.mean()),
        "filters of all": int((found.weights != 0).any(dim=1).sum()),
        "explained": float((1 - found.objective / kept.label_sq[:count]).nanmean()),  # a class may have no sample
    }


@torch.no_grad()
def real_problem(args: argparse.Namespace) -> Problem:
    """Responses of a network to a folder's images, of which each shows a class of its own."""
    backbone = FrozenBackbone(NamedWeights("mobilenet_v2", args.weights).build("cpu"))
    explainer = MuLassoExplainer(backbone, MuLassoOptions(scaling=args.scaling, mu=args.mu))
    images = ImageFolder(args.images, Preprocessing())
    numbers = torch.split(torch.arange(len(images)), 50)
    batches = (torch.stack([images[int(number)]["image"] for number in some]) for some in numbers)
    shown = track(batches, "responses", len(numbers), console=Console(stderr=True))
    x = torch.cat([explainer.responses(batch)["features"] for batch in shown])
    scaling, wide = explainer.scaling, x.double()
    scaling.fit(len(x), wide.sum(dim=0), wide.square().sum(dim=0), explainer.responses.widths())
    labels = torch.eye(len(x), dtype=torch.float64)[:, : args.first_classes]
    labels -= labels.mean(dim=0) if scaling.has_intercept else 0
    return Problem("MobileNetV2", scaling(x), labels, torch.full((labels.shape[1],), args.mu, dtype=torch.float64))


def real(args: argparse.Namespace) -> Mapping[str, Any]:
    """Real responses beside spgl1."""
    problem = real_problem(args)
    found = measure(problem, solve_mu_lasso_rows, args, problem.name)
    report({problem.name: found}, args)
    return found.ratios() | {"seconds": statistics.median(found.first_solve), "largest gap": max(found.relative_gaps)}


STAGES = {"sums": sums, "solve": solve, "real": real}


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.mu_lasso_imagenet", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--stage", choices=STAGES, required=True, help="what is measured")
    parser.add_argument("--samples", type=int, default=50_000, help="N of the synthetic responses (%(default)s)")
    parser.add_argument("--filters", type=int, default=26_560, help="their m (%(default)s)")
    parser.add_argument("--classes", type=int, default=1000, help="their C (%(default)s)")
    parser.add_argument("--rows", type=int, default=2048, help="of a batch (%(default)s)")
    parser.add_argument("--products", choices=("float32", "float64"), default="float32", help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which sums are kept as they are (no limit)")
    parser.add_argument("--scaling", choices=SCALINGS, default="paper", help="of the responses (%(default)s)")
    parser.add_argument("--mu", type=float, default=10.0, help="bound of ‖w‖₁ (%(default)s)")
    parser.add_argument("--tol", type=float, default=1e-6, help="largest relative gap (%(default)s)")
    parser.add_argument("--first-classes", type=int, help="that are solved (all)")
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmarks/mu_lasso_sums"), help="(%(default)s)")
    parser.add_argument("--weights", help="of a mobilenet_v2, for --stage real")
    parser.add_argument("--images", type=Path, help="a folder of one image a class, for --stage real")
    parser.add_argument("--rounds", type=int, default=1, help="of --stage real (%(default)s)")
    parser.add_argument("--further", type=float, default=1.2, help="a further μ, as a multiple (%(default)s)")
    parser.add_argument("--smaller", type=float, default=0.5, help="a smaller μ, as a multiple (%(default)s)")
    parser.add_argument("--spgl1-classes", type=int, default=3, help="that spgl1 solves (%(default)s)")
    parser.add_argument("--spgl1-tol", type=float, default=1e-6, help="its opt_tol (%(default)s)")
    parser.add_argument("--spgl1-steps", type=int, default=20000, help="its iter_lim (%(default)s)")
    add_common_options(parser, "runs/benchmarks/mu_lasso_imagenet.json")
    args = parser.parse_args()
    if args.stage == "real" and not (args.weights and args.images):
        parser.error("--stage real needs --weights and --images.")
    return args


def main() -> None:
    """Runs one stage."""
    args = parse_args()
    figures = {**STAGES[args.stage](args), "peak GB": peak_gigabytes()}
    size = f"N = {args.samples}, m = {args.filters}, C = {args.classes}" if args.stage != "real" else "real responses"
    show(f"{args.stage}: {size} ({machine()})", ["", ""], [[name, f"{value:.4g}"] for name, value in figures.items()])
    write_figures(args.out, args, {args.stage: figures})


if __name__ == "__main__":
    main()
