"""The printed table: aligned, complete, and honest about classes that do not occur."""

import math

import numpy as np

from unet_train.metrics.confusion import scores_from_counts
from unet_train.reporting.tables import format_rows, format_table

COUNTS = np.array([[90, 5, 0], [8, 40, 0], [0, 0, 0]])
NAMES = ["background", "Zellkörper", "debris"]


def test_every_class_and_the_mean_with_its_count():
    text = format_table(scores_from_counts(COUNTS, NAMES), title="demo")
    lines = text.splitlines()
    assert lines[0] == "demo"
    assert lines[1].split() == ["class", "IoU", "Dice"]
    blank = lines.index("")
    cells = {line.split("  ")[0].strip(): line.split()[-2:] for line in lines[3:blank]}
    assert cells["background"] == [f"{90 / 103:.4f}", f"{180 / 193:.4f}"]
    assert cells["debris"] == ["–", "–"], "a class that never occurs is neither 0 nor 1"
    assert cells["mean over 1 of 2 foreground classes"] == [f"{40 / 53:.4f}", f"{80 / 93:.4f}"]
    assert lines[-1].split() == ["accuracy", f"{130 / 143:.4f}"]
    assert lines[blank + 1].split() == ["class", "precision", "recall", "specificity"]
    rates = {line.split()[0]: line.split()[1:] for line in lines[blank + 3 : blank + 6]}
    assert rates["Zellkörper"] == [f"{40 / 45:.4f}", f"{40 / 48:.4f}", f"{90 / 95:.4f}"]
    assert rates["debris"] == ["–", "–", "1.0000"], (
        "143 pixels are of another class, and none was called debris"
    )
    for table in (lines[1:blank], lines[blank + 1 : -2]):
        assert len({len(line) for line in table if not line.startswith("─")}) == 1, "right aligned"


def test_shares_other_scores_and_nulls_of_a_json_file():
    scores = {**scores_from_counts(COUNTS, NAMES), "seg": 0.25, "n_images": 4, "part": "test", "det": None}
    scores["iou/debris"] = None
    text = format_table(scores, counts=COUNTS)
    assert "true px" in text.splitlines()[0]
    row = next(line for line in text.splitlines() if line.startswith("Zellkörper"))
    assert row.split()[3:] == ["33.6", "%", "31.5", "%"], "48 and 45 of 143 pixels"
    assert "seg       0.2500" in text
    assert "n_images  4" in text
    assert "det" not in text, "a score that was not measured is not a number to show"
    assert "part" not in text


def test_any_small_table():
    text = format_rows(["patient", "dice", "slices"], [["a", 0.5, 20], ["longer", math.nan, 3]], title="Dice")
    assert text.splitlines() == [
        "Dice",
        "patient    dice  slices",
        "───────────────────────",
        "a        0.5000      20",
        "longer        –       3",
    ]


def test_without_a_background_the_mean_runs_over_all_classes():
    text = format_table(scores_from_counts(COUNTS, NAMES, background=False), background=False)
    assert "mean over 2 of 3 classes" in text
    counts = np.diag([1, 1, 1])
    text = format_table(scores_from_counts(counts, NAMES, background=False), background=False)
    assert "mean over 3 classes" in text
