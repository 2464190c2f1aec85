"""Feature maps of timm's and torchvision's networks, and Grad-CAM and Grad-CAM++ on them beside pytorch-grad-cam's."""

from __future__ import annotations

import pytest
import torch
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from timm.models import convnext, efficientnet, resnet, swin_transformer, vision_transformer
from torchvision import models as torchvision

import pellucid as pl
from pellucid.evaluation.metrics.similarity import spearman
from pellucid.explainers import explain
from pellucid.models.layouts import FeatureLayout, LastMap

TINY = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "num_heads": 2, "num_classes": 3}
CLASSES = ["a", "b", "c"]


def vit(**options):
    return vision_transformer.VisionTransformer(depth=3, **TINY, **options)


def deit():
    from timm.models.deit import VisionTransformerDistilled

    return VisionTransformerDistilled(depth=3, **TINY)


def swin():
    return swin_transformer.SwinTransformer(
        img_size=64, patch_size=4, embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_size=4, num_classes=3
    )


TOKENS = FeatureLayout("tokens", 1)
NETWORKS = {
    "timm ViT": (vit, LastMap("blocks.2.norm1", TOKENS)),
    "timm ViT, average of the patches": (
        lambda: vit(class_token=False, global_pool="avg", fc_norm=False),
        LastMap("norm", FeatureLayout("tokens"), "head"),
    ),
    "timm DeiT": (deit, LastMap("blocks.2.norm1", FeatureLayout("tokens", 2))),
    "timm DINOv2 with registers": (
        lambda: vit(reg_tokens=4, init_values=1.0),
        LastMap("blocks.2.norm1", FeatureLayout("tokens", 5)),
    ),
    "timm Swin": (swin, LastMap("norm", FeatureLayout("nhwc"), "head.fc")),
    "timm ConvNeXt": (
        lambda: convnext.ConvNeXt(depths=(1, 1, 1, 1), dims=(4, 8, 12, 16), num_classes=3),
        LastMap("stages", FeatureLayout("nchw")),
    ),
    "timm ResNet": (
        lambda: resnet.ResNet(resnet.BasicBlock, (1, 1, 1, 1), num_classes=3),
        LastMap("layer4", FeatureLayout("nchw"), "fc"),
    ),
    "timm EfficientNet": (
        lambda: efficientnet.efficientnet_lite0(num_classes=3),
        LastMap("bn2", FeatureLayout("nchw"), "classifier"),
    ),
    "torchvision ViT": (
        lambda: torchvision.VisionTransformer(32, 8, 3, 2, 16, 32, num_classes=3),
        LastMap("encoder.layers.encoder_layer_2.ln_1", TOKENS),
    ),
    "torchvision Swin": (
        lambda: torchvision.SwinTransformer([4, 4], 8, [1, 2], [1, 2], [4, 4], num_classes=3),
        LastMap("norm", FeatureLayout("nhwc"), "head"),
    ),
    "torchvision DenseNet": (
        lambda: torchvision.DenseNet(4, (1, 1), 8, num_classes=3),
        LastMap("features", FeatureLayout("nchw"), "classifier", rectified=True),
    ),
    "torchvision SqueezeNet": (
        lambda: torchvision.squeezenet1_1(num_classes=3),
        LastMap("classifier.2", FeatureLayout("nchw")),
    ),
}
SIZES = {"timm ConvNeXt": 96, "timm ResNet": 96, "timm EfficientNet": 96, "torchvision SqueezeNet": 96}


def wrapped(name):
    torch.manual_seed(3)
    module = NETWORKS[name][0]().eval()
    for parameter in module.parameters():  # heads start from 0 and norms from 1: nothing there to see
        if parameter.shape[0] == len(CLASSES):
            torch.nn.init.normal_(parameter, std=1e4)  # pytorch-grad-cam adds 1e-6 where Grad-CAM++ divides
        elif parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.5)
    size = 64 if name == "timm Swin" else SIZES.get(name, 32)
    model = pl.wrap(module, CLASSES, size=size, mean=[0.5] * 3, std=[0.25] * 3).eval()
    return model, torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_last_feature_map_is_found(name):
    model, images = wrapped(name)
    assert model.last_map == NETWORKS[name][1]
    assert LastMap.from_card(model.last_map.to_card()) == model.last_map
    assert model.has_linear_head == (model.last_map.head is not None)
    if model.has_linear_head:
        torch.testing.assert_close(model.head(model.features(images).mean((2, 3))), model(images), rtol=1e-4, atol=1e-4)


# not of DenseNet, whose last ReLU is no module, so that there is no layer to give pytorch-grad-cam
@pytest.mark.parametrize("name", [name for name in NETWORKS if "Dense" not in name and "Efficient" not in name])
@pytest.mark.parametrize(("method", "theirs"), [("grad-cam", GradCAM), ("grad-cam++", GradCAMPlusPlus)])
def test_grad_cam_is_theirs(name, method, theirs):
    model, images = wrapped(name)
    layout = model.last_map.layout

    def reshape(output):
        if layout.name == "nchw":
            return output
        if layout.name == "nhwc":
            return output.permute(0, 3, 1, 2)
        patches = output[:, layout.extra_tokens :]
        side = int(patches.shape[1] ** 0.5)
        return patches.reshape(len(patches), side, side, -1).permute(0, 3, 1, 2)

    layer = model.module.get_submodule(model.last_map.layer)
    compared = 0
    with theirs(model=model, target_layers=[layer], reshape_transform=reshape) as extractor:
        for target in range(len(CLASSES)):
            expected = torch.from_numpy(extractor(images, [ClassifierOutputTarget(target)] * len(images)))
            found = explain(method, model, images, target).maps
            varies = expected.flatten(1).std(1) > 0.01
            alike = spearman(found[varies], expected[varies])
            assert (alike > 0.999).all(), alike
            compared += int(varies.sum())
    assert compared >= 2
