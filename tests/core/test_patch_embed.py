"""Patches are projected alike in training and in evaluation."""

import torch
from torch.nn import functional as F

from nuwa_search.core.arch import Arch, BlockSpec
from nuwa_search.core.vit import PatchEmbed


def test_the_product_of_many_patches_is_the_convolution_with_its_gradients() -> None:
    torch.manual_seed(0)
    embed = PatchEmbed(Arch((BlockSpec(2, 8, 8, 32),), 16, num_classes=3, img_size=48, patch_size=4))
    images = torch.randn(2, 3, 48, 48)
    wanted = F.conv2d(images, embed.proj.weight, embed.proj.bias, stride=4).flatten(2).transpose(1, 2)
    found = embed(images)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(wanted)
    ours = torch.autograd.grad((found * weights).sum(), list(embed.parameters()))
    theirs = torch.autograd.grad((wanted * weights).sum(), list(embed.parameters()))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)
