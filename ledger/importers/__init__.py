"""Importers: logs people already have, turned into the ledger's events.

Each importer has a pure mapping (one foreign record in, one CloudEvent out) and a thin reader that
validates a whole file before the first event is appended.
"""
