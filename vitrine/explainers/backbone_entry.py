"""What the folder of a saved explainer holds of its backbone: how it is built again, and its weights."""

import inspect
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from vitrine.backbones.class_embeddings import EMBEDDINGS
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.hugging_face import PREFIX, configuration_of
from vitrine.backbones.identity import arguments_text
from vitrine.backbones.library_names import library_options
from vitrine.backbones.networks import PACKAGE, BackboneOptions
from vitrine.backbones.weight_files import CONFIGURATION
from vitrine.core.class_files import absolute_name

_OF_TABLES: Mapping[str, dict[str, Any]] = {
    "googlenet": {"transform_input": True, "aux_logits": False},
    "inception_v3": {"transform_input": True},
}
"""What torchvision's constructors set by themselves with weights of their table, and so not with the same from a file."""

FUNCTION = "function "
"""What begins the name of a function that takes the logits from a network's output, which no folder can hold."""


def stands_in_a_table(backbone: FrozenBackbone) -> bool:
    """Whether the weights are had again by their name in a public table."""
    return backbone.options.weights is not None and backbone.options.weight_file is None


def backbone_entry(backbone: FrozenBackbone, num_classes: int | None, *, is_bundled: bool) -> dict[str, Any]:
    """The options that build the backbone again, in any folder and on any machine, in JSON types.

    A network that was given as an ``nn.Module`` is named as torchvision or timm would build it, where they would; a file of
    weights that stands elsewhere by its absolute path.

    Args:
        backbone: of the explainer.
        num_classes: number of its logits, which is recorded where its constructor is asked for so many; None where the
            explainer does not say.
        is_bundled: whether the folder holds the weights.
    """
    options = backbone.options
    if backbone.arguments is None:
        named = library_options(backbone.model, backbone.structure) or options
        options = replace(options, name=named.name, num_classes=named.num_classes)
    if is_bundled and stands_in_a_table(backbone):
        options = replace(options, arguments=_OF_TABLES.get(options.name, {}) | options.arguments)
    if options.weight_file is not None and not is_bundled:
        options = replace(options, weights=_named_anywhere(options.weight_file.resolve()))
    options = replace(
        _with_absolute_paths(options), num_classes=options.num_classes or _asked_for(backbone, num_classes)
    )
    output = f"{FUNCTION}{backbone.output_function}" if backbone.output_function else options.output
    # Classes among the arguments stand there by their names, which no constructor takes: the network has to be passed.
    return asdict(options) | {"arguments": json.loads(arguments_text(options.arguments)), "output": output}


def _named_anywhere(file: Path) -> str:
    """The absolute path; of a file of this package what it is called wherever the package is installed."""
    return file.relative_to(PACKAGE.parent).as_posix() if file.is_relative_to(PACKAGE) else str(file)


def _asked_for(backbone: FrozenBackbone, num_classes: int | None) -> int | None:
    """The number of logits, where the network's name builds the same one when it is asked for so many; None otherwise."""
    options, model = backbone.options, backbone.model
    if num_classes is None or options.is_zero_shot or "num_classes" in options.arguments:
        return None
    if options.is_own and "num_classes" not in inspect.signature(type(model)).parameters:
        return None
    last = [one for one in model.modules() if isinstance(one, nn.Linear | nn.Conv2d)][-1:]
    sizes = [one.out_features if isinstance(one, nn.Linear) else one.out_channels for one in last]
    return num_classes if sizes == [num_classes] else None


def _with_absolute_paths(options: BackboneOptions) -> BackboneOptions:
    """Names an own file, a folder of Hugging Face and a file of text embeddings wherever the entry is read."""
    arguments = dict(options.arguments)
    if options.is_zero_shot:
        arguments[EMBEDDINGS] = str(Path(arguments[EMBEDDINGS]).resolve())
    name = absolute_name(options.name) if options.folder is None else f"{PREFIX}{options.folder.resolve()}"
    return replace(options, name=name, arguments=arguments)


def save_backbone(backbone: FrozenBackbone, path: Path, num_classes: int | None, classes: Sequence[str]) -> None:
    """Writes the backbone's state dict, with its name and classes as `ClassifierModule.export` does.

    Args:
        backbone: of the explainer.
        path: of the file.
        num_classes: number of logits, as in its `backbone_entry`.
        classes: names of its logits, or none.
    """
    state = backbone.model.state_dict()
    odd = next((name for name, value in state.items() if not _is_plain(value)), None)
    if odd is not None:
        warnings.warn(
            f"The backbone's weights are not kept in {path.parent}, since {odd!r} is no plain tensor; load the explainer with"
            " vitrine.load(..., backbone=NETWORK).",
            stacklevel=4,
        )
        return
    state = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    metadata = {"name": backbone.options.name}
    if num_classes is not None:
        metadata["num_classes"] = str(num_classes)
    configuration = configuration_of(backbone.model)
    if configuration is not None:
        metadata[CONFIGURATION] = json.dumps(configuration)
    if classes and len(classes) == (num_classes or len(classes)):
        metadata["classes"] = "\n".join(name.replace("\n", " ") for name in classes)
    save_file(state, path, metadata=metadata)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
