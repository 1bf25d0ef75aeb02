"""Give a table with a column of texts a column of embeddings (TF-IDF of words and pairs, 256 singular vectors).

python examples/benchmarks/text_embeddings.py banking77.parquet text -o banking77_embedded.parquet
"""

from __future__ import annotations

from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer


@click.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.argument("column")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def main(table: Path, column: str, out: Path) -> None:
    """Write TABLE with a column `embedding` made from COLUMN."""
    held = pq.read_table(table)
    words = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    counts = words.fit_transform(held.column(column).to_pylist())
    vectors = TruncatedSVD(256, random_state=0).fit_transform(counts).astype("float32")
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    pq.write_table(held.append_column("embedding", embedding), out)


if __name__ == "__main__":
    main()
