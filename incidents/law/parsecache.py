"""The parsed law data on disk, so that a command need not parse 1.5 MB of YAML each time.

The name of a cache file is the digest over every source file, so an edit is never missed; its first line
is the digest of the rest, so a torn or edited file is never used. A cache that cannot be read or written
is no error: the YAML is parsed instead.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

FORMAT = 1
"""Raised when parsing changes, so that what an older Tocsin parsed is not used."""


def user_cache(environment: Mapping[str, str]) -> Path | None:
    """Where caches of this user belong (XDG Base Directory Specification).

    Args:
        environment: the environment variables.

    Returns:
        A directory that may not exist yet, or None when the user has no home.
    """
    base = environment.get("XDG_CACHE_HOME") or ""
    if os.path.isabs(base):  # noqa: PTH117  # the specification says: ignore relative paths
        return Path(base) / "tocsin"
    home = environment.get("HOME") or ""
    return Path(home) / ".cache" / "tocsin" if home else None


def _file(cache: Path, version: str) -> Path:
    return cache / f"law-{FORMAT}-{version}.json"


def recall(cache: Path, version: str) -> dict[str, Any] | None:
    """The parsed files, if they are there and undamaged.

    Args:
        cache: directory of the cache.
        version: digest over the source files.
    """
    try:
        digest, _, body = _file(cache, version).read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest.decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        return None
    documents: dict[str, Any] = orjson.loads(body)
    return documents


def remember(cache: Path, version: str, documents: Mapping[str, Any]) -> None:
    """Keep the parsed files; older versions are removed.

    Args:
        cache: directory of the cache, made when absent, readable by its owner alone.
        version: digest over the source files.
        documents: relative path to parsed content.
    """
    target = _file(cache, version)
    with contextlib.suppress(OSError, TypeError):
        body = orjson.dumps(documents)
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, delete=False) as partial:
            partial.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        Path(partial.name).replace(target)
        for old in cache.glob("law-*.json"):
            if old != target:
                old.unlink(missing_ok=True)
