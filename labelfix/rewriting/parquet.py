"""Parquet: row group by row group, with the file's own types, metadata, row groups and compression."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelfix.readers.parquet import parquet_file
from labelfix.readers.storage import Place
from labelfix.rewriting.edits import KEPT, PREFIX, TYPES, Edits


def rewrite_parquet(
    root: Place, name: str, label: str, spelling: dict[str, Any], edits: Edits, out: Path
) -> None:
    """Write the file with the edits; raises InputError when it cannot be read."""
    labels = edits.spelled(spelling)
    with parquet_file(root, name) as file:
        old = file.schema_arrow
        schema = _schema(old, label, any(value is None for value in labels), edits)
        groups = file.metadata.num_row_groups
        how = file.metadata.row_group(0).column(0).compression.lower() if groups else "snappy"
        compression = "none" if how == "uncompressed" else how
        with pq.ParquetWriter(out, schema, compression=compression) as writer:
            start = 0
            for g in range(groups):
                table = file.read_row_group(g)
                part = edits.between(start, start + len(table))
                low = int(np.searchsorted(edits.rows, start))
                start += len(table)
                table = _edited(table, label, labels[low : low + len(part)], part, schema)
                writer.write_table(table, row_group_size=max(1, len(table)))


def _schema(old: pa.Schema, label: str, blanks: bool, edits: Edits) -> pa.Schema:
    """Return the schema with columns of ours, known to the `huggingface` metadata too, which lists all columns."""
    ours = {PREFIX + name: pa.type_for_alias(TYPES.get(name, "string")) for name in edits.columns}
    gone = {PREFIX + name for name in edits.dropped}
    schema = pa.schema([field for field in old if field.name not in gone])
    at = schema.get_field_index(label)
    if blanks and not schema.field(at).nullable:
        schema = schema.set(at, schema.field(at).with_nullable(True))
    new = {name: kind for name, kind in ours.items() if name not in old.names}
    for name, kind in new.items():
        schema = schema.append(pa.field(name, kind))
    return schema.with_metadata(_declare(old.metadata, new, gone))


def _declare(metadata: Any, new: dict[str, pa.DataType], gone: set[str]) -> Any:
    if not metadata or b"huggingface" not in metadata or not (new or gone):
        return metadata
    try:
        declared = json.loads(metadata[b"huggingface"])
        features = declared["info"]["features"]
        names = {"string": "string", "bool": "bool", "double": "float64", "int32": "int32"}
        features |= {name: {"dtype": names[str(kind)], "_type": "Value"} for name, kind in new.items()}
        for name in gone:
            features.pop(name, None)
    except (ValueError, KeyError, TypeError):  # not as documented: nobody can have relied on it
        return metadata
    return {**metadata, b"huggingface": json.dumps(declared).encode()}


def _edited(table: pa.Table, label: str, labels: list[Any], part: Edits, schema: pa.Schema) -> pa.Table:
    gone = [PREFIX + name for name in part.dropped]
    table = table.drop_columns([name for name in gone if name in table.column_names])
    changed = [i for i, value in enumerate(labels) if value is not KEPT]
    if changed:
        at = table.schema.get_field_index(label)
        values = [labels[i] for i in changed]
        table = table.set_column(
            at, schema.field(at), _replaced(table.column(at), part.rows[changed], values)
        )
    for name, values in part.columns.items():
        field = schema.field(PREFIX + name)
        at = table.schema.get_field_index(field.name)
        column = pa.chunked_array([pa.nulls(len(table), field.type)]) if at < 0 else table.column(at)
        column = _replaced(column, part.rows, values)
        table = table.append_column(field, column) if at < 0 else table.set_column(at, field, column)
    return table.replace_schema_metadata(schema.metadata).cast(schema)


def _replaced(column: pa.ChunkedArray, rows: Any, values: list[Any]) -> pa.Array:
    kind, column = column.type, column.combine_chunks()
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    column = column.cast(plain)
    mask = np.zeros(len(column), bool)
    mask[rows] = True
    column = pc.replace_with_mask(column, pa.array(mask), pa.array(values, plain))
    return column.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else column
