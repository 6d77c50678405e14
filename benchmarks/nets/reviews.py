"""The reviews that the head of the sentiment example was trained on, as rows for a search that may train."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np


def write_training(file: Path, script: Any, wheel: Path, texts: Path) -> None:
    """Tokens and labels of all but the 2,000 reviews of the evaluation; `script` is the example's prepare.py."""
    import tokens

    read, labels = script.shuffled_reviews(texts)
    rows = tokens.tokenized(tokens.tokenizer(wheel), read[script.TRAINING], script.TOKENS)
    np.savez_compressed(file, label=labels[script.TRAINING], **rows)
