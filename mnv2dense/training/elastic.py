"""Processes that torchrun started again, and where they meet."""

from __future__ import annotations

import os
import socket


def meet_anew() -> None:
    """Have processes that torchrun started again meet in a store of their own; called before they meet.

    torchrun's own store (seen with torch 2.14) lives through restarts, and in it the addresses of the processes before:
    the new ones would try to reach those, and fail. Nothing is done in a first start, or without torchrun.

    Raises:
        ValueError: on several machines, which count their restarts each for itself and cannot agree by them.
    """
    restarts = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or restarts == "0":
        return
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        raise ValueError(
            "torchrun: restarts on several machines need TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 before the command, on "
            "each of them; without it the new processes look for each other where the old ones were."
        )
    from torch.distributed import TCPStore  # type: ignore[attr-defined]  # public, but not marked so

    of_torchrun = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"mnv2dense/port/{restarts}"
    if os.environ["RANK"] == "0":
        of_torchrun.set(key, str(_free_port()))
    os.environ["MASTER_PORT"] = of_torchrun.get(key).decode()
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
