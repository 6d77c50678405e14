"""`python -m modelpress`: the program, where its script is not on PATH."""

from modelpress.cli import main

main()
