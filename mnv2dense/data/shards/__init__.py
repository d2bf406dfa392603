"""Data sets as shards: tar files that are read from a folder, a web server or an object store."""

from mnv2dense.data.shards.dataset import open_shards
from mnv2dense.data.shards.write import write_shards

__all__ = ["open_shards", "write_shards"]
