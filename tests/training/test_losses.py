"""Losses against NumPy, under the ignore mask, and split over micro-batches and processes."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unet_train.errors import UserError
from unet_train.training.losses import (
    LOSSES,
    CrossEntropy,
    Dice,
    Focal,
    Lovasz,
    TopKCrossEntropy,
    Tversky,
    build_loss,
    median_frequency,
)

torch.set_num_threads(1)

# Everything a configuration can ask for; every property below runs over all of them.
CONFIGS = {
    "cross_entropy": [{"name": "cross_entropy"}],
    "class_weights": [{"name": "cross_entropy"}],
    "border_weights": [{"name": "cross_entropy"}],
    "focal": [{"name": "focal", "gamma": 2.0}],
    "focal_class_weights": [{"name": "focal", "gamma": 0.5}],
    "dice": [{"name": "dice"}],
    "dice_background": [{"name": "dice", "background": True}],
    "dice_present": [{"name": "dice", "only_present": True}],
    "dice_batch": [{"name": "dice", "batch": True}],
    "dice_batch_present": [{"name": "dice", "batch": True, "only_present": True}],
    "tversky": [{"name": "tversky"}],
    "tversky_present": [{"name": "tversky", "alpha": 0.8, "beta": 0.1, "only_present": True}],
    "lovasz": [{"name": "lovasz"}],
    "lovasz_absent": [{"name": "lovasz", "only_present": False, "background": True}],
    "topk": [{"name": "topk_cross_entropy", "share": 0.3}],
    "sum": [{"name": "cross_entropy", "weight": 0.5}, {"name": "dice", "weight": 2.0}],
}
ADDITIVE = [name for name in CONFIGS if not name.startswith("dice_batch")]


def make(name, channels=3):
    """The loss of that name for a head of so many channels (1 = sigmoid)."""
    classes = max(channels, 2)
    class_weights = [1.0, 3.0, 2.0][:classes] if "class_weights" in name else None
    return build_loss(
        CONFIGS[name], classes, class_weights=class_weights, needs_weight=name == "border_weights"
    )


def draw(seed, channels=3, n=4, height=5, width=6, ignored=0.3):
    """Random logits, target and weights, with some pixels ignored."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, channels, height, width)).astype(np.float32)
    target = rng.integers(0, max(channels, 2), (n, height, width)).astype(np.uint8)
    target[rng.random(target.shape) < ignored] = 255
    weight = rng.uniform(0.5, 10, target.shape).astype(np.float32)
    return torch.from_numpy(logits), torch.from_numpy(target), torch.from_numpy(weight)


# ---- values --------------------------------------------------------------------------------------


def numpy_probabilities(logits):
    """N×K×H×W float64, two classes for one channel, by the textbook formulas."""
    x = logits.double().numpy()
    if x.shape[1] == 1:
        p = 1 / (1 + np.exp(-x))
        return np.concatenate([1 - p, p], 1)
    e = np.exp(x)
    return e / e.sum(1, keepdims=True)


@pytest.mark.parametrize("channels", [1, 2, 4])
@pytest.mark.parametrize("gamma", [None, 0.0, 0.5, 2.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_and_focal_against_numpy(channels, gamma, weighted):
    logits, target, weight = draw(1, channels)
    classes = max(channels, 2)
    class_weights = [1.0, 2.5, 0.5, 3.0][:classes] if weighted else None
    loss = CrossEntropy(class_weights) if gamma is None else Focal(gamma, class_weights)
    p, t, w = numpy_probabilities(logits), target.numpy(), weight.numpy()
    numerator = denominator = 0.0
    for n, i, j in np.ndindex(*t.shape):
        if t[n, i, j] == 255:
            continue
        share = p[n, t[n, i, j], i, j]
        factor = (w[n, i, j] * class_weights[t[n, i, j]]) if weighted else 1.0
        numerator += factor * -np.log(share) * (1 - share) ** (gamma or 0)
        denominator += factor
    value = loss(logits, target, weight if weighted else None)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(numerator / denominator, rel=2e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("only_present", [False, True])
def test_dice_against_numpy(channels, batch, background, only_present):
    logits, target, _ = draw(2, channels)
    target[0] = 255  # an image without a valid pixel
    target[1][target[1] == 1] = 0  # one without class 1
    target[2][target[2] != 255] = 0  # one of background alone
    p, t = numpy_probabilities(logits), target.numpy()
    groups = [slice(None)] if batch else [slice(n, n + 1) for n in range(len(t))]
    per_image = []
    for group in groups:
        valid = t[group] != 255
        if not valid.any():
            continue
        scores = []
        for k in range(0 if background else 1, max(channels, 2)):
            q, y = p[group][:, k][valid], (t[group][valid] == k).astype(float)
            if y.sum() == 0 and only_present:
                continue
            scores.append(1 - (2 * (q * y).sum() + 0.7) / (q.sum() + y.sum() + 0.7))
        if scores:
            per_image.append(np.mean(scores))
    value = Dice(0.7, batch=batch, background=background, only_present=only_present)(logits, target)
    assert value.item() == pytest.approx(np.mean(per_image), rel=2e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("only_present", [False, True])
def test_tversky_against_numpy(channels, only_present):
    logits, target, _ = draw(11, channels)
    target[0][target[0] == 1] = 0
    p, t = numpy_probabilities(logits), target.numpy()
    per_image = []
    for image, truth in zip(p, t, strict=True):
        scores = []
        for k in range(1, max(channels, 2)):
            q, y = image[k][truth != 255], truth[truth != 255] == k
            if y.any() or not only_present:
                tp, fp, fn = (q * y).sum(), (q * ~y).sum(), ((1 - q) * y).sum()
                scores.append(1 - (tp + 0.5) / (tp + 0.2 * fp + 0.9 * fn + 0.5))
        per_image += [np.mean(scores)] if scores else []
    value = Tversky(0.2, 0.9, smooth=0.5, only_present=only_present)(logits, target)
    assert value.item() == pytest.approx(np.mean(per_image), rel=2e-6)
    halves = Tversky(0.5, 0.5, smooth=0.5)(logits, target)
    torch.testing.assert_close(halves, Dice(smooth=1.0)(logits, target))


def jaccard_loss_of(wrong, y):
    """1 − IoU if exactly these pixels are wrong: those of the class are lost, the others are won."""
    union = (y | wrong).sum()
    return 1 - (y & ~wrong).sum() / union if union else 0.0


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("only_present", [False, True])
def test_lovasz_against_its_definition(channels, only_present):
    """Equation 8: Σ mᵢ (Δ({π₁…πᵢ}) − Δ({π₁…πᵢ₋₁})) with the errors mᵢ in falling order, Δ the set function 1 − IoU."""
    logits, target, _ = draw(12, channels)
    target[1] = 255
    target[2][target[2] == 1] = 0
    p, t = numpy_probabilities(logits), target.numpy()
    per_image = []
    for image, truth in zip(p, t, strict=True):
        known, scores = truth != 255, []
        for k in range(1, max(channels, 2)):
            q, y = image[k][known], truth[known] == k
            if y.size and (y.any() or not only_present):
                errors, wrong, loss, before = np.abs(y - q), np.zeros(y.shape, bool), 0.0, 0.0
                for index in np.argsort(-errors):
                    wrong[index] = True
                    loss += errors[index] * (jaccard_loss_of(wrong, y) - before)
                    before = jaccard_loss_of(wrong, y)
                scores.append(loss)
        per_image += [np.mean(scores)] if scores else []
    value = Lovasz(only_present=only_present)(logits, target)
    assert value.item() == pytest.approx(np.mean(per_image), rel=1e-5)


def test_lovasz_of_a_hard_prediction_is_one_minus_iou():
    target = torch.tensor([[[1, 1, 1, 0, 0, 0]]], dtype=torch.uint8)
    predicted = torch.tensor([[[1, 1, 0, 1, 0, 0]]])
    logits = torch.where(predicted == 1, 50.0, -50.0)[:, None]
    assert Lovasz()(logits, target).item() == pytest.approx(1 - 2 / 4)


@pytest.mark.parametrize("share", [0.01, 0.3, 1.0])
def test_topk_cross_entropy_against_numpy(share):
    logits, target, _ = draw(13)
    target[1] = 255
    p, t = numpy_probabilities(logits), target.numpy()
    picked = []
    for image, truth in zip(p, t, strict=True):
        losses = sorted(-np.log(image[truth[y, x], y, x]) for y, x in np.argwhere(truth != 255))[::-1]
        picked += losses[: max(1, int(share * len(losses)))]
    value = TopKCrossEntropy(share)(logits, target)
    assert value.item() == pytest.approx(np.mean(picked), rel=2e-6)
    if share == 1:
        torch.testing.assert_close(value, CrossEntropy()(logits, target))


def test_by_hand():
    """Two pixels, p(cell) = 3/4 at a cell and 1/2 at background, a third ignored."""
    logits = torch.tensor([np.log(3.0), 0.0, 9.0]).view(1, 1, 1, 3).float()
    target = torch.tensor([[[1, 0, 255]]], dtype=torch.uint8)
    assert CrossEntropy()(logits, target).item() == pytest.approx((np.log(4 / 3) + np.log(2)) / 2, rel=1e-6)
    # 2Σpy + 1 = 2.5, Σp + Σy + 1 = 3.25
    assert Dice()(logits, target).item() == pytest.approx(1 - 2.5 / 3.25, rel=1e-6)
    assert Focal(gamma=2)(logits, target).item() == pytest.approx(
        (np.log(4 / 3) / 16 + np.log(2) / 4) / 2, rel=1e-6
    )


# ---- rare and absent classes -------------------------------------------------------------------------
# Four pixels, three classes, all logits 0 (p = 1/3): three pixels of class 0, one of the rare class 1, none of
# the absent class 2. Softmax: ∂p_k/∂z_k = p(1 − p) = 2/9, ∂p_j/∂z_k = −1/9.
TARGET = torch.tensor([[[0, 0, 0, 1]]], dtype=torch.uint8)


def slopes_at_zero(loss):
    """∂loss/∂z of the rare class at its own pixel, and of the absent class at a pixel of class 0."""
    logits = torch.zeros(1, 3, 1, 4, requires_grad=True)
    loss(logits, TARGET).backward()
    return logits.grad[0, 1, 0, 3].item(), logits.grad[0, 2, 0, 0].item()


def test_gradients_of_cross_entropy_towards_a_rare_and_an_absent_class_by_hand():
    # (p − y)/4 per pixel.
    assert slopes_at_zero(CrossEntropy()) == pytest.approx(((1 / 3 - 1) / 4, (1 / 3) / 4))
    # Median frequency: 3/4 and 1/4, their median 1/2: weights 2/3, 2, 0, which sum to 3·2/3 + 2 = 4.
    weights = median_frequency(np.array([[3, 1, 0]]))
    assert weights == pytest.approx([2 / 3, 2, 0])
    assert slopes_at_zero(CrossEntropy(weights)) == pytest.approx((2 * (1 / 3 - 1) / 4, 2 / 3 * (1 / 3) / 4))


def test_gradients_of_focal_towards_a_rare_and_an_absent_class_by_hand():
    # L = (1 − p)² (−ln p); dL/dp = 2(1 − p) ln p − (1 − p)²/p = −4/3 ln 3 − 4/3 at p = 1/3, over 4 pixels.
    slope = -(4 / 3 * np.log(3) + 4 / 3) / 4
    assert slopes_at_zero(Focal(gamma=2)) == pytest.approx((slope * 2 / 9, slope * -1 / 9))


@pytest.mark.parametrize("batch", [False, True])
def test_gradients_of_dice_towards_a_rare_and_an_absent_class_by_hand(batch):
    """Smooth 1: class k has D_k = (2·both + 1)/(p_sum + y_sum + 1), p_sum = 4/3.

    ∂D_k/∂p = 2y/S − (2·both + 1)/S²; S = 16/3, 10/3, 7/3 and 2·both + 1 = 3, 5/3, 1 for the classes 0, 1, 2.
    """
    outside = [-3 / (16 / 3) ** 2, -(5 / 3) / (10 / 3) ** 2, -1 / (7 / 3) ** 2]
    inside = [2 / (16 / 3) + outside[0], 2 / (10 / 3) + outside[1], 2 / (7 / 3) + outside[2]]

    def by_hand(classes):
        rare = [inside[k] if k == 1 else outside[k] for k in range(3)]  # ∂D_k/∂p_k at the rare class's pixel
        first = [inside[k] if k == 0 else outside[k] for k in range(3)]  # and at a pixel of class 0
        return tuple(
            -sum(slopes[k] * (2 / 9 if k == towards else -1 / 9) for k in classes) / len(classes)
            for slopes, towards in ((rare, 1), (first, 2))
        )

    assert slopes_at_zero(Dice(batch=batch)) == pytest.approx(by_hand([1, 2]), rel=1e-5)
    assert slopes_at_zero(Dice(batch=batch, background=True)) == pytest.approx(by_hand([0, 1, 2]), rel=1e-5)
    assert slopes_at_zero(Dice(batch=batch, only_present=True)) == pytest.approx(by_hand([1]), rel=1e-5)
    both = Dice(batch=batch, background=True, only_present=True)
    assert slopes_at_zero(both) == pytest.approx(by_hand([0, 1]), rel=1e-5)


def test_median_frequency_by_hand():
    # Class 0: 60 of the 200 pixels of both images; 1: 100 of the 100 of the only one with it... by image:
    pixels = np.array([[40, 60, 0, 0], [20, 0, 80, 0]])
    # frequencies 60/200, 60/100, 80/100, absent; median of the three 0.6
    assert median_frequency(pixels) == pytest.approx([0.6 / 0.3, 1.0, 0.6 / 0.8, 0.0])
    assert median_frequency(np.zeros((2, 3), int)) == [0.0, 0.0, 0.0]


def test_dice_counts_class_0_where_it_is_no_background():
    terms = [{"name": "dice"}]
    assert [term.background for _, term in build_loss(terms, 3, background=True).terms()] == [False]
    assert [term.background for _, term in build_loss(terms, 3, background=False).terms()] == [True]
    own = [{"name": "dice", "background": False}]
    assert [term.background for _, term in build_loss(own, 3, background=False).terms()] == [False]


def test_published_brain_loss():
    """1 − (2Σpy + 1)/(Σp + Σy + 1) over the whole batch of sigmoid outputs (arXiv:1906.03720's code)."""
    logits, target, _ = draw(3, 1, ignored=0)
    p, y = torch.sigmoid(logits[:, 0]), target.float()
    published = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    torch.testing.assert_close(Dice(batch=True)(logits, target), published, rtol=1e-6, atol=1e-7)


def test_sum_is_the_sum_of_its_named_shares():
    logits, target, weight = draw(4)
    loss = make("sum")
    shares = loss.combine(loss.numerators(logits, target, weight), loss.totals(target, weight))
    assert list(shares) == ["cross_entropy", "dice"]
    expected = 0.5 * CrossEntropy()(logits, target, weight) + 2 * Dice()(logits, target)
    torch.testing.assert_close(sum(shares.values()), expected)
    torch.testing.assert_close(loss(logits, target, weight), expected)


def test_names_stay_apart():
    terms = [{"name": "dice"}, {"name": "cross_entropy"}, {"name": "dice", "batch": True}]
    assert build_loss(terms, 2).names == ["dice", "cross_entropy", "dice_2"]


# ---- the ignore mask -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    channels=st.sampled_from([1, 2, 3]),
    filler=st.sampled_from([0.0, 1e4, np.nan, np.inf]),
)
def test_ignored_pixels_change_nothing(name, seed, channels, filler):
    """Neither value nor gradient depends on logits and weights under the mask, NaN and infinity included."""
    logits, target, weight = draw(seed, channels)
    ignored = target == 255
    results = []
    for fill in (False, True):
        x, w = logits.clone(), weight.clone()
        if fill:
            x[ignored[:, None].expand_as(x)] = filler
            w[ignored] = filler
        x.requires_grad_()
        value = make(name, channels)(x, target, w)
        value.backward()
        assert torch.isfinite(value)
        assert (x.grad[ignored[:, None].expand_as(x)] == 0).all()
        results.append((value.detach(), x.grad))
    torch.testing.assert_close(results[0], results[1], rtol=0, atol=0)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_ignored_is_a_finite_zero(name, dtype, channels):
    """The zero is exact, and so is the gradient, also where logits.sum()·0 would be NaN in float16."""
    net = nn.Conv2d(2, channels, 1).to(dtype)
    x = torch.full((2, 2, 8, 8), 200.0, dtype=dtype)
    logits = net(x) * 200
    target = torch.full((2, 8, 8), 255, dtype=torch.uint8)
    loss = make(name, channels)(logits, target, torch.ones(2, 8, 8))
    assert loss.dtype == torch.float32
    assert loss.item() == 0.0
    loss.backward()
    for parameter in net.parameters():
        assert (parameter.grad == 0).all()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sums_are_float32(name, dtype):
    """512² pixels of float16 probabilities sum to more than float16 holds (65504)."""
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(4, 1, (1, 2, 512, 512)).astype(np.float32)).to(dtype)
    target = torch.ones((1, 512, 512), dtype=torch.uint8)
    weight = torch.full((1, 512, 512), 9.0)
    loss = make(name, 2)
    value = loss(logits, target, weight)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss(logits.float(), target, weight), rtol=0, atol=0)
    assert torch.isfinite(value)


@pytest.mark.parametrize("ids", [[0, 1], [1, 0]])
def test_large_logits_stay_finite(ids):
    """Quite wrong and quite right pixels alike; x^½ of the focal loss has no slope at 0."""
    logits = torch.tensor([1e4, -1e4]).view(1, 1, 1, 2).requires_grad_()
    target = torch.tensor([[ids]], dtype=torch.uint8)
    for name in CONFIGS:
        loss = make(name, 1)(logits, target, torch.ones(1, 1, 2))
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


# ---- splitting -----------------------------------------------------------------------------------


def norm_free_net(channels):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, channels, 3, padding=1))


def gradients(net, loss, parts, scale=1.0):
    """Gradients after the loop's way of going through a group of micro-batches."""
    net = copy.deepcopy(net)
    totals = sum(loss.totals(target, weight) for _, target, weight in parts)
    for image, target, weight in parts:
        (loss(net(image), target, weight, totals=totals) * scale).backward()
    return [parameter.grad for parameter in net.parameters()]


def unequal_batch(channels, seed=0):
    """Eight images of which the first half is nearly all ignored, the second hardly."""
    logits, target, weight = draw(seed, channels, n=8, height=9, width=7)
    rng = np.random.default_rng(seed)
    target[:4][torch.from_numpy(rng.random((4, 9, 7)) < 0.9)] = 255
    target[1] = 255
    return logits[:, :1], target, weight


@pytest.mark.parametrize("name", ADDITIVE)
@pytest.mark.parametrize("channels", [1, 3])
def test_accumulation_2x4_equals_8x1(name, channels):
    """Two micro-batches of four give the gradient of one batch of eight (to 1e-6 of the largest one)."""
    batch = unequal_batch(channels)
    halves = [tuple(part[:4] for part in batch), tuple(part[4:] for part in batch)]
    net, loss = norm_free_net(channels), make(name, channels)
    whole, split = gradients(net, loss, [batch]), gradients(net, loss, halves)
    for a, b in zip(whole, split, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6 * float(a.abs().max()))


@pytest.mark.parametrize("name", ADDITIVE)
def test_averaged_processes_equal_one(name):
    """DDP averages gradients: times the world size, over all-reduced totals, they are those of one."""
    batch = unequal_batch(3)
    halves = [tuple(part[:4] for part in batch), tuple(part[4:] for part in batch)]
    net, loss = norm_free_net(3), make(name)
    totals = sum(loss.totals(target, weight) for _, target, weight in halves)  # all-reduce
    ranks = []
    for image, target, weight in halves:
        rank = copy.deepcopy(net)
        (loss(rank(image), target, weight, totals=totals) * 2).backward()
        ranks.append([parameter.grad for parameter in rank.parameters()])
    for one, a, b in zip(gradients(net, loss, [batch]), *ranks, strict=True):
        torch.testing.assert_close((a + b) / 2, one, rtol=1e-5, atol=1e-6 * float(one.abs().max()))


def test_naive_accumulation_is_wrong():
    """The story behind the totals: averaging two means weighs an almost ignored half as much as a full one.

    With a tenth of the first four images labelled, the usual loss/accumulate gives each labelled pixel
    there ten times the weight of one in the other four, and the gradient is another one than the batch of
    eight has.
    """
    batch = unequal_batch(3)
    halves = [tuple(part[:4] for part in batch), tuple(part[4:] for part in batch)]
    net, loss = norm_free_net(3), make("cross_entropy")
    whole = torch.cat([g.flatten() for g in gradients(net, loss, [batch])])
    naive = copy.deepcopy(net)
    for image, target, weight in halves:
        (loss(naive(image), target, weight) / 2).backward()
    wrong = torch.cat([parameter.grad.flatten() for parameter in naive.parameters()])
    assert (wrong - whole).norm() > 0.1 * whole.norm()


def test_totals_need_no_gradient_and_survive_autocast():
    logits, target, weight = draw(5)
    loss = make("sum")
    assert not loss.totals(target, weight).requires_grad
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss(logits, target, weight)
    torch.testing.assert_close(inside, loss(logits, target, weight), rtol=0, atol=0)


# ---- building ------------------------------------------------------------------------------------


def test_border_weights_that_got_lost_are_noticed():
    logits, target, _ = draw(7)
    with pytest.raises(ValueError, match="weight map"):
        make("border_weights")(logits, target)


def test_class_weights_reach_the_terms_over_pixels_only():
    terms = build_loss([{"name": "focal"}, {"name": "dice"}], 2, class_weights=[1, 2]).terms()
    assert terms[0][1].class_weights.tolist() == [1, 2]
    assert not hasattr(terms[1][1], "class_weights")


def test_every_registered_loss_is_tested():
    assert set(LOSSES) == {term["name"] for terms in CONFIGS.values() for term in terms}


@pytest.mark.parametrize(
    ("terms", "options", "message"),
    [
        (
            [{"name": "dise"}],
            {},
            r"name=dise .*\bdice\?.*cross_entropy, ",
        ),
        ([{"weight": 1}], {}, "name=None "),
        (
            [{"name": "focal", "gama": 1}],
            {},
            r"focal .*\bgama .*\bgamma\?.* weight, gamma$",
        ),
        ([{"name": "focal", "class_weights": [1, 1, 1]}], {}, "focal .*class_weights"),
        ([{"name": "focal", "gamma": -1}], {}, "focal.gamma=-1 must be ≥ 0"),
        ([{"name": "focal", "gamma": "x"}], {}, "loss.terms: focal: "),
        ([{"name": "dice", "smooth": 0}], {}, "dice.smooth=0 must be > 0"),
        ([{"name": "dice", "weight": -1}], {}, "dice.weight=-1 must be a number"),
        ([{"name": "dice", "weight": "much"}], {}, "dice\\.weight=much "),
        ([], {}, "loss.terms is empty"),
        ([{"name": "cross_entropy"}], {"class_weights": [1, 2]}, r"loss\.class_weights .*\b2 .*\b3 classes"),
        ([{"name": "cross_entropy"}], {"class_weights": [0, 0, 0]}, "one of them > 0"),
        ([{"name": "dice"}], {"class_weights": [1, 1, 1]}, "loss\\.class_weights: .*loss\\.terms"),
        ([{"name": "dice"}], {"needs_weight": True}, "loss\\.border_weights: .*loss\\.terms"),
    ],
)
def test_bad_configuration_is_one_line(terms, options, message):
    with pytest.raises(UserError, match=message) as error:
        build_loss(terms, 3, **options)
    assert "\n" not in str(error.value)


def test_wrong_shapes_are_refused():
    logits, target, weight = draw(8)
    with pytest.raises(ValueError, match="N×H×W class ids"):
        CrossEntropy()(logits, target[:, None])
    with pytest.raises(ValueError, match="logits must be"):
        CrossEntropy()(logits[..., :-1], target)
    with pytest.raises(ValueError, match="weight has the shape"):
        CrossEntropy()(logits, target, weight[:1])
