"""What a model's weights start from: a file, ImageNet, or the published brain MRI net."""

from unet_train.models.weights.brain_mri import BRAIN_MRI_VIEWS, brain_mri_spec, load_brain_mri
from unet_train.models.weights.imagenet import imagenet_normalisation, load_imagenet, published_weights
from unet_train.models.weights.match_state_dict import LoadReport, adapt_channels, load_file, load_tensors

__all__ = [
    "BRAIN_MRI_VIEWS",
    "LoadReport",
    "adapt_channels",
    "brain_mri_spec",
    "imagenet_normalisation",
    "load_brain_mri",
    "load_file",
    "load_imagenet",
    "load_tensors",
    "published_weights",
]
