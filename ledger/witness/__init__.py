"""Witnesses: somebody else remembers how long the log was (C2SP tlog-witness, both ends).

`core` decides what a witness may cosign, `store` keeps what it cosigned, `service` joins the two.
`client` asks witnesses for cosignatures, `publication` keeps what they gave beside the ledger and
says how far the log is ahead of them, `evidence` is what is kept when two signed views contradict.
"""
