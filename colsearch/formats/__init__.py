"""How are other people's files read? JSON Lines, tables, texts, TREC runs and judgements."""
