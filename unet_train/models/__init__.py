"""The nets: encoders, the U-Net around them, their description (spec) and the weights they start from."""
