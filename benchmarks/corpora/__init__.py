"""Where the texts come from, and their token vectors."""
