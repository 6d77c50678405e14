"""Takes a model that nobody here made, guesslang (what language is this source text in?), and real sources for it.

    python examples/guesslang/prepare.py

writes, beside this script: data/model/1 (the SavedModel as it was published, an estimator of TensorFlow 1),
data/evaluation.npz (686 pieces of real sources and their languages) and data/requests.json. It takes seconds.
"""

from __future__ import annotations

import json
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import fetching  # noqa: E402

MODEL = fetching.Package(
    "guesslang",
    "2.2.1",
    "guesslang-2.2.1-py3-none-any.whl",
    "36bd12130515ee0e637f7255340ba92ea919d53423743f4c1b0c73727a5499cb",
)
TEXTS = fetching.Package(
    "pygments",
    "2.19.2",
    "pygments-2.19.2.tar.gz",
    "636cb2477cec7f8952536970bc533bc43743542f70392ae026374600add5b887",
    sdist=True,
)
"""Its tests have real files in hundreds of languages."""
EXAMPLES = PurePosixPath("pygments-2.19.2/tests/examplefiles")
FOLDERS = (
    "bash=sh c=c clojure=clj cobol=cbl coffee-script=coffee common-lisp=lisp cpp=cpp csharp=cs css=css "
    "dart=dart delphi=pas docker=dockerfile elixir=ex erlang=erl fortran=f90 go=go groovy=groovy haskell=hs "
    "html=html ini=ini java=java js=js json=json julia=jl kotlin=kt lua=lua make=makefile matlab=matlab md=md "
    "nasm=asm objective-c=mm ocaml=ml perl=pm php=php powershell=ps1 prolog=prolog python=py rb=rb rust=rs "
    "scala=scala splus=r swift=swift toml=toml ts=ts tsql=sql vb.net=vba verilog=v xml=xml yaml=yaml"
)
"""Folder of the examples = the model's name of that language."""
LEAST, USUAL, MOST = 300, 1000, 4000
"""Bytes of a piece of a file."""
MOST_PIECES = 24
"""Of one file."""
FILES = ("saved_model.pb", "variables/variables.data-00000-of-00001", "variables/variables.index")


def main() -> None:
    """Fetch, cut, save."""
    wheel, texts = fetching.fetch(MODEL), fetching.fetch(TEXTS)
    fetching.prepare(HERE / "data", sources(wheel, texts), lambda folder: build(folder, wheel, texts))


def sources(wheel: Path, texts: Path) -> list[Path]:
    """All that the result depends on."""
    return [Path(__file__), wheel, texts]


def build(folder: Path, wheel: Path, texts: Path) -> None:
    """Everything that data/ holds."""
    for name in FILES:
        path = folder / "model" / "1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(fetching.read(wheel, f"guesslang/data/model/{name}"))
    languages = [*json.loads(fetching.read(wheel, "guesslang/data/languages.json")).values()]
    pieces, names = zip(*cut_all(texts), strict=True)
    labels = np.array([languages.index(name) for name in names], np.int64)
    np.savez_compressed(folder / "evaluation.npz", inputs=np.array(pieces, "S"), label=labels)
    (folder / "requests.json").write_text(json.dumps({"instances": [pieces[0].decode()]}) + "\n")


def cut_all(texts: Path) -> Iterator[tuple[bytes, str]]:
    """Pieces of whole lines, and the language of each."""
    languages = dict(pair.split("=") for pair in FOLDERS.split())
    with tarfile.open(texts) as archive:
        for member in sorted(archive.getmembers(), key=lambda one: one.name):
            path = PurePosixPath(member.name)
            known = path.parent.parent == EXAMPLES and path.suffix != ".output" and path.parent.name in languages
            if known and member.isfile() and (opened := archive.extractfile(member)):
                for piece in cut(opened.read()):
                    yield piece, languages[path.parent.name]


def cut(content: bytes) -> list[bytes]:
    """Pieces of about 1,000 bytes, whole lines but where a line is longer than 4,000; too short ones are left out."""
    pieces = [b""]
    for line in content.replace(b"\0", b"").splitlines(keepends=True):
        if len(pieces[-1]) >= USUAL:
            pieces.append(b"")
        pieces[-1] += line
    return [piece[:MOST] for piece in pieces[:MOST_PIECES] if len(piece) >= LEAST]


if __name__ == "__main__":
    main()
