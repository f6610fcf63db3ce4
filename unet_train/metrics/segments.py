"""The ISBI 2012 challenge's scores of a boundary map by the segments that it leaves: V_rand and V_info.

Arganda-Carreras et al., Frontiers in Neuroanatomy 9 (2015) 142: foreground-restricted Rand and information theoretic
scoring after border thinning.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from skimage.measure import label, shannon_entropy
from skimage.metrics import adapted_rand_error, variation_of_information
from skimage.segmentation import watershed

SEGMENT_SCORES = ("v_rand", "v_info")


def segment_scores(prediction: np.ndarray, truth: np.ndarray, boundary: int) -> dict[str, float]:
    """``v_rand`` and ``v_info`` of one image, in [0, 1]; higher is better.

    A segment is a 4-connected region of pixels that are not boundary. The predicted boundaries are thinned away: a
    watershed lets the segments grow until they meet, so that the width of a boundary does not matter. Pixels
    that are boundary or unknown in the ground truth are left out.

    Parameters
    ----------
    prediction : ndarray
        H×W integer class ids.
    truth : ndarray
        H×W integer class ids, 255 unknown.
    boundary : int
        The class that lies between segments.

    Returns
    -------
    dict of str to float
        ``v_rand``: harmonic mean of the probabilities that two pixels of one true segment are in one predicted segment,
        and the other way round (equation 3 with alpha 0.5). ``v_info``: mutual information over the mean of
        the two entropies (equation 5). Both NaN where the ground truth has no segment.

    Raises
    ------
    ValueError
        On different shapes.

    Notes
    -----
    The challenge takes the best over thresholds of a probability map; this scores the classes as predicted. Pairs are
    of two different pixels, as in scikit-image, which changes ``v_rand`` by about one over the number of pixels
    of a segment.
    """
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {prediction.shape} and truth {truth.shape} differ in shape")
    true = label((truth != boundary) & (truth != 255), connectivity=1)
    inside = true > 0
    if not inside.any():
        return dict.fromkeys(SEGMENT_SCORES, float("nan"))
    found = _thinned(prediction, boundary)
    error, _, _ = adapted_rand_error(true, found, ignore_labels=(0,))
    merged_and_split = variation_of_information(true, found, ignore_labels=(0,)).sum()
    # I = (H(S) + H(T) - VI) / 2; two images of one segment each have no entropy and agree.
    entropies = shannon_entropy(true[inside]) + shannon_entropy(found[inside])
    info = 1 - merged_and_split / entropies if entropies > 0 else 1.0
    return {"v_rand": 1 - float(error), "v_info": float(np.clip(info, 0, 1))}


def _thinned(classes: np.ndarray, boundary: int) -> np.ndarray:
    """H×W segment ids, grown over the boundary until nothing of it is left; one segment where all is boundary."""
    seeds = label(classes != boundary, connectivity=1)
    if not seeds.any():
        return np.ones(classes.shape, int)
    return watershed(ndimage.distance_transform_edt(seeds == 0), seeds)
