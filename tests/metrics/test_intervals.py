"""Intervals against scipy.stats.bootstrap and a loop by hand; groups, not images, are drawn."""

import numpy as np
import pytest
from scipy import stats

from unet_train.metrics.challenge import ChallengeCounts
from unet_train.metrics.confusion import scores_from_counts
from unet_train.metrics.intervals import (
    DRAWS,
    FEWEST,
    basis,
    bootstrap,
    contributing,
    intervals,
    percentile_interval,
    values_statistic,
)
from unet_train.metrics.pooled import ImageCounts, PooledCounts

CLASSES = ("background", "cell", "nucleus")


def random_counts(n, seed=0):
    """n K×K matrices of images of very different sizes and qualities."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 50, (3, 3)) + np.diag(rng.integers(20, 2000, 3)) for _ in range(n)]


def pooled(counts, groups=None, classes=CLASSES, objects=None):
    groups = groups or [""] * len(counts)
    objects = objects or [None] * len(counts)
    images = [
        ImageCounts.of(f"im{i}", g, c, o)
        for i, (g, c, o) in enumerate(zip(groups, counts, objects, strict=True))
    ]
    return PooledCounts.of(images, classes, background=True)


def test_means_agree_with_scipy():
    values = np.random.default_rng(1).beta(5, 2, 30)
    found = intervals(values_statistic(values), len(values))
    for name, function in (("mean", np.mean), ("median", np.median)):
        reference = stats.bootstrap(
            (values,), function, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
        ).confidence_interval
        assert found[name] == pytest.approx(reference, abs=0.012)
        width = reference.high - reference.low
        assert found[name][1] - found[name][0] == pytest.approx(width, rel=0.15)


def test_pooled_scores_agree_with_scipy_and_pool_before_they_divide():
    counts = random_counts(25)
    found = pooled(counts).intervals()
    stacked = np.array(counts)

    def iou(chosen, axis=-1):
        total = stacked[np.asarray(chosen)].sum(axis=1 if np.ndim(chosen) > 1 else 0)
        hit, union = total[..., 1, 1], total[..., 1, :].sum(-1) + total[..., :, 1].sum(-1) - total[..., 1, 1]
        return hit / union

    reference = stats.bootstrap(
        (np.arange(25),), iou, n_resamples=20_000, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    assert found["iou/cell"] == pytest.approx(reference, abs=0.01)
    each = np.array([scores_from_counts(c, CLASSES)["iou/cell"] for c in counts])
    of_means = intervals(values_statistic(each), 25)["mean"]
    assert abs(of_means[0] - reference.low) > 0.02, "a mean of ratios would be told apart"


def test_every_draw_is_the_score_of_its_sum():
    """By hand: the same draws, images repeated, `scores_from_counts` on their sum."""
    counts = random_counts(9)
    drawn = pooled(counts).draws()
    rng = np.random.default_rng(0)
    for place in range(50):
        chosen = rng.integers(9, size=9)
        expected = scores_from_counts(sum(counts[i] for i in chosen), CLASSES)
        for name, values in drawn.items():
            assert values[place] == pytest.approx(expected[name], abs=1e-12)
    assert {len(values) for values in drawn.values()} == {DRAWS}
    assert "iou/mean" in drawn
    assert "iou/mean_over" not in drawn


def test_groups_are_drawn_not_images():
    """Ten near copies of each of six videos: as sure as six images, not as sixty."""
    videos = random_counts(6, seed=4)
    counts = [c for c in videos for _ in range(10)]
    groups = [f"video {i}" for i in range(6) for _ in range(10)]
    grouped, apart = pooled(counts, groups), pooled(counts)
    assert (grouped.unit, len(grouped.groups)) == ("groups", 6)
    assert (apart.unit, len(apart.groups)) == ("images", 60)
    low, high = grouped.intervals()["iou/cell"]
    narrow = apart.intervals()["iou/cell"]
    assert high - low > 2 * (narrow[1] - narrow[0])
    assert (low, high) == pytest.approx(pooled(videos).intervals()["iou/cell"])
    assert grouped.scores() == pytest.approx(apart.scores())


def test_the_order_of_the_images_changes_nothing():
    counts = random_counts(12)
    groups = [f"g{i % 7}" for i in range(12)]
    assert pooled(counts[::-1], groups[::-1]).intervals() == pooled(counts, groups).intervals()


def test_below_six_groups_there_is_none_and_it_is_said():
    for n in (0, 1, FEWEST - 1):
        found = pooled(random_counts(n)).intervals()
        assert set(found.values()) <= {None}
        assert "no intervals" in basis(n, "patients")
        assert str(FEWEST) in basis(n, "patients")
    assert None not in pooled(random_counts(FEWEST)).intervals().values()
    assert "1,000" in basis(FEWEST, "images")
    assert "6 images" in basis(FEWEST, "images")


def test_a_class_of_few_groups_has_none_and_neither_has_the_mean_with_it():
    """Without it a draw's mean would run over other classes: another score under the same name."""
    counts = random_counts(12)
    for c in counts[2:]:
        c[2], c[:, 2] = 0, 0
    found = pooled(counts).intervals()
    assert found["iou/nucleus"] is None
    assert found["iou/mean"] is None
    assert found["dice/mean"] is None
    assert found["iou/cell"] is not None
    assert contributing(pooled(counts).scores, 12)["iou/nucleus"] == 2


def test_a_class_that_never_occurs_has_none():
    counts = random_counts(8)
    for c in counts:
        c[2], c[:, 2] = 0, 0
    found = pooled(counts).intervals()
    assert found["iou/nucleus"] is None
    assert found["iou/mean"] == found["iou/cell"]


def test_objects_are_pooled_too():
    rng = np.random.default_rng(5)
    objects = [
        ChallengeCounts(float(rng.uniform(2, 5)), 6, int(rng.integers(0, 3)), 0, int(rng.integers(0, 9)), 6)
        for _ in range(10)
    ]
    group = pooled(random_counts(10), objects=objects)
    assert {k: v for k, v in group.scores().items() if k in ("seg", "det", "op_csb")} == pytest.approx(
        sum(objects[1:], objects[0]).scores()
    )
    ratio = np.array([o.jaccard for o in objects]) / 6
    reference = stats.bootstrap(
        (ratio,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert group.intervals()["seg"] == pytest.approx(reference, abs=0.01)


def test_draws_missing_a_score_count_against_it():
    values = np.linspace(0, 1, 1000)
    assert percentile_interval(values, 6) == pytest.approx((0.025, 0.975), abs=1e-3)
    values[:49] = np.nan
    assert percentile_interval(values, 6) is not None
    values[:51] = np.nan
    assert percentile_interval(values, 6) is None


def test_two_models_are_drawn_alike():
    """Differences are paired: the same groups in the same draws."""
    values = np.random.default_rng(0).uniform(size=20)
    first = bootstrap(values_statistic(values), 20)["mean"]
    assert np.ptp(bootstrap(values_statistic(values + 0.1), 20)["mean"] - first) == pytest.approx(
        0, abs=1e-12
    )
