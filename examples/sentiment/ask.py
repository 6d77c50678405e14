"""Asks the served model about a text of yours, through the REST API.

python examples/sentiment/ask.py "A warm, funny and beautifully acted film."
"""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path

import typer

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402
import prepare  # noqa: E402
import tokens  # noqa: E402


def ask(texts: list[str], url: str = "http://127.0.0.1:8501/v1/models/sentiment:predict") -> None:
    """Print for every text how likely it is that its author liked the film."""
    body = prepare.request(tokens.tokenizer(fetching.fetch(prepare.MODEL)), tuple(texts))
    asked = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=60) as answer:
            predictions = json.load(answer)["predictions"]
    except OSError as error:
        sys.exit(
            f"{url} did not answer ({error}); serve it: modelpress run -f examples/sentiment/model.yaml --keep-serving"
        )
    for text, (_, liked) in zip(texts, predictions, strict=True):
        print(f"{liked:4.0%}  {text}")


if __name__ == "__main__":
    typer.run(ask)
