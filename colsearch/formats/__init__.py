"""How are other people's files read? JSON Lines, BEIR folders, TSV, CSV, folders of texts, TREC runs and judgements."""
