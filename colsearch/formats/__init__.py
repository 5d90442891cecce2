"""How are other people's files read? JSON Lines, BEIR folders, TSV, CSV, folders of texts, and TREC runs and judgements."""
