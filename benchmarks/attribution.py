"""What attribution methods cost: against the plain gradient, against libraries that have the same method, and for K filters.

    python -m benchmarks.attribution --networks squeezenet1_0 resnet18

Each figure is the median over rounds of a ratio of two times that were taken side by side in the same round. Random weights
and images unless a file of weights is named; times do not depend on them. Prints tables and writes one JSON.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from benchmarks import library_calls as libraries
from benchmarks.common import add_common_options, add_networks, machine, show, write_figures
from vitrine.attribution import (
    CAM,
    LRP,
    RISE,
    Deconvnet,
    ExcitationBackprop,
    ExtremalPerturbation,
    GradCAM,
    GradCAMPlusPlus,
    GuidedBackprop,
    GuidedGradCAM,
    IntegratedGradients,
    LayerCAM,
    MeaningfulPerturbation,
    Method,
    Occlusion,
    Saliency,
    ScoreCAM,
    SmoothGrad,
    UpsampledActivation,
)

Run = Callable[[], object]
TARGET = 3
K = 10


class Case(NamedTuple):
    """A method, the library call that gives the same, and whether a call takes so long that batch 1 must do."""

    make: Callable[[nn.Module, str], Method]
    by_library: Callable[[nn.Module, str, Tensor], Run] | None = None
    slow: bool = False
    channel: bool = False


CASES: Mapping[str, Case] = {
    "Saliency": Case(lambda m, _: Saliency(m), libraries.saliency),
    "Deconvnet": Case(lambda m, _: Deconvnet(m), libraries.deconvnet),
    "GuidedBackprop": Case(lambda m, _: GuidedBackprop(m), libraries.guided_backprop),
    "GuidedBackprop, stride one": Case(lambda m, _: GuidedBackprop(m, stride_one=True)),
    "ExcitationBackprop": Case(lambda m, _: ExcitationBackprop(m), libraries.excitation_backprop),
    "ExcitationBackprop, contrastive": Case(lambda m, _: ExcitationBackprop(m, contrastive=True)),
    "LRP, attn": Case(lambda m, _: LRP(m, composite="attn")),
    "LRP, attn, constant attention": Case(
        lambda m, _: LRP(m, composite="attn", attention="constant"), libraries.lxt_relevance
    ),
    "UpsampledActivation": Case(UpsampledActivation, channel=True),
    "CAM": Case(lambda m, _: CAM(m)),
    "GradCAM": Case(GradCAM, libraries.grad_cam),
    "GradCAM (pytorch-grad-cam)": Case(GradCAM, libraries.grad_cam_of("GradCAM")),
    "GradCAMPlusPlus": Case(GradCAMPlusPlus, libraries.grad_cam_of("GradCAMPlusPlus")),
    "LayerCAM": Case(LayerCAM, libraries.grad_cam_of("LayerCAM")),
    "GuidedGradCAM": Case(GuidedGradCAM, libraries.guided_grad_cam),
    "SmoothGrad, 10 samples": Case(lambda m, _: SmoothGrad(m, n_samples=10), libraries.smooth_grad, slow=True),
    "IntegratedGradients, 10 steps": Case(
        lambda m, _: IntegratedGradients(m, steps=10), libraries.integrated_gradients, slow=True
    ),
    "Occlusion, 56 px": Case(lambda m, _: Occlusion(m, window=56, stride=56), libraries.occlusion, slow=True),
    "ScoreCAM": Case(ScoreCAM, libraries.grad_cam_of("ScoreCAM"), slow=True),
    "RISE, 100 masks": Case(lambda m, _: RISE(m, n_samples=100, internal_batch_size=16), slow=True),
    "MeaningfulPerturbation, 10 iterations": Case(lambda m, _: MeaningfulPerturbation(m, iterations=10), slow=True),
    "ExtremalPerturbation, 10 iterations": Case(lambda m, _: ExtremalPerturbation(m, iterations=10), slow=True),
}

FILTER_METHODS: Mapping[str, type[Method]] = {
    "Saliency": Saliency,
    "GuidedBackprop": GuidedBackprop,
    "ExcitationBackprop": ExcitationBackprop,
}


def plain_gradient(model: nn.Module, images: Tensor) -> Run:
    """The gradient of a logit at the pixels of a model whose parameters ask for none: what a method cannot do without."""

    def run() -> Tensor:
        pixels = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(pixels)[:, TARGET].sum(), pixels)
        return gradient

    return run


def seconds(run: Run, device: str) -> float:
    """Of one call, with what it has queued on the device."""
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def side_by_side(runs: Mapping[str, Run], rounds: int, device: str, title: str) -> dict[str, list[float]]:
    """Seconds of each run in each round, after one round that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in track(range(rounds + 1), title, console=Console(stderr=True), transient=True):
        for name, run in runs.items():
            taken = seconds(run, device)
            if number:
                times[name].append(taken)
    return times


def ratio(times: Mapping[str, list[float]], name: str, base: str) -> float:
    """The median over rounds."""
    return statistics.median(a / b for a, b in zip(times[name], times[base], strict=True))


def method_runs(case: Case, model: nn.Module, layer: str, images: Tensor) -> dict[str, Run]:
    """The plain gradient, the method, and the library's call where there is one."""
    method = case.make(model, layer)
    explained = {"channel": TARGET} if case.channel else {"target": TARGET}
    runs: dict[str, Run] = {"gradient": plain_gradient(model, images)}
    runs["method"] = lambda: method.attribute(images, **explained)
    if case.by_library is not None:
        runs["library"] = case.by_library(model, layer, images)
    return runs


def compare_methods(args: argparse.Namespace, name: str, model: nn.Module, layer: str) -> list[dict[str, Any]]:
    """One row a method and batch size."""
    rows = []
    for batch in args.batches:
        images = torch.randn(batch, 3, args.size, args.size, device=args.device)
        for title, case in CASES.items():
            if (case.slow and batch > 1) or (args.methods and not any(word in title for word in args.methods)):
                continue
            runs = method_runs(case, model, layer, images)
            times = side_by_side(runs, args.rounds, args.device, f"{name}, {title}, batch {batch}")
            rows.append(
                {
                    "method": title,
                    "batch": batch,
                    "images/s": batch / statistics.median(times["method"]),
                    "over gradient": ratio(times, "method", "gradient"),
                    "over library": ratio(times, "method", "library") if "library" in times else None,
                }
            )
    return rows


def compare_filters(args: argparse.Namespace, name: str, model: nn.Module, layer: str) -> list[dict[str, Any]]:
    """K filters of one image in one call, against one filter and against K calls."""
    rows, image = [], torch.randn(1, 3, args.size, args.size, device=args.device)
    channels = torch.arange(K)[None]
    for title, kind in FILTER_METHODS.items():
        method = kind(model, layer)
        runs: dict[str, Run] = {
            "one": lambda method=method: method.attribute(image, channel=0),  # type: ignore[misc]
            "together": lambda method=method: method.attribute(image, channel=channels),  # type: ignore[misc]
            "apart": lambda method=method: [method.attribute(image, channel=k) for k in range(K)],  # type: ignore[misc]
        }
        times = side_by_side(runs, args.rounds, args.device, f"{name}, {title}, {K} filters")
        rows.append(
            {
                "method": title,
                f"{K} filters over 1": ratio(times, "together", "one"),
                f"{K} filters over {K} calls": ratio(times, "together", "apart"),
            }
        )
    return rows


LAYERS = {"squeezenet1_0": "features.12", "resnet18": "layer4", "mobilenet_v2": "features", "vit_b_16": "encoder.ln"}


def report(name: str, rows: list[dict[str, Any]]) -> None:
    """Prints a table of what was measured."""
    cells = [["–" if value is None else f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()]
             for row in rows]  # fmt: skip
    show(f"{name} ({machine()})", list(rows[0]), cells)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attribution", description=__doc__.splitlines()[0])
    add_networks(parser, "squeezenet1_0", "resnet18")
    parser.add_argument("--layer", help="target layer (the last map of the networks named by default)")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16], help="batch sizes (1 8 16)")
    parser.add_argument("--methods", nargs="*", default=[], help="only those whose names hold one of these words")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (%(default)s)")
    add_common_options(parser, "runs/benchmarks/attribution.json")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    figures: dict[str, Any] = {}
    for network in args.networks:
        model = network.build(args.device).requires_grad_(requires_grad=False)
        layer = args.layer or LAYERS[network.name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' own, on hooks and gradients
            found = {"methods": compare_methods(args, network.name, model, layer)}
            found["filters"] = compare_filters(args, network.name, model, layer)
        figures[network.name] = found
        for rows in found.values():
            if rows:
                report(network.name, rows)
        write_figures(args.out, args, {"figures": figures})


if __name__ == "__main__":
    main()
