"""Whether fits that are killed and go on are those that were never stopped.

    python -m benchmarks.elastic --kills 20 --modules srae classifier mu_lasso_sgd predictor

Fits of ``train.py`` on a small flower set are ended at random steps by SIGKILL, SIGTERM or an exception, at once or a moment
later, while a checkpoint is written or the next step goes on; ``--ckpt_path auto`` goes on with them, until so many kills
are done. A chain is right where it ends with the weights of a fit that was never stopped, to the last bit. With --elastic,
each process after a kill has other ranks, workers and images a batch; there every sample must be seen once an epoch. Prints a
table and writes one JSON.
"""

import argparse
import itertools
import random
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from benchmarks.common import machine, show, write_figures
from benchmarks.elastic.chains import Chain, Settings, Way, repeats_and_gaps, run_chain
from benchmarks.small_runs import MODULES, WITHOUT_FIT, small_set

DEFAULT = ("srae", "srae_grouped", "mu_lasso_sgd", "predictor", "classifier")
MOST_CHAINS = 3
"""For each kill, where fits end before they are killed."""
ELASTIC_WAYS = tuple(Way(ranks, workers, batch) for ranks, workers, batch in itertools.product((1, 2), (0, 2), (5, 8)))


def chains_of(module: str, settings: Settings, args: argparse.Namespace, reference: Chain) -> Iterator[Chain]:
    """Chains of a module until there were enough kills."""
    way = reference.ways[0]
    epochs = reference.keys()
    steps = sum(-(-counts.total() // (way.batch * way.ranks)) for counts in epochs.values())
    kills = 0
    for number in itertools.count():
        if kills >= args.kills or number >= MOST_CHAINS * args.kills:
            return
        seed = args.seed * 100_003 + number
        ways = [way]
        if args.elastic:
            ways += random.Random(seed).sample(ELASTIC_WAYS, len(ELASTIC_WAYS))  # noqa: S311
        count = min(args.chain, args.kills - kills)
        chain = run_chain(module, f"{number:03d}", settings, ways, count, steps, seed)
        kills += len(chain.kills)
        yield chain
        if chain.error:
            return


def judged(chains: Sequence[Chain], reference: Chain) -> dict[str, Any]:
    """Counts over a module's chains."""
    expected = reference.keys()
    seen = [repeats_and_gaps(chain.keys(), expected) for chain in chains]
    kinds = [(kill.kind, code) for chain in chains for kill, code in zip(chain.kills, chain.codes, strict=True)]
    return {
        "chains": len(chains),
        "kills": len(kinds),
        "bit_equal": sum(not chain.error and chain.digest == reference.digest for chain in chains),
        "seen_too_often": sum(repeated for repeated, _ in seen),
        "never_seen": sum(lacking for _, lacking in seen),
        "exit_codes": {
            kind: sorted({code for of, code in kinds if of == kind}) for kind in sorted({k for k, _ in kinds})
        },
        "errors": [chain.error for chain in chains if chain.error],
        "details": [
            {
                "kills": [asdict(kill) for kill in chain.kills],
                "codes": chain.codes,
                "ways": [asdict(w) for w in chain.ways],
            }
            for chain in chains
        ],
    }


def measure(module: str, settings: Settings, args: argparse.Namespace) -> dict[str, Any]:
    """The counts of one module."""
    way = Way(args.ranks, args.workers, args.batch)
    reference = run_chain(module, "whole", settings, [way], 0, 0, args.seed)
    if reference.error:
        return {"error": reference.error}
    return judged(list(chains_of(module, settings, args, reference)), reference)


def _row(module: str, found: dict[str, Any], *, elastic: bool) -> list[str]:
    if "error" in found:
        return [module, found["error"][:70], "", "", "", "", ""]
    codes = "; ".join(f"{kind} {', '.join(map(str, of))}" for kind, of in found["exit_codes"].items())
    equal = "–" if elastic else str(found["bit_equal"])
    counts = [found[name] for name in ("seen_too_often", "never_seen")]
    return [module, str(found["kills"]), str(found["chains"]), equal, *map(str, counts), codes]


def main() -> None:
    """Runs what the options name."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choices = [name for name in MODULES if name not in WITHOUT_FIT]
    parser.add_argument(
        "--modules", nargs="+", default=list(DEFAULT), choices=choices, metavar="MODULE", help="(%(default)s)"
    )
    parser.add_argument("--kills", type=int, default=4, help="of each module (%(default)s)")
    parser.add_argument("--chain", type=int, default=3, help="kills of one fit at most (%(default)s)")
    parser.add_argument("--elastic", action="store_true", help="other ranks, workers and batches after each kill")
    parser.add_argument("--ranks", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--workers", type=int, default=0, help="of each rank (%(default)s)")
    parser.add_argument("--batch", type=int, default=8, help="images a rank (%(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--every", type=int, default=2, help="steps between checkpoints (%(default)s)")
    parser.add_argument("--views", type=int, default=10, help="of each flower (%(default)s)")
    parser.add_argument("--timeout", type=float, default=300, help="seconds of a process (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the kills (%(default)s)")
    parser.add_argument("--work", type=Path, help="new folder of the runs; a temporary one without it")
    parser.add_argument(
        "--out", type=Path, default=Path("runs/benchmark_elastic.json"), help="figures as JSON (%(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.work or Path(temporary)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        settings = Settings(folder, small_set(folder, args.views), args.epochs, args.every, args.timeout)
        modules = track(args.modules, "chains", console=Console(stderr=True), transient=True)
        found = {module: measure(module, settings, args) for module in modules}
    columns = ["module", "kills", "chains", "bit-equal", "seen too often", "never seen", "exit codes"]
    rows = [_row(module, counts, elastic=args.elastic) for module, counts in found.items()]
    show(f"fits that were killed and went on ({machine()})", columns, rows)
    write_figures(args.out, args, {"modules": found})


if __name__ == "__main__":
    main()
