from .inputs import pixels_of
from .reading import ImageError, list_images, read_image
from .sources import source_of
from .video import Frame, VideoReader, VideoWriter

__all__ = [
    "Frame",
    "ImageError",
    "VideoReader",
    "VideoWriter",
    "list_images",
    "pixels_of",
    "read_image",
    "source_of",
]
