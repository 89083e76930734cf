"""What the scaling of filter responses selects: how many filters a class, of which layers, and how well they reconstruct it.

    python -m benchmarks.response_scaling --shards data/cub --networks squeezenet1_0=squeezenet1_0.pth

The responses of the training images are computed once; for each scaling the μ-Lasso is solved for all classes and several μ,
and the class of highest reconstruction is compared with the label on test images. Prints a table a network and writes one
JSON; --save-responses also keeps the responses of the training images for benchmarks.mu_lasso.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader

from benchmarks.common import NamedWeights, add_common_options, add_networks, show, write_figures
from datamodules.samples import collate
from datamodules.shard_images import ShardImages
from datamodules.split import Split
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.atomic_io import atomic_file
from vitrine.data.preprocessing import Preprocessing
from vitrine.filters.responses import FilterResponses
from vitrine.filters.scaling import SCALINGS, ResponseScaling, Scaling
from vitrine.metrics.faithfulness import ClassReconstruction
from vitrine.solvers import solve_mu_lasso_rows

MUS = {
    "paper": (1.0, 10.0, 100.0),
    "width": (0.1, 1.0, 10.0),
    "unit": (1.0, 10.0, 100.0),
    "standardized": (0.1, 0.3, 1.0),
}
"""μ bounds the weights of scaled responses, so that each scaling has values of its own."""

NARROW = 64


class Responses(NamedTuple):
    """Of the images of one split."""

    x: Tensor
    """(N, m)."""
    labels: Tensor
    """(N, C) one-hot."""


def responses_of(network: FilterResponses, folder: Path, device: str) -> Responses:
    """Streams a split through the network once."""
    split = Split.read(folder)
    stream = DataLoader(ShardImages(split, Preprocessing()), 32, collate_fn=collate)
    x, labels = [], []
    for batch in track(stream, f"responses to {folder}", total=-(-split.index.count // 32), transient=True):
        with torch.no_grad():
            x.append(network(batch["image"].to(device))["features"].cpu())
        labels.append(batch["label"])
    return Responses(torch.cat(x), torch.nn.functional.one_hot(torch.cat(labels), len(split.index.classes)).double())


def measure(scaling: Scaling, network: FilterResponses, train: Responses, test: Responses) -> list[dict[str, Any]]:
    """A row of figures for each μ, all from one path."""
    x = train.x.double()
    affine = ResponseScaling(network.num_filters, scaling)
    affine.fit(len(x), x.sum(dim=0), x.square().sum(dim=0), network.widths())
    affine = affine.double()
    intercept = train.labels.mean(dim=0) if affine.has_intercept else torch.zeros_like(train.labels[0])
    mus = MUS[scaling]
    solution = solve_mu_lasso_rows(affine(x), train.labels - intercept, mus[-1])
    rows = []
    for mu in mus:
        at = solution.at(mu)
        scores = affine(test.x.double()) @ at.weights + intercept
        reconstruction = ClassReconstruction(scores.shape[1])
        reconstruction.update(scores.float(), test.labels)
        selected = at.weights != 0
        rows.append(
            {
                "scaling": scaling,
                "mu": mu,
                "filters_a_class": float(selected.sum(dim=0).double().mean()),
                "filters": int(selected.any(dim=1).sum()),
                "share_in_narrow_layers": float(selected[network.widths() <= NARROW].sum() / selected.sum()),
                "test_accuracy": float((scores.argmax(dim=1) == test.labels.argmax(dim=1)).double().mean()),
                "test_auc": float(reconstruction.compute()["reconstruction_auc"]),
                "largest_relative_gap": float(at.relative_gap.max()),
            }
        )
    return rows


def run(named: NamedWeights, args: argparse.Namespace) -> list[dict[str, Any]]:
    """All scalings on one network; of an objective of 0, every label fitted, a gap has no share."""
    backbone = FrozenBackbone(named.name, named.weights).to(args.device)
    network = FilterResponses(backbone, args.layers).to(args.device)
    train, test = (responses_of(network, args.shards / split, args.device) for split in ("train", "test"))
    if args.save_responses:
        with atomic_file(args.save_responses / f"{named.name}.npz") as partial:
            np.savez(partial, x=train.x.numpy(), labels=train.labels.numpy())
    rows = [row for scaling in SCALINGS for row in measure(scaling, network, train, test)]
    by_chance = float((network.widths() <= NARROW).double().mean())
    title = (
        f"{named.name}: {network.num_filters} filters, {len(network.layers)} layers ({args.layers}), {len(train.x)} training,"
        f" {len(test.x)} test images; {100 * by_chance:.0f} % of the filters are in layers of {NARROW} channels or fewer"
    )
    columns = ["scaling", "μ", "filters a class", "distinct", f"in layers ≤ {NARROW}", "accuracy", "AUC", "gap"]
    show(title, columns, [_cells(row) for row in rows])
    return rows


def _cells(row: dict[str, Any]) -> list[str]:
    return [
        row["scaling"],
        f"{row['mu']:g}",
        f"{row['filters_a_class']:.1f}",
        str(row["filters"]),
        f"{100 * row['share_in_narrow_layers']:.0f} %",
        f"{100 * row['test_accuracy']:.0f} %",
        f"{row['test_auc']:.3f}",
        f"{row['largest_relative_gap']:.0e}" if row["largest_relative_gap"] < 1 else "(fits all)",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.response_scaling", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--shards", type=Path, required=True, help="folder with the splits train and test")
    parser.add_argument("--layers", choices=("all", "conv"), default="all", help="whose filters (%(default)s)")
    parser.add_argument(
        "--save-responses", type=Path, help="folder for x and labels of the training images, one .npz a net"
    )
    add_networks(parser, "squeezenet1_0")
    add_common_options(parser, "runs/response_scaling.json")
    args = parser.parse_args(arguments)
    figures = {named.name: run(named, args) for named in args.networks}
    write_figures(args.out, args, {"networks": figures})


if __name__ == "__main__":
    main()
