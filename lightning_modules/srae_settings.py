"""SRAESettingsModule: many settings of an SRAE (β, η, n, layers, seeds), fitted in one pass over the data and compared."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torchmetrics import Metric
from typing_extensions import override

from lightning_modules.base import EXPORTED
from lightning_modules.class_weights import class_weight
from lightning_modules.evaluated import faithfulness_metrics
from lightning_modules.grouped_fit import GroupedFitModule
from lightning_modules.heads import drawn_by, meaning_of, options_located
from lightning_modules.setting_group import SettingGroup, grouped, heads_of
from lightning_modules.several import SeveralExplainersModule
from vitrine.backbones.frozen import FrozenBackbone
from vitrine.backbones.joined_features import JoinedFeatures
from vitrine.backbones.networks import BackboneOptions
from vitrine.core.batch import Batch
from vitrine.core.options import OptionError
from vitrine.explainers.names import NAMES_NAME
from vitrine.explainers.srae.explainer import SRAEExplainer, SRAEOptions
from vitrine.explainers.srae.objectives import SRAETraining
from vitrine.explainers.srae.settings import Setting, settings_of
from vitrine.metrics.alive_features import alive_counts, dead_heads


class SRAESettingsModule(SeveralExplainersModule, GroupedFitModule):
    """Fits the heads of all settings on the same batches, each as if it were fitted alone, and tests them together.

    Features of all layers come from one forward pass, and heads of equal shapes pass batches side by side. Figures are logged
    as ``train/SETTING/…``, ``val/SETTING/…`` and ``test/SETTING/…``; each setting has an explainer of its own in
    ``explainers/SETTING/explainer`` of the run's folder, and a test compares them.

    Args:
        backbone: the classifier to be explained.
        srae: as of `SRAEModule`; what a setting does not change.
        settings: lists of values by option of ``srae`` or ``training``, whose combinations are the settings; or by name of a
            setting its values by option.
        training: as of `SRAEModule`; what a setting does not change.
        kwargs: those of `ExplainerModule`: optimizer, lr_scheduler, explain, class_map.

    Raises:
        ValueError: for options that do not go together.
    """

    explainer: SRAEExplainer
    named_in = "settings"
    memory_remedy = "take fewer settings or explained_classes"

    def __init__(
        self,
        backbone: BackboneOptions,
        srae: SRAEOptions,
        settings: dict[str, Any],
        training: SRAETraining = SRAETraining(),  # noqa: B008 - frozen
        **kwargs: Any,
    ) -> None:
        _check(srae, training, kwargs)
        with options_located("model.init_args"):
            self.settings = settings_of(Setting(srae, training), settings)
        for name, setting in self.settings.items():
            if not setting.training.terms.faithful:
                wanted = "srae, sae or nn, whose predictors are fitted with the rest"
                raise OptionError(f"model.init_args.settings.{name}.objective", setting.training.objective, wanted)
        network = FrozenBackbone.from_options(backbone)
        self._draws = torch.get_rng_state()
        explainers = {name: self._made(network, setting) for name, setting in self.settings.items()}
        super().__init__(dict(explainers), **kwargs)
        self.of_settings = explainers
        self.joined = JoinedFeatures(
            [one.features for one in explainers.values()], [one.feature_width for one in explainers.values()]
        )
        self.setting_groups: list[SettingGroup] = []
        self.mean_contributions: dict[str, Tensor] = {}
        self.val_faithfulness = [faithfulness_metrics(f"val/{name}") for name in explainers]
        self._validated = nn.ModuleList(self.val_faithfulness)

    def _made(self, network: FrozenBackbone, setting: Setting) -> SRAEExplainer:
        """With the first weights that it would have alone."""
        torch.set_rng_state(self._draws)
        options = replace(setting.srae, decoder=setting.training.terms.has_decoder)
        with options_located("model.init_args.srae"), drawn_by(setting.training.seed):
            return SRAEExplainer(network, options)

    @override
    def explain_classes(self, classes: Sequence[int]) -> None:
        if list(classes) == list(self.explainer.explained_classes):
            return
        state = torch.get_rng_state()
        for name, explainer in self.of_settings.items():
            torch.set_rng_state(state)
            with drawn_by(self.settings[name].training.seed):
                explainer.explain_classes(classes)
        self.size_for_heads()

    @property
    @override
    def extractor(self) -> JoinedFeatures:
        return self.joined

    @property
    @override
    def fitted(self) -> nn.Module:
        return self._registered

    @property
    def feature_width(self) -> int:
        """Numbers of an image that all settings together read."""
        return sum(self.joined.widths)

    @override
    def meaning_of_heads(self) -> dict[str, Any]:
        return {
            # Before the settings: it is taken over first, where the classes come from the checkpoint.
            "explained_classes": super().meaning_of_heads()["explained_classes"],
            "settings": {
                name: meaning_of(one.options.to_dict())
                | {"num_features": one.options.num_features, "objective": self.settings[name].training.objective}
                for name, one in self.of_settings.items()
            },
        }

    @property
    @override
    def settings_count(self) -> int:
        return len(self.settings)

    @override
    def _read_names(self, *, fitting: bool) -> None:
        for name, explainer in self.of_settings.items():
            path = self.folder_of(Path(self.trainer.default_root_dir), name) / NAMES_NAME
            if not path.is_file() or not explainer.heatmap_counts():
                continue
            try:
                explainer.read_heatmap_names(path)
            except ValueError as error:
                if not fitting:
                    raise
                rank_zero_warn(f"Heatmaps are shown without names: {error}")  # of other heads, which this run replaces

    # What is trained

    @override
    def setup(self, stage: str) -> None:
        super().setup(stage)
        if stage == "fit":
            if self.trainer.gradient_clip_val and self.trainer.gradient_clip_algorithm != "value":
                raise ValueError(
                    "Settings that are fitted in one pass would be clipped by the norm of all their gradients together; set"
                    " trainer.gradient_clip_algorithm: value, or leave trainer.gradient_clip_val out."
                )
            self.setting_groups = grouped(self.settings, self.of_settings)
            self.alive_of_groups = nn.ModuleList(group.alive for group in self.setting_groups)

    @override
    def head_parameters(self, row: int) -> list[nn.Parameter]:
        return [value for one in self.of_settings.values() for value in heads_of(one)[row].parameters()]

    @override
    def parameter_groups(self) -> Iterable[dict[str, Any]]:
        """By weight decay, which encoders, decoders and predictors have each their own of."""
        by_decay: dict[float, list[nn.Parameter]] = {}
        for name, explainer in self.of_settings.items():
            decays = self.settings[name].training.decays
            for head in heads_of(explainer):
                for key, value in head.named_parameters():
                    by_decay.setdefault(decays[key.split(".")[0]], []).append(value)
        return [{"params": values, "weight_decay": 2 * decay} for decay, values in by_decay.items()]

    def training_step(self, batch: Batch) -> Tensor:
        """Equation 5, summed over the heads of all settings."""
        samples = self.global_samples(batch)
        parts = self.joined.split(samples.features)
        total, means = samples.features.new_zeros(()), dict[str, Tensor]()
        for group in self.setting_groups:
            of_classes = [self._class_weights(setting) for setting in group.settings.values()]
            loss, found = group.step(parts[group.place], samples, of_classes, self.explained)
            total, means = total + loss, means | found
        self.log_means(means, len(samples.features) * len(self.explained))
        return total

    def _class_weights(self, setting: Setting) -> list[float]:
        weight, classes = setting.training.positive_weight, self.explainer.explained_classes
        return [class_weight(weight, self.training_data, row, index) for row, index in enumerate(classes)]

    @override
    def training_metrics(self) -> Mapping[str, Metric]:
        return {f"alive_features_{number}": group.alive for number, group in enumerate(self.setting_groups)}

    @override
    def on_train_epoch_end(self) -> None:
        """Logs how many x-features of each setting are alive, and how many heads are dead."""
        super().on_train_epoch_end()
        for name, means in self.contributions_of_settings().items():
            measured = ~means.isnan().any(dim=1)
            known = self.mean_contributions.setdefault(name, torch.full(means.shape, torch.nan))
            known[measured.cpu()] = means[measured].float().cpu()
            self.log(f"train/{name}/alive_features", alive_counts(means[measured]).float().mean(), rank_zero_only=True)
            self.log(f"train/{name}/dead_heads", float(len(dead_heads(means))), rank_zero_only=True)

    @property
    def knows_contributions(self) -> bool:
        """Whether an epoch measures contributions of x-features: each does."""
        return True

    def restart_head(self, row: int, generator: torch.Generator, name: str) -> None:
        """Draws a head of a setting anew, and forgets what the optimizer knew of it."""
        head = heads_of(self.of_settings[name])[row]
        head.reset(generator)
        self.forget_moments(head)

    def contributions_of_settings(self) -> dict[str, Tensor]:
        """By setting, (J, n) mean contributions in this epoch; a collective."""
        return {name: means for group in self.setting_groups for name, means in group.contributions().items()}

    def validation_step(self, batch: Batch) -> None:
        """Faithfulness of each setting; no heatmap is drawn, so stored features are enough."""
        features, logits = self.features_of(batch)
        pairs = zip(self.of_settings.values(), self.joined.split(features), self.val_faithfulness, strict=True)
        for explainer, part, metrics in pairs:
            metrics.update(heads_of(explainer).estimates(part), logits, self.explained)

    @override
    def on_validation_epoch_end(self) -> None:
        super().on_validation_epoch_end()
        for metrics in self.val_faithfulness:
            self.log_faithfulness(metrics)

    # Checkpoints and exports

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["contributions_of_settings"] = self.mean_contributions

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_load_checkpoint(checkpoint)
        self.mean_contributions = dict(checkpoint.get("contributions_of_settings", {}))
        for explainer in self.of_settings.values():
            explainer.classes, explainer.multi_label = self.explainer.classes, self.explainer.multi_label

    @override
    def export(self, folder: Path) -> Path:
        self.check_values("when it was to be exported", across_ranks=False)
        self._read_names(fitting=True)  # they may have been written while the run went on
        for name, explainer in self.of_settings.items():
            counts = alive_counts(self.mean_contributions[name]).tolist() if name in self.mean_contributions else []
            classes = [explainer.class_name(index) for index in explainer.explained_classes]
            alive = dict(zip(classes, counts, strict=False))
            path = self.folder_of(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            explainer.save(path, metadata=self.metadata() | {"alive_features": alive})
        return folder / "explainers"

    @override
    def check_export(self, folder: Path) -> None:
        for name, explainer in self.of_settings.items():
            explainer.check_saveable(self.folder_of(folder, name))

    @staticmethod
    def folder_of(folder: Path, name: str) -> Path:
        """Where a setting's explainer is exported to, in the run's folder."""
        return folder / "explainers" / name / EXPORTED

    @override
    def on_fit_end(self) -> None:
        super().on_fit_end()
        dead = {name: len(dead_heads(means)) for name, means in self.mean_contributions.items()}
        told = ", ".join(f"{count} of {name}" for name, count in dead.items() if count)
        if told:
            rank_zero_warn(f"Heads with fewer than 2 x-features with a positive mean contribution: {told}.")


def _check(srae: SRAEOptions, training: SRAETraining, kwargs: Mapping[str, Any]) -> None:
    """Refuses what one pass for all settings does not do."""
    for name, value, wanted in (
        ("srae.trunk", srae.trunk, "separate"),
        ("srae.decoder", srae.decoder, True),
        ("training.classes_at_once", training.classes_at_once, None),
        ("training.pretraining_epochs", training.pretraining_epochs, 0),
        ("init_from", kwargs.get("init_from"), None),
        ("init_from_map", kwargs.get("init_from_map"), None),
        ("names", kwargs.get("names"), None),
    ):
        if value != wanted:
            remedy = "null" if wanted is None else "true" if wanted is True else wanted
            raise OptionError(f"model.init_args.{name}", value, f"{remedy}, or fit the setting alone by SRAEModule")
