"""FlowerViT, FlowerSwin, FlowerConvNeXt: small transformers and a small ConvNeXt that learn an8Flower in minutes on a CPU."""

from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer


class FlowerViT(VisionTransformer):  # type: ignore[misc]  # torchvision has no types
    """Vision transformer with patches of 8 pixels and a class token: six blocks of 64 channels and four heads.

    Args:
        num_classes: number of logits.
        size: side of the input in pixels, a multiple of 8.

    Example:
        >>> import torch
        >>> FlowerViT(num_classes=6)(torch.rand(2, 3, 80, 80)).shape
        torch.Size([2, 6])
    """

    def __init__(self, num_classes: int = 6, size: int = 80) -> None:
        super().__init__(size, 8, num_layers=6, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=num_classes)
        nn.init.trunc_normal_(self.conv_proj.weight, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)


class FlowerSwin(SwinTransformer):  # type: ignore[misc]  # torchvision has no types
    """Swin transformer with patches of 4 pixels and windows of 5 × 5 tokens: two blocks of 32 channels, four of 64.

    ``norm`` outputs (B, H/8, W/8, 64) maps, which are averaged for the last layer.

    Args:
        num_classes: number of logits.

    Example:
        >>> import torch
        >>> FlowerSwin(num_classes=6)(torch.rand(2, 3, 80, 80)).shape
        torch.Size([2, 6])
    """

    def __init__(self, num_classes: int = 6) -> None:
        super().__init__(
            patch_size=[4, 4],
            embed_dim=32,
            depths=[2, 4],
            num_heads=[2, 4],
            window_size=[5, 5],
            mlp_ratio=2.0,
            stochastic_depth_prob=0.0,
            num_classes=num_classes,
        )


class FlowerConvNeXt(ConvNeXt):  # type: ignore[misc]  # torchvision has no types
    """ConvNeXt with a stem of 4 × 4 pixels: two blocks of 32 channels and three of 64 at 8 × 8 pixels.

    ``features`` outputs (B, 64, H/8, W/8) maps, which are averaged for the last layer.

    Args:
        num_classes: number of logits.

    Example:
        >>> import torch
        >>> FlowerConvNeXt(num_classes=6)(torch.rand(2, 3, 80, 80)).shape
        torch.Size([2, 6])
    """

    def __init__(self, num_classes: int = 6) -> None:
        stages = [CNBlockConfig(32, 64, 2), CNBlockConfig(64, None, 3)]
        super().__init__(stages, layer_scale=0.1, num_classes=num_classes)
