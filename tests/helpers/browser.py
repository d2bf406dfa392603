"""Debian's chromium without a window, for tests of the page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import pytest

from mnv2dense.demo.server import DemoServer
from tests.helpers.tiny import command

PATIENCE_SECONDS = 90.0

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1280,900"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
)

# WebGPU played by the CPU: slow, but the same code for pages.
_GPU_FLAGS = (
    *(
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
        "--enable-features=Vulkan",
        "--use-vulkan=swiftshader",
    ),
    *("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
)

# What chromium remarks on machines without a GPU; there WebAssembly takes over.
_NO_GPU = "No available adapters"


def require_browser() -> None:
    """Skip where chromium or its driver is not installed; fail where MNV2DENSE_REQUIRE_BROWSER is set."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    try:
        import selenium  # noqa: F401
    except ImportError:
        missing.append("selenium")
    if missing:
        refuse(f"{', '.join(missing)} not installed: apt-get install chromium chromium-driver; pip install selenium")


def refuse(reason: str) -> None:
    """Skip, or fail where the browser's tests are required."""
    if os.environ.get("MNV2DENSE_REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


def build(folder: Path, *arguments: str) -> Path:
    """A page, by the command."""
    outcome = command("demo", f"build={folder}", *arguments)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == str(folder)
    return folder


@contextmanager
def chromium(folder: Path, *, gpu: bool = False) -> Iterator[Browser]:
    """A browser with a profile of its own, gone with the block.

    Args:
        folder: for profile and downloads.
        gpu: whether pages find a GPU, if one in name only.
    """
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = str(shutil.which("chromium"))
    flags = (*(flag for flag in _FLAGS if flag != "--disable-gpu"), *_GPU_FLAGS) if gpu else _FLAGS
    for flag in (*flags, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    (folder / "downloads").mkdir()
    options.add_experimental_option("prefs", {"download.default_directory": str(folder / "downloads")})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        driver.set_script_timeout(PATIENCE_SECONDS)
        yield Browser(driver, folder / "downloads")
    finally:
        driver.quit()


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a page, from the demo's own server."""
    with DemoServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


class Browser:
    """What a visitor does with the page, and what they see.

    Attributes:
        downloads: the folder of what was saved.
    """

    def __init__(self, driver: Any, downloads: Path) -> None:  # noqa: ANN401 - selenium is imported late
        self.driver = driver
        self.downloads = downloads

    def open(self, url: str) -> None:
        """And wait until the model is there; the first sample's result, too, if there are samples."""
        self.driver.get(url)
        self.wait("ready", "busy", "done")
        samples = self.run("return document.querySelectorAll('#sample-list button').length")
        self.wait("done" if samples else "ready")

    def run(self, script: str, *arguments: object) -> Any:  # noqa: ANN401
        return self.driver.execute_script(script, *arguments)

    def command(self, name: str, **options: object) -> None:
        """Of Chrome's DevTools."""
        self.driver.execute_cdp_cmd(name, options)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def wait(self, *states: str) -> None:
        """For one of these states of the page."""
        self.wait_for(f"return {json.dumps(states)}.includes(document.documentElement.dataset.state)")

    def wait_for(self, script: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not self.run(script):
            if time.monotonic() > end:
                raise TimeoutError(f"{script}: the page says {self.text('#summary')!r}, {self.text('#alert')!r}")
            time.sleep(0.05)

    def choose(self, image: Path) -> dict[str, Any]:
        """By the file input; the page's result."""
        self._forget()
        self.driver.find_element("css selector", "#file").send_keys(str(image.resolve()))
        self.wait("done", "error")
        return self.result()

    def drop(self, image: Path, event: str = "drop") -> dict[str, Any]:
        """By an event with the file, as letting go of it over the page (or pasting it) makes."""
        self._forget()
        self.run(
            """
            const bytes = Uint8Array.from(atob(arguments[0]), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], arguments[1]));
            const event = arguments[2] === "drop"
              ? new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
              : new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true });
            document.querySelector("#stage").dispatchEvent(event);
            """,
            base64.b64encode(image.read_bytes()).decode(),
            image.name,
            event,
        )
        self.wait("done", "error")
        return self.result()

    def _forget(self) -> None:
        self.run("document.documentElement.dataset.state = 'asked'; globalThis.mnv2dense = null")

    def result(self) -> dict[str, Any]:
        """What the page holds; {} after an error."""
        return cast(dict[str, Any], self.run("return globalThis.mnv2dense?.result ?? {}"))

    def labels(self) -> npt.NDArray[np.uint8]:
        """Of a segmentation, uint8 [H, W]."""
        encoded = self.driver.execute_async_script(
            """
            const reader = new FileReader();
            reader.onload = () => arguments[0](reader.result.split(",")[1]);
            reader.readAsDataURL(new Blob([globalThis.mnv2dense.labels]));
            """
        )
        size = self.result()["picture"]
        return np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(size["height"], size["width"])

    def remarks(self) -> list[str]:
        """What the console got since the last time, warnings and errors."""
        return [entry["message"] for entry in self.driver.get_log("browser") if _NO_GPU not in entry["message"]]

    def hosts(self) -> set[str]:
        """Names that anything was asked of since the last time."""
        events = (json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance"))
        urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return {urlsplit(url).hostname or "" for url in urls if urlsplit(url).scheme not in ("blob", "data")}
