"""How good is an index? Its quality on judged queries, and its query times and recall on a user's queries."""
