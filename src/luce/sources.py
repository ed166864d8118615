"""What the commands read: tables, many files, arrays, images; for a fit, or for a model that knows their names; plain
weights with the rows that they were fitted on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import numpy as np

from luce.errors import InputError, inert

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from luce.fitted import Fitted
    from luce.table import Table


def read_table(data: str, encoding: str | None, kinds: Mapping[str, str]) -> Table:
    from luce.gather import gather, is_many
    from luce.image_files import may_be_images
    from luce.images import read_images
    from luce.pictures import image_columns, with_pixels
    from luce.reader import read_file
    from luce.table import Table

    if not is_many(data) and may_be_images(data):
        return Table.of(read_images(data), data)
    table = gather(data, encoding=encoding) if is_many(data) else Table.of(read_file(data, encoding=encoding))
    return with_pixels(table, image_columns(table, kinds), folder_of(data))


def folder_of(data: str) -> str:
    """Where the paths in a table are seen from."""
    return data if os.path.isdir(data) else os.path.dirname(data)


def array_of_file(data: str, label: str | None, labels: str | None) -> Table | None:
    """The rows of an .npy file, of embeddings or of images that have a file of labels; None for anything else."""
    from luce.embeddings import are_embeddings, read_embeddings, read_labels
    from luce.images import read_images
    from luce.table import Table

    embeddings, array = are_embeddings(data), data.lower().endswith(".npy")
    if label is not None and (embeddings or labels is not None):
        raise InputError(f"--label {inert(label)}: {inert(data)} has no named columns; its labels: --labels FILE")
    if labels is None:
        return Table.of(read_embeddings(data), data) if embeddings else None
    if not array:
        raise InputError(f"--labels {inert(labels)}: goes with an .npy file; of a table the label is a column: --label")
    if embeddings:
        bare = read_embeddings(data)
        return Table.of(read_embeddings(data, read_labels(labels, len(bare.vectors))), data)
    return Table.of(read_images(data, labels=read_labels(labels)), data)


def _named(table: Table, names: dict[str, str | None]) -> Table:
    """The table of an array with its columns under the names that a model knows them by."""
    known = {old: new for old, new in names.items() if old in table.names and new is not None}
    vectors = {known.get(old, old): rows for old, rows in table.vectors.items()}
    return replace(table, frame=table.frame.rename(known), vectors=vectors)


def read_labelled(
    data: str, label: str | None, labels: str | None, encoding: str | None, kinds: Mapping[str, str], skip_bad: bool
) -> tuple[Table, str]:
    """A table and its label column, which the form of the file may say; click.UsageError if nothing says it."""
    from luce.image_files import may_be_images
    from luce.images import read_images
    from luce.pictures import image_columns, with_pixels
    from luce.reader import may_be_lines, read_file
    from luce.table import LABEL, Table

    if (table := array_of_file(data, label, labels)) is not None:
        if LABEL not in table.names:
            raise click.UsageError(
                f"say which file holds the labels of {inert(data)}: --labels FILE", click.get_current_context()
            )
        return table, LABEL
    if may_be_images(data):
        table = Table.of(read_images(data, skip_bad=skip_bad), data)
        if LABEL not in table.names:
            raise InputError(f"{data}: nothing tells the classes: put the images of each class in a folder of its name")
        return table, LABEL
    missing = f"say which column of {inert(data)} to predict: --label COLUMN"
    if label is None and not may_be_lines(data):
        raise click.UsageError(missing, click.get_current_context())
    raw = read_file(data, encoding=encoding)
    label = label if label is not None else raw.label
    if label is None:
        names = ", ".join(map(inert, raw.frame.columns[:10])) + (", ..." if raw.frame.width > 10 else "")
        raise click.UsageError(f"{missing}; the columns are {names}", click.get_current_context())
    table = Table.of(raw)
    return with_pixels(table, image_columns(table, kinds), folder_of(data), skip_bad=skip_bad), label


def gathered(
    data: str, label: str | None, encoding: str | None, memory: str | None, out: str, kinds: Mapping[str, str],
    skip_bad: bool,
) -> tuple[Table, str]:  # fmt: skip
    """The rows of many files, or of more than memory may take; what it may not take lies beside the model meanwhile."""
    from luce.compact import bytes_of
    from luce.gather import gather
    from luce.labelled_lines import LABEL
    from luce.pictures import image_columns, with_pixels

    room = None if memory is None else bytes_of(memory, "--memory")
    table = gather(data, encoding=encoding, memory=room, parent=os.path.dirname(out) or ".", keep=label)
    label = LABEL if label is None and table.kinds else label
    if label is None:
        names = ", ".join(map(inert, table.names[:10])) + (", ..." if len(table.names) > 10 else "")
        what = f"say which column of {inert(data)} to predict: --label COLUMN; the columns are {names}"
        raise click.UsageError(what, click.get_current_context())
    return with_pixels(table, image_columns(table, kinds), folder_of(data), skip_bad=skip_bad), label


def images_for(fitted: Fitted, data: str, skip_bad: bool) -> tuple[Table, list[str]] | None:
    """Images under the name of the column that the model knows them by, and where each came from; None where the model
    reads none, or DATA is a table."""
    from luce.gather import is_many
    from luce.image_files import may_be_images
    from luce.images import read_images
    from luce.table import IMAGE, LABEL, Table

    sizes = fitted.image_sizes
    if not sizes or not may_be_images(data):
        return None
    if is_many(data):
        if not os.path.isdir(data):
            raise InputError(f"{data}: images are not read by a pattern: give the folder that holds them")
        return None
    if len(fitted.encoder.sources) > 1:
        raise InputError(f"{data}: the model reads other columns too: give a table with a column of image files")
    name, (height, width, channels) = next(iter(sizes.items()))
    images = read_images(data, size=(height, width), channels=channels, skip_bad=skip_bad)
    table = Table.of(images, data)
    names = {IMAGE: name, LABEL: fitted.label or LABEL}
    known = {old: new for old, new in names.items() if old in table.names}
    return replace(table, frame=table.frame.rename(known)), list(map(str, images.names))


def read_for(
    fitted: Fitted,
    data: str,
    encoding: str | None,
    begun: bytes = b"",
    skip_bad: bool = False,
    labels: str | None = None,
) -> Table:
    """A table for a model; the label and the text of fastText's lines get the names that a model of one text knows.

    begun: what was read of standard input already.
    """
    from luce.gather import gather, is_many
    from luce.labelled_lines import LABEL, TEXT
    from luce.pictures import with_pixels
    from luce.reader import read_file
    from luce.table import EMBEDDING, IMAGE, Table
    from luce.table import LABEL as OWN

    if (array := array_of_file(data, None, labels)) is not None:
        if EMBEDDING in array.names and fitted.embedding_alone is None:
            raise InputError(f"{data}: holds embeddings, and the model reads other columns: give it a table of these")
        image = next(iter(fitted.image_sizes), IMAGE)
        return _named(array, {EMBEDDING: fitted.embedding_alone, IMAGE: image, OWN: fitted.label or OWN})
    if fitted.embedding_alone is not None:
        raise InputError(f"{inert(data)}: is no .npy file of embeddings, which are what the model reads")
    if (images := images_for(fitted, data, skip_bad)) is not None:
        return images[0]
    sizes = fitted.image_sizes
    many = is_many(data)
    table = gather(data, encoding=encoding) if many else Table.of(read_file(data, encoding=encoding, begun=begun))
    names = [name for name in sizes if name in table.names]
    table = with_pixels(table, names, folder_of(data), sizes, skip_bad)
    if not table.kinds or fitted.text_alone is None:
        return table
    renamed = {LABEL: fitted.label or LABEL, TEXT: fitted.text_alone.name}
    return Table(table.frame.rename(renamed), table.source, table.notes)


def read_weights(path: str) -> dict[str, Any]:
    """The arrays of an .npz file: coef, classes, intercept, columns; nothing in it is run."""
    try:
        with open(path, "rb") as file:
            found = _arrays_of(file, path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or inert(str(error))}") from None
    if "classes" not in found or "coef" not in found:
        raise InputError(f"{path} holds {', '.join(sorted(found)) or 'nothing'}: it needs coef, intercept and classes")
    return found


def _arrays_of(file: BinaryIO, path: str) -> dict[str, Any]:
    try:
        arrays = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise InputError(f"{path} holds one array: save coef, intercept and classes with numpy.savez")
        return {name.removesuffix("_"): arrays[name] for name in arrays.files}
    except InputError:
        raise
    except Exception as error:  # a broken archive has many ways to say so
        raise InputError(
            f"{path} is no .npz file of plain arrays ({inert(str(error))}): save with numpy.savez"
        ) from None


def rows_of_weights(
    given: dict[str, Any], data: str, label: str, encoding: str | None
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """The rows of DATA as the weights of `read_weights` read them, numbers in the order of their `columns`, which are
    taken from it, and their labels."""
    from luce.schema import Column, Schema, parse
    from luce.table import Table

    table = Table.of(read_table(data, encoding, {}))
    rows = table.without(label)
    names = [str(name) for name in given.pop("columns", rows.names)]
    for name in names:
        rows.column(name)
    part = Table(rows.frame.select(names), rows.source)
    parsed = parse(part, Schema(tuple(Column(name, "number") for name in names)))
    X = np.column_stack([np.asarray(parsed[name]) for name in names])
    missing = np.argwhere(np.isnan(X))
    if len(missing):
        raise InputError(
            f"{data}: row {missing[0][0] + 1} has no number in column {inert(names[missing[0][1]])!r}: fill it as it "
            "was filled for the fit"
        )
    return X, _labels_like(table, label, given["classes"], data)


def _labels_like(table: Table, label: str, classes: NDArray[Any], source: str) -> NDArray[Any]:
    """The label of each row, as one of the classes that the weights know."""
    from luce.labels import encode_labels

    known = [int(c) if isinstance(c, float) and c.is_integer() else c for c in classes.tolist()]
    codes = encode_labels(table.column(label), known, f"{source}, label {label!r}")
    if (codes < 0).any():
        row = int(np.argmax(codes < 0))
        raise InputError(f"{source}: row {row + 1} has a label that is none of the classes {known[:5]!r}")
    return np.asarray(classes[codes])
