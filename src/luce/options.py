"""The options that several commands share, and what the words given to options mean."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from luce.errors import InputError, inert

if TYPE_CHECKING:
    from luce.engine import Engine
    from luce.network import NetworkClassifier

threads_option = click.option("--threads", type=click.IntRange(min=1), help="Threads to use (default: all processors).")
raw_option = click.option("--raw", is_flag=True, help="Write text cells that begin with = + - @ as they are: a "
                          "spreadsheet may run them.")  # fmt: skip
encoding_option = click.option("--encoding", help="Character encoding of a text file (default: recognised).")
labels_option = click.option(
    "--labels", metavar="FILE", help="The labels of the rows of an .npy file: an .npy, or text, a label a line."
)
workers_option = click.option("--workers", type=click.IntRange(min=1), help="How many of them (default: as many as "
                              "processors).")  # fmt: skip
address_option = click.option("--address", help="Of a Ray cluster, or auto (default: Ray starts on this machine).")
skip_option = click.option("--skip-bad", is_flag=True, help="Leave out images that cannot be read, or else stop.")
report_option = click.option("--report", "page", metavar="FILE", help="One HTML page of pictures and figures.")
lang_option = click.option(
    "--lang", type=click.Choice(["ko", "en"]), help="Language of the page (default: the locale's)."
)
host_option = click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
                           help="Where to listen; other than this machine's own address needs a token.")  # fmt: skip
port_option = click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True,
                           help="0 for any that is free.")  # fmt: skip
token_option = click.option("--token", envvar="LUCE_TOKEN", metavar="TOKEN", help="What every request must bring.")
name_option = click.option("--name", "names", multiple=True, metavar="NAME",
                           help="Another name of the service, such as that of a proxy. May be repeated.")  # fmt: skip


def check_share(holdout: float) -> None:
    if not 0 <= holdout < 1:
        raise InputError(f"--holdout is {holdout}: give a share from 0 up to (not including) 1, such as 0.2")


def check_target(out: str, *read: str, option: str = "--out") -> None:
    """Before minutes of work: can the file be written there at all, and is it none of those that are read?"""
    if not out:
        raise InputError(f"{option} is empty: give the name of a file")
    if os.path.exists(out) and any(os.path.exists(name) and os.path.samefile(out, name) for name in read):
        raise InputError(f"{option} {out} is a file that is being read; give another name")
    folder = os.path.dirname(out) or "."
    if not os.path.isdir(folder):
        raise InputError(f"{option} {out}: the folder {folder} does not exist; make it first")
    if os.path.isdir(out):
        raise InputError(f"{option} {out} is a folder: give the name of a file in it")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{option} {out}: the folder {folder} cannot be written to")


def kinds_of(pairs: tuple[str, ...], texts: tuple[str, ...] = ()) -> dict[str, str]:
    kinds = dict.fromkeys(texts, "text")
    for pair in pairs:
        column, equals, kind = pair.rpartition("=")
        if not equals or not column:
            raise InputError(f"--as {pair}: write COLUMN=KIND, for example --as zip=category")
        if kinds.get(column, kind) != kind:
            raise InputError(f"--as {inert(pair)}: the column is said to be {kinds[column]} as well; say one of them")
        kinds[column] = kind
    return kinds


def model_of(kind: str, hidden: str | None) -> str | NetworkClassifier:
    import luce

    if hidden is None:
        return kind
    if kind != "network":
        raise InputError("--hidden is for networks: add --model network")
    try:
        return luce.NetworkClassifier([int(units) for units in hidden.split(",")])
    except ValueError:
        raise InputError(f"--hidden {inert(hidden)}: give whole numbers, such as 256 or 256,64") from None


def engine_of(kind: str | None, workers: int | None, address: str | None) -> Engine | None:
    """Whose workers do the work, by --engine, --workers and --address."""
    import luce

    if address is not None and kind != "ray":
        raise click.UsageError("--address is that of a Ray cluster: say --engine ray", click.get_current_context())
    if kind is None:
        if workers is not None:
            what = "--workers are those of an engine: say --engine local or --engine ray"
            raise click.UsageError(what, click.get_current_context())
        return None
    return luce.ray(workers, address=address) if kind == "ray" else luce.processes(workers)


def numbers_of(option: str, pairs: tuple[str, ...]) -> dict[str, float] | None:
    """Numbers by the class that they are for; None without any."""
    found = {}
    for pair in pairs:
        name, equals, number = pair.rpartition("=")
        try:
            found[name] = float(number)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise InputError(f"{option} {inert(pair)}: write CLASS=NUMBER")
    return found or None


def check_page(page: str | None, *others: str) -> None:
    """As `check_target`, for --report; it is none of the other files, there or not."""
    if page is None:
        return
    check_target(page, *others, option="--report")
    if any(os.path.realpath(page) == os.path.realpath(other) for other in others):
        raise InputError(f"--report {page} is a file that is read or written; give another name")


def command_line() -> str:
    """The command that is running, but for what changes no number."""
    context = click.get_current_context()
    words = ["luce", str(context.info_name)]
    for parameter in context.command.params:
        value, opts = context.params[str(parameter.name)], parameter.opts
        given = context.get_parameter_source(str(parameter.name)) is ParameterSource.COMMANDLINE
        if not given or parameter.name in ("out", "page", "lang", "as_json", "threads", "checkpoint"):
            continue
        if isinstance(parameter, click.Argument):
            words.append(str(value))
        elif parameter.is_flag:  # type: ignore[attr-defined]
            words.append(opts[-1])
        else:
            for each in value if parameter.multiple else [value]:
                words += [opts[-1], str(each)]
    return shlex.join(words)
