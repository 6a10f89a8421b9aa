"""Rows of CSV files, as spreadsheets and editors write them, and records of JSON files, with their line numbers."""

import csv
import io
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from realign.errors import InputError
from realign.files import read_text

_DELIMITERS = ",;\t|"
_EXAMPLE = '{"id": ..., "caption": ...}'
Records = Iterator[tuple[str, dict[str, Any]]]
"""The location of each record for error messages, and its values by column or key in lower case."""


def read_csv(path: Path, known: Collection[str], remedy: str | None = None) -> Records:
    """Rows of a file with a header, with commas, semicolons, tabs or bars between the columns.

    Args:
        path: The file.
        known: Names of columns, from which the delimiter is detected.
        remedy: Remedy for a header with none of them; None accepts such a header.

    Raises:
        InputError: The header is missing, has a column twice, or does not fit a row; the message names the line.
    """
    text = read_text(path)
    first, _, rest = text.partition("\n")
    if first.lower().startswith("sep="):  # written by Excel
        text = "\n" + rest
    header = next((line for line in text.split("\n") if line.strip()), "")
    delimiter, columns = _header(path, header, known, remedy)
    spaced = f"{delimiter} " in header or re.search(rf'{re.escape(delimiter)} +"', text) is not None
    rows = _rows(path, text, delimiter, spaced)
    next(rows, None)
    for line, cells in rows:
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}, line {line}"
        if any(cell.strip() for cell in cells[len(columns) :]):
            raise InputError(
                f"{where}: {len(cells)} cells, but the header names {len(columns)}; put a text that holds "
                f'{delimiter!r} in quotes: "...".'
            )
        for before, cell, name in zip(cells, cells[1:], columns[1:], strict=False):
            if cell.startswith(" ") and cell.strip() and not spaced and name not in known and delimiter not in before:
                raise InputError(
                    f"{where}: the column {name!r} begins with a blank ({cell!r}), perhaps because a text was cut at "
                    f'{delimiter!r}; put the text in quotes, "...", or drop the blank.'
                )
        yield where, {name: cell.strip() for name, cell in zip(columns, cells, strict=False) if name}


def _header(path: Path, header: str, known: Collection[str], remedy: str | None) -> tuple[str, list[str]]:
    """The delimiter that yields most of the known columns, and the columns."""
    found = {}
    for delimiter in _DELIMITERS:
        _, row = next(_rows(path, header, delimiter, True), (1, []))
        found[delimiter] = [" ".join(cell.split()).lower() for cell in row]
    best = max(_DELIMITERS, key=lambda delimiter: len(set(found[delimiter]) & set(known)))
    columns = found[best]
    if remedy is not None and not set(columns) & set(known):
        raise InputError(f"{path} begins with {header.strip()[:80]!r}, not with names of columns; {remedy}.")
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise InputError(f"{path} has two columns {twice[0]!r}; keep one, and write one caption per row.")
    return best, columns


def _rows(path: Path, text: str, delimiter: str, spaced: bool) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not empty, with the line where each begins; a row may span several lines."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=spaced, strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(
                f"{path}, line {line}: the quotes of this row do not match ({error}); put the whole text in quotes and "
                "double the quotes inside."
            ) from None
        if cells:
            yield line, cells


def read_json(path: Path, key: str, value: str) -> Records:
    """Objects of a file with one object per line, with a list of objects, or with one mapping of ids.

    Args:
        path: The file.
        key: Name for the ids of a mapping.
        value: Name for its values.

    Raises:
        InputError: Something is not JSON, is not an object, or has a key twice; the message names the line.
    """
    text = read_text(path)
    content = _document(path, text)
    if isinstance(content, list):
        for number, entry in enumerate(content, 1):
            yield f"{path}, entry {number}", _object(entry, f"{path}, entry {number}")
    elif isinstance(content, dict) and not _object(content, "").keys() & {key, value}:
        for name, entry in content.items():
            yield f"{path}, {name!r}", {key: name, value: entry}
    else:
        for number, line in enumerate(text.split("\n") if content is None else [text], 1):
            if line.strip():
                where = f"{path}, line {number}"
                yield where, _object(_parse(line, where), where)


def read_json_text(text: str, where: str) -> dict[str, Any]:
    """One object, with its keys in lower case; `where` names it in errors.

    Raises:
        InputError: It is not a JSON object.
    """
    return _object(_parse(text, where), where)


def _document(path: Path, text: str) -> Any:
    """Content of a file that is one JSON document; None for JSON lines."""
    try:
        return _parse(text, str(path))
    except InputError:
        first = text.strip().partition("\n")[0].strip()
        if first == "{" or first.startswith("["):
            raise
        return None


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        line = "" if ", line " in where else f", line {error.lineno}"
        raise InputError(f"{where}{line}: not a JSON object ({error.msg}); write {_EXAMPLE}, one per line.") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not a JSON object that can be read ({error}); write {_EXAMPLE}.") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name.strip().lower() for name, _ in pairs]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} appears twice")
    return dict(pairs)


def _object(entry: Any, where: str) -> dict[str, Any]:
    """An object with its keys in lower case."""
    if not isinstance(entry, dict):
        raise InputError(f"{where}: {json.dumps(entry)[:80]} is not a JSON object; write {_EXAMPLE}.")
    return {name.strip().lower(): value for name, value in entry.items()}
