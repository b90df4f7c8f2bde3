"""The parts of `ledger.verify`: the walk along the log, its workers, and what a later run may build on.

`walk` re-hashes entries in log order and is the only place that judges; `growth` recomputes the tree
and the tiles beside it; `parts` lets other processes walk ahead, whose word counts only where they
found nothing wrong; `resume` begins where an earlier verification ended, and says what it then trusts.
"""
