"""One file per engine, with `create` and a `Store` that opens an existing index, adds and searches."""
