"""The embedded data: shapes drawn once into a cache folder, for boxes, masks and classes."""

from mnv2dense.data.shapes.classification import ShapeCrops
from mnv2dense.data.shapes.detection import Shapes, draw_shapes
from mnv2dense.data.shapes.joint import ShapesWithMasks
from mnv2dense.data.shapes.segmentation import ShapeMasks

__all__ = ["ShapeCrops", "ShapeMasks", "Shapes", "ShapesWithMasks", "draw_shapes"]
