"""What the folder of a saved explainer holds of its backbone: how it is built again, and its weights."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from vitrine.backbones.class_embeddings import EMBEDDINGS
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.hugging_face import PREFIX, configuration_of
from vitrine.backbones.identity import arguments_text
from vitrine.backbones.library_names import library_options
from vitrine.backbones.networks import BackboneOptions
from vitrine.backbones.weight_files import CONFIGURATION

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


def backbone_entry(backbone: FrozenBackbone, *, is_bundled: bool) -> dict[str, Any]:
    """The options that build the backbone again, in any folder and on any machine, in JSON types.

    A network that was given as an ``nn.Module`` is named as torchvision or timm would build it, where they would; a file of
    weights that stands elsewhere by its absolute path.

    Args:
        backbone: of the explainer.
        is_bundled: whether the folder holds the weights.
    """
    options = backbone.options
    if backbone.arguments is None:
        named = library_options(backbone.model, backbone.structure) or options
        options = replace(options, name=named.name, num_classes=named.num_classes)
    if is_bundled and stands_in_a_table(backbone):
        options = replace(options, arguments=_OF_TABLES.get(options.name, {}) | options.arguments)
    if options.weight_file is not None and not is_bundled:
        options = replace(options, weights=str(options.weight_file.resolve()))
    options = _with_absolute_paths(options)
    output = f"{FUNCTION}{backbone.output_function}" if backbone.output_function else options.output
    # Classes among the arguments stand there by their names, which no constructor takes: the network has to be passed.
    return asdict(options) | {"arguments": json.loads(arguments_text(options.arguments)), "output": output}


def _with_absolute_paths(options: BackboneOptions) -> BackboneOptions:
    """Names a folder of Hugging Face and a file of text embeddings wherever the entry is read."""
    arguments = dict(options.arguments)
    if options.is_zero_shot:
        arguments[EMBEDDINGS] = str(Path(arguments[EMBEDDINGS]).resolve())
    name = options.name if options.folder is None else f"{PREFIX}{options.folder.resolve()}"
    return replace(options, name=name, arguments=arguments)


def save_backbone(backbone: FrozenBackbone, path: Path, classes: Sequence[str]) -> None:
    """Writes the backbone's state dict, with its name and classes as `ClassifierModule.export` does.

    Args:
        backbone: of the explainer.
        path: of the file.
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
    if backbone.options.num_classes is not None:
        metadata["num_classes"] = str(backbone.options.num_classes)
    configuration = configuration_of(backbone.model)
    if configuration is not None:
        metadata[CONFIGURATION] = json.dumps(configuration)
    if classes and len(classes) == (backbone.options.num_classes or len(classes)):
        metadata["classes"] = "\n".join(name.replace("\n", " ") for name in classes)
    save_file(state, path, metadata=metadata)


def _is_plain(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized
