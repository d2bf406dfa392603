"""Text files of strangers: lists, labels and YAML, whatever wrote them, or one error that names file and encoding."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Any

# Longest first: the mark of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# What text that is not UTF-8 is most likely written in, most telling first: cp1252 takes nearly anything.
_LIKELY = ("shift_jis", "gb18030", "euc_kr", "cp1251", "cp1252")

MAX_NODES = 200_000
"""Values that a YAML file may hold, each alias counted as what it stands for: ten aliases of ten aliases of ..."""


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 or UTF-32 that begin with their mark.

    Raises:
        ValueError: it is written otherwise; the message names the likely encoding.
        OSError: the file is missing or may not be read.
    """
    return decode_text(path.read_bytes(), path)


def decode_text(data: bytes, path: Path) -> str:
    """The text that the bytes of the file ``path`` are; see :func:`read_text`."""
    encoding = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: not {encoding.upper().removesuffix('-SIG')} text (byte {data[error.start]:#04x} at "
            f"{error.start}); {looks_like(data)}"
        ) from error
    if "\0" in text:
        raise ValueError(f"{path}: not UTF-8 text (it holds zero bytes); {looks_like(data)}")
    return text


def looks_like(data: bytes) -> str:
    """What bytes that are no UTF-8 may be, and what to do with them: the end of a message."""
    if data.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        return "it looks like an archive. Unpack it first."
    return f"it looks like {likely_encoding(data)}. Save it as UTF-8."


def likely_encoding(data: bytes) -> str:
    """A guess, for messages."""
    even, odd = data[0::2].count(0), data[1::2].count(0)
    if even + odd:
        wide = "UTF-16 without its mark" if max(even, odd) > len(data) / 8 else "no text at all"
        return f"{wide}, little end first" if odd > even and "16" in wide else wide
    for name in _LIKELY:
        try:
            text = data.decode(name)
        except UnicodeDecodeError:
            continue
        foreign = [letter for letter in text if ord(letter) > 127]
        # Words of another script keep together; an accent that makes a Chinese letter with its neighbour does not.
        if name in ("cp1251", "cp1252") or _one_script(foreign, name):
            if name == "cp1251" and sum("\u0400" <= letter <= "\u04ff" for letter in foreign) < 4:
                continue
            return {"gb18030": "GBK", "shift_jis": "Shift-JIS", "euc_kr": "EUC-KR"}.get(name, name)
    return "another encoding"


def _one_script(letters: list[str], encoding: str) -> bool:
    blocks = {
        "gb18030": ("\u4e00", "\u9fff"),
        "shift_jis": ("\u3040", "\u30ff"),
        "euc_kr": ("\uac00", "\ud7a3"),
    }
    low, high = blocks[encoding]
    share = sum(low <= letter <= high for letter in letters) / max(1, len(letters))
    return share > (0.9 if encoding == "gb18030" else 0.3)


def read_yaml(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    """A YAML file's plain values: text, numbers, truth values, null, lists and mappings.

    Raises:
        ValueError: it is no YAML, asks for other types, nests too deep or has more than :data:`MAX_NODES` values.
        OSError: the file is missing or may not be read.
    """
    import yaml

    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        count = 0 if node is None else _count(node, {})
        repeated = None if node is None else _repeated_key(node)
        content = None if node is None or count > MAX_NODES else yaml.load(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not valid yaml ({_problem(error)}).") from error
    except RecursionError as error:
        raise ValueError(f"{path}: its values are nested too deep to be meant. Write it anew.") from error
    except (ValueError, OverflowError) as error:  # what looks like a date and is none, or a number without end
        raise ValueError(f"{path}: holds what cannot be read ({error}); put texts in quotes.") from error
    if count > MAX_NODES:
        raise ValueError(
            f"{path}: its aliases stand for more than {MAX_NODES:,} values; a file like this may be an attack on "
            "memory. Write the values out."
        )
    if repeated is not None:
        raise ValueError(f"{path}: {repeated} is there twice in one mapping, so that one of them would be lost.")
    return content


def _problem(error: Exception) -> str:
    """What YAML found, in one line with its place; itself it draws the place below."""
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return " ".join(str(error).split())
    said = [part for part in (getattr(error, "context", None), getattr(error, "problem", None)) if part]
    return f"line {mark.line + 1}: {' '.join(said)}"


def _repeated_key(root: Any) -> str | None:  # noqa: ANN401
    """A key that a mapping has twice, and the line of the second: YAML's readers take the last without a word."""
    waiting, seen = [root], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(node.value, list):
            continue
        seen.add(id(node))
        keys = set()
        for child in node.value:
            key, value = child if isinstance(child, tuple) else (None, child)
            waiting.append(value)
            if key is None or not isinstance(key.value, str) or key.tag.endswith(":merge"):
                continue
            if (key.tag, key.value) in keys:
                return f"the key {key.value!r:.60} (line {key.start_mark.line + 1})"
            keys.add((key.tag, key.value))
    return None


def _count(node: Any, known: dict[int, int]) -> int:  # noqa: ANN401 - yaml's nodes have no types
    """The values below a node, itself included; an alias counts as what it stands for."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = MAX_NODES + 1  # what holds itself never ends
    children = node.value if isinstance(node.value, list) else []
    parts = [part for child in children for part in (child if isinstance(child, tuple) else (child,))]
    known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]
