"""TOML that knows its lines: where each table, key and character of a string stands in the file.

`tomllib` reads the values but forgets where they were. `Source` reads them with `tomllib` and
finds the places with a scan of its own, which relies on the text being valid TOML by then.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any

from tutela.errors import PolicyError

Path = tuple[str | int, ...]
"""Keys and array positions from the root: `("rule", 2, "when")`."""

_AT = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
_HEX = {"x": 2, "u": 4, "U": 8}
_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A position in the file; both numbers are 1-based."""

    line: int
    column: int


class Source:
    """A TOML text, its values, and the place of each. Raises `PolicyError` if it is no TOML."""

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self.text = text.replace("\r\n", "\n")
        self._starts = [0, *(m.end() for m in re.finditer("\n", self.text))]
        try:
            self.values: dict[str, Any] = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise self._syntax(str(error)) from None
        scan = _Scan(self.text)
        scan.run()
        self._keys = scan.keys
        self._strings = scan.strings

    def _syntax(self, message: str) -> PolicyError:
        at = _AT.search(message)
        line = int(at[1]) if at and at[1] else len(self._starts)
        return PolicyError(f"not TOML: {_AT.sub('', message)}", source=self.name, line=line)

    def place(self, *path: str | int) -> Place:
        """Where the key or table stands; its nearest enclosing one if it is written in line."""
        while path and path not in self._keys:
            path = path[:-1]
        return self._at(self._keys[path]) if path else Place(1, 1)

    def within(self, path: Path, index: int) -> Place:
        """Where character `index` of the string at `path` stands in the file."""
        offsets = self._strings.get(path)
        if not offsets:
            return self.place(*path)
        return self._at(offsets[min(index, len(offsets) - 1)])

    def _at(self, offset: int) -> Place:
        line = bisect_right(self._starts, offset)
        return Place(line, offset - self._starts[line - 1] + 1)


class _Scan:
    """One pass over valid TOML that records offsets."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pos = 0
        self.keys: dict[Path, int] = {}
        self.strings: dict[Path, list[int]] = {}
        self._counts: dict[Path, int] = {}

    def run(self) -> None:
        table: Path = ()
        while True:
            self._blank()
            if self.pos >= len(self.text):
                return
            start = self.pos
            if self.text[start] == "[":
                array = self.text.startswith("[[", start)
                self.pos += 2 if array else 1
                table = self._table(self._key(), array)
                self.pos = self.text.index("]", self.pos) + (2 if array else 1)
                self.keys.setdefault(table, start)
            else:
                self._pair(table)

    def _table(self, key: Path, array: bool) -> Path:
        """The header's path, with the position in each array of tables it goes through."""
        path: Path = ()
        for n, part in enumerate(key):
            path += (part,)
            if array and n == len(key) - 1:
                self._counts[path] = self._counts.get(path, -1) + 1
            if path in self._counts:
                path += (self._counts[path],)
        return path

    def _pair(self, table: Path) -> None:
        start = self.pos
        path = table + self._key()
        for end in range(len(table) + 1, len(path) + 1):
            self.keys.setdefault(path[:end], start)
        self.pos = self.text.index("=", self.pos) + 1
        self._value(path)

    def _value(self, path: Path) -> None:
        self._blank()
        char = self.text[self.pos]
        if char in "\"'":
            self.strings[path] = self._string()[1]
        elif char in "[{":
            self._nested(path, char)
        else:
            found = re.compile(r"[^,\]}#\n]*").match(self.text, self.pos)
            assert found is not None
            self.pos = found.end()

    def _nested(self, path: Path, opening: str) -> None:
        self.pos += 1
        count = 0
        while True:
            self._blank(",")
            if self.text[self.pos] in "]}":
                self.pos += 1
                return
            if opening == "{":
                self._pair(path)
            else:
                self.keys[(*path, count)] = self.pos
                self._value((*path, count))
                count += 1

    def _blank(self, also: str = "") -> None:
        while self.pos < len(self.text):
            char = self.text[self.pos]
            if char == "#":
                self.pos = (self.text.find("\n", self.pos) + 1) or len(self.text)
            elif char.isspace() or (also and char in also):
                self.pos += 1
            else:
                return

    def _key(self) -> Path:
        parts: list[str] = []
        while True:
            self._blank()
            bare = _BARE.match(self.text, self.pos)
            if bare:
                parts.append(bare[0])
                self.pos = bare.end()
            else:
                parts.append(self._string()[0])
            self._blank()
            if self.text[self.pos] != ".":
                return tuple(parts)
            self.pos += 1

    def _string(self) -> tuple[str, list[int]]:
        """The string's text, and the offset of each of its characters and of its end."""
        quote = self.text[self.pos]
        multi = self.text.startswith(quote * 3, self.pos)
        close = quote * 3 if multi else quote
        pos = self.pos + len(close)
        if multi and self.text.startswith("\n", pos):
            pos += 1
        chars: list[str] = []
        offsets: list[int] = []
        while not self._closes(close, pos):
            if quote == '"' and self.text[pos] == "\\":
                char, end = self._escape(pos)
            else:
                char, end = self.text[pos], pos + 1
            chars.append(char)
            offsets += [pos] * len(char)
            pos = end
        self.pos = pos + len(close)
        return "".join(chars), [*offsets, pos]

    def _closes(self, close: str, pos: int) -> bool:
        """A multi-line string may end in up to two quotes of its own: the last three close it."""
        return self.text.startswith(close, pos) and not (
            len(close) == 3 and self.text.startswith(close[0], pos + 3)
        )

    def _escape(self, pos: int) -> tuple[str, int]:
        char = self.text[pos + 1]
        if char in _HEX:
            end = pos + 2 + _HEX[char]
            return chr(int(self.text[pos + 2 : end], 16)), end
        if char.isspace():  # a backslash at the end of a line swallows the blank that follows
            blank = re.compile(r"\s*").match(self.text, pos + 1)
            assert blank is not None
            return "", blank.end()
        return _ESCAPES.get(char, char), pos + 2
