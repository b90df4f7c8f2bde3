"""Reading a log from where its tiles are published (C2SP tlog-tiles): over HTTP, or from a directory.

Nothing that is read is trusted. The right edge of the tree must lead to the root that the log's key signed,
every tile to the hash its parent has of it, every entry to its hash in a tile. So the first thing that is
wrong is named: this tile, this bundle, this entry.
"""

from __future__ import annotations

import asyncio
import stat
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count, takewhile
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import aiohttp

from ledger.checkpoint import Checkpoint
from ledger.errors import InputError, ProofError
from ledger.merkle import HASH_SIZE, CompactRange, NodeReader, leaf_hash
from ledger.recovery.errors import MirrorError, MirrorUnreachableError
from ledger.tiles import (
    MAX_ENTRY_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    TileReader,
    decode_bundle,
    level_size,
    subtree_in_tile,
    tile_width,
)

TIMEOUT_S: Final = 20.0
"""How long one request may take, from connecting to the last byte."""
MAX_NOTE_BYTES: Final = 131_072
MAX_KEYS_BYTES: Final = 1_000_000
_MAX_BUNDLE: Final = TILE_WIDTH * (2 + MAX_ENTRY_SIZE)
_MAX_TILE: Final = TILE_WIDTH * HASH_SIZE
_ATTEMPTS: Final = 3
_PAUSE_S: Final = 0.2
_TOGETHER: Final = 8
_OK: Final = 200
_MISSING: Final = (404, 410)
_MOVED: Final = range(300, 400)
_AGAIN: Final = (429, 502, 503, 504)
Wanted = tuple[str, int]
"""A path below the prefix, and the most bytes that it may have."""


class Source(Protocol):
    """Where tiles are published.

    Attributes:
        kind: `directory` or `http`.
    """

    kind: str

    def fetch(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """What stands at each path; None where there is nothing.

        Raises:
            MirrorError: something there is longer than it may be, or is no such thing at all.
            MirrorUnreachableError: it cannot be had.
        """

    def close(self) -> None:
        """Let go of it."""


@contextmanager
def open_source(place: str, *, timeout_s: float = TIMEOUT_S) -> Iterator[Source]:
    """The published tiles behind an http(s) URL or in a directory.

    Raises:
        InputError: it is neither.
    """
    parts = urlsplit(place)
    source: Source
    if parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment):
        source = HttpSource(place, timeout_s=timeout_s)
    elif "://" not in place and Path(place).is_dir():
        source = DirectorySource(Path(place))
    else:
        raise InputError("--from-tiles is the http(s) URL of a log's tiles, or a directory that holds them.")
    with closing(source):
        yield source


class DirectorySource:
    """A directory with the tree of tlog-tiles."""

    kind = "directory"

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fetch(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """See `Source`."""
        return [self._read(path, most) for path, most in wanted]

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, path: str, most: int) -> bytes | None:
        place = self._directory / path
        try:
            # Opening what is no file, such as a pipe, could wait for ever.
            if not stat.S_ISREG(place.stat().st_mode):
                raise MirrorError(f"{path} of the mirror is not a file.")
            with place.open("rb") as file:
                data = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise MirrorUnreachableError(f"{path} of the mirror cannot be read: {error.strerror}.") from None
        return _bounded(path, data, most)


class HttpSource:
    """The read API of tlog-tiles behind a URL: no redirects, no cookies, bounded answers, bounded time.

    Args:
        url: the prefix.
        timeout_s: limit for one request.
    """

    kind = "http"

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url.rstrip("/")
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._runner = asyncio.Runner()
        self._session: aiohttp.ClientSession | None = None

    def fetch(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        """See `Source`."""
        return self._runner.run(self._fetch(wanted))

    def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            self._runner.run(self._session.close())
        self._runner.close()

    async def _fetch(self, wanted: Sequence[Wanted]) -> list[bytes | None]:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), headers={"user-agent": "tocsin"}, auto_decompress=False
            )
        found: list[bytes | None] = []
        for start in range(0, len(wanted), _TOGETHER):
            # One at a time is cancelled with the others when it fails.
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._settled(path, most)) for path, most in wanted[start:][:_TOGETHER]]
            for task in tasks:
                answer = task.result()
                if isinstance(answer, Exception):
                    raise answer
                found.append(answer)
        return found

    async def _settled(self, path: str, most: int) -> bytes | MirrorError | MirrorUnreachableError | None:
        try:
            return await self._get(path, most)
        except (MirrorError, MirrorUnreachableError) as error:
            return error

    async def _get(self, path: str, most: int) -> bytes | None:
        assert self._session is not None
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._session.get(
                    f"{self._url}/{path}", timeout=self._timeout, allow_redirects=False
                ) as response:
                    if response.status not in _AGAIN or attempt == _ATTEMPTS:
                        return await self._answer(path, most, response)
            except TimeoutError:
                raise MirrorUnreachableError(f"{path} of the mirror did not arrive in time.") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if attempt == _ATTEMPTS:
                    raise MirrorUnreachableError(
                        f"{path} of the mirror cannot be had ({type(error).__name__})."
                    ) from None
            await asyncio.sleep(_PAUSE_S)
        raise AssertionError

    async def _answer(self, path: str, most: int, response: aiohttp.ClientResponse) -> bytes | None:
        if response.status in _MISSING:
            return None
        if response.status in _MOVED:
            raise MirrorUnreachableError(f"{path} of the mirror is elsewhere; give the URL that it redirects to.")
        if response.status != _OK:
            raise MirrorUnreachableError(f"{path} of the mirror is answered with status {response.status}.")
        if response.content_type in ("text/html", "application/xhtml+xml"):
            raise MirrorError(f"{path} of the mirror is a web page; the URL is not that of a log's tiles.")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > most:
                break
        data = _bounded(path, bytes(body), most)
        # SPEC: entry bundles may be "compressed at the HTTP level" by servers that do not negotiate it.
        if response.headers.get("content-encoding") == "gzip":
            return _unzipped(path, data, most)
        return data


def _bounded(path: str, data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise MirrorError(f"{path} of the mirror is longer than the {most} bytes that it may have.")
    return data


def _unzipped(path: str, data: bytes, most: int) -> bytes:
    unzip = zlib.decompressobj(wbits=31)
    try:
        plain = unzip.decompress(data, most + 1)
    except zlib.error:
        raise MirrorError(f"{path} of the mirror is not the gzip data that it is said to be.") from None
    if len(plain) <= most and not unzip.eof:
        raise MirrorError(f"{path} of the mirror is cut short.")
    return _bounded(path, plain, most)


def root_at(node: NodeReader, size: int) -> bytes:
    """Root that a tree had at an older size."""
    frontier, at = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            frontier.append(node(level, at >> level))
            at += 1 << level
    return CompactRange(size, frontier).root()


class MirrorTree:
    """The tree of a checkpoint as a mirror has it; every hash it gives leads to the checkpoint's root.

    Args:
        source: the mirror.
        checkpoint: verified by the caller.

    Raises:
        MirrorError: the right edge of the tree does not lead to the root.
    """

    def __init__(self, source: Source, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self._source = source
        self._tiles: dict[tuple[int, int], bytes] = {}
        self.node = TileReader(self._read, checkpoint.size)
        self._check_edge()

    def root(self, size: int) -> bytes:
        """Root that the tree had at this size."""
        return root_at(self.node, size)

    def bundles(self, start: int) -> Iterator[tuple[int, list[bytes]]]:
        """Entries from leaf `start` on, in runs that end where a bundle ends: index of the first, entries.

        Raises:
            MirrorError: an entry is not what was signed.
        """
        size = self.checkpoint.size
        numbers = range(start // TILE_WIDTH, -(-size // TILE_WIDTH))
        for at in range(0, len(numbers), _TOGETHER):
            group = numbers[at : at + _TOGETHER]
            self._load([(0, number) for number in group])
            for number, data in zip(group, self._fetch([self._tile(None, number) for number in group]), strict=True):
                entries = self._checked(number, data)
                first = max(start, number * TILE_WIDTH)
                yield first, entries[first - number * TILE_WIDTH :]
                if (number + 1) * TILE_WIDTH <= size:
                    del self._tiles[0, number]  # the others are few

    def _checked(self, number: int, data: bytes) -> list[bytes]:
        tile = self._tile(None, number)
        try:
            entries = decode_bundle(data)[: tile.width]
        except ProofError as error:
            raise MirrorError(f"{tile.path} of the mirror is malformed. {error}") from None
        if len(entries) < tile.width:
            raise MirrorError(f"{tile.path} of the mirror has {len(entries)} entries instead of {tile.width}.")
        hashes = self._tiles[0, number]
        for place, entry in enumerate(entries):
            if leaf_hash(entry) != hashes[place * HASH_SIZE : (place + 1) * HASH_SIZE]:
                raise MirrorError(
                    f"Entry {number * TILE_WIDTH + place} in {tile.path} of the mirror is not the one that was signed."
                )
        return entries

    def _check_edge(self) -> None:
        size = self.checkpoint.size
        levels = takewhile(lambda level: level_size(level, size), count())
        edge = [self._tile(level, level_size(level, size) // TILE_WIDTH) for level in levels if self._ragged(level)]
        for tile, data in zip(edge, self._fetch(edge), strict=True):
            self._tiles[tile.level or 0, tile.index] = self._sized(tile, data)
        if self.root(size) != self.checkpoint.root:
            names = ", ".join(tile.path for tile in edge)
            raise MirrorError(f"The tiles at the edge of the mirror's tree do not lead to the signed root: {names}.")

    def _ragged(self, level: int) -> bool:
        return level_size(level, self.checkpoint.size) % TILE_WIDTH != 0

    def _read(self, level: int, index: int, _width: int) -> bytes:
        self._load([(level, index)])
        return self._tiles[level, index]

    def _load(self, wanted: Sequence[tuple[int, int]]) -> None:
        missing = [self._tile(level, index) for level, index in wanted if (level, index) not in self._tiles]
        for tile, data in zip(missing, self._fetch(missing), strict=True):
            assert tile.level is not None
            whole = self._sized(tile, data)
            # What is missing is full, since the edge was read first; so its parent has a hash of it.
            parent, place = divmod(tile.index, TILE_WIDTH)
            self._load([(tile.level + 1, parent)])
            above = self._tiles[tile.level + 1, parent][place * HASH_SIZE : (place + 1) * HASH_SIZE]
            if subtree_in_tile(whole, TILE_HEIGHT, 0) != above:
                raise MirrorError(f"{tile.path} of the mirror does not have the hashes that were signed.")
            self._tiles[tile.level, tile.index] = whole

    def _tile(self, level: int | None, index: int) -> Tile:
        return Tile(level, index, tile_width(level or 0, index, self.checkpoint.size))

    def _fetch(self, tiles: Sequence[Tile]) -> list[bytes]:
        """Their bytes. A partial one may have been dropped for the full one when the log had grown."""
        found = self._source.fetch([(tile.path, _most(tile)) for tile in tiles])
        again = [Tile(tile.level, tile.index) for tile, data in zip(tiles, found, strict=True) if data is None]
        full = iter(self._source.fetch([(tile.path, _most(tile)) for tile in again]))
        whole: list[bytes] = []
        for tile, data in zip(tiles, found, strict=True):
            there = next(full) if data is None else data
            if there is None:
                raise MirrorError(
                    f"The mirror has no {tile.path}, which its own checkpoint of size {self.checkpoint.size} needs."
                )
            whole.append(there)
        return whole

    def _sized(self, tile: Tile, data: bytes) -> bytes:
        length = tile.width * HASH_SIZE
        if len(data) not in (length, _MAX_TILE):
            raise MirrorError(f"{tile.path} of the mirror is {len(data)} bytes long instead of {length}.")
        return data[:length]


def _most(tile: Tile) -> int:
    return _MAX_BUNDLE if tile.level is None else _MAX_TILE
