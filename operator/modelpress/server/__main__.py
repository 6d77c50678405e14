"""`python -m modelpress.server`: the server without the rest of the program."""

from __future__ import annotations

import sys

from modelpress.api.errors import Invalid
from modelpress.api.message import EXIT_INVALID
from modelpress.server import process

try:
    status = process.main(sys.argv[1:])
except Invalid as error:
    sys.stderr.write(f"{error.reason}: {error}\n")
    status = EXIT_INVALID
sys.exit(status)
