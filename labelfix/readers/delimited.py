"""CSV and TSV: every column as text, the separator and the encoding looked at rather than assumed."""

from __future__ import annotations

import csv
import io

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from labelfix.errors import InputError

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_BLOCK = 16 << 20


def delimited(data: bytes, shown: str, tabs: bool = False) -> tuple[pa.Table, list[str]]:
    """Parse a file's bytes into a table of text columns, and say what was unusual; raises InputError."""
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")  # line ends of old Macintosh programs
    text = checked_utf8(data, shown)
    header, separator, usual = header_of(text, tabs)
    if not header.strip():
        raise InputError(f"{shown}: is empty; a table needs a header line and rows")
    notes = [] if separator == usual else [f"{shown}: columns are separated by {SEPARATORS[separator]}"]
    table = _fast(data, header, separator)
    if table is None:
        table = _careful(text, separator, shown)
    if not table.num_rows:
        raise InputError(f"{shown}: has a header line but no rows; export it again with its rows")
    return table, notes


def header_of(text: str, tabs: bool = False) -> tuple[str, str, str]:
    """Return the first line of a table, what separates its columns, and what usually does."""
    header = text.lstrip("\r\n").replace("\r", "\n").split("\n", 1)[0]
    usual = "\t" if tabs else ","
    separator = usual if usual in header else max(SEPARATORS, key=header.count)
    return header, separator if separator in header else usual, usual


def checked_utf8(data: bytes, shown: str) -> str:
    """Decode UTF-8, with or without a byte order mark; raises InputError naming the first bad byte."""
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        raise InputError(f"{shown}: is UTF-16, not UTF-8; convert it with iconv -f UTF-16 -t UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{shown}: line {line} holds the byte 0x{data[error.start]:02x}, which is not UTF-8; "
            f"convert the file, for example with iconv -f WINDOWS-1252 -t UTF-8"
        ) from error


def _fast(data: bytes, header: str, separator: str) -> pa.Table | None:
    try:
        names = next(csv.reader([header], delimiter=separator))
    except csv.Error:
        return None
    if data.count(b'"') % 2 or header.count('"') % 2 or len(set(names)) < len(names):  # open quotes, twins
        return None
    try:
        return pyarrow.csv.read_csv(
            pa.BufferReader(data),
            pyarrow.csv.ReadOptions(block_size=_BLOCK),
            pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=b'"' in data),
            pyarrow.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowException:
        return None  # read with care, which finds the line


def _careful(text: str, separator: str, shown: str) -> pa.Table:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows = []
    try:
        header = next(row for row in reader if row)
        for row in reader:
            if len(row) not in {0, len(header)}:
                raise InputError(
                    f"{shown}: line {reader.line_num} has {len(row)} columns, but the header has "
                    f"{len(header)}; mend that line, or quote values that hold {SEPARATORS[separator]}"
                )
            if row:
                rows.append(row)
    except csv.Error as error:
        raise InputError(f"{shown}: line {reader.line_num} is no CSV ({error}); mend its quotes") from error
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    return pa.Table.from_arrays(columns or [pa.array([], pa.string())] * len(header), names=header)


def blank(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """[N] True where a text is null, empty or white space."""
    return pc.equal(pc.fill_null(pc.utf8_trim_whitespace(column), ""), "")
