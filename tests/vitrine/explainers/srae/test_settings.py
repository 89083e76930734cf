"""Settings are all combinations of lists, or entries by name, and what makes no sense is named."""

from typing import Any

import pytest

from vitrine.core.options import OptionError
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.explainers.srae.settings import Setting, settings_of

BASE = Setting(SRAEOptions("layer4", hidden=[8]), SRAETraining(eta=0.25))


def test_lists_are_combined_in_their_order() -> None:
    found = settings_of(BASE, {"beta": [1, 2], "layer": ["a", "b"], "seed": [7]})
    assert list(found) == [f"beta={beta},layer={layer},seed=7" for beta in (1, 2) for layer in "ab"]
    last = found["beta=2,layer=b,seed=7"]
    assert (last.training.beta, last.srae.layer, last.training.seed) == (2, "b", 7)
    assert (last.training.eta, last.srae.hidden) == (0.25, [8])


def test_entries_by_name_change_what_they_say() -> None:
    found = settings_of(BASE, {"plain": {}, "few": {"num_features": 2, "q": 3.0}})
    assert found["plain"] == BASE
    assert (found["few"].srae.num_features, found["few"].training.q) == (2, 3.0)


def test_earlier_names_of_options_are_read() -> None:
    assert settings_of(BASE, {"x_features": [3]})["x_features=3"].srae.num_features == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"beta": []}, "beta is"),
        ({"beta": "1"}, "settings.beta is '1'; give a list of values"),
        ({"a": {"explained_classes": [1]}}, "settings.a.explained_classes"),
        ({"a": {"classes_at_once": 1}}, "it in training, as all settings have it in common"),
        ({"a": {"num_feature": 1}}, "did you mean num_features"),
        ({"a": {"num_features": 0}}, "settings.a.num_features is 0; give 1 or more"),
    ],
)
def test_what_makes_no_sense_is_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as error:
        settings_of(BASE, settings)
    assert message in str(error.value)
