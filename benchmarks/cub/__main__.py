r"""Faithfulness, orthogonality, locality and masked accuracy of SRAE and what it is compared with, on CUB-200-2011.

The tables of Qi, Khorram and Li (2018):

    python -m benchmarks.cub --root data/CUB_200_2011 --networks \
        mobilenet_v2=runs/cub_mobilenet_classifier/classifier.safetensors \
        squeezenet1_0=runs/cub_squeezenet_classifier/classifier.safetensors

Networks are those that train.py fine-tunes with configs/cub_*_classifier.yaml. What was measured is kept under --work, one
file a network, approach and seed, so that a run goes on where it stood and several runs share the work. Prints tables, writes
one JSON.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from rich.console import Console
from safetensors.torch import load_file

from benchmarks.common import NamedWeights, add_common_options, add_networks, write_figures
from benchmarks.cub.fitting import APPROACHES, LASSO_ALPHAS, Approach, build, explainer_of, fit, quiet
from benchmarks.cub.measures import Birds, faithfulness_of, measure
from benchmarks.cub.tables import show_tables
from vitrine.core.atomic_io import atomic_file
from vitrine.data.preprocessing import Preprocessing
from vitrine.explainers.base import HEADS_NAME
from vitrine.explainers.srae.x_features import XFeatureExplainer


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.cub", description=__doc__.splitlines()[0])
    command.add_argument(
        "--root", type=Path, default=Path("data/CUB_200_2011"), help="the official folder (%(default)s)"
    )
    command.add_argument(
        "--shards", type=Path, default=Path("data/cub"), help="its shards, made if absent (%(default)s)"
    )
    command.add_argument(
        "--work", type=Path, default=Path("runs/benchmarks/cub"), help="what was measured (%(default)s)"
    )
    add_networks(command, "mobilenet_v2", "squeezenet1_0")
    command.add_argument("--approaches", nargs="+", choices=list(APPROACHES), default=list(APPROACHES), help="(all)")
    command.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of heads and order (0 1 2)")
    command.add_argument("--epochs", type=int, default=100, help="of every fit (%(default)s)")
    command.add_argument("--size", type=int, default=224, help="side of the networks' input (%(default)s)")
    command.add_argument("--every", type=int, default=1, help="draws every so many test batches only (%(default)s)")
    add_common_options(command, "runs/benchmarks/cub.json")
    return command


def main() -> None:
    """Measures what is not there yet, and prints the tables."""
    args = parser().parse_args()
    quiet()
    preprocessing = Preprocessing(args.size, round(args.size * 256 / 224))
    results: dict[str, Any] = {}
    for network in args.networks:
        birds: dict[str, Birds] = {}
        wanted = [
            (a, seed) for a in args.approaches for seed in (args.seeds if APPROACHES[a].seeded else args.seeds[:1])
        ]
        for name, seed in wanted:
            path = args.work / network.name / f"{name}-{seed}.json"
            if not path.is_file():
                birds = birds or {
                    split: Birds.read(args.root, args.shards, split, preprocessing) for split in ("train", "test")
                }
                Console(stderr=True).print(f"{network.name}: {APPROACHES[name].title}, seed {seed}")
                figures = one_run(args, network, APPROACHES[name], seed, birds, preprocessing)
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic_file(path) as partial:
                    partial.write_text(json.dumps(figures, indent=1), encoding="utf-8")
            results.setdefault(network.name, {}).setdefault(name, {})[str(seed)] = json.loads(
                path.read_text(encoding="utf-8")
            )
    show_tables(results)
    write_figures(args.out, args, {"results": results})


def one_run(
    args: argparse.Namespace,
    network: Any,
    approach: Approach,
    seed: int,
    birds: dict[str, Birds],
    preprocessing: Preprocessing,
) -> dict[str, Any]:
    """Fits and measures one approach with one seed."""
    pl.seed_everything(seed, verbose=False)
    train, test = birds["train"], birds["test"]
    alphas = LASSO_ALPHAS if approach.options.get("kind") == "lasso" else ()
    table = []
    for alpha in alphas:
        explainer = fit(build(network, approach, train, args.size, alpha=alpha), train, 1, seed)
        used = float((explainer.heads.get_buffer("weights") != 0).sum(dim=1).float().mean())
        reached = {part: faithfulness_of(explainer, birds[part]) for part in ("train", "test")}
        table.append({"alpha": alpha, "dimensions": used} | reached)
    explainer = fitted(args, network, approach, seed, train)
    figures: dict[str, Any] = measure(explainer, train, test, preprocessing, masked=approach.masked, every=args.every)
    return figures | ({"alphas": table} if table else {})


def fitted(
    args: argparse.Namespace, network: NamedWeights, approach: Approach, seed: int, train: Birds
) -> XFeatureExplainer:
    """The approach's explainer: fitted and kept, or with the heads of the approach whose fit it takes over."""
    module = build(network, approach, train, args.size)
    source = APPROACHES[approach.fit_of] if approach.fit_of else approach
    kept = args.work / network.name / f"{source.title.replace(', ', '_')}-{seed}"
    if source is approach:
        explainer = fit(module, train, approach.epochs or args.epochs, seed)
        explainer.save(kept, bundle_backbone=False)
        return explainer
    if not (kept / HEADS_NAME).is_file():
        raise FileNotFoundError(f"{kept} does not exist; measure the approach {approach.fit_of} first.")
    explainer = explainer_of(module)
    explainer.load_head_state(load_file(kept / HEADS_NAME))
    return explainer.eval()


if __name__ == "__main__":
    main()
