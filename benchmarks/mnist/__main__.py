"""How many filters of which layers the μ-Lasso selects on MNIST, and what they are worth (Oramas et al., ICLR 2019).

    python -m benchmarks.mnist --root DATA --weights mnist.safetensors

DATA holds MNIST/raw with the four gzipped archives. The network is MatConvNet's for MNIST, trained here and kept in the
file of --weights. Then, for each set of layers and each scaling of the responses: how many filters are selected (section
4.1), from which layers, what the network loses without them (figure 4) and how well they reconstruct the classes, over μ
(figure 9).

μ is in the units of the paper's scaling: for another it is divided by the median of that scaling's factors.
Prints tables, and writes one JSON and, for each scaling, explanations of one digit a class as a picture.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import add_common_options, write_figures
from benchmarks.mnist.data import CLASSES, PREPROCESSING, Digits, read_digits, trained_network
from benchmarks.mnist.report import (
    PAPER_FILTERS,
    report_ablation,
    report_curves,
    report_reconstruction,
    report_selection,
)
from benchmarks.mnist.selection import LAYER_SETS, Selection, explainer_of, responses_of, selections_of
from benchmarks.mnist.worth import Ablation, beginnings, reconstruction_curve
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.atomic_io import atomic_file
from vitrine.visualization.panel import panel

MUS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
CURVE_MUS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)

Selections = Mapping[str, Mapping[str, Selection]]
"""By layer set and scaling."""


def select_all(
    backbone: FrozenBackbone, responses: Tensor, labels: Tensor, mu: float
) -> tuple[Selections, dict[str, Any]]:
    """The selections, and their figures."""
    selections: dict[str, dict[str, Selection]] = {}
    figures: dict[str, Any] = {}
    for layers in LAYER_SETS:
        selections[layers], figures[layers] = {}, {}
        for selection in selections_of(backbone, layers, responses, labels, mu):
            selections[layers][selection.scaling] = selection
            figures[layers][selection.scaling] = selection.figures(mu) | {
                "seconds": selection.seconds,
                "by_mu": [selection.figures(other) for other in MUS],
            }
    return selections, figures


def ablate_all(ablation: Ablation, selections: Selections, mus: Sequence[float], digits: Digits, device: str) -> Any:
    """Mean class accuracy without the filters of every selection, for each μ; and without none."""
    keys = [(layers, scaling, mu) for layers, of in selections.items() for scaling in of for mu in mus]
    sets = [selections[layers][scaling].ranked(mu) for layers, scaling, mu in keys]
    original, *rows = ablation.measure([[], *sets], digits, device, "ablation")
    named = [{"layers": layers, "scaling": scaling, "mu": mu} for layers, scaling, mu in keys]
    return {"original": original["accuracy"], "sets": [name | row for name, row in zip(named, rows, strict=True)]}


def curves_of(ablation: Ablation, selections: Selections, mu: float, digits: Digits, device: str) -> dict[str, Any]:
    """Mean class accuracy without ever more filters of the paper's two layer sets, with the paper's scaling."""
    curves = {}
    for layers in PAPER_FILTERS:
        sets = beginnings(selections[layers]["paper"].ranked(mu))
        curves[layers] = ablation.measure(sets, digits, device, f"first filters of {layers}")
    return curves


def mu_of_as_many(figures: Mapping[str, Any]) -> float:
    """The μ with which All has the number of filters nearest the paper's, with the paper's scaling."""
    rows = figures["All"]["paper"]["by_mu"]
    nearest: float = min(rows, key=lambda row: abs(row["filters"] - PAPER_FILTERS["All"]))["mu"]
    return nearest


def draw(selections: Selections, digits: Digits, mu: float, device: str, out: Path) -> None:
    """Explains the first digit of each class, in one picture a scaling."""
    rows = torch.tensor([int((digits.labels == label).nonzero()[0]) for label in torch.unique(digits.labels)])
    inputs = digits.inputs(rows)
    for scaling, selection in selections["All"].items():
        selection.use(mu)
        explanation = selection.explainer.to(device).explain(inputs.to(device))
        picture = panel(PREPROCESSING.denormalize(inputs), explanation, CLASSES, cell=112)
        with atomic_file(out.with_name(f"{out.stem}_{scaling}.png")) as partial:
            picture.save(partial)


def parse_args() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True, help="folder that holds MNIST/raw")
    parser.add_argument("--weights", type=Path, help="the network's .safetensors, trained and kept there if missing")
    parser.add_argument("--epochs", type=int, default=5, help="of training (%(default)s)")
    parser.add_argument("--mu", type=float, default=10.0, help="μ in the paper's units (%(default)s)")
    parser.add_argument("--draws", type=int, default=5, help="random sets of filters beside each (%(default)s)")
    add_common_options(parser, "runs/benchmarks/mnist.json")
    return parser.parse_args()


def main() -> None:
    """Trains, selects, ablates and reconstructs."""
    args = parse_args()
    train, test = read_digits(args.root, "train"), read_digits(args.root, "t10k")
    network = trained_network(train, args.epochs, args.seed, args.device, args.weights)
    backbone = FrozenBackbone(network).to(args.device)
    everything = explainer_of(backbone, "All", "paper").to(args.device)
    started = time.perf_counter()
    responses = responses_of(everything, train, args.device, "responses")
    figures: dict[str, Any] = {"seconds_of_responses": time.perf_counter() - started}

    selections, figures["selection"] = select_all(backbone, responses, train.labels, args.mu)
    report_selection(figures["selection"])
    write_figures(args.out, args, figures)
    many = mu_of_as_many(figures["selection"])
    draw(selections, test, many, args.device, args.out)

    widths = {layer.name: layer.width for layer in everything.responses.layers}
    ablation = Ablation(backbone.model, widths, args.draws, args.seed)
    figures["ablation"] = ablate_all(ablation, selections, sorted({args.mu, many}), test, args.device)
    report_ablation(figures["ablation"])
    figures["curves"] = curves_of(ablation, selections, many, test, args.device)
    report_curves(figures["curves"], many)
    write_figures(args.out, args, figures)

    of_test = responses_of(everything, test, args.device, "test responses")
    splits = {"train": (responses, train.labels), "test": (of_test, test.labels)}
    figures["reconstruction"] = {
        layers: {name: reconstruction_curve(found, CURVE_MUS, splits) for name, found in of.items()}
        for layers, of in selections.items()
    }
    report_reconstruction(figures["reconstruction"])
    write_figures(args.out, args, figures)


if __name__ == "__main__":
    main()
