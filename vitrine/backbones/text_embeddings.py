"""Text embeddings of class names, by the text tower of a CLIP or SigLIP that stands in a local folder."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vitrine.backbones.class_embeddings import ClassEmbeddings
from vitrine.backbones.hugging_face import PREFIX, build_hugging_face
from vitrine.core.error_texts import first_line

USUAL_TEMPLATE = "a photo of a {}."
VOCABULARIES = (
    "tokenizer.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""Files one of which a tokenizer needs."""


def embed_classes(folder: str | Path, classes: Sequence[str], templates: Sequence[str] = ()) -> ClassEmbeddings:
    """Embeds the names of classes, with the network's own scale and bias; `write_class_embeddings` writes the result.

    Args:
        folder: holds a network with a text tower, such as a CLIPModel or SiglipModel, and its tokenizer; with or without
            ``hf:`` before it.
        classes: n names.
        templates: texts around ``{}``, where the name goes; of several the mean of the normalised embeddings is taken.
            ``a photo of a {}.`` without any.

    Raises:
        FileNotFoundError: where the folder does not exist.
        ValueError: for a network without a text tower, a folder without a tokenizer, and a template without ``{}``.
        ModuleNotFoundError: where transformers is not installed.
    """
    templates = list(templates) or [USUAL_TEMPLATE]
    without = next((one for one in templates if "{}" not in one), None)
    if without is not None:
        raise ValueError(f"Template {without!r} has no {{}}, where the name of the class goes.")
    if not classes:
        raise ValueError("There are no classes to embed; give their names.")
    name = f"{PREFIX}{str(folder).removeprefix(PREFIX)}"
    model = build_hugging_face(name, None, {}, None, is_tower=True).eval()
    if not hasattr(model, "get_text_features"):
        raise ValueError(
            f"Network {name!r} is a {type(model).__name__}, which has no text tower; give a CLIPModel's folder."
        )
    embeddings = [_embedded(model, name, [template.replace("{}", one) for one in classes]) for template in templates]
    numbers = [getattr(model, key, None) for key in ("logit_scale", "logit_bias")]
    scale, bias = (value.detach() if isinstance(value, Tensor) else None for value in numbers)
    return ClassEmbeddings(
        torch.stack(embeddings).mean(dim=0),
        tuple(classes),
        None if scale is None else float(scale.exp()),
        None if bias is None else float(bias),
    )


@torch.no_grad()
def _embedded(model: nn.Module, name: str, texts: Sequence[str]) -> Tensor:
    """(n, d) normalised embeddings of n texts."""
    from transformers import AutoTokenizer  # noqa: PLC0415 - an optional extra, which the network needed already

    if not any((Path(name.removeprefix(PREFIX)) / file).is_file() for file in VOCABULARIES):
        # transformers makes one without a vocabulary otherwise
        raise ValueError(f"{name!r} holds no tokenizer ({', '.join(VOCABULARIES)}); save it there by save_pretrained.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name.removeprefix(PREFIX), local_files_only=True, trust_remote_code=False
        )
    except Exception as error:
        raise ValueError(
            f"The tokenizer of {name!r} cannot be read: {first_line(error)}; save it there by save_pretrained."
        ) from error
    longest = getattr(getattr(model.config, "text_config", None), "max_position_embeddings", None)
    # SigLIP was trained on texts that are filled up to the longest.
    padding = "max_length" if "siglip" in str(getattr(model.config, "model_type", "")) else True
    inputs = tokenizer(list(texts), padding=padding, truncation=True, max_length=longest, return_tensors="pt")
    known = {key: value for key, value in inputs.items() if key in {"input_ids", "attention_mask"}}
    if padding == "max_length":
        known.pop("attention_mask", None)
    output = model.get_text_features(**known)  # type: ignore[operator]
    return F.normalize(output if isinstance(output, Tensor) else output.pooler_output, dim=-1)
