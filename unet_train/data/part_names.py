"""The parts of a split, and what people call them."""

PART_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "validate", "dev"),
    "test": ("test", "testing"),
}
"""Part → the folder names that mean it, compared without case."""
