"""All that is to be known of one GPU, in one run: tests, extraction, heads, inversion masks and attribution methods.

    python -m benchmarks.gpu --minutes 10
    python -m benchmarks.gpu --device cpu --tiny

The parts run one after the other, the figures are written after each, and what would begin after --minutes is left out and
said. Shares of peak are of the rate that a large product of bfloat16 matrices reaches in the same run. Weights and images are
random; times do not depend on them. With --tiny, sizes are such that a CPU tries every part in about two minutes; its figures
say nothing.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import machine, show, write_figures
from benchmarks.rounds import ratio, side_by_side
from benchmarks.srae_scale.fitting import fit_ours, made_module
from benchmarks.srae_scale.problem import BFLOAT16, Batches, Settings, made_problem
from vitrine.attribution import InversionMask
from vitrine.backbones.frozen import FrozenBackbone

Figures = dict[str, Any]
ROUNDS = 3


class Sizes(NamedTuple):
    """How large each part is."""

    matrix: int
    backbone: str
    tap: str
    images: int
    image_size: int
    rows: int
    features: int
    hidden: tuple[int, ...]
    inversion_network: str
    inverted: int
    steps: tuple[int, int]
    explained: tuple[int, ...]
    compiler: str
    """Backend of torch.compile."""


FULL = Sizes(8192, "resnet50", "layer4", 256, 224, 16384, 4096, (800, 100), "vgg19", 32, (10, 70), (1, 32), "inductor")
TINY = Sizes(128, "squeezenet1_1", "features.12", 2, 64, 64, 32, (16,), "squeezenet1_1", 2, (1, 2), (1,), "eager")


def seconds_of(run: Callable[[], object], device: str) -> float:
    """Of one call: the median of some rounds, after one that warms up."""
    taken = sorted(side_by_side({"run": run}, ROUNDS, device)["run"])
    return taken[len(taken) // 2]


def peak_rate(sizes: Sizes, device: str) -> float:
    """FLOP/s of a product of bfloat16 matrices."""
    left, right = (torch.randn(sizes.matrix, sizes.matrix, device=device).to(torch.bfloat16) for _ in range(2))
    return 2 * sizes.matrix**3 / seconds_of(lambda: [left @ right for _ in range(10)], device) * 10


def tests(_: Sizes, device: str, limit: float) -> Figures:
    """The tests of devices: what the GPU computes is what the CPU computes."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "tests/test_devices.py",
        "--device",
        device,
    ]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=limit)  # noqa: S603  # our own tests
    return {"status": done.returncode, "summary": done.stdout.strip().splitlines()[-12:]}


def forward_flops(network: nn.Module, images: Tensor) -> int:
    """Of one forward pass."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(images)
    return int(counter.get_total_flops())


def extraction(sizes: Sizes, device: str, _: float) -> Figures:
    """Images a second of the frozen backbone with a tap, and the share of peak, by precision, layout and compilation."""
    backbone = FrozenBackbone(sizes.backbone).to(device)
    images = torch.randn(sizes.images, 3, sizes.image_size, sizes.image_size, device=device)
    flops, peak = forward_flops(backbone.model, images), peak_rate(sizes, device)
    compiled = torch.compile(backbone.model, backend=sizes.compiler)
    last = images.contiguous(memory_format=torch.channels_last)
    runs: dict[str, Callable[[], object]] = {
        "float32": lambda: backbone(images, taps=[sizes.tap]),
        "bf16": lambda: under_bf16(device, lambda: backbone(images, taps=[sizes.tap])),
        "bf16, channels last": lambda: under_bf16(device, lambda: backbone(last, taps=[sizes.tap])),
        "bf16, channels last, bare network": lambda: under_bf16(device, lambda: backbone.model(last)),
        "bf16, channels last, bare network, compiled": lambda: under_bf16(device, lambda: compiled(last)),
    }
    with torch.no_grad():
        times = side_by_side(runs, ROUNDS, device, "extraction")
    best = {name: min(found) for name, found in times.items()}
    rows = {name: {"images/s": sizes.images / one, "share of peak": flops / one / peak} for name, one in best.items()}
    bare = "bf16, channels last, bare network"
    return {"peak TFLOP/s": peak / 1e12, "ways": rows, "tap / bare": ratio(times, "bf16, channels last", bare)}


def under_bf16(device: str, run: Callable[[], object]) -> object:
    """A call under autocast."""
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        return run()


def heads(sizes: Sizes, device: str, _: float) -> Figures:
    """Samples a second of a group of 16 SRAE heads fitted by the trainer in bf16, and the share of peak."""
    settings = Settings(
        features=sizes.features,
        hidden=sizes.hidden,
        rows=sizes.rows,
        held_out=16,
        batch_size=min(sizes.rows, 1024),
        device=device,
    )
    batches = Batches(made_problem(settings, 16).train, settings, epochs=2, warm=2)
    module = made_module(BFLOAT16, 16, range(16), settings)
    seconds = fit_ours(module, BFLOAT16, batches, settings) / 2
    parameters = sum(value.numel() for value in module.parameters())
    rate = (
        6 * parameters * sizes.rows / seconds
    )  # a product forward and two backward, each of a multiplication and an addition
    return {"samples/s": sizes.rows / seconds, "TFLOP/s": rate / 1e12, "share of peak": rate / peak_rate(sizes, device)}


def inversion(sizes: Sizes, device: str, _: float) -> Figures:
    """Seconds an image of the paper's inversion mask."""
    network = FrozenBackbone(sizes.inversion_network).to(device).model
    method = InversionMask(
        network, inversion_steps=sizes.steps[0], class_steps=sizes.steps[1], internal_batch_size=sizes.inverted
    )
    images = torch.randn(sizes.inverted, 3, sizes.image_size, sizes.image_size, device=device)
    target = torch.zeros(sizes.inverted, dtype=torch.long, device=device)
    found = {}
    for name, context in (
        ("float32", contextlib.nullcontext()),
        ("bf16", torch.autocast(torch.device(device).type, torch.bfloat16)),
    ):
        with context:
            found[name] = seconds_of(lambda: method.attribute(images, target=target), device) / sizes.inverted
    return {f"seconds an image, {name}": value for name, value in found.items()} | {"goal": "≤ 0.1 s"}


def methods(sizes: Sizes, device: str, limit: float) -> Figures:
    """Images a second of each attribution method, and its time over the gradient's and the libraries'."""
    out = Path("runs/benchmarks/gpu_attribution.json")
    command = [
        sys.executable, "-m", "benchmarks.attribution", "--networks", sizes.backbone, "--layer", sizes.tap,
        "--rounds", str(ROUNDS), "--size", str(sizes.image_size), "--batches", *map(str, sizes.explained),
        "--device", device, "--out", str(out),
    ]  # fmt: skip
    if sizes is TINY:
        command += ["--methods", "Saliency", "LayerCAM"]
    subprocess.run(command, check=True, capture_output=True, timeout=limit)  # noqa: S603  # our own benchmark
    found: Figures = json.loads(out.read_text(encoding="utf-8"))["figures"]
    return found


PARTS: Mapping[str, Callable[[Sizes, str, float], Figures]] = {
    "tests": tests,
    "extraction": extraction,
    "heads": heads,
    "inversion": inversion,
    "methods": methods,
}


def measured(part: str, sizes: Sizes, device: str, left: float) -> Figures:
    """The figures of a part, or why there are none."""
    if left <= 0:
        return {"left out": "no time was left"}
    began = time.perf_counter()
    try:
        figures = PARTS[part](sizes, device, left)
    except (RuntimeError, ValueError, subprocess.SubprocessError) as error:
        figures = {"failed": f"{type(error).__name__}: {error}"}
    return figures | {"seconds": time.perf_counter() - began}


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="(%(default)s)")
    parser.add_argument("--minutes", type=float, default=10.0, help="after which nothing more begins (%(default)s)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument("--tiny", action="store_true", help="sizes for a CPU, to try the script")
    parser.add_argument("--seed", type=int, default=0, help="of weights and images (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/gpu.json"), help="the figures (%(default)s)")
    args = parser.parse_args()
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("torch sees no GPU; --device cpu --tiny tries the script without one.")
    torch.manual_seed(args.seed)
    sizes, began, figures = TINY if args.tiny else FULL, time.perf_counter(), dict[str, Any]()
    for part in args.parts:
        left = args.minutes * 60 - (time.perf_counter() - began)
        figures[part] = measured(part, sizes, args.device, left)
        write_figures(args.out, args, {"figures": figures})
        show(f"{part} ({machine()})", ["", ""], [[name, json.dumps(value)] for name, value in figures[part].items()])
    if failed := [name for name, found in figures.items() if "failed" in found or found.get("status")]:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
