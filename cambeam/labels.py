"""The labels of a collection: its rows as Arrow, pandas and DuckDB, its rejects and its totals."""

import glob
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

if TYPE_CHECKING:  # they are optional, or slow to import
    import duckdb
    import pandas

    from pipeline.rows.output import Output

_BATCH_ROWS = 1024  # a row with class maps and a thumbnail takes 10 KB


class Totals(NamedTuple):
    """How many images and shards there are.

    Attributes:
      images: that have a row.
      rejected: images that have none; `Labels.rejects` says why.
      rejects_by_type: how many were rejected for each reason, by `error_type`, the most frequent first.
      shards: that are done.
      planned: shards of the input, done or not.
    """

    images: int
    rejected: int
    rejects_by_type: dict[str, int]
    shards: int
    planned: int


class Labels:
    """The output of a run, as it was when it was opened.

    Rows come in the order of the input; cambeam's README has a table of their columns. Most of their bytes are
    thumbnails and class maps, so that it pays to name the columns that are wanted.

    Attributes:
      path: of the output.
      complete: whether all of the input was done, and no more rejected than the settings allow.
      totals: of images and shards.
    """

    def __init__(self, output: "Output") -> None:
        done = output.done.values()
        rejects: Counter[str] = Counter()
        for shard in done:
            rejects.update(shard.rejects_by_type)
        self._output = output
        self.path: str = output.layout.root
        self.complete: bool = output.complete
        self.totals = Totals(
            images=sum(shard.written for shard in done),
            rejected=sum(shard.rejected for shard in done),
            rejects_by_type=dict(rejects.most_common()),
            shards=len(done),
            planned=len(output.planned),
        )

    def __len__(self) -> int:
        return self.totals.images

    def __repr__(self) -> str:
        totals = self.totals
        ending = "complete" if self.complete else f"not complete, {totals.shards} of {totals.planned} shards are done"
        return f"<Labels of {totals.images} images, {totals.rejected} rejected, in {self.path!r}: {ending}>"

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yields the rows a thousand at a time, for outputs that are larger than memory.

        Args:
          columns: names; None takes all. A field of the predictions has a path, "predictions.list.element.rank".
        """
        from pipeline.rows.output import open_parquet

        for path in self._files():
            with open_parquet(path) as file:
                yield from file.iter_batches(_BATCH_ROWS, columns=columns)

    def arrow(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Returns the rows as an Arrow table in memory.

        Args:
          columns: as in `batches`.

        Example:
          labels.arrow(["image_id", "class_name"]).to_pylist()
        """
        from transforms.worker.threads import thread_pool

        def read(path: str) -> pa.Table:
            return _read(path, columns)

        tables = list(thread_pool("read").map(read, self._files()))
        if not tables:
            return self._no_rows() if columns is None else self._no_rows().select(columns)
        return pa.concat_tables(tables, promote_options="default")  # an older version may not have had a column

    def pandas(self, columns: Sequence[str] | None = None) -> "pandas.DataFrame":
        """Returns the rows as a data frame of pandas.

        Args:
          columns: as in `batches`.

        Raises:
          ImportError: pandas is not installed.

        Example:
          labels.pandas(["class_name", "probability"]).groupby("class_name").mean()
        """
        _need("pandas")
        return self.arrow(columns).to_pandas()

    def duckdb(self, connection: "duckdb.DuckDBPyConnection | None" = None) -> "duckdb.DuckDBPyRelation":
        """Returns the rows as a relation of DuckDB, which reads of a local output what a query needs, and when.

        Args:
          connection: to make the relation in; by default DuckDB's own.

        Raises:
          ImportError: DuckDB is not installed.

        Example:
          labels.duckdb().filter("probability > 0.9").aggregate("class_name, count(*) AS images")
        """
        _need("duckdb")
        import duckdb

        from transforms.store.files import is_local

        used = connection or duckdb.default_connection()
        paths = self._files()
        if not paths or not is_local(self.path):
            return used.from_arrow(self.arrow())
        # by name, since an older version may have written some of the files, without a column
        return used.read_parquet([glob.escape(path) for path in paths], union_by_name=True)

    def rejects(self) -> pa.Table:
        """Returns the rejected images as an Arrow table: what each was, and why it has no row.

        Example:
          labels.rejects().select(["uri", "error_type", "message"]).to_pylist()
        """
        from transforms.output.schema import REJECT_SCHEMA
        from transforms.worker.threads import thread_pool

        output = self._output
        paths = [output.layout.rejects(shard.shard_id) for shard in output.done.values() if shard.rejected]
        return pa.concat_tables([REJECT_SCHEMA.empty_table(), *thread_pool("read").map(_read, paths)])

    def _files(self) -> list[str]:
        """Returns the Parquet files with rows, in order."""
        return [self._output.layout.images(shard.shard_id) for shard in self._output.with_rows]

    def _no_rows(self) -> pa.Table:
        """Returns no rows, of the columns that the output has."""
        from transforms.output.schema import image_schema
        from transforms.output.settings import OutputSettings

        config = self._output.settings.get("config", {})
        output = OutputSettings.model_construct(**config.get("output", {}))
        return image_schema({}, output, config.get("thumbnails", {}).get("enabled", True)).empty_table()


def _read(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    from pipeline.rows.output import open_parquet

    with open_parquet(path) as file:
        return file.read(columns)


def _need(package: str) -> None:
    """Raises ImportError where a package that is optional is not installed."""
    import importlib.util

    if importlib.util.find_spec(package) is None:
        raise ImportError(f"{package} is not installed: pip install {package}")
