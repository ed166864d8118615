import glob as _g
import os

import polars as pl

from luce.reader import read_file


def files_of(source):
    return (
        sorted(_g.glob(source))
        if "*" in source
        else [source]
        if not os.path.isdir(source)
        else sorted(os.path.join(source, n) for n in os.listdir(source))
    )


def frames(path, *, encoding=None):
    if path.endswith(".parquet"):
        n = pl.scan_parquet(path).select(pl.len()).collect().item()
        for i in range(0, n, 1 << 16):
            yield pl.scan_parquet(path).slice(i, 1 << 16).collect(engine="streaming")
    else:
        yield read_file(path, encoding=encoding).frame
