from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.explainers.srae.explainer import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.fit import class_weights, decayed, fit_heads
from vitrine.explainers.srae.objectives import SRAETraining

WIDTH, CLASSES, COUNT = 8, 3, 24


def made(**options: object) -> SRAEExplainer:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, CLASSES))
    srae = SRAEOptions("0", hidden=[6], num_features=3, image_size=8, explained_classes=[2, 0])
    return SRAEExplainer(FrozenBackbone(model), replace(srae, **options))  # type: ignore[arg-type]


def samples() -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(1)
    features = torch.rand(COUNT, WIDTH)
    return features, features @ torch.randn(WIDTH, CLASSES), torch.arange(COUNT) % CLASSES


def test_the_error_that_is_told_is_that_of_the_heads_and_falls() -> None:
    explainer = made()
    features, logits, labels = samples()
    first = fit_heads(explainer, features, logits, labels, epochs=1, lr=1e-2)
    last = fit_heads(explainer, features, logits, labels, epochs=200, lr=1e-2)
    estimates = explainer.reconstruct_logits(features)
    assert estimates is not None
    assert last == pytest.approx(float((estimates - logits[:, [2, 0]]).abs().mean()), rel=1e-5)
    assert last < 0.3 * first
    assert not explainer.heads.training


def test_equal_seeds_give_equal_heads_and_the_backbone_stays() -> None:
    heads = []
    for seed in (3, 3, 4):
        explainer = made()
        before = explainer.backbone.digest
        fit_heads(explainer, *samples(), epochs=2, batch_size=5, seed=seed)
        assert FrozenBackbone(explainer.backbone.model).digest == before
        heads.append(torch.cat([value.flatten() for value in explainer.heads.parameters()]))
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_epochs_are_counted_for_a_bar() -> None:
    steps: list[int] = []
    fit_heads(made(), *samples(), epochs=3, advance=steps.append)
    assert steps == [1, 1, 1]


def test_a_classs_own_images_weigh_as_all_others_together() -> None:
    labels, explained = torch.tensor([0, 0, 2, 1, 1, 1]), torch.tensor([2, 0])
    weights = class_weights(labels, explained, SRAETraining())
    assert weights[:, 0].tolist() == [1, 1, 5, 1, 1, 1]
    assert weights[:, 1].tolist() == [2, 2, 1, 1, 1, 1]
    assert class_weights(labels, explained, SRAETraining(positive_weight=7.0))[:, 0].tolist() == [1, 1, 7, 1, 1, 1]
    assert class_weights(labels, torch.tensor([5]), SRAETraining()).tolist() == [[1.0]] * 6


def test_decays_are_twice_the_weights_of_the_squared_norms() -> None:
    training = SRAETraining(encoder_decay=0.1, decoder_decay=0.2, predictor_decay=0.3)
    explainer = made()
    groups = decayed([explainer.heads[0]], training)  # type: ignore[index]
    assert [group["weight_decay"] for group in groups] == [0.2, 0.4, 0.6]
    assert sum(len(group["params"]) for group in groups) == len(list(explainer.heads[0].parameters()))  # type: ignore[index]


@pytest.mark.parametrize("training", [SRAETraining(objective="cae"), SRAETraining(pretraining_epochs=2)])
def test_what_needs_lightning_is_refused(training: SRAETraining) -> None:
    with pytest.raises(ValueError, match="take SRAEModule"):
        fit_heads(made(), *samples(), training)


def test_a_shared_trunk_is_refused() -> None:
    with pytest.raises(ValueError, match="trains separate heads"):
        fit_heads(made(trunk="shared"), *samples())
