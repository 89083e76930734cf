"""What works on which network: networks × attribution methods and explainers, and how much relevance and mass is conserved.

    python -m benchmarks.networks --networks resnet18 swin_t

Every network has random weights and explains an image of noise. A refusal is a number, whose sentence stands below the
table; any other error is a fault. The relevance of LRP is in units of the logit, the mass of excitation backprop starts at 1.
Both are in float64, without the network's added constants: biases, running means, position embeddings, class tokens.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import torchvision
from rich.progress import track
from torch import nn

from benchmarks.common import add_common_options, machine, show, write_figures
from vitrine.attribution import LRP, ExcitationBackprop
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.atomic_io import atomic_file
from vitrine.explainers.capabilities import CapabilityTrials, Trial

tv: Any = torchvision.models


class Network(NamedTuple):
    """How a network is built, and the side of its images in pixels."""

    build: Callable[[], nn.Module]
    size: int


def _of_timm(name: str, size: int, **options: Any) -> Network:
    return Network(lambda: timm.create_model(name, **options), size)


NETWORKS = {
    "resnet18": Network(tv.resnet18, 64),
    "densenet121": Network(tv.densenet121, 64),
    "mobilenet_v2": Network(tv.mobilenet_v2, 64),
    "mobilenet_v3_small": Network(tv.mobilenet_v3_small, 64),
    "efficientnet_b0": Network(tv.efficientnet_b0, 64),
    "regnet_y_400mf": Network(tv.regnet_y_400mf, 64),
    "convnext_atto": _of_timm("convnext_atto", 64),
    "convnextv2_atto": _of_timm("convnextv2_atto", 64),
    "swin_t": Network(tv.swin_t, 64),
    "swinv2_tiny": _of_timm("swinv2_tiny_window8_256", 64, img_size=64, window_size=4),
    "maxvit_pico": _of_timm("maxvit_rmlp_pico_rw_256", 64, img_size=64),
    "vit_b_16": Network(lambda: tv.vit_b_16(image_size=64), 64),
    "vit_tiny": _of_timm("vit_tiny_patch16_224", 64, img_size=64),
    "deit_tiny_distilled": _of_timm("deit_tiny_distilled_patch16_224", 64, img_size=64),
    "dinov2_small_reg4": _of_timm("vit_small_patch14_reg4_dinov2", 56, img_size=56, num_classes=10),
    "eva02_tiny": _of_timm("eva02_tiny_patch14_224", 56, img_size=56),
    "xcit_nano": _of_timm("xcit_nano_12_p16_224", 64),
    "mixer_s32": _of_timm("mixer_s32_224", 64, img_size=64),
}

CONSTANTS = ("bias", "running_mean", "_token", "pos_embed", "pos_embedding", "beta", "token_projection.weight")
"""What ends the names of parameters that are added or joined to what is computed of the image."""
SCALES = ("gamma", "gamma1", "gamma2", "gamma3", "gamma_1", "gamma_2", "layer_scale", "running_var")


def without_constants(model: nn.Module) -> nn.Module:
    """The model in float64, with its added constants at 0, and scales and weights that begin at about 0 drawn anew."""
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if name.endswith(CONSTANTS) and "rope" not in name:
            value.data.zero_()
        elif name.endswith(SCALES):
            nn.init.uniform_(value.data, 0.5, 1.5)
        elif value.is_floating_point() and value.ndim > 1 and not value.any():
            nn.init.normal_(value.data, std=0.1)
        value.requires_grad = False
    return model.double().eval()


def try_all(network: Network, device: str) -> tuple[dict[str, Trial], dict[str, Trial]]:
    """Attribution methods, and explainers with their choices, on a network, whose class is ``NETWORK`` in the sentences."""
    model = network.build().eval().to(device)
    trials = CapabilityTrials(FrozenBackbone(model), network.size)
    layer = trials.defaults().target_layer or trials.layers()[-1].layer
    methods, explainers = (
        {name: replace(trial, reason=trial.reason.replace(type(model).__name__, "NETWORK")) for name, trial in tried}
        for tried in (trials.methods(layer), trials.explainers(layer))
    )
    return methods, explainers


def conserved(network: Network, device: str) -> dict[str, float]:
    """Relevance of the pixels over the logit, of the class with the largest, and mass that arrives at the pixels."""
    model = without_constants(network.build()).to(device)
    images = 3 * torch.randn(1, 3, network.size, network.size, dtype=torch.double, device=device)
    with torch.no_grad():
        logit, target = (float(one) for one in model(images).flatten().max(dim=0))
    relevance = LRP(model, attention="constant").attribute(images, int(target)).sum()
    mass = ExcitationBackprop(model)
    maps = mass.attribute(images, int(target))
    return {
        "logit": logit,
        "LRP: relevance / logit": float(relevance) / logit,
        "EBP: mass that arrives": float(maps.sum()),
        "EBP: mass_lost": float(mass.mass_lost(maps)),
    }


class Refusals:
    """Cells of a table of trials, and the sentences that their numbers stand for."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def cell(self, trial: Trial) -> str:
        """``works``, or the number of a refusal, or ``fault`` and a number."""
        if trial.works:
            return "works"
        sentence = trial.reason if not trial.is_fault else f"Fault: {trial.reason}"
        if sentence not in self.sentences:
            self.sentences.append(sentence)
        number = self.sentences.index(sentence) + 1
        return f"fault {number}" if trial.is_fault else str(number)

    def rows(self, tried: Mapping[str, Mapping[str, Trial]]) -> Iterator[list[str]]:
        """A row for each method, with a cell for each network."""
        for method in next(iter(tried.values())):
            yield [method, *(self.cell(trials[method]) for trials in tried.values())]


def markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), choices=NETWORKS, metavar="NAME", help=" ".join(NETWORKS)
    )
    parser.add_argument("--markdown", type=Path, help="the tables as Markdown (beside the JSON)")
    add_common_options(parser, "runs/benchmarks/networks.json")
    args = parser.parse_args()
    tried: dict[str, dict[str, Trial]] = {}
    choices: dict[str, list[str]] = {}
    conservation: dict[str, dict[str, float]] = {}
    for name in track(args.networks, "networks"):
        torch.manual_seed(args.seed)
        methods, explainers = try_all(NETWORKS[name], args.device)
        choices[name] = list(explainers)
        tried[name] = methods | {f"explainer {key.partition(' ')[0]}": trial for key, trial in explainers.items()}
        torch.manual_seed(args.seed)
        conservation[name] = conserved(NETWORKS[name], args.device)
        report(args, tried, choices, conservation)


def report(
    args: argparse.Namespace,
    tried: Mapping[str, Mapping[str, Trial]],
    choices: Mapping[str, Sequence[str]],
    conservation: Mapping[str, Mapping[str, float]],
) -> None:
    """Writes the tables of the networks so far, and prints them after the last one."""
    refusals = Refusals()
    columns, rows = ["", *tried], list(refusals.rows(tried))
    sums = [[name, *(f"{value:.10g}" for value in values.values())] for name, values in conservation.items()]
    sum_columns = ["network", *next(iter(conservation.values()))]
    sentences = "".join(f"{number}. {sentence}\n" for number, sentence in enumerate(refusals.sentences, 1))
    chosen = "".join(f"- {name}: {'; '.join(options)}\n" for name, options in choices.items())
    text = "\n".join([markdown(columns, rows), sentences, chosen, markdown(sum_columns, sums)])
    with atomic_file(args.markdown or args.out.with_suffix(".md")) as partial:
        partial.write_text(text, encoding="utf-8")
    cells = {name: {method: asdict(trial) for method, trial in trials.items()} for name, trials in tried.items()}
    write_figures(args.out, args, {"tried": cells, "choices": choices, "conservation": conservation})
    if len(tried) == len(args.networks):
        show(f"Networks, methods and explainers ({machine()})", columns, rows)
        show("Conservation, in float64 without added constants", sum_columns, sums)


if __name__ == "__main__":
    main()
