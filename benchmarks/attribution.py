"""What attribution methods cost: against the plain gradient, against libraries that have the same method, and for K filters.

    python -m benchmarks.attribution --networks squeezenet1_0 resnet18
    python -m benchmarks.attribution --parts together --networks resnet18 --batches 16

Each figure is the median over rounds of a ratio of two times that were taken side by side in the same round. Random weights
and images unless a file of weights is named; times do not depend on them. Prints tables and writes one JSON.
"""

import argparse
import statistics
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.attribution_cases import CASES, CHEAP, FILTER_METHODS, Case, plain_gradient
from benchmarks.common import NamedWeights, add_common_options, add_networks, machine, show, write_figures
from benchmarks.library_calls import TARGET, Run
from benchmarks.rounds import ratio, side_by_side
from vitrine.attribution import Method
from vitrine.attribution.together import attribute_together

K = 10
SMOKE = (
    ("GuidedBackprop", "gradient"),
    ("ExcitationBackprop", "gradient"),
    ("LRP, epsilon", "gradient"),
    ("IntegratedGradients, 10 steps", "library"),
    ("Occlusion, 56 px", "library"),
)
"""Methods whose ratios are guarded, and what they are compared with."""
SMOKE_SIZE = 112
LAYERS = {"squeezenet1_0": "features.12", "resnet18": "layer4", "mobilenet_v2": "features", "vit_b_16": "encoder.ln"}
MIDDLE = {"squeezenet1_0": "features.5", "resnet18": "layer2", "mobilenet_v2": "features.6"}
"""Layers in the middle, of which filters are drawn too."""


def images_of(args: argparse.Namespace, batch: int) -> Tensor:
    """(B, 3, S, S) noise."""
    images = torch.randn(batch, 3, args.size, args.size, device=args.device)
    return images.contiguous(memory_format=torch.channels_last) if args.channels_last else images


def method_runs(case: Case, model: nn.Module, layer: str, images: Tensor) -> dict[str, Run]:
    """The plain gradient, the method, and the library's call where there is one."""
    method = case.make(model, layer)
    explained: dict[str, Any] = {"channel": TARGET} if case.channel else {"target": TARGET}
    runs: dict[str, Run] = {"gradient": plain_gradient(model, images)}
    runs["method"] = lambda: method.attribute(images, **explained)
    if case.by_library is not None:
        runs["library"] = case.by_library(model, layer, images)
    return runs


def compare_methods(args: argparse.Namespace, name: str, model: nn.Module, layer: str) -> list[dict[str, Any]]:
    """One row a method and batch size."""
    rows = []
    compiled: Any = torch.compile(model) if args.compile else None
    for batch in args.batches:
        images = images_of(args, batch)
        for title, case in CASES.items():
            if (case.slow and batch > 1) or (args.methods and not any(word in title for word in args.methods)):
                continue
            runs = method_runs(case, model, layer, images)
            if compiled is not None:
                runs["compiled"] = plain_gradient(compiled, images)
            times = side_by_side(runs, args.rounds, args.device, f"{name}, {title}, batch {batch}")
            rows.append(
                {
                    "method": title,
                    "batch": batch,
                    "images/s": batch / statistics.median(times["method"]),
                    "over gradient": ratio(times, "method", "gradient"),
                    "over library": ratio(times, "method", "library") if "library" in times else None,
                }
                | ({"over compiled gradient": ratio(times, "method", "compiled")} if "compiled" in times else {})
            )
    return rows


def filter_runs(kind: Any, model: nn.Module, layer: str, image: Tensor) -> dict[str, Run]:
    """One filter of an image, K filters in one call, and in K calls."""
    method, channels = kind(model, layer), torch.arange(K)[None]
    return {
        "one": lambda: method.attribute(image, channel=0),
        "together": lambda: method.attribute(image, channel=channels),
        "apart": lambda: [method.attribute(image, channel=k) for k in range(K)],
    }


def compare_filters(args: argparse.Namespace, name: str, model: nn.Module, layer: str) -> list[dict[str, Any]]:
    """K filters of one image in one call, against one filter, K calls, and a plain gradient through the whole network."""
    rows, image = [], images_of(args, 1)
    for drawn in dict.fromkeys((layer, MIDDLE.get(name, layer))):
        for title, kind in FILTER_METHODS.items():
            runs = filter_runs(kind, model, drawn, image) | {"gradient": plain_gradient(model, image)}
            times = side_by_side(runs, args.rounds, args.device, f"{name}, {title}, {K} filters of {drawn}")
            rows.append(
                {
                    "method": title,
                    "layer": drawn,
                    "1 filter over gradient": ratio(times, "one", "gradient"),
                    f"{K} filters over 1": ratio(times, "together", "one"),
                    f"{K} filters over {K} calls": ratio(times, "together", "apart"),
                }
            )
    return rows


def cheap_methods(model: nn.Module, layer: str, image: Tensor) -> dict[str, Method]:
    """The methods that can share a pass, but for those that refuse the network."""
    methods = {}
    for name, make in CHEAP.items():
        method = make(model, layer)
        with suppress(ValueError):
            method.attribute(image, TARGET)
            methods[name] = method
    return methods


def together_runs(methods: Mapping[str, Method], images: Tensor) -> dict[str, Run]:
    """Methods on the same images, by one pass that they share and each by itself, and a forward pass alone."""
    model = next(iter(methods.values())).model

    def forward() -> Tensor:
        with torch.no_grad():
            logits: Tensor = model(images)
        return logits

    return {
        "forward": forward,
        "together": lambda: attribute_together(methods, images, TARGET),
        "apart": lambda: [method.attribute(images, TARGET) for method in methods.values()],
    }


def compare_together(args: argparse.Namespace, name: str, model: nn.Module, layer: str) -> list[dict[str, Any]]:
    """The cheap methods together, over apart and over one forward pass."""
    rows = []
    for batch in args.batches:
        images = images_of(args, batch)
        methods = cheap_methods(model, layer, images[:1])
        times = side_by_side(together_runs(methods, images), args.rounds, args.device, f"{name}, together")
        over = {f"together over {other}": ratio(times, "together", other) for other in ("apart", "forward")}
        rows.append({"methods": len(methods), "batch": batch} | over)
    return rows


def smoke() -> Mapping[str, float]:
    """Small ratios for `benchmarks.smoke`: the plain gradient, a library or calls apart over ours."""
    found = {}
    torch.manual_seed(0)
    model = NamedWeights("squeezenet1_0", None).build("cpu").requires_grad_(requires_grad=False)
    layer, images = LAYERS["squeezenet1_0"], torch.randn(2, 3, SMOKE_SIZE, SMOKE_SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own, on hooks and gradients
        for title, other in SMOKE:
            runs = method_runs(CASES[title], model, layer, images[:1] if CASES[title].slow else images)
            times = side_by_side({one: runs[one] for one in ("method", other)}, 5)
            found[f"attribution: {other} / {title}"] = ratio(times, other, "method")
    times = side_by_side(filter_runs(FILTER_METHODS["GuidedBackprop"], model, layer, images[:1]), 3)
    found[f"attribution: {K} calls / {K} filters"] = ratio(times, "apart", "together")
    times = side_by_side(together_runs(cheap_methods(model, layer, images[:1]), images), 3)
    found["attribution: cheap methods apart / together"] = ratio(times, "apart", "together")
    return found


PARTS = {"methods": compare_methods, "filters": compare_filters, "together": compare_together}


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
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help=f"of {', '.join(PARTS)}")
    parser.add_argument(
        "--channels-last", action="store_true", help="network and images in memory format channels_last"
    )
    parser.add_argument("--compile", action="store_true", help="time the plain gradient compiled too (minutes)")
    parser.add_argument("--size", type=int, default=224, help="side of the input (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (%(default)s)")
    add_common_options(parser, "runs/benchmarks/attribution.json")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    figures: dict[str, Any] = {}
    for network in args.networks:
        model = network.build(args.device).requires_grad_(requires_grad=False)
        if args.channels_last:
            model = model.to(memory_format=torch.channels_last)
        layer = args.layer or LAYERS[network.name]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the libraries' own, on hooks and gradients
            found = {part: PARTS[part](args, network.name, model, layer) for part in args.parts}
        figures[network.name] = found
        for rows in found.values():
            if rows:
                report(network.name, rows)
        write_figures(args.out, args, {"figures": figures})


if __name__ == "__main__":
    main()
