"""unet-train: train, evaluate and apply U-Nets on your own images."""

__version__ = "0.1.0"
