"""Precision and accelerator: every branch of the rule, without needing the hardware."""

import pytest
import torch

from unet_train.errors import UserError
from unet_train.training import precision
from unet_train.training.precision import choose_accelerator, choose_precision


def pretend(monkeypatch, **answers):
    """Let the machine have what is said: cpu=…, cuda=… (bf16), has_cuda=…, has_mps=…."""
    targets = {
        "cpu": (precision, "cpu_has_native_bf16"),
        "cuda": (precision, "cuda_has_native_bf16"),
        "has_cuda": (torch.cuda, "is_available"),
        "has_mps": (torch.backends.mps, "is_available"),
    }
    for key, answer in answers.items():
        monkeypatch.setattr(*targets[key], lambda answer=answer: answer)


@pytest.mark.parametrize(
    ("accelerator", "wanted", "native", "name", "dtype", "scaler"),
    [
        ("cpu", "auto", True, "bf16", torch.bfloat16, False),
        ("cpu", "auto", False, "32", None, False),
        ("cpu", "bf16", False, "bf16", torch.bfloat16, False),
        ("cpu", "32", True, "32", None, False),
        ("cpu", 32, True, "32", None, False),
        ("cuda", "auto", True, "bf16", torch.bfloat16, False),
        ("cuda", "auto", False, "16", torch.float16, True),
        ("cuda", "bf16", False, "bf16", torch.bfloat16, False),
        ("cuda", "16", True, "16", torch.float16, True),
        ("cuda", 16, True, "16", torch.float16, True),
        ("cuda", "32", True, "32", None, False),
        ("mps", "auto", True, "32", None, False),
        ("mps", "32", True, "32", None, False),
    ],
)
def test_rule(monkeypatch, accelerator, wanted, native, name, dtype, scaler):
    pretend(monkeypatch, cpu=native, cuda=native)
    chosen = choose_precision(accelerator, wanted)
    assert (chosen.name, chosen.dtype, chosen.scaler) == (name, dtype, scaler)
    assert chosen.reason
    assert ("slow" in chosen.reason) == (wanted == "bf16" and not native)


@pytest.mark.parametrize(
    ("accelerator", "wanted", "message"),
    [
        ("cpu", "16", "trainer\\.precision=16 .*CPU"),
        ("mps", "16", "trainer\\.precision=16 .*MPS"),
        ("mps", "bf16", "trainer\\.precision=bf16 .*MPS"),
        ("cpu", "fp8", "trainer\\.precision=fp8 .*auto, 32, bf16, 16"),
    ],
)
def test_refusals(accelerator, wanted, message):
    with pytest.raises(UserError, match=message):
        choose_precision(accelerator, wanted)


def test_detection_on_this_machine():
    """Against the kernel's own list of flags, where there is one."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            flags = set(next(line for line in file if line.startswith("flags")).split())
    except (OSError, StopIteration):
        assert precision.cpu_has_native_bf16() in (True, False)
        return
    expected = bool(flags & {"amx_tile", "avx512_bf16"}) and torch.backends.mkldnn.is_available()
    assert precision.cpu_has_native_bf16() == expected


@pytest.mark.parametrize("missing", [True, False])
def test_detection_needs_kernels_and_a_torch_that_can_tell(monkeypatch, missing):
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    for name in names:
        if missing:
            monkeypatch.delattr(torch.cpu, name, raising=False)
        else:
            monkeypatch.setattr(torch.cpu, name, lambda: True, raising=False)
    assert precision.cpu_has_native_bf16() == (not missing and torch.backends.mkldnn.is_available())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not precision.cpu_has_native_bf16()


def test_accelerator(monkeypatch):
    pretend(monkeypatch, has_cuda=True, has_mps=True)
    assert [choose_accelerator(w) for w in ("auto", "cpu", "cuda", "mps")] == ["cuda", "cpu", "cuda", "mps"]
    pretend(monkeypatch, has_cuda=False)
    assert choose_accelerator("auto") == "mps"
    with pytest.raises(UserError, match=r"trainer\.accelerator=cuda: "):
        choose_accelerator("cuda")
    pretend(monkeypatch, has_mps=False)
    assert choose_accelerator() == "cpu"
    with pytest.raises(UserError, match=r"trainer\.accelerator=mps: "):
        choose_accelerator("mps")
    with pytest.raises(UserError, match="auto, cpu, cuda, mps"):
        choose_accelerator("gpu")


def test_contexts():
    layer = torch.nn.Conv2d(1, 1, 1)
    for wanted, dtype in (("32", torch.float32), ("bf16", torch.bfloat16)):
        chosen = choose_precision("cpu", wanted)
        with chosen.autocast("cpu"):
            assert layer(torch.zeros(1, 1, 2, 2)).dtype == dtype
        assert not chosen.grad_scaler("cpu").is_enabled()


@pytest.mark.gpu
def test_every_precision_trains_a_step_on_cuda():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for wanted in ("auto", "32", "bf16", "16"):
        chosen = choose_precision("cuda", wanted)
        layer = torch.nn.Conv2d(1, 1, 3).cuda()
        optimizer, scaler = torch.optim.SGD(layer.parameters(), lr=0.1), chosen.grad_scaler("cuda")
        before = layer.weight.detach().clone()
        with chosen.autocast("cuda"):
            loss = layer(torch.ones(1, 1, 8, 8, device="cuda")).float().mean()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert torch.isfinite(layer.weight).all()
        assert not torch.equal(layer.weight, before)
