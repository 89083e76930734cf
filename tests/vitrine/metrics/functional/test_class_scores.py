"""Scores of a class on versions of images: by softmax, sigmoid and decision, in any number at once."""

import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from vitrine.metrics.functional.class_scores import class_scores

IMAGES = torch.randn(5, 2, 3, 1, 1, generator=torch.Generator().manual_seed(0))
"""Five versions of two images of three numbers, which are their logits."""
TARGETS = torch.tensor([2, 0])
OF_TARGETS = torch.stack([IMAGES[:, 0, 2, 0, 0], IMAGES[:, 1, 0, 0, 0]])


@pytest.mark.parametrize("at_once", [1, 4, 64])
def test_scores_of_each_version(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[class_scores.__module__], "MAX_FORWARD_BATCH", at_once)
    seen = []

    def classify(images: Tensor) -> Tensor:
        seen.append(len(images))
        return images.flatten(1)

    logits = IMAGES[..., 0, 0].transpose(0, 1)
    softmax = logits.softmax(dim=2).gather(2, TARGETS[:, None, None].expand(2, 5, 1))[..., 0]
    decided = (logits.argmax(dim=2) == TARGETS[:, None]).float()
    torch.testing.assert_close(class_scores(classify, IMAGES, TARGETS), softmax)
    assert max(seen) <= max(at_once, 2)
    torch.testing.assert_close(class_scores(classify, IMAGES, TARGETS, "logit"), OF_TARGETS)
    torch.testing.assert_close(class_scores(classify, IMAGES, TARGETS, "decision"), decided)
    assert 0 < decided.mean() < 1
    sigmoid = class_scores(classify, IMAGES, TARGETS, multi_label=True)
    torch.testing.assert_close(sigmoid, OF_TARGETS.sigmoid())
    decided = class_scores(classify, IMAGES, TARGETS, "decision", multi_label=True)
    assert decided.tolist() == (OF_TARGETS >= 0).float().tolist()


def test_one_logit_is_a_sigmoid() -> None:
    image = torch.tensor([[-2.0], [3.0]])[..., None, None]
    first = torch.zeros(2, dtype=torch.int64)
    torch.testing.assert_close(class_scores(nn.Flatten(), [image], first), image[:, :, 0, 0].sigmoid())
    assert class_scores(nn.Flatten(), [image], first, "decision").tolist() == [[0.0], [1.0]]


def test_versions_are_made_as_they_are_needed_and_half_precision_is_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[class_scores.__module__], "MAX_FORWARD_BATCH", 2)
    course = []

    def versions() -> Iterator[Tensor]:
        for version in IMAGES:
            course.append("made")
            yield version.half()

    def classify(images: Tensor) -> Tensor:
        course.append("seen")
        return images.flatten(1)

    assert class_scores(classify, versions(), TARGETS).dtype == torch.float32
    assert course == ["made", "seen"] * 5


def test_a_class_that_the_network_has_not() -> None:
    with pytest.raises(ValueError, match="targets holds 3; give classes from 0 to 2"):
        class_scores(nn.Flatten(), IMAGES, torch.tensor([0, 3]))
