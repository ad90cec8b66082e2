"""Backbones by name, what they give, and how the network treats BatchNorm and learning rates."""

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from jointadapt import from_arrays, train
from jointadapt.errors import UserError
from jointadapt.networks.backbone import Backbone
from jointadapt.networks.backbones import build_backbone
from jointadapt.networks.network import Head, Network

FAMILIES = {
    "alexnet": (4096, 4096),
    "vgg11": (4096, 4096),
    "vgg16_bn": (4096, 4096),
    "googlenet": (1024,),
    "resnet18": (512,),
    "resnet50": (2048,),
    "squeezenet1_0": (512,),
    "mobilenet_v2": (1280,),
    "inception_v3": (2048,),
    "vit_b_16": (768,),
}


def _network(backbone: Backbone, classes: int, frozen: bool = False) -> Network:
    return Network(backbone, Head(backbone.widths, classes), frozen)


@pytest.mark.parametrize(("name", "widths"), FAMILIES.items())
def test_torchvision_backbones_give_their_hidden_layers(name, widths):
    backbone = build_backbone(name, "none").eval()
    assert backbone.preprocessing is not None
    size = 224 if name == "vit_b_16" else 96
    with torch.inference_mode():
        layers = backbone(torch.randn(2, 3, size, size))
    assert [layer.shape for layer in layers] == [(2, width) for width in widths] == [(2, w) for w in backbone.widths]


@pytest.mark.parametrize("name", ["timm/resnet10t", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_timm_backbones_give_one_vector_an_image(name):
    backbone = build_backbone(name, "none").eval()
    size = backbone.preprocessing.crop
    with torch.inference_mode():
        (features,) = backbone(torch.randn(1, 3, size, size))
    assert features.shape == (1, *backbone.widths)


@pytest.mark.parametrize(("name", "layers"), [("alexnet", 3), ("vgg11", 3), ("googlenet", 2), ("resnet18", 2)])
def test_the_papers_layers_are_adapted(name, layers):
    network = _network(build_backbone(name, "none"), classes=5).eval()
    with torch.inference_mode():
        seen = network(torch.randn(2, 3, 96, 96))
    assert len(seen.layers) == layers == len(network.widths)
    assert [layer.shape[1] for layer in seen.layers] == list(network.widths)
    torch.testing.assert_close(seen.layers[-1], seen.logits.softmax(1))
    assert torch.equal(seen.layers[-2], seen.features)


def test_layers_of_alexnet_are_torchvisions_own():
    model = torchvision.models.alexnet(weights=None).eval()
    backbone = build_backbone("alexnet", "none").eval()
    backbone.body.convolutions.load_state_dict({f"0.{k}": v for k, v in model.features.state_dict().items()})
    backbone.body.fc6.load_state_dict(model.classifier[1].state_dict())
    backbone.body.fc7.load_state_dict(model.classifier[4].state_dict())
    x = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        fc6, fc7 = backbone(x)
        h = model.avgpool(model.features(x)).flatten(1)
        torch.testing.assert_close(fc6, model.classifier[:3](h))
        torch.testing.assert_close(fc7, model.classifier[:6](h))


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", ["resnet18", "googlenet", "squeezenet1_1"])
def test_weights_come_from_a_file_and_give_that_networks_features(tmp_path, name, suffix):
    torch.manual_seed(1)
    extra = {"init_weights": False, "aux_logits": True} if name == "googlenet" else {}
    model = getattr(torchvision.models, name)(weights=None, **extra).eval()
    file = tmp_path / f"weights{suffix}"
    save_file(model.state_dict(), file) if suffix == ".safetensors" else torch.save(model.state_dict(), file)
    backbone = build_backbone(name, str(file)).eval()
    assert backbone.pretrained
    assert torch.equal(next(backbone.parameters()), next(model.parameters()))


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "resnet18.safetensors"
    save_file(torchvision.models.resnet18(weights=None).state_dict(), file)
    with pytest.raises(UserError, match="does not fit the backbone resnet50"):
        build_backbone("resnet50", str(file))


def test_a_classifier_of_another_size_is_no_obstacle(tmp_path):
    file = tmp_path / "fine-tuned.safetensors"
    save_file(torchvision.models.resnet18(weights=None, num_classes=7).state_dict(), file)
    build_backbone("resnet18", str(file))


def test_an_unknown_backbone_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="did you mean 'resnet50"):
        build_backbone("resnet5O", "none")


def test_batchnorm_of_a_pretrained_backbone_keeps_its_statistics():
    backbone = build_backbone("resnet18", "none")
    backbone.pretrained = True
    network = _network(backbone, classes=3).train()
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    network(torch.randn(4, 3, 64, 64))
    assert all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())
    assert all(p.requires_grad for p in backbone.parameters())
    assert network.head.bottleneck[1].training


def test_a_frozen_backbone_neither_learns_nor_moves():
    network = _network(build_backbone("resnet18", "none"), classes=3, frozen=True).train()
    assert not network.backbone.training
    assert not any(p.requires_grad for p in network.backbone.parameters())
    assert [group["rate"] for group in network.parameter_groups()] == [1.0]


def test_new_layers_learn_ten_times_as_fast_as_a_pretrained_backbone():
    backbone = build_backbone("squeezenet1_1", "none")
    network = _network(backbone, classes=3)
    assert {group["rate"] for group in network.parameter_groups()} == {1.0}
    backbone.pretrained = True
    groups = network.parameter_groups()
    assert [group["rate"] for group in groups] == [0.1, 1.0]
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_both_domains_pass_one_map():
    network = _network(build_backbone("none", shape=(4,)), classes=3).train()
    torch.manual_seed(0)
    x = torch.randn(10, 4)
    source, target = network(x).split(6)
    assert (len(source.features), len(target.features)) == (6, 4)
    assert isinstance(network.head.bottleneck[1], nn.BatchNorm1d)
    assert network.head.bottleneck[1].num_batches_tracked == 1


@pytest.mark.parametrize(("name", "shape"), [("none", (7,)), ("mlp", (7,)), ("mlp", (1, 8, 8)), ("cnn", (3, 16, 16))])
def test_small_backbones_take_arrays(name, shape):
    backbone = build_backbone(name, shape=shape)
    (features,) = backbone(torch.randn(4, *shape))
    assert features.shape == (4, *backbone.widths)
    assert not backbone.pretrained


def test_images_of_one_pixel_s_height_are_images():
    x = np.random.default_rng(0).normal(size=(30, 1, 256))
    run = train((x, x[:, 0, 0] > 0), x, kind="images", steps=2, batch_size=8, baseline=False, report=False)
    assert run.model.shape == (1, 1, 256)
    assert run.summary.backbone == "cnn"
    assert run.model.predict_proba(from_arrays(x, kind="images")).shape == (30, 2)


def test_rows_too_small_for_a_backbone_are_told_so():
    x = np.random.default_rng(0).normal(size=(30, 8, 8, 3))
    with pytest.raises(UserError, match=r"the backbone alexnet takes no rows of shape \(3, 8, 8\) \("):
        train((x, x[:, 0, 0, 0] > 0), x, backbone="alexnet", weights="none", steps=2, baseline=False)


def test_a_small_backbone_needs_arrays():
    with pytest.raises(UserError, match="is for arrays"):
        build_backbone("mlp")
