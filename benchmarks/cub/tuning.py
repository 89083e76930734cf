r"""Held-out faithfulness of the SRAE's and its rivals' settings, on training images alone.

    python -m benchmarks.cub.tuning --networks mobilenet_v2=runs/cub_mobilenet_classifier/classifier.safetensors

The first two batches of the training images are held out. The rule by which `settings` were chosen: the largest weight of the
reconstruction whose held-out F_reg is at most one and a half times NN's.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from benchmarks.common import add_common_options, add_networks, show, write_figures
from benchmarks.cub.fitting import APPROACHES, build, fit, quiet
from benchmarks.cub.measures import Birds, faithfulness_of
from vitrine.data.preprocessing import Preprocessing


def main() -> None:
    """Fits every setting once and prints the table."""
    command = argparse.ArgumentParser(prog="python -m benchmarks.cub.tuning", description=__doc__.splitlines()[0])
    command.add_argument(
        "--root", type=Path, default=Path("data/CUB_200_2011"), help="the official folder (%(default)s)"
    )
    command.add_argument(
        "--shards", type=Path, default=Path("data/cub"), help="its shards, made if absent (%(default)s)"
    )
    add_networks(command, "mobilenet_v2", "squeezenet1_0")
    command.add_argument("--approaches", nargs="+", choices=list(APPROACHES), default=["nn", "srae", "sae"])
    command.add_argument("--betas", type=float, nargs="+", default=[0.2, 1.0, 5.0, 20.0], help="(0.2 1 5 20)")
    command.add_argument("--options", type=json.loads, default={}, help="further options of the module, as JSON")
    command.add_argument(
        "--classes", type=int, default=6, help="heads that are fitted, of the first classes (%(default)s)"
    )
    command.add_argument("--epochs", type=int, default=60, help="of every fit (%(default)s)")
    command.add_argument("--size", type=int, default=224, help="side of the networks' input (%(default)s)")
    add_common_options(command, "runs/benchmarks/cub_tuning.json")
    args = command.parse_args()
    quiet()
    train = Birds.read(args.root, args.shards, "train", Preprocessing(args.size, round(args.size * 256 / 224)))
    # Images come in an order of their own, not class by class.
    kept, held_out = Birds(train.batches[2:], train.classes), Birds(train.batches[:2], train.classes)
    results: list[dict[str, Any]] = []
    for network in args.networks:
        for name in args.approaches:
            for beta in args.betas if APPROACHES[name].options.get("objective") != "nn" else [0.0]:
                pl.seed_everything(args.seed, verbose=False)
                options = {"beta": beta, "explained_classes": list(range(args.classes)), **args.options}
                explainer = fit(
                    build(network, APPROACHES[name], kept, args.size, **options), kept, args.epochs, args.seed
                )
                found = {"network": network.name, "approach": name, "beta": beta}
                results.append(found | faithfulness_of(explainer, held_out))
                print(json.dumps(results[-1]), flush=True)
    rows = [
        [r["network"], r["approach"], f"{r['beta']:g}", f"{r['f_reg']:.3f}", f"{100 * r['f_cls']:.2f}"] for r in results
    ]
    show("held-out training images", ["network", "approach", "beta", "F_reg", "F_cls %"], rows)
    write_figures(args.out, args, {"results": results})


if __name__ == "__main__":
    main()
