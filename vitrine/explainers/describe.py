"""``python -m vitrine.backbones describe``: prints a network's layers, what can be done at each, and the defaults."""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from vitrine.backbones.class_embeddings import write_class_embeddings
from vitrine.backbones.class_names import network_classes
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.input_settings import InputSettings, input_settings
from vitrine.backbones.text_embeddings import embed_classes
from vitrine.core.command_line import SentenceParser, exit_code_of
from vitrine.core.options import Count, check_value
from vitrine.core.progress import progress_bar
from vitrine.explainers.capabilities import CapabilityTrials, Defaults, LayerCapabilities, Trial

USUAL_SIZE = 224
DESCRIBE = """Prints the layers of a network with the shapes of their outputs, what each explainer and attribution method can
do at each, found by trying on one image of noise, and the defaults. Nothing is downloaded unless --weights names a public
table."""
EMBED = """Writes the file of text embeddings that makes the image tower of a CLIP, SigLIP or the like a zero-shot classifier:
backbone.arguments.class_embeddings."""
COLUMNS = """SRAE: poolings of the layer whose vectors it can be trained on · μ-Lasso: number of filters, ● where they are
taken by default · inversion: whether the layer can be l₀ (kept) and l₁ (the mask's) · CAM: whether Grad-CAM can be drawn ·
a number in brackets is a note below."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code; 2 after a wrong argument, with one sentence."""
    return exit_code_of(lambda: _run(_parser().parse_args(arguments)))


def _run(options: argparse.Namespace) -> int:
    try:
        code: int = options.run(options)
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    return code


# python -m vitrine.backbones describe


def describe(options: argparse.Namespace) -> int:
    """Describes the network that the command line names."""
    for name, value in (("--image-size", options.image_size), ("--num-classes", options.num_classes)):
        check_value(name, value, Count | None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what a description has no use for
        backbone = FrozenBackbone(options.name, options.weights, options.num_classes, _arguments(options.arguments))
        settings = input_settings(backbone.options)
        trials = CapabilityTrials(backbone, options.image_size or (settings.size if settings else USUAL_SIZE))
        layers, defaults, methods = _tried(trials, options)
    summary = _summary(backbone, trials, settings, defaults)
    if options.json:
        sys.stdout.write(json.dumps(_as_json(summary, layers, defaults, methods), indent=2, ensure_ascii=False) + "\n")
        return 0
    console = Console(highlight=False, markup=False)
    _show_summary(console, summary)
    notes: list[str] = []
    console.print(_layer_table(layers, notes, tried=not options.quick))
    if not options.quick:
        console.print(COLUMNS.replace("\n", " "), style="dim")
        console.print(_method_table(methods))
    for number, note in enumerate(notes, 1):
        console.print(f"({number}) {note}")
    return 0


def _arguments(given: Sequence[str]) -> dict[str, Any]:
    """Arguments of a constructor: one JSON object, or KEY=VALUE with values in JSON or as text."""
    arguments: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if text.lstrip().startswith("{"):
            try:
                arguments |= json.loads(text)
            except ValueError as error:
                raise ValueError(f"--arguments {text} is no JSON: {error}.") from error
        elif equals and key.isidentifier():
            try:
                arguments[key] = json.loads(value)
            except ValueError:
                arguments[key] = {"True": True, "False": False, "None": None}.get(value, value)
        else:
            raise ValueError(
                f"--arguments {text!r} is neither KEY=VALUE nor a JSON object, such as '{{\"depth\": 2}}'."
            )
    return arguments


def _tried(
    trials: CapabilityTrials, options: argparse.Namespace
) -> tuple[list[LayerCapabilities], Defaults, dict[str, Trial]]:
    visits = trials.layers(all_layers=options.all)
    layers = []
    with progress_bar("trying layers and methods", len(visits) + 1, shown=not options.json, transient=True) as advance:
        for visit in visits:
            layer = trials.described(visit)
            layers.append(layer if options.quick else trials.tried(layer))
            advance(1)
        defaults = trials.defaults()
        methods = {} if options.quick else dict(trials.methods(defaults.target_layer))
        advance(1)
    return layers, defaults, methods


def _summary(
    backbone: FrozenBackbone, trials: CapabilityTrials, settings: InputSettings | None, defaults: Defaults
) -> dict[str, str]:
    """What is known of the network as a whole, in words."""
    channels, size = trials.image.shape[1], trials.image_size
    parameters = sum(value.numel() for value in backbone.model.parameters())
    names = network_classes(backbone.options, defaults.num_classes)
    shown = "unknown" if names is None else ", ".join(name[0] for name in names[:4]) + (", …" if len(names) > 4 else "")
    own = "the folder's" if backbone.options.folder else "its class's own"
    weights = "random, as none are given" if backbone.options.has_random_weights else backbone.options.weights or own
    summary = {
        "network": f"{backbone.options.name}, {type(backbone.model).__name__}, {parameters / 1e6:.2f} M parameters",
        "weights": weights,
        "images": f"{channels} × {size} × {size}",
        "preprocessing": "unknown; data.preprocessing has ImageNet's mean and std by default",
        "classes": f"{defaults.num_classes}: {shown}",
        "layer of CAMs": defaults.target_layer or "none",
        "inversion": f"l₀ {defaults.inversion_layer or 'none'}, l₁ {', '.join(defaults.mask_layers) or 'none'}",
    }
    if settings is not None:
        mean, std = (" ".join(f"{value:.3f}" for value in values) for values in (settings.mean, settings.std))
        resize = f"resize {settings.resize}" if settings.resize else "resized whole"
        summary["preprocessing"] = f"size {settings.size}, {resize}, mean {mean}, std {std} ({settings.source})"
    return summary


def _as_json(
    summary: dict[str, str], layers: Sequence[LayerCapabilities], defaults: Defaults, methods: dict[str, Trial]
) -> dict[str, Any]:
    return {
        "summary": summary,
        "defaults": asdict(defaults),
        "layers": [asdict(layer) for layer in layers],
        "methods": {name: asdict(trial) for name, trial in methods.items()},
    }


def _show_summary(console: Console, summary: dict[str, str]) -> None:
    table = Table.grid(padding=(0, 2))
    for name, text in summary.items():
        table.add_row(name, text)
    console.print(table)


def _layer_table(layers: Sequence[LayerCapabilities], notes: list[str], *, tried: bool) -> Table:
    table = Table(title="Layers", title_justify="left")
    for heading in ("layer", "output", "kind"):
        table.add_column(heading, overflow="fold")
    for heading in ("SRAE", "μ-Lasso", "inversion", "CAM") if tried else ():
        table.add_column(heading)
    for layer in layers:
        shape = " × ".join(map(str, layer.shape))
        table.add_row(layer.name, shape, layer.kind, *(_cells(layer, notes) if tried else ()))
    return table


def _cells(layer: LayerCapabilities, notes: list[str]) -> tuple[str, ...]:
    poolings = [name for name, trial in layer.poolings.items() if trial.works]
    mark = "" if layer.drawn.works or not poolings else _noted(layer.drawn.reason, notes)
    srae = " ".join([*poolings, mark]).strip() or "–"
    filters = f"{layer.filters}{' ●' if layer.by_default else ''}" if layer.filters else "–"
    if layer.filters and not layer.filters_drawn.works:
        filters += f" {_noted(layer.filters_drawn.reason, notes)}"
    marks = [name for name, one in (("l₀", layer.inversion_layer), ("l₁", layer.mask_layer)) if one.works]
    return srae, filters, " ".join(marks) or "–", "✓" if layer.cam.works else "–"


def _noted(reason: str, notes: list[str]) -> str:
    """The number of a note; equal reasons share one."""
    if reason not in notes:
        notes.append(reason)
    return f"({notes.index(reason) + 1})"


def _method_table(methods: dict[str, Trial]) -> Table:
    table = Table(title="Attribution methods", title_justify="left")
    table.add_column("method", no_wrap=True)
    table.add_column("on this network", overflow="fold")
    works = [name for name, trial in methods.items() if trial.works]
    table.add_row("work", ", ".join(works) or "none", end_section=True)
    for name, trial in methods.items():
        if not trial.works:
            table.add_row(name, trial.reason)
    return table


# python -m vitrine.backbones embed


def embed(options: argparse.Namespace) -> int:
    """Writes the embeddings of the classes that the command line names."""
    texts = [Path(path).read_text(encoding="utf-8") for path in options.classes_file]
    classes = [line.strip() for text in texts for line in text.splitlines() if line.strip()] + options.classes
    found = embed_classes(options.folder, classes, options.template)
    write_class_embeddings(options.out, found.embeddings, classes, found.logit_scale, found.logit_bias)
    Console(markup=False, highlight=False).print(f"{options.out}: {len(classes)} classes", soft_wrap=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = SentenceParser(prog="vitrine", description="Networks that can be explained.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=SentenceParser)
    one = commands.add_parser(
        "describe", help="layers of a network, and what can be done at each", description=DESCRIBE
    )
    one.set_defaults(run=describe)
    one.add_argument(
        "name", help="as backbone.name: resnet18, timm:NAME, hf:FOLDER, package.module:Class, model.py:MyNet"
    )
    one.add_argument("--weights", help="as backbone.weights: a file, or an entry of the network's own table (random)")
    one.add_argument("--num-classes", type=int, help="number of logits")
    one.add_argument(
        "--arguments", nargs="+", default=[], metavar="KEY=VALUE", help="as backbone.arguments, or as JSON"
    )
    one.add_argument("--image-size", type=int, help=f"side of its input in pixels (its library's, or {USUAL_SIZE})")
    one.add_argument("--all", action="store_true", help="also the layers within blocks")
    one.add_argument("--quick", action="store_true", help="layers and defaults alone; nothing is tried")
    one.add_argument("--json", action="store_true", help="prints JSON in place of tables")
    two = commands.add_parser("embed", help="text embeddings of classes, for zero-shot classifiers", description=EMBED)
    two.set_defaults(run=embed)
    two.add_argument("folder", help="hf:FOLDER of a CLIPModel, SiglipModel or the like, with its tokenizer")
    two.add_argument("--classes", nargs="+", default=[], metavar="NAME", help="names of the classes")
    two.add_argument("--classes-file", action="append", default=[], metavar="FILE", help="the same, one a line")
    two.add_argument(
        "--template",
        action="append",
        default=[],
        help="text around {}; of several the mean is taken ('a photo of a {}.')",
    )
    two.add_argument("--out", required=True, metavar="FILE.safetensors", help="where to")
    return parser


if __name__ == "__main__":
    sys.exit(main())
