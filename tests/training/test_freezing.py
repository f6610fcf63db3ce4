"""Frozen stages stay as they are as a whole, cost no backward pass, and train once they are thawed."""

import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.models.encoders import build_encoder
from unet_train.models.spec import ModelSpec, build_model
from unet_train.training.averages import EMA
from unet_train.training.freezing import (
    Thaw,
    freeze_encoder,
    frozen_parts,
    frozen_tensors,
    thaw_encoder,
    was_thawed,
)
from unet_train.training.losses import CrossEntropy
from unet_train.training.optimizers import build_optimizer, parameter_groups
from unet_train.training.precision import choose_precision
from unet_train.training.schedules import Schedule
from unet_train.training.train_state import TrainState

ENCODERS = [
    ("unet", {"init_features": 4, "depth": 2}),
    ("resnet", {"depth": 18}),
    ("efficientnet", {"variant": "b0"}),
    ("timm", {"name": "tf_efficientnet_lite0"}),
    ("timm", {"name": "convnext_atto"}),
]


def small(kind="unet", **params):
    encoder = {"kind": kind, **(params or {"init_features": 4, "depth": 2})}
    return build_model(ModelSpec(encoder, 3, ["background", "cell"]))


@pytest.mark.parametrize(("kind", "params"), ENCODERS, ids=lambda value: str(value))
def test_a_stage_is_all_that_is_computed_before_its_feature(kind, params):
    """With N stages frozen, autograd reaches no parameter from the first N features, and some from every other."""
    if kind == "timm":
        pytest.importorskip("timm")
    encoder = build_encoder(kind, 3, **params).eval()
    image = torch.rand(1, 3, 64, 64)
    for stages in range(len(encoder.strides) + 1):
        encoder.requires_grad_(True)
        for name in frozen_parts(encoder, stages):
            encoder.get_submodule(name).requires_grad_(False)
        moves = [feature.requires_grad for feature in encoder(image)]
        assert moves == [False] * stages + [True] * (len(moves) - stages)
    assert not any(parameter.requires_grad for parameter in encoder.parameters())


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_no_backward_pass_runs_through_what_is_frozen():
    model = small("efficientnet", variant="b0")
    freeze_encoder(model, 2)
    calls = {name: 0 for name, _ in model.encoder.features.named_children()}

    def counter(name):
        def count(*_):
            calls[name] += 1

        return count

    for name, part in model.encoder.features.named_children():
        part.register_full_backward_hook(counter(name))
    model.train()(torch.rand(2, 3, 64, 64)).sum().backward()
    assert calls == {
        str(index): int(index > 2) for index in range(8)
    }  # features.0 to 2 are the first two stages
    assert all(
        (parameter.grad is None) == name.startswith(("features.0.", "features.1.", "features.2."))
        for name, parameter in model.encoder.named_parameters()
    )


@pytest.mark.parametrize("stages", [1, "all"])
def test_frozen_norms_dropout_and_drop_path_rest_while_the_others_train(stages):
    model = small("efficientnet", variant="b0")
    freeze_encoder(model, stages)
    model.eval().train()  # as around a validation
    frozen = ("features.0", "features.1") if stages == 1 else ("",)
    for name, part in model.encoder.named_modules():
        at_rest = stages == "all" or (name + ".").startswith(tuple(f"{whole}." for whole in frozen))
        assert part.training != at_rest, name
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = build_optimizer(model, "adamw", lr=0.1, weight_decay=0.5)
    ema = EMA(model, 0.9, frozen_tensors(model))
    for _ in range(2):
        model(torch.rand(2, 3, 64, 64)).square().mean().backward()
        optimizer.step()
        ema.update(model)
    for name, value in model.state_dict().items():
        if name.startswith("normalisation."):
            continue
        still = name.startswith(tuple(f"encoder.{whole}".rstrip(".") + "." for whole in frozen))
        assert torch.equal(value, before[name]) == still, name
        assert torch.equal(ema.average[name], before[name]) == still or name.endswith(
            "num_batches_tracked"
        ), name


def test_what_is_frozen_is_neither_in_the_optimizer_nor_averaged():
    model = small()
    freeze_encoder(model, "all")
    optimizer = build_optimizer(model, "adamw", lr=0.1)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(p) for name, p in model.named_parameters() if not name.startswith("encoder.")}
    ema = EMA(model, 0.9, frozen_tensors(model))
    with torch.no_grad():
        for value in model.state_dict().values():
            value += 1
    old = {name: value.clone() for name, value in ema.average.items()}
    ema.update(model)
    for name, value in ema.average.items():
        assert torch.equal(value, old[name]) == name.startswith("encoder."), name


def test_thawed_parameters_join_the_optimizer_at_the_rate_of_the_encoder():
    model = small()
    freeze_encoder(model, 2)
    rates = (0.1, 0.5, 0.25)
    optimizer = build_optimizer(model, "adamw", lr=0.1, weight_decay=0.5, encoder_lr_factor=0.25)
    assert not was_thawed(optimizer.state_dict())
    thaw_encoder(model, optimizer, lambda: parameter_groups(model, *rates))
    assert was_thawed(optimizer.state_dict())
    held = [id(parameter) for group in optimizer.param_groups for parameter in group["params"]]
    assert sorted(held) == sorted(id(parameter) for parameter in model.parameters())
    new = [group for group in optimizer.param_groups if group["name"].startswith("thawed_")]
    assert [(group["base_lr"], group["weight_decay"]) for group in new] == [(0.025, 0.5), (0.025, 0.0)]
    assert all(part.training for part in model.modules())
    model(torch.rand(1, 3, 32, 32)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_after_the_thaw_the_averages_take_in_what_was_frozen():
    model = small()
    freeze_encoder(model, "all")
    thaw = Thaw(2, lambda: parameter_groups(model, 0.1, 0.0, 1.0), lambda model: model)
    state = TrainState(
        model=model,
        loss=CrossEntropy(),
        optimizer=build_optimizer(model, "adamw", lr=0.1),
        schedule=Schedule("constant", total_updates=4),
        ema=EMA(model, 0.9, frozen_tensors(model)),
        precision=choose_precision("cpu", "32"),
        device=torch.device("cpu"),
        outputs=("background", "cell"),
        background=True,
        forward=model,
        thaw=thaw,
    )
    state.thaw_when_due(0)
    assert model.frozen
    state.thaw_when_due(1)
    assert not model.frozen
    old = {name: value.clone() for name, value in state.ema.average.items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    state.ema.update(model)
    assert all(not torch.equal(state.ema.average[name], old[name]) for name, _ in model.named_parameters())


class Outside(nn.Module):
    """An encoder of one's own."""

    in_channels, channels, strides = 3, (4, 8), (1, 2)

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 8, 2, stride=2)

    def forward(self, x):
        fine = self.fine(x)
        return [fine, self.coarse(fine)]


def test_an_encoder_from_outside_is_frozen_by_stages_only_if_it_says_where_they_end():
    encoder = Outside()
    assert frozen_parts(encoder, "all") == [""]
    with pytest.raises(UserError, match=r"freeze_encoder=1: Outside .*stages"):
        frozen_parts(encoder, 1)
    encoder.stages = [["fine"], ["coarse"]]
    assert frozen_parts(encoder, 1) == ["fine"]
    with pytest.raises(UserError, match=r"freeze_encoder=3: .*2 stages"):
        frozen_parts(encoder, 3)
    encoder.stages = [["fin"], ["coarse"]]
    with pytest.raises(UserError, match=r"Outside\.stages .*fin\b"):
        frozen_parts(encoder, 1)
