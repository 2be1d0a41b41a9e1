"""Git packs: read as a stream, object by object, within limits. Imports nothing else of credgate."""
