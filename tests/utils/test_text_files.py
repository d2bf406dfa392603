from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from mnv2dense.utils.text_files import decode_text, read_text, read_yaml


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_text_that_says_its_encoding_is_read(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("caf\u00e9 \u732b\r\n".encode(encoding))
    assert read_text(tmp_path / "a.txt") == "caf\u00e9 \u732b\r\n"


@pytest.mark.parametrize(
    ("text", "encoding", "named"),
    [
        ("caf\u00e9, na\u00efve", "cp1252", "cp1252"),
        ("\u732b\u548c\u72d7", "gbk", "GBK"),
        ("\u3042\u3044\u3046\u3048\u304a", "shift_jis", "Shift-JIS"),
        ("\u043a\u043e\u0448\u043a\u0430", "cp1251", "cp1251"),
        ("cat and dog", "utf-16-le", "UTF-16 without its mark, little end first"),
        ("cat and dog", "utf-16-be", "UTF-16 without its mark"),
    ],
)
def test_other_text_is_refused_with_its_likely_encoding(text: str, encoding: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=rf"a\.txt: not UTF-8 text .*; it looks like {named}. Save it as UTF-8"):
        read_text(tmp_path / "a.txt")


def test_plain_values_are_read_and_aliases_that_stay_small(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &x [1, 2.5, true, null, word]\nb: *x\n")
    assert read_yaml(file) == {"a": [1, 2.5, True, None, "word"], "b": [1, 2.5, True, None, "word"]}
    file.write_text("")
    assert read_yaml(file) is None


@pytest.mark.parametrize("text", ["a: !!python/name:os.system", "a: !own 3", "a: [", "{a: b", "\t- a", "a: \x01"])
def test_what_is_no_plain_yaml_is_refused_by_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"a\.yaml: not valid yaml .*") as caught:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [gzip.compress(b"{}"), b"PK\x03\x04" + bytes(30)], ids=["gzip", "zip"])
def test_an_archive_is_called_one(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"a\.json: .*; it looks like an archive\. Unpack it first\.$"):
        decode_text(data, Path("a.json"))
