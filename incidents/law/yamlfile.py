"""Strict reading of YAML files.

Three differences from `yaml.safe_load`: only `true` and `false` are booleans (so the country code
`NO` stays a text, as in YAML 1.2), time stamps stay texts (the law's dates are read by us, with their
zone), and a key written twice is an error instead of a silent overwrite. A `safe_load` file that quotes
its dates and `'NO'` reads the same.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from incidents.law.errors import LawError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOOL = "tag:yaml.org,2002:bool"
_DROPPED = {_BOOL, "tag:yaml.org,2002:timestamp"}
_TRUTH = re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$")
_TWICE = "a key is written twice in one mapping"
_COMPLEX = "a key is a list or a mapping"
MAX_DEPTH = 100
_COMPACT = re.compile(rb"^[ \t]*(?:[-?:][ \t]+){%d}" % MAX_DEPTH, re.MULTILINE)
_BRACKET = re.compile(rb"[\[\]{}]")
MAX_BYTES = 4_000_000
"""Largest file accepted; the largest law file has about 130,000 bytes."""


class StrictLoader(_Base):  # type: ignore[misc]  # the C loader has no type stub
    """The C (or Python) safe loader with the three differences."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML looks this name up on the class
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _DROPPED]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Build a mapping; refuse a repeated key.

        Args:
            node: the composed mapping.
            deep: passed on to PyYAML.

        Returns:
            The mapping.

        Raises:
            yaml.constructor.ConstructorError: a key occurs twice or is no plain value.
        """
        seen: set[str] = set()
        for key, _ in node.value:
            reason = _COMPLEX if not isinstance(key, yaml.ScalarNode) else _TWICE if key.value in seen else ""
            if reason:
                raise yaml.constructor.ConstructorError(None, None, reason, key.start_mark)
            seen.add(key.value)
        built: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return built


StrictLoader.add_implicit_resolver(_BOOL, _TRUTH, list("tTfF"))


class YamlError(LawError):
    """A file is not readable YAML.

    Attributes:
        line: line in the file, from 1; 0 when unknown.
    """

    def __init__(self, message: str, *, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


def read_yaml_file(path: Path) -> Any:
    """Read and parse one YAML (or JSON) file.

    Args:
        path: the file.

    Returns:
        Its content, as `read_yaml` gives it.

    Raises:
        LawError: the file cannot be read or is not one YAML document.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "cannot be read"
        raise LawError(f"{path.name}: {reason}; check the path") from None
    return read_yaml(raw, path.name)


def _too_deep(raw: bytes) -> bool:
    """Whether nesting could exhaust the stack of the C parser, which no exception would survive.

    Only brackets and indicators on one line nest deeply in few bytes. Brackets inside texts count too,
    which is harmless: unbalanced ones are rare.
    """
    if _COMPACT.search(raw):
        return True
    depth = 0
    for bracket in _BRACKET.finditer(raw):
        depth += 1 if bracket[0] in b"[{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def read_yaml(raw: bytes, name: str) -> Any:
    """Parse one YAML (or JSON) document.

    Args:
        raw: the bytes of the file, UTF-8.
        name: how messages call the file.

    Returns:
        Mappings, lists, texts, numbers, booleans and None.

    Raises:
        YamlError: the bytes are not one YAML document of plain values.
    """
    if len(raw) > MAX_BYTES:
        raise YamlError(f"{name}: larger than {MAX_BYTES} bytes, refused")
    if _too_deep(raw):
        raise YamlError(f"{name}: nested too deeply, refused")
    try:
        return yaml.load(raw.decode("utf-8"), Loader=StrictLoader)  # noqa: S506  # built on the safe loader
    except UnicodeDecodeError:
        raise YamlError(f"{name}: not UTF-8 text; save the file as UTF-8") from None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        # PyYAML's own sentence may quote the file, so only the place is passed on, and our own reason.
        reason = error.problem if error.problem in (_TWICE, _COMPLEX) else "not valid YAML"
        raise YamlError(f"{name}, line {line}: {reason}", line=line) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise YamlError(f"{name}: not valid YAML") from None
