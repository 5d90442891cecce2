"""How do other frameworks use an index? One file per framework adapts `ColIndex` to its interface."""
