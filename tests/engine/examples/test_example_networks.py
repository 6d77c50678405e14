"""The networks that the examples train have the weights that their pages say; nothing is trained here."""

from __future__ import annotations

import math
import runpy

import numpy as np
import pytest
from example_runs import EXAMPLES


# A kernel has two axes or more; biases and batch norms have one.
@pytest.mark.parametrize(
    ("example", "side", "kernels", "others"),
    [("vgg", 28, 610_192, 3_018), ("fashion-mnist", 28, 93_088, 234), ("cnn224", 224, 298_544, 314)],
)
def test_an_example_is_the_network_of_its_page(example, side, kernels, others):
    script = runpy.run_path(str(EXAMPLES / example / "prepare.py"))
    network = script["network"]()
    assert network.output_shape == (None, script["CLASSES"])
    assert network.input_shape[1:3] == (side, side)
    shapes = [tuple(weight.shape) for weight in network.weights]
    counted = [sum(math.prod(shape) for shape in shapes if (len(shape) > 1) == wide) for wide in (True, False)]
    assert counted == [kernels, others]


def test_photos_are_enlarged_to_colour_and_stay_within_bytes():
    script = runpy.run_path(str(EXAMPLES / "cnn224" / "prepare.py"))
    photos = np.zeros((2, 28, 28, 1), np.uint8)
    photos[0, 14:] = 255
    found = script["enlarged"](photos)
    assert (found.shape, found.dtype) == ((2, 224, 224, 3), np.uint8)
    assert (found[0, -1].min(), found[0, 0].max(), found[1].max()) == (255, 0, 0)
    assert (found[..., 0] == found[..., 2]).all()
