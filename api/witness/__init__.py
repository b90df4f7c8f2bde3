"""The witness over HTTP."""

from api.witness.app import create_app

__all__ = ["create_app"]
