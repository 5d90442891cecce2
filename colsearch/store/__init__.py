"""How are documents kept? Immutable segment files hold them; one SQLite file says what is committed."""
