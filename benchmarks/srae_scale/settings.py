"""What is measured, and on what."""

from dataclasses import dataclass

PLAIN = "one by one"
FLOAT32 = "float32"
BFLOAT16 = "bf16"
SHARED = "shared"
WAYS = {
    PLAIN: "a module a class, fitted one after the other in plain PyTorch with Adam as it comes",
    FLOAT32: "SRAEModule, groups of classes, float32",
    BFLOAT16: "SRAEModule, groups of classes, bf16-mixed",
    SHARED: "SRAEModule, all classes on one trunk, float32",
}


@dataclass(frozen=True)
class Settings:
    """Sizes of the problem and of the heads, the same for every way to fit them.

    Args:
        features: d, size of Z.
        hidden: widths of the encoders between Z and the x-features.
        num_features: n, a class.
        rows: N, training samples.
        held_out: samples that faithfulness is measured on.
        rank: dimensions of what lies behind Z.
        batch_size: samples a step.
        at_once: classes that SRAEModule fits together.
        device: ``cpu`` or ``cuda``.
        seed: of problem, order and heads.
    """

    features: int = 4096
    hidden: tuple[int, ...] = (800, 100)
    num_features: int = 5
    rows: int = 1024
    held_out: int = 512
    rank: int = 32
    batch_size: int = 64
    at_once: int = 16
    device: str = "cpu"
    seed: int = 0

    beta: float = 5.0
    eta: float = 0.5
    q: float = 1.0
    decay: float = 1e-5
    lr: float = 1e-3
