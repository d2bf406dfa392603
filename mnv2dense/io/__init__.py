"""Files, addresses, arrays, videos and cameras become pixels."""

from mnv2dense.io.inputs import pixels_of
from mnv2dense.io.reading import ImageError, list_images, read_image
from mnv2dense.io.sources import source_of

__all__ = ["ImageError", "list_images", "pixels_of", "read_image", "source_of"]
