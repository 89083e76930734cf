"""Text embeddings of class names by the text tower of a folder."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from tests.helpers.hugging_face_folders import saved
from vitrine.backbones.text_embeddings import embed_classes

pytest.importorskip("transformers")


def with_tokenizer(folder: Path) -> None:
    """CLIP's tokenizer with a vocabulary of letters."""
    from transformers import CLIPTokenizer

    letters = [*"abcdefgopt."]
    tokens = ["<unk>", "<|startoftext|>", "<|endoftext|>", *letters, *(f"{one}</w>" for one in letters)]
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    tokenizer.save_pretrained(folder)


def test_embeddings_are_those_of_the_text_tower(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    model = saved(tmp_path / "clip", "CLIP", "Model")
    with_tokenizer(tmp_path / "clip")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "clip")
    found = embed_classes(f"hf:{tmp_path / 'clip'}", ["cat", "bee"], ["a {}", "{} b"])
    expected = []
    for texts in (["a cat", "a bee"], ["cat b", "bee b"]):
        inputs = tokenizer(texts, padding=True, return_tensors="pt")
        with torch.no_grad():
            features = model.get_text_features(**inputs)  # of releases before 5 the tensor itself
        expected.append(F.normalize(getattr(features, "pooler_output", features), dim=1))
    assert torch.allclose(found.embeddings, torch.stack(expected).mean(dim=0), atol=1e-6)
    assert found.classes == ("cat", "bee")
    assert found.logit_scale == pytest.approx(float(model.logit_scale.detach().exp()))
    assert found.logit_bias is None
    assert not torch.allclose(found.embeddings[0], found.embeddings[1])


def test_what_cannot_be_embedded(tmp_path: Path) -> None:
    saved(tmp_path / "clip", "CLIP", "Model")
    with pytest.raises(ValueError, match=r"clip.* holds no tokenizer"):
        embed_classes(tmp_path / "clip", ["cat"])
    with pytest.raises(ValueError, match=r"'a photo' has no \{\}"):
        embed_classes(tmp_path / "clip", ["cat"], ["a photo"])
    with pytest.raises(ValueError, match="no classes"):
        embed_classes(tmp_path / "clip", [])
    saved(tmp_path / "tower", "CLIP", "VisionModelWithProjection")
    with pytest.raises(ValueError, match="no text tower"):
        embed_classes(tmp_path / "tower", ["cat"])
