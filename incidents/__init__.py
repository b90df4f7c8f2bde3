"""The response to a breach: facts, affected people, law, clocks, notices, the regulator's file."""
