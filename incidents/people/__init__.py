"""Who is affected: the directory of people, the data inventory, and the query over the log."""
