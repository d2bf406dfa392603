from .build import write_page
from .server import DemoServer

__all__ = ["DemoServer", "write_page"]
