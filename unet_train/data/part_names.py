"""The parts of a split, and what people call them."""

PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""Part → the folder names that mean it, compared without case."""
