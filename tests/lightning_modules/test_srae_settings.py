"""Many settings in one pass: each fit equals that of the setting alone, also resumed and over ranks."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Adam

from callbacks import DropDeadFeatures, RestartDeadHeads
from lightning_modules import SRAEModule, SRAESettingsModule
from lightning_modules.setting_group import heads_of
from tests.helpers.ranks import RankPool
from tests.helpers.srae_fakes import EXPLAINED, KeepAll, fit, make_batches, share
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.options import OptionError
from vitrine.explainers.srae.explainer import SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining

BACKBONE = BackboneOptions("squeezenet1_1", num_classes=4)
SRAE = SRAEOptions("features.2", explained_classes=EXPLAINED, num_features=3, hidden=(8,), image_size=32)
GRID = {"beta": [0.5, 5.0], "eta": [0.1, 2.0]}
NAMED = {
    "few": {"num_features": 2},
    "deep": {"hidden": [12, 6], "beta": 1.0},
    "sparse": {"q": 10.0, "positive_weight": 3.0, "encoder_decay": 0.01},
    "seed 7": {"seed": 7, "pull_away_over": "features"},
    "nn": {"objective": "nn"},
}


def adam(parameters: Any) -> Adam:
    return Adam(parameters, lr=1e-2, fused=True)


def settings_module(settings: Mapping[str, Any], **options: Any) -> SRAESettingsModule:
    torch.manual_seed(0)
    training = SRAETraining(**{"positive_weight": 5.0, **options})
    return SRAESettingsModule(BACKBONE, SRAE, dict(settings), training, optimizer=adam)


def alone(module: SRAESettingsModule, name: str) -> SRAEModule:
    torch.manual_seed(0)
    setting = module.settings[name]
    return SRAEModule(BACKBONE, setting.srae, setting.training, optimizer=adam)


def states(module: SRAESettingsModule) -> dict[str, dict[str, Tensor]]:
    return {
        name: {key: value.clone() for key, value in one.heads.state_dict().items()}
        for name, one in module.of_settings.items()
    }


def assert_same(found: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=2e-5, rtol=1e-4, msg=key)


@pytest.mark.parametrize("settings", [GRID, NAMED])
def test_each_is_fitted_as_it_would_be_alone(settings: Mapping[str, Any]) -> None:
    module = settings_module(settings)
    begun = states(module)
    batches = make_batches(count=3, sampled=True)
    figures = fit(module, batches, 3, val=make_batches(1)).callback_metrics
    for name, found in states(module).items():
        single = alone(module, name)
        assert_same(begun[name], single.heads.state_dict())
        own = fit(single, batches, 3, val=make_batches(1)).callback_metrics
        assert_same(found, single.heads.state_dict())
        assert any(not torch.allclose(found[key], begun[name][key], atol=1e-2) for key in found)
        for figure in ("loss", "loss/faithfulness", "loss/pull_away", "f_reg", "f_cls", "alive_features", "dead_heads"):
            expected = pytest.approx(float(own[f"train/{figure}"]), rel=1e-4, abs=1e-5)
            assert float(figures[f"train/{name}/{figure}"]) == expected, figure
        assert float(figures[f"val/{name}/f_reg"]) == pytest.approx(float(own["val/f_reg"]), rel=1e-4)


def test_settings_of_one_shape_pass_together() -> None:
    module = settings_module(GRID)
    fit(module, make_batches(1), 1)
    (group,) = module.setting_groups
    assert len(group.pass_of.heads) == 12
    assert group.pass_of.stacked is not None


def test_callbacks_keep_each_settings_heads_healthy_as_if_it_were_alone() -> None:
    batches = make_batches(count=2)
    module = settings_module({"beta": [0.5, 5.0]})
    for explainer in module.of_settings.values():
        heads_of(explainer)[1].predictor.weight.data.fill_(-1.0)  # so that it is dead, and drawn anew
    restart, drop = RestartDeadHeads(every_n_epochs=1), DropDeadFeatures(threshold=0.2, start=0.6)
    fit(module, batches, 4, restart, drop)
    assert {key for key, _ in restart.restarts.items()} >= {("beta=0.5", 1), ("beta=5.0", 1)}
    for name, found in states(module).items():
        single = alone(module, name)
        heads_of(single.explainer)[1].predictor.weight.data.fill_(-1.0)
        fit(single, batches, 4, RestartDeadHeads(every_n_epochs=1), DropDeadFeatures(threshold=0.2, start=0.6))
        assert_same(found, single.heads.state_dict())


def test_a_resumed_fit_equals_one_that_never_stopped(tmp_path: Path) -> None:
    batches, kept = make_batches(count=2), KeepAll(tmp_path)
    whole = settings_module(GRID)
    figures = fit(whole, batches, 3, kept).callback_metrics
    for path in (kept.kept[0], kept.kept[3]):
        resumed = settings_module(GRID)
        found = fit(resumed, batches, 3, ckpt=path).callback_metrics
        for name, state in states(resumed).items():
            for key, value in states(whole)[name].items():
                assert torch.equal(state[key], value), (path.name, name, key)
        assert {name: float(value) for name, value in found.items()} == pytest.approx(
            {name: float(value) for name, value in figures.items()}
        )


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    kept = KeepAll(tmp_path)
    fit(settings_module(GRID), make_batches(1), 1, kept)
    with pytest.raises(ValueError, match="was trained with settings"):
        fit(settings_module({"beta": [0.5, 5.0]}), make_batches(1), 1, ckpt=kept.kept[0])


def test_a_checkpoint_of_another_objective_is_refused(tmp_path: Path) -> None:
    kept = KeepAll(tmp_path)
    fit(settings_module({"a": {"objective": "srae"}}), make_batches(1), 1, kept)
    with pytest.raises(ValueError, match="sae"):
        fit(settings_module({"a": {"objective": "sae"}}), make_batches(1), 1, ckpt=kept.kept[0])


def test_gradients_are_not_clipped_by_the_norm_of_all_settings() -> None:
    with pytest.raises(ValueError, match="gradient_clip_algorithm: value"):
        fit(settings_module(GRID), make_batches(), 1, gradient_clip_val=1.0)
    fit(settings_module(GRID), make_batches(), 1, gradient_clip_val=1.0, gradient_clip_algorithm="value")


def test_classes_by_name_come_from_the_checkpoint() -> None:
    by_name = SRAEOptions("features.2", explained_classes="by_name", num_features=3, hidden=(8,), image_size=32)
    fitted, loaded = (SRAESettingsModule(BACKBONE, by_name, {"beta": [1.0, 2.0]}) for _ in range(2))
    fitted.explain_classes([1, 2])
    assert list(fitted.meaning_of_heads()) == ["explained_classes", "settings"]
    loaded.explain_classes(fitted.meaning_of_heads()["explained_classes"])
    assert loaded.meaning_of_heads() == fitted.meaning_of_heads()


def test_names_that_a_person_wrote_are_read_for_each_setting(tmp_path: Path) -> None:
    module = settings_module(GRID)
    fit(module, make_batches(), 1, default_root_dir=tmp_path)
    for number, name in enumerate(module.of_settings):
        folder = module.folder_of(tmp_path, name)
        folder.mkdir(parents=True)
        (folder / "names.yaml").write_text(f"class 1: [wing {number}, '', '']\n", encoding="utf-8")
    module._read_names(fitting=False)
    found = [one.heatmap_names["class 1"] for one in module.of_settings.values()]
    assert found == [[f"wing {number}", "", ""] for number in range(len(found))]


def ranked(rank: int, world: int) -> tuple[dict[str, dict[str, Tensor]], dict[str, float]]:
    module = settings_module(GRID | {"num_features": [2, 3]})
    batches: list[Batch] = share(make_batches(sampled=True), rank, world)
    options: dict[str, Any] = {
        "devices": world,
        "strategy": "ddp" if world > 1 else "auto",
        "use_distributed_sampler": False,
    }
    trainer: pl.Trainer = fit(module, batches, 2, val=share(make_batches(1), rank, world), **options)
    return states(module), {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_two_ranks_equal_one() -> None:
    one, figures = ranked(0, 1)
    with RankPool(2) as pool:
        for found, logged in pool.run(ranked, 2):
            assert logged == pytest.approx(figures, rel=1e-3, abs=1e-5)
            for name, state in found.items():
                assert_same(state, one[name])


def test_layers_are_read_in_one_forward_pass() -> None:
    module = settings_module({"layer": ["features.2", "features.5"], "beta": [1.0, 5.0]})
    images = torch.rand(2, 3, 32, 32)
    features = module.extractor(images)["features"]
    assert features.shape[1] == module.feature_width == 64 + 128
    for part, explainer in zip(module.joined.split(features), module.of_settings.values(), strict=True):
        torch.testing.assert_close(part, explainer.features(images)["features"])


@pytest.mark.parametrize(
    ("settings", "options", "message"),
    [
        ({"betta": [1.0]}, {}, r"model\.init_args\.settings\.betta is .*did you mean beta"),
        ({"beta": 1.0}, {}, r"model\.init_args\.settings\.beta is 1\.0; give a list of values"),
        ({"beta": [-1.0]}, {}, r"model\.init_args\.settings\.beta is -1\.0; give 0 or more"),
        ({"beta": [1.0, 1.0]}, {}, "beta=1.0 is there twice"),
        ({"a": {"beta": 1.0}, "eta": [1.0]}, {}, r"settings\.a is"),
        ({"a": {"image_size": 64}}, {}, r"settings\.a\.image_size is 64; give it in srae"),
        ({}, {}, r"settings is \{\}; give lists of values"),
        ({"a/b": {"beta": 1.0}}, {}, "names that a folder may have"),
        ({"objective": ["cae"]}, {}, "objective is 'cae'; give srae, sae or nn"),
        ({"beta": [1.0]}, {"classes_at_once": 2}, r"training\.classes_at_once is 2; give null, or fit the setting alone"),
        ({"beta": [1.0]}, {"pretraining_epochs": 2}, r"training\.pretraining_epochs is 2; give 0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_before_a_fit(
    settings: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        settings_module(settings, **options)


def test_explained_classes_by_name_draw_the_heads_that_each_would_have_alone() -> None:
    torch.manual_seed(0)
    by_name = SRAEOptions("features.2", explained_classes="by_name", num_features=3, hidden=(8,), image_size=32)
    module = SRAESettingsModule(BACKBONE, by_name, {"seed": [1, 2], "beta": [1.0, 2.0]})
    torch.manual_seed(3)
    module.explain_classes([1, 2])
    torch.manual_seed(0)
    single = SRAEModule(BACKBONE, by_name, SRAETraining(seed=2))
    torch.manual_seed(3)
    single.explain_classes([1, 2])
    assert_same(states(module)["seed=2,beta=1.0"], single.heads.state_dict())
    assert_same(states(module)["seed=2,beta=2.0"], single.heads.state_dict())
