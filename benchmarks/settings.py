"""What many settings of an SRAE cost in one pass over the data: nine settings of β and η, over one.

    python -m benchmarks.settings

A fit of nine settings (`SRAESettingsModule`) is timed beside a fit of one (`SRAEModule`) on the same batches, in three
cases: small heads on kept features, heads of the paper's size on kept features, and heads of the paper's size on images that
a network sees in every step. Features, images and weights are random. Each fit has a trainer of its own and passes over its
batches so often as the case says. Prints a table and writes one JSON.
"""

import argparse
import functools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from benchmarks.common import add_common_options, machine, quiet_trainer, show, silent_lightning, write_figures
from benchmarks.rounds import Seconds, ratio, side_by_side
from lightning_modules import SRAEModule, SRAESettingsModule
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining

SETTINGS = {"beta": [1.0, 5.0, 20.0], "eta": [0.1, 0.5, 2.0]}
ONE, NINE = "one", "nine"


@dataclass(frozen=True)
class Case:
    """What is fitted.

    Args:
        name: of the case.
        features: d, size of Z; that of MobileNetV2's last layer where images are streamed.
        hidden: widths of the encoders.
        classes: heads of a setting.
        steps: batches of an epoch.
        epochs: of a fit.
        side: of streamed images in pixels; features are kept without it.
        batch_size: samples of a batch.
    """

    name: str
    features: int
    hidden: tuple[int, ...]
    classes: int
    steps: int
    epochs: int
    side: int | None = None
    batch_size: int = 64


CASES = (
    Case("small heads, kept features", 64, (64, 16), 6, 8, 12),
    Case("heads of the paper's size, kept features", 1280, (800, 100), 4, 3, 1),
    Case("heads of the paper's size, images", 1280, (800, 100), 4, 4, 1, side=224),
)


def batches_of(case: Case, seed: int) -> list[Batch]:
    """Random samples."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(case.steps):
        labels = torch.randint(case.classes, (case.batch_size,), generator=generator)
        batch = Batch(key=[""] * case.batch_size, label=labels)
        if case.side is None:
            batch["features"] = torch.rand(case.batch_size, case.features, generator=generator)
            batch["logits"] = torch.randn(case.batch_size, case.classes, generator=generator)
        else:
            batch["image"] = torch.rand(case.batch_size, 3, case.side, case.side, generator=generator)
        found.append(batch)
    return found


def module_of(case: Case, name: str, seed: int) -> pl.LightningModule:
    """Heads at one setting or at all."""
    torch.manual_seed(seed)
    if case.side is None:
        arguments = {"features": case.features, "num_classes": case.classes}
        backbone = BackboneOptions("benchmarks.srae_scale.problem:Net", arguments=arguments)
        srae = SRAEOptions("features", "none", hidden=case.hidden, image_size=8)
    else:
        backbone = BackboneOptions("mobilenet_v2", num_classes=case.classes)
        srae = SRAEOptions("features", hidden=case.hidden, image_size=case.side)
    training = SRAETraining(positive_weight=1.0)
    return (
        SRAEModule(backbone, srae, training) if name == ONE else SRAESettingsModule(backbone, srae, SETTINGS, training)
    )


def fit(module: pl.LightningModule, batches: Sequence[Batch], case: Case, device: str) -> None:
    """Trains on the batches."""
    with silent_lightning():  # of the missing validation, and of heads that a few steps leave degenerate
        trainer = quiet_trainer(case.epochs, "gpu" if device == "cuda" else "cpu")
        trainer.fit(module, DataLoader(list(batches), batch_size=None))  # type: ignore[arg-type]


def seconds_of(case: Case, rounds: int, seed: int = 0, device: str = "cpu") -> Seconds:
    """Of a fit of one setting and of nine, in each round."""
    batches = batches_of(case, seed)
    runs = {name: functools.partial(fit, module_of(case, name, seed), batches, case, device) for name in (ONE, NINE)}
    return side_by_side(runs, rounds, device, case.name)


def smoke() -> Mapping[str, float]:
    """Nine fits one after the other over nine settings in one pass, for the regression guard."""
    times = seconds_of(replace(CASES[0], epochs=2), rounds=2)
    return {"settings: nine fits / one pass": 9 / ratio(times, NINE, ONE)}


def main(arguments: Sequence[str] | None = None) -> Mapping[str, Any]:
    """Measures the cases, and returns the figures."""
    args = parser().parse_args(arguments)
    figures: dict[str, Any] = {}
    rows = []
    for case in CASES[: args.cases]:
        smaller = replace(case, classes=args.classes or case.classes, hidden=tuple(args.hidden or case.hidden))
        times = seconds_of(smaller, args.rounds, args.seed, args.device)
        over = ratio(times, NINE, ONE)
        figures[case.name] = {"case": asdict(smaller), "seconds": times, "nine over one": over}
        medians = [f"{statistics.median(times[name]):.3f}" for name in (ONE, NINE)]
        rows.append([case.name, *medians, f"{over:.2f}", f"{9 / over:.1f}×", "met" if over <= 2 else "not met"])
    columns = ["", "one, s", "nine, s", "nine : one", "over nine fits", "≤ 2"]
    show(f"Nine settings in one pass ({machine()})", columns, rows)
    write_figures(args.out, args, figures)
    return figures


def parser() -> argparse.ArgumentParser:
    """The command line."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.settings", description=__doc__, allow_abbrev=False)
    options.formatter_class = argparse.RawDescriptionHelpFormatter
    options.add_argument("--cases", type=int, default=len(CASES), help="how many of the cases (%(default)s)")
    options.add_argument("--classes", type=int, help="heads of a setting (those of the case)")
    options.add_argument("--hidden", type=int, nargs="+", help="widths of the encoders (those of the case)")
    options.add_argument("--rounds", type=int, default=5, help="rounds of timing (%(default)s)")
    add_common_options(options, "runs/benchmarks/settings.json")
    return options


if __name__ == "__main__":
    main()
