"""Every reason that a user can meet, with its cause and its cure: the source of docs/reference/reasons.md."""
