from dataclasses import replace

import pytest
import torch

from vitrine.explain.fitting import PictureFit, feature_layer
from vitrine.explain.network import ExplainedNetwork
from vitrine.explain.options import ExplainOptions
from vitrine.explain.pictures import Picture, Pictures
from vitrine.explainers import MuLassoExplainer, SRAEExplainer


def label_of(picture: Picture) -> int:
    return {"Red": 0, "others": 4}[picture.folder]


@pytest.fixture
def fit(flower_network: ExplainedNetwork, pictures: Pictures, flower_options: ExplainOptions) -> PictureFit:
    return PictureFit(flower_network, pictures, label_of, replace(flower_options, min_pictures=3))


def test_srae_has_heads_for_the_classes_with_enough_pictures(fit: PictureFit) -> None:
    explainer, again = fit.fitted("SRAE").explainer, fit.fitted("SRAE").explainer
    assert isinstance(explainer, SRAEExplainer)
    assert list(explainer.explained_classes) == [0, 4]
    assert explainer.classes[4] == "violet"
    assert all(torch.equal(value, again.head_state()[name]) for name, value in explainer.head_state().items())


def test_more_epochs_come_nearer_to_the_logits(fit: PictureFit) -> None:
    inputs = [one.inputs for batch, _ in fit.pictures.batches(fit.network.preprocessing, 9) for one in batch]
    errors = []
    for epochs in (1, 200):
        explainer, told = replace(fit, options=replace(fit.options, epochs=epochs)).srae()
        explanation = explainer.eval().explain(torch.stack(inputs), 0)
        assert explanation.logit_estimate is not None
        assert explanation.explained_classes is not None
        error = explanation.logit_estimate - explanation.logits[:, explanation.explained_classes]
        assert f"F_reg {float(error.abs().mean()):.2g} " in told
        errors.append(float(error.abs().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_mu_lasso_has_weights_for_the_classes_with_enough_pictures_alone(fit: PictureFit) -> None:
    explainer = fit.fitted("MuLasso").explainer
    assert isinstance(explainer, MuLassoExplainer)
    assert explainer.weights.any(dim=0).tolist() == [True, False, False, False, True, False]


def test_too_few_pictures_of_each_class_are_refused(fit: PictureFit) -> None:
    with pytest.raises(ValueError, match=r"with 4 pictures or more.*no class has more than 3"):
        replace(fit, options=replace(fit.options, min_pictures=4)).fitted("SRAE")


def test_predictions_stand_for_labels_that_are_not_known(fit: PictureFit) -> None:
    explainer = (
        replace(fit, label_of=lambda _: None, options=replace(fit.options, min_pictures=1)).fitted("MuLasso").explainer
    )
    assert isinstance(explainer, MuLassoExplainer)
    fitted = set(explainer.weights.any(dim=0).nonzero().flatten().tolist())
    images = torch.stack(
        [one.inputs for batch, _ in fit.pictures.batches(fit.network.preprocessing, 9) for one in batch]
    )
    predicted = set(fit.network.backbone(images).logits.argmax(dim=1).tolist())
    assert fitted <= predicted


def test_the_feature_layer_is_one_that_the_logits_depend_on(flower_network: ExplainedNetwork) -> None:
    layer, pooling = feature_layer(flower_network)
    assert layer in dict(flower_network.backbone.model.named_modules())
    assert pooling == "average"
