"""The search for the best recipe under the gate: cheap moves first, then guided ones; nothing tried is ever lost."""
