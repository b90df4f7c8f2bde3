"""Telling people: plan, compile, pace, dispatch, record; knows channels and addressees, not law."""
