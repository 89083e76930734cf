"""Map files: heatmaps that another program has written as pictures, so that they can be measured beside others."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import override

from vitrine.backbones.frozen import FrozenBackbone
from vitrine.core.explanation import Explanation
from vitrine.core.heatmap_texts import HeatmapTexts
from vitrine.core.near_names import did_you_mean
from vitrine.core.options import Options
from vitrine.data.preprocessing import Preprocessing
from vitrine.data.shards.images import PICTURE_SUFFIXES, decode
from vitrine.data.shards.sample import make_key
from vitrine.explainers.base import Explainer, Target, target_classes


@dataclass(frozen=True)
class MapFileOptions(Options):
    """Where the pictures are.

    Args:
        folder: of grey pictures, each named as its image, with any extension of pictures; other files in it are left alone.
    """

    folder: str | Path = "maps"


class MapFileExplainer(Explainer):
    """Heatmaps from pictures, such as those that the authors of a method have published for a data set.

    A picture is found by the key of its image, so it can only be measured by what gives keys, as `ComparisonModule` does. It
    has the proportions of the whole image, which must not be cropped.

    Args:
        backbone: the frozen classifier, whose prediction is what a map counts for.
        options: where the pictures are.
        classes: names of the backbone's logits.
        preprocessing: how images are prepared for the backbone.

    Raises:
        FileNotFoundError: where the folder holds no picture.
        ValueError: where two pictures are of one image.
    """

    options_type = MapFileOptions
    texts = HeatmapTexts(
        heatmap="The heatmap was read from a file, as another program has written it.", score="1 for every map"
    )
    options: MapFileOptions

    def __init__(
        self,
        backbone: FrozenBackbone,
        options: MapFileOptions | None = None,
        classes: Sequence[str] | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        super().__init__(backbone, options, classes, preprocessing)
        folder = Path(self.options.folder)
        pictures = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
        self.files: dict[str, Path] = {}
        for path in sorted(pictures):
            first = self.files.setdefault(make_key(path.relative_to(folder)), path)
            if first != path:
                raise ValueError(
                    f"{path} is of the same image as {first}; give a folder with one picture an image as maps."
                )
        if not self.files:
            raise FileNotFoundError(f"{folder} holds no pictures of maps; give a folder that does as maps.")

    @override
    def explain_batch(self, images: Tensor, target: Target) -> Explanation:
        """Raises ValueError, as images alone do not say which picture is theirs."""
        raise ValueError("Maps in files are found by the keys of images; measure them with ComparisonModule.")

    def explanation_of_keys(
        self, images: Tensor, keys: Sequence[str], logits: Tensor, target: Target = None
    ) -> Explanation:
        """One heatmap an image, in [0, 1], with a score of 1.

        Args:
            images: (B, 3, H, W) as the backbone takes them.
            keys: B names of the images.
            logits: (B, C) of these images.
            target: as in `explain`; maps are the same for every class.

        Raises:
            FileNotFoundError: where an image has no picture.
            ValueError: where images are cropped.
        """
        if self.preprocessing is not None and self.preprocessing.resize is not None:
            raise ValueError(
                f"data.init_args.preprocessing.resize is {self.preprocessing.resize}, which crops images, but maps in files"
                " are of whole ones; give null."
            )
        prediction = logits.argmax(dim=1)
        maps = torch.cat([self._read(key, images) for key in keys])
        return Explanation(
            heatmaps=maps,
            scores=maps.new_ones(len(maps), 1),
            labels=[["map"]] * len(maps),
            prediction=prediction,
            target=target_classes(target, prediction, logits.shape[1]),
            logits=logits,
            multi_label=self.multi_label,
        )

    def _read(self, key: str, images: Tensor) -> Tensor:
        """(1, 1, H, W) on the images' device."""
        if key not in self.files:
            raise FileNotFoundError(
                f"{self.options.folder} has no picture of the image {key!r}{did_you_mean(key, self.files) or '.'}"
            )
        path = self.files[key]
        grey = np.array(decode(path.read_bytes(), str(path)).convert("F"), dtype=np.float32) / 255
        values = torch.from_numpy(grey)[None, None].to(images.device)
        return F.interpolate(values, images.shape[2:], mode="bilinear", antialias=True)
