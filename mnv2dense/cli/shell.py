"""What all commands share: Hydra around a job, notes on the console, and one short message for a user's mistake.

A mistake ends in that message on stderr and exit code 2; the stack trace goes to the run's log.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig
from rich.console import Console

from mnv2dense.cli.config_errors import explain
from mnv2dense.cli.user_errors import is_users, message_of
from mnv2dense.reporting.run_folder import is_first_process
from mnv2dense.training.nan_guard import NonFiniteLossError
from mnv2dense.utils.renamed import address_now, option_now

log = logging.getLogger(__name__)

CONSOLE = Console()

# Warnings of libraries that no user can act on.
_NOISE = (
    r".*isinstance\(treespec, LeafSpec\)",  # pytorch-lightning 2.6 on torch 2.15
    r".*does not have many workers",  # num_workers is chosen from the cores there are
    "Total length of `list` across ranks is zero",  # data.val=null is meant
)


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
    """Compose conf/<name>.yaml with the words of the command line, and do the job."""
    _log_to_console()
    for message in _NOISE:
        warnings.filterwarnings("ignore", message)
    # Hydra prints its own errors and exits unless this is set; then they come through, to be explained.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    folder = str(conf_folder())
    failures: list[Exception] = []
    _take_old_options()

    def guarded(config: DictConfig) -> None:
        try:
            job(config)
        except Exception as error:  # carried past Hydra, which would print a message of its own
            log.debug("stopped by", exc_info=error)
            failures.append(error)

    try:
        hydra.main(version_base="1.3", config_path=folder, config_name=name)(guarded)()
        if failures:
            raise failures[0]
    except Exception as error:  # whatever it is: explained if it is the user's to mend, raised again if not
        said = explain(error, config_folder=folder, config_name=name, arguments=sys.argv[1:])
        if said is None and (is_users(error) or isinstance(error, NonFiniteLossError)):
            said = message_of(error)
        if said is None or "MNV2DENSE_TRACEBACK" in os.environ:
            raise
        Console(stderr=True, soft_wrap=True).print(f"error: {said}", style="red", highlight=False, markup=False)
        sys.exit(2)


def _take_old_options() -> None:
    """Options and classes by the names that they had in version 0.1, with a note."""
    for position, argument in enumerate(sys.argv[1:], start=1):
        today = argument if argument.startswith("-") else option_now(argument)
        key, equals, value = today.partition("=")
        if equals and key.endswith("_target_"):
            today = f"{key}={address_now(value)}"
        if today != argument:
            log.info("%s is called %s now; the old name works until version 0.3.", argument, today)
            sys.argv[position] = today


def _log_to_console() -> None:
    """Our own notes as plain lines, once; of the libraries, what deserves attention."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(lambda record: record.name.startswith("mnv2dense") or record.levelno >= logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("mnv2dense").setLevel(logging.DEBUG)
    handler.setLevel(logging.INFO if is_first_process() else logging.WARNING)
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
