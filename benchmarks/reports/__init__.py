"""Results of a run: as JSON, as a Markdown page, and as a chart."""
