"""What a run tells people and programs: one document, shown as JSON, as tables on a terminal, and as a page."""
