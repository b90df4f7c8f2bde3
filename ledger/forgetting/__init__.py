"""Forgetting: erasure of a person, holds against it, retention, and change of the vault's key.

Entries, leaves and signed roots are never touched; what is destroyed lies beside them: vault rows (and
with them the keys of sealed details), payloads and their salts. Every act is an event of the log, and the
log alone says which holds stand, who was erased and which payloads are gone; see docs/erasure.md.
"""
