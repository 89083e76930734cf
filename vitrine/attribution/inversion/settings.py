"""What the optimisation of an inversion mask is made of: the paper's choices, the released code's, and ours."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from vitrine.core.options import Count, CountOrZero, NonNegative, OptionError, Options, Positive, check_value

Variant = Literal["paper", "released", "fine", "smooth"]
Maps = Literal["activations", "gradient", "guided"]


@dataclass(frozen=True)
class InversionSettings(Options):
    """Two stages of steps on the channel weights ω of one mask.

    Stage 1 lowers ‖f(Φ) − f(x)‖² + γ ‖ω‖ (equation 8), stage 2 lowers −s(Φ) + λ s(Φ_bg) + δ ‖ω‖ (equation 9), where s is the
    score of the explained class, Φ shows the image where the mask is, and Φ_bg where it is not.

    Raises:
        ValueError: for an unknown word, or a number out of range.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"stop_at_rest": "stop_when_converged"}

    mask: Literal["channels", "pixels"] = "channels"
    """What a mask consists of: a sum over the ``channels`` of l₁, weighted by ω (equations 6 to 9), or free ``pixels`` in
    [0, 1] (equations 3 and 5), which stand for ω then, with their mean in place of the norm; those need larger steps, such as
    a ``start`` of 0.5 and a ``learning_rate`` of 0.1."""
    inversion_steps: CountOrZero = 10
    """Of stage 1."""
    class_steps: CountOrZero = 70
    """Of stage 2."""
    learning_rate: Positive = 1e-2
    """Of Adam; that with which stage 2 begins."""
    halving: Count = 10
    """Steps after which stage 2 halves its learning rate, again and again."""
    inversion_penalty: NonNegative = 10.0
    """γ; α of free pixels."""
    class_penalty: NonNegative = 1.0
    """δ; 10 for images of several objects and classifiers of several labels (section 4.3). β of free pixels."""
    suppression: NonNegative = 1.0
    """λ."""
    maps: Maps = "activations"
    """fᵢ, what a mask is a sum of: ``activations``, or their relevance for the class, (g ∘ f)⁺ with g the ``gradient`` of its
    logit, or that of ``guided`` backprop."""
    mask_from: Literal["paper", "inversion_layer", "stages", "finest"] = "paper"
    """l₁ where none is named: the ``paper``'s, the ``inversion_layer`` l₀ itself, all ``stages`` (the last layer of every
    resolution, see `stage_layers`), or the ``finest`` of them alone."""
    gate: NonNegative = 0.0
    """p: where the mask's sum is multiplied by the p-th power of the sum of the same maps at l₀, which tells classes apart; 0
    does without."""
    smoothing: NonNegative = 0.0
    """σ, as a share of the map's width, of a Gaussian over the mask's sum; 0 does without."""
    score: Literal["probability", "log_probability", "sigmoid", "logit"] = "probability"
    """s: the class's ``probability`` (a softmax; the sigmoid for one logit, and of a classifier of several labels), its
    ``log_probability``, the ``sigmoid`` of its logit in any case, or the ``logit`` itself."""
    background: Literal["blur", "mean", "noise"] = "blur"
    """p, what stands where the mask is 0: ``blur`` (a Gaussian of 11 pixels), ``mean`` (colour: 0 of a normalised input) or
    ``noise`` (Gaussian, white)."""
    start: Positive = 0.1
    """ω before the first step, where nothing predicts it."""
    squared_penalty: bool = False
    """‖ω‖² instead of ‖ω‖₁; of free pixels the mean of squares."""
    relative_error: bool = False
    """Whether the inversion error is divided by ‖f(x)‖²."""
    one_schedule: bool = False
    """Whether one Adam goes through both stages, its rate halved from the first step on."""
    over_maximum: bool = False
    """Whether the mask is enlarged with aligned corners and then is (m − min) / max, in place of (m − min) / (max − min) and
    then enlarged."""
    tolerance: NonNegative = 1e-3
    """A mask has come to rest where a step of stage 2 changes it by at most so much, as a mean over its pixels."""
    stop_when_converged: bool = False
    """Whether an image's steps end there."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.has_pixels:
            return
        channels_alone = {"maps": "activations", "gate": 0.0, "smoothing": 0.0, "over_maximum": False}
        for name, value in channels_alone.items():
            if getattr(self, name) != value:
                raise OptionError(name, getattr(self, name), f"{value!r}, as mask is 'pixels'")

    @property
    def has_pixels(self) -> bool:
        """Whether masks are free pixels."""
        return self.mask == "pixels"

    def check_predictor(self, *, wanted: bool) -> None:
        """Raises OptionError of ``mask`` where a predictor of channel weights is wanted for masks of free pixels."""
        if wanted and self.has_pixels:
            raise OptionError("mask", self.mask, "'channels', whose weights a predictor gives")


PAPER = InversionSettings()
RELEASED = InversionSettings(
    inversion_steps=11,
    class_steps=69,
    inversion_penalty=5.0,
    class_penalty=2.0,
    squared_penalty=True,
    relative_error=True,
    one_schedule=True,
    over_maximum=True,
    mask_from="inversion_layer",
)
FINE = InversionSettings(
    inversion_steps=0,
    class_steps=0,
    learning_rate=2e-2,
    class_penalty=0.01,
    maps="guided",
    mask_from="finest",
    score="log_probability",
)
"""For the extent of objects: masks of many cells, whose maps are of the class from the start, so that ω all equal will do;
``class_steps`` make them more of the class."""
SMOOTH = replace(FINE, maps="gradient", gate=0.5, smoothing=0.1)
"""For where an object is, and for images that are hardly recognised: more of the class, and no outlines."""
VARIANTS: Mapping[str, InversionSettings] = {"paper": PAPER, "released": RELEASED, "fine": FINE, "smooth": SMOOTH}


def settings_of(variant: str, **overrides: Any) -> InversionSettings:
    """A variant's settings, those replaced that are given and not None.

    Raises:
        ValueError: for an unknown variant or setting, or what `InversionSettings` refuses.
    """
    check_value("variant", variant, Variant)
    given = {InversionSettings.RENAMED.get(name, name): value for name, value in overrides.items()}
    given = {name: value for name, value in given.items() if value is not None}
    InversionSettings.from_dict(given)  # an unknown name gets its sentence here
    return replace(VARIANTS[variant], **given)
