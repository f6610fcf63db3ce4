"""Crop, intensity and resampling of an image before the net, and the way back: arrays in, arrays out."""
