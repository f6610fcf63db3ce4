"""Optimizers: who decays, the right class and values, and one-line refusals."""

import copy

import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.training.optimizers import build_optimizer, decay_groups


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 2, 2), nn.GroupNorm(1, 2)
    )


def test_norms_and_biases_are_spared():
    model = net()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = {g["name"]: sorted(names[id(p)] for p in g["params"]) for g in decay_groups(model, 0.1)}
    assert groups == {
        "decay": ["0.weight", "3.weight"],
        "no_decay": ["0.bias", "1.bias", "1.weight", "3.bias", "4.bias", "4.weight"],
    }


@pytest.mark.parametrize("kind", ["adamw", "sgd", "adam"])
def test_decay_shrinks_weights_alone(kind):
    """With zero gradients a step changes exactly what decays."""
    model = net()
    before = copy.deepcopy(model)
    optimizer = build_optimizer(model, kind, lr=0.1, weight_decay=0.1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for (name, new), old in zip(model.named_parameters(), before.parameters(), strict=True):
        assert torch.equal(new, old) == (new.ndim == 1), name


def test_values_arrive():
    sgd = build_optimizer(net(), "sgd", lr=0.1, weight_decay=1e-4, momentum=0.99, nesterov=True)
    assert isinstance(sgd, torch.optim.SGD)
    assert [(g["lr"], g["weight_decay"], g["momentum"], g["nesterov"]) for g in sgd.param_groups] == [
        (0.1, 1e-4, 0.99, True),
        (0.1, 0.0, 0.99, True),
    ]
    adam = build_optimizer(net(), "adam", lr=0.1, betas=[0.8, 0.9])
    assert type(adam) is torch.optim.Adam
    assert adam.param_groups[0]["betas"] == (0.8, 0.9)
    assert isinstance(build_optimizer(net(), "adamw", lr=0.1), torch.optim.AdamW)
    assert [group["base_lr"] for group in sgd.param_groups] == [0.1, 0.1]


def test_frozen_parameters_stay_out():
    model = net()
    model[0].requires_grad_(False)
    assert len(decay_groups(model, 0)[0]["params"]) == 1
    model.requires_grad_(False)
    with pytest.raises(UserError, match="frozen"):
        build_optimizer(model, "adamw", lr=0.1)


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        ("adagrad", {}, "adagrad .*adamw, sgd, adam"),
        ("adamw", {"lr": -1.0}, "learning rate"),
        ("adam", {"betas": [0.9, 1.0]}, "beta parameter"),
        ("sgd", {"momentum": 0.0, "nesterov": True}, "Nesterov momentum requires a momentum"),
    ],
)
def test_bad_values_are_refused(kind, values, message):
    """The config's own range is checked by its schema; this is for programmers, and mostly torch's own."""
    with pytest.raises(ValueError, match=message):
        build_optimizer(net(), kind, **{"lr": 0.1, **values})


def test_the_encoder_has_a_rate_of_its_own():
    model = nn.ModuleDict({"encoder": nn.Conv2d(1, 2, 3), "head": nn.Conv2d(2, 2, 1)})
    optimizer = build_optimizer(model, "adamw", lr=0.1, weight_decay=0.5, encoder_lr_factor=0.25)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {
        names[id(p)]: (group["base_lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for p in group["params"]
    }
    assert found == {
        "encoder.weight": (0.025, 0.5),
        "encoder.bias": (0.025, 0.0),
        "head.weight": (0.1, 0.5),
        "head.bias": (0.1, 0.0),
    }
    assert len(build_optimizer(model, "sgd", lr=0.1, encoder_lr_factor=1.0).param_groups) == 2
