"""Makes and reads the collections, and encodes them to token vectors."""
