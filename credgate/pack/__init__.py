"""Git packs, read as a stream within fixed limits. This package imports nothing else of credgate."""
