"""The door to the network: what goes in, what comes back, in which mode."""

import numpy as np
import pytest
import torch
from torch import nn

from unet_train.errors import UserError
from unet_train.inference.whole import predict_probabilities
from unet_train.symmetries import ALL_VIEWS


class Brightness(nn.Module):
    """A "network" whose foreground probability is the normalised grey value: everything can be foretold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.dropout = nn.Dropout(0.5)
        self.seen: list[tuple] = []

    def forward(self, x, mean=None, std=None):
        self.seen.append((tuple(x.shape), x.dtype, mean, std))
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        if mean is not None:
            x = (x - mean[:, :, None, None]) / std[:, :, None, None]
        return self.dropout(x.mean(1, keepdim=True)) * self.weight

    def probabilities(self, logits):
        return torch.cat([1 - logits, logits], 1)


def test_uint8_stays_uint8_and_comes_back_at_its_size():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
    model = Brightness().train()
    result = predict_probabilities(model, image)
    assert model.seen[0][:2] == ((1, 3, 13, 17), torch.uint8)
    assert result.shape == (2, 13, 17)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result[1], image.mean(2) / 255, atol=1e-6)
    assert model.training, "the mode is put back"
    assert model.dropout.training


def test_mean_and_std_reach_the_network_per_image():
    image = np.full((4, 4, 2), 0.6, np.float32)
    model = Brightness()
    result = predict_probabilities(model, image, mean=[0.2, 0.4], std=[0.5, 0.5])
    np.testing.assert_allclose(result[1], (0.8 + 0.4) / 2, atol=1e-6)
    assert model.seen[0][2].shape == (1, 2)
    with pytest.raises(ValueError, match="mean and std"):
        predict_probabilities(model, image, mean=[0.2, 0.4])


class Corner(Brightness):
    """Looks at the pixel above and to the left, so that its answer depends on the orientation."""

    def forward(self, x, mean=None, std=None):
        x = x.float()
        return x + 2 * torch.roll(x, 1, 2) + 5 * torch.roll(x, 1, 3)


@pytest.mark.parametrize(
    ("view", "turn"),
    [
        ("horizontal_flip", np.fliplr),
        ("vertical_flip", np.flipud),
        ("transpose", lambda array: array.swapaxes(0, 1)),
        ("rotation_180", lambda array: np.rot90(array, 2)),
    ],
)
def test_tta_over_some_views_is_their_mean(view, turn):
    image = np.random.default_rng(2).random((6, 9, 1), dtype=np.float32)
    model = Corner()
    found = predict_probabilities(model, image, views=("identity", view))[1]
    straight = predict_probabilities(model, image)[1]
    turned = turn(predict_probabilities(model, np.ascontiguousarray(turn(image)))[1])
    np.testing.assert_allclose(found, (straight + turned) / 2, atol=1e-6)


def test_tta_is_the_mean_over_eight_orientations():
    image = np.random.default_rng(2).random((6, 9, 1), dtype=np.float32)
    model = Corner()
    result = predict_probabilities(model, image, views=ALL_VIEWS)[1]
    expected = np.zeros((6, 9))
    for flip in (False, True):
        for k in range(4):
            turned = np.rot90(image[:, ::-1] if flip else image, k)
            one = predict_probabilities(model, np.ascontiguousarray(turned))[1]
            one = np.rot90(one, -k)
            expected += (one[:, ::-1] if flip else one) / 8
    np.testing.assert_allclose(result, expected, atol=1e-5)
    turned = predict_probabilities(model, np.ascontiguousarray(np.rot90(image)), views=ALL_VIEWS)[1]
    np.testing.assert_allclose(turned, np.rot90(result), atol=1e-5, err_msg="turning in turns the result")


def test_out_of_memory_is_advice_not_a_traceback():
    class Greedy(Brightness):
        def forward(self, x, mean=None, std=None):
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(UserError, match=r"tile\.size"):
        predict_probabilities(Greedy(), np.zeros((8, 8, 1), np.uint8))


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 1), np.float64), np.zeros((0, 4, 1), np.uint8)]
)
def test_wrong_images_are_refused(image):
    with pytest.raises(ValueError, match="H×W×C"):
        predict_probabilities(Brightness(), image)
