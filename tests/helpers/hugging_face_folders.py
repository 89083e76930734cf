"""Folders of tiny Hugging Face networks with random weights, as save_pretrained writes them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

TOKENS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
VIT = {**TOKENS, "image_size": 32, "patch_size": 8}
TEXT = {**TOKENS, "vocab_size": 40, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 16}
WINDOWS = {"image_size": 32, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}
MAPS = {"hidden_sizes": [8, 16], "depths": [1, 1]}
STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
FAMILIES: dict[str, dict[str, Any]] = {
    "ViT": VIT,
    "DeiT": VIT,
    "Beit": VIT,
    "Dinov2": VIT,
    "Dinov2WithRegisters": VIT,
    "Swin": WINDOWS,
    "Swinv2": WINDOWS,
    "ConvNext": STAGES,
    "ResNet": {"embedding_size": 8, **MAPS, "layer_type": "basic"},
    "RegNet": {"embedding_size": 8, **STAGES, "groups_width": 8},
    "Segformer": {**STAGES, "num_attention_heads": [1, 1, 2, 2]},
    "Pvt": {**STAGES, "num_attention_heads": [1, 1, 2, 2], "image_size": 32},
    "CLIP": {"vision_config": {**VIT, "projection_dim": 16}, "text_config": TEXT, "projection_dim": 16},
    "Siglip": {"vision_config": VIT, "text_config": TEXT},
}
"""Settings of a tiny network of each family."""
CLASSES = ["ant", "bee", "cat"]


def saved(
    folder: Path, family: str, suffix: str = "ForImageClassification", classes: Sequence[str] = CLASSES, **changes: Any
) -> Any:
    """A network with random weights, which is saved in a folder."""
    import transformers

    config = getattr(transformers, f"{family}Config")(**{**FAMILIES[family], **changes})
    config.id2label = dict(enumerate(classes))
    if suffix.startswith("Vision"):
        config = config.vision_config
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}{suffix}")(config).eval()
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    transformers.utils.logging.enable_progress_bar()
    return model


def edit_config(folder: Path, **changes: Any) -> None:
    """Changes entries of a folder's config.json; None takes one out."""
    path = folder / "config.json"
    entries = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in entries.items() if value is not None}))
