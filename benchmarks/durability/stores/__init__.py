"""One file an engine: `create`, and a `Store` that opens what is there, adds and searches."""
