"""Which tokens are patches and which is the class token, of transformers where that is known."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.helpers.token_networks import SmallMixer, TokensFirst, timm_vit, torchvision_vit
from vitrine.backbones.token_kinds import TokenKinds, token_kinds

SIXTEEN = tuple(range(16))


def after(others: int) -> tuple[int, ...]:
    """Indices of sixteen patches behind other tokens."""
    return tuple(range(others, others + 16))


CASES: dict[str, tuple[Callable[[], nn.Module], TokenKinds]] = {
    "torchvision, classifier of zeros": (torchvision_vit, TokenKinds(after(1), 0)),
    "timm": (timm_vit, TokenKinds(after(1), 0)),
    "half": (lambda: timm_vit().bfloat16(), TokenKinds(after(1), 0)),
    "registers": (lambda: timm_vit(reg_tokens=4), TokenKinds(after(5), 0)),
    "no class token": (lambda: timm_vit(class_token=False, global_pool="avg"), TokenKinds(SIXTEEN, None)),
    "a class token that is not read": (lambda: timm_vit(global_pool="avg"), TokenKinds(after(1), None)),
    "attention pooling": (lambda: timm_vit(class_token=False, global_pool="map"), TokenKinds(SIXTEEN, None)),
    "distilled": (lambda: timm_vit("deit_tiny_distilled_patch16_224"), TokenKinds(after(2), 0)),
    "the class token comes late": (lambda: timm_vit("cait_xxs24_224"), TokenKinds(after(1), 0)),
    "relative positions": (lambda: timm_vit("beit_base_patch16_224"), TokenKinds(after(1), None)),
    "tokens first, class token last": (TokensFirst, TokenKinds(SIXTEEN, 16)),
    "tokens first, normalised before": (lambda: TokensFirst(norm_first=True), TokenKinds(SIXTEEN, 16)),
    "patches alone": (SmallMixer, TokenKinds(SIXTEEN, None)),
}


@pytest.mark.parametrize("name", CASES)
def test_kinds_of_tokens(name: str) -> None:
    torch.manual_seed(0)
    make, expected = CASES[name]
    count = len(expected.patches) if name in {"no class token", "attention pooling", "patches alone"} else None
    count = count or max(*expected.patches, expected.class_token or 0) + 1
    assert token_kinds(make(), count, (32, 32)) == expected


def test_the_patches_of_a_network_whose_class_token_comes_late() -> None:
    assert token_kinds(timm_vit("cait_xxs24_224"), 16, (32, 32)) == TokenKinds(SIXTEEN, None)


def test_a_picture_of_another_size() -> None:
    model = timm_vit(dynamic_img_size=True)
    assert token_kinds(model, 13, (16, 48)) == TokenKinds(tuple(range(1, 13)), 0)


def test_the_network_is_as_it_was() -> None:
    model = timm_vit().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    token_kinds(model, 17, (32, 32))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_gradient_leads_through_the_network() -> None:
    class Constant(SmallMixer):
        @torch.no_grad()
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images)

    assert token_kinds(Constant(), 16, (32, 32)) == TokenKinds(SIXTEEN, None)
