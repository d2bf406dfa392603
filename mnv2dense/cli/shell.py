"""What all commands share: Hydra around a job, notes on the console, and one short message for a user's mistake.

A mistake ends in that message on stderr and exit code 2; the stack trace goes to the run's log.
"""

from __future__ import annotations

import functools
import io
import logging
import os
import select
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import mnv2dense
from mnv2dense.cli.dashes import with_dashes
from mnv2dense.cli.data_options import in_options, of_data
from mnv2dense.cli.user_errors import is_users, message_of
from mnv2dense.cli.words import word_now, words_for_hydra
from mnv2dense.utils.distributed import is_first_process
from mnv2dense.utils.errors import UserError

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.console import Console

log = logging.getLogger(__name__)

# Warnings of libraries that no user can act on.
_NOISE = (
    r".*isinstance\(treespec, LeafSpec\)",  # pytorch-lightning 2.6 on torch 2.15
    r".*does not have many workers",  # num_workers is chosen from the cores there are
    "Total length of `list` across ranks is zero",  # data.val=null is meant
)

# What shells say of a program that wrote to a pipe whose reader was gone.
_CLOSED_PIPE = 141


@functools.cache
def console() -> Console:
    """For tables and progress; who only makes a slip never waits for rich."""
    from rich.console import Console

    return Console()


def conf_folder() -> Path:
    """The configs: inside the installed package, else beside it in a checkout.

    Raises:
        FileNotFoundError: neither is there.
    """
    package = Path(__file__).parent.parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "train.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"The configs are missing: neither {package}/conf nor {package.parent}/conf holds train.yaml."
    )


def run_command(name: str, job: Callable[[DictConfig], None]) -> None:
    """Compose conf/<name>.yaml with the words of the command line, and do the job.

    Jobs import torch and all that is heavy themselves: whoever made a slip should not wait for it to be told.
    """
    try:
        _run(name, job)
        _flush()
    except BrokenPipeError:
        if not _nobody_reads():
            raise
        sys.exit(_CLOSED_PIPE)


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:  # a file on a full disk
        _complain(f"standard output cannot be written ({error.strerror}); what is in files is whole.")
        _drop_standard_output()
        sys.exit(2)


def _run(name: str, job: Callable[[DictConfig], None]) -> None:
    _log_to_console()
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    typed = sys.argv[1:]
    if "--version" in typed:
        print(f"mnv2dense {mnv2dense.__version__}")
        return
    if name == "train" and not typed:
        _say_what_it_would_do()
        sys.exit(2)
    # Hydra prints its own errors and exits unless this is set; then they come through, to be explained.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    folder = str(conf_folder())
    if (said := with_dashes(typed, config_folder=folder, config_name=name)) is not None:
        _complain(said)
        sys.exit(2)
    words = words_for_hydra([_today(word) for word in typed], command=name)
    try:
        if any(word in ("-h", "--help") for word in words):
            from mnv2dense.cli.help import help_text

            print(help_text(name, config_folder=folder, words=[word for word in words if not word.startswith("-")]))
        else:
            _compose_and_do(name, job, folder, words)
    except BrokenPipeError:
        raise
    except Exception as error:  # whatever it is: explained if it is the user's to mend, raised again if not
        said = _explained(error, folder, name, words)
        if said is None and (is_users(error) or isinstance(error, UserError)):
            said = message_of(error)
        if said is None or "MNV2DENSE_TRACEBACK" in os.environ:
            raise
        _complain(in_options(said, Path(folder)) if of_data(error) else said)
        sys.exit(2)


def _compose_and_do(name: str, job: Callable[[DictConfig], None], folder: str, words: Sequence[str]) -> None:
    import hydra

    from mnv2dense.cli.sweep import Sweep, note_failure, words_of_process

    typed = sys.argv[1:]
    failures: list[Exception] = []
    words = words_of_process(words)
    sweep = Sweep.of(words) if name == "train" else None
    if sweep is not None:  # whichever sweeper it has: a config may choose one, too
        from mnv2dense.cli.optuna_study import register

        register()

    def guarded(config: DictConfig) -> None:
        sys.argv[1:] = typed  # what the run's folder and processes of torch's are told
        run = None
        with _own_handlers():
            try:
                if sweep is not None and is_first_process():
                    run = sweep.begin(*_place_in_sweep())
                    config.run_dir = str(run)
                job(config)
            except Exception as error:  # carried past Hydra, which would print a message of its own
                log.debug("stopped by", exc_info=error)
                failures.append(error)
                if run is not None:
                    note_failure(run, _said_within(error, folder, name))

    sys.argv[1:] = sweep.words if sweep is not None else words  # Hydra reads them there
    try:
        hydra.main(version_base="1.3", config_path=folder, config_name=name)(guarded)()
    finally:
        sys.argv[1:] = typed
        failed = sweep.finish() if sweep is not None else None
    if failed is not None:
        raise UserError(failed)
    if failures:
        raise failures[0]


def _place_in_sweep() -> tuple[int, list[str]]:
    """Number and options of the run that Hydra has begun."""
    from hydra.core.hydra_config import HydraConfig

    hydra = HydraConfig.get()
    return hydra.job.num + 1, list(hydra.overrides.task)


def _said_within(error: Exception, folder: str, name: str) -> str:
    """One line about an error of one run of several; explaining it composes configs, and the next runs want theirs."""
    from hydra.core.global_hydra import GlobalHydra

    before = GlobalHydra.instance().hydra
    try:
        said = _explained(error, folder, name, _place_in_sweep()[1])
    finally:
        GlobalHydra.instance().hydra = before
    if said is None:
        said = message_of(error)
        if not (is_users(error) or isinstance(error, UserError)):
            said = f"{type(error).__name__}: {said} (its run.log has the trace)"
    return said


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Take away the handlers that a run adds for its log: the next run of a sweep has its own."""
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            if isinstance(handler, logging.FileHandler):
                root.removeHandler(handler)
                handler.close()


def _explained(error: Exception, folder: str, name: str, words: Sequence[str]) -> str | None:
    from mnv2dense.cli.config_errors import explain, plainly

    try:
        return explain(error, config_folder=folder, config_name=name, arguments=words)
    except Exception as second:  # the first one is what the user wants to know
        log.debug("while explaining", exc_info=second)
        return plainly(error)


def _say_what_it_would_do() -> None:
    program = "mnv2dense-train" if Path(sys.argv[0]).stem == "mnv2dense-train" else "python tools/train.py"
    print(
        f"usage: {program} group=choice ... option=value ...\n\n"
        "Without a word it would train a small detector on drawn shapes, some minutes on two cores; to have that:\n"
        f"  {program} task=detection\n"
        "On data of your own:\n"
        f"  {program} task=detection data=yolo data.root=FOLDER\n"
        f"All groups and options, in words: {program} --help",
        file=sys.stderr,
    )


def _complain(said: str) -> None:
    in_red = sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.name == "posix"
    print(f"\x1b[31merror: {said}\x1b[0m" if in_red else f"error: {said}", file=sys.stderr)


def _nobody_reads() -> bool:
    """Whether standard output has lost its reader, as by ``| head``; what is still to be written there is dropped."""
    try:
        poll = select.poll()
        poll.register(sys.stdout.fileno(), select.POLLOUT)
        if not any(event & select.POLLERR for _, event in poll.poll(0)):
            return False  # another pipe, of a loader's worker
    except (AttributeError, OSError):  # Windows has no poll, and a test's output no file
        return False
    _drop_standard_output()
    return True


def _drop_standard_output() -> None:
    """Python flushes once more when it ends; nobody shall hear of that."""
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - as shells open it; Path has no more to give
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _today(word: str) -> str:
    """The word with option and class by today's names, with a note where they were version 0.1's."""
    if (today := word_now(word)) != word:
        log.info("%s is called %s now; the old name works until version 0.3.", word, today)
    return today


def _log_to_console() -> None:
    """Our own notes as plain lines, once; of the libraries, what deserves attention."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a test's may be none
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be Unicode
    handler = _Console(sys.stdout)
    handler.setFormatter(_Line("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("mnv2dense") or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("mnv2dense").setLevel(logging.DEBUG)
    handler.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _Line(logging.Formatter):
    """A note; of data sets with their options in the words of a command."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        said = super().format(record)
        return in_options(said, conf_folder()) if record.name.startswith("mnv2dense.data.") else said


class _Console(logging.StreamHandler[TextIO]):
    """Says nothing more once nobody reads or the disk is full; the run goes on, and its own log has everything."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        if isinstance(sys.exc_info()[1], OSError):
            logging.getLogger().removeHandler(self)
        else:
            super().handleError(record)
