"""How good is an index? Quality on judged queries, and query times and recall on the queries of its user."""
