from .inputs import pixels_of
from .reading import ImageError, list_images, read_image
from .sources import source_of

__all__ = ["ImageError", "list_images", "pixels_of", "read_image", "source_of"]
