"""Where the log is kept: one SQLite file, one order, one transaction per commit."""
