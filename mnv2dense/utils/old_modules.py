"""Modules of version 0.1 by their old addresses, for a release: ``from mnv2dense.data.voc import VocDetection``.

The package's root installs :class:`OldModules`. It answers only for addresses that no longer exist, warns once for each
with the new one, and hands every name on to the module of today, so that classes are the same objects by both ways.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

# Old -> new, both without the package's name. ``complexity`` has none: that name is a function of the root.
MODULES: Final[Mapping[str, str]] = {
    "anchors": "ops.anchors",
    "annotate": "inference.prediction_writer",
    "architectures": "models.architectures",
    "atomic_file": "utils.files",
    "block_memory": "models.block_memory",
    "boxes": "ops.boxes",
    "cache_folder": "utils.cache",
    "calibration": "export.calibration",
    "callbacks": "training.nan_guard",
    "checkpoint": "models.checkpoint",
    "checkpoint_file": "pretrained.checkpoint_file",
    "checkpoint_io": "training.checkpoint_io",
    "class_lists": "types.class_lists",
    "cli.export_timing": "utils.timing",
    "config_errors": "cli.config_errors",
    "contender": "evaluation.benchmark_worker",
    "cost_table": "costs.table",
    "data.ade20k": "data.datasets.ade20k",
    "data.box_table": "data.datasets.box_table",
    "data.cityscapes": "data.datasets.cityscapes",
    "data.coco": "data.datasets.coco",
    "data.coco_json": "data.datasets.coco_json",
    "data.coco_masks": "data.datasets.coco_masks",
    "data.image_folder": "data.datasets.image_folder",
    "data.mask_folder": "data.datasets.mask_folder",
    "data.mask_table": "data.datasets.mask_table",
    "data.masks": "data.datasets.mask_png",
    "data.panoptic_masks": "data.datasets.coco_panoptic",
    "data.pictures": "io.reading",
    "data.segmentations": "data.datasets.coco_rle",
    "data.shape_crops": "data.shapes.classification",
    "data.shape_masks": "data.shapes.segmentation",
    "data.shape_pictures": "data.shapes.drawing",
    "data.voc": "data.datasets.voc",
    "data.voc_folder": "data.datasets.voc_folder",
    "data.voc_masks": "data.datasets.voc_masks",
    "data.windows": "data.augment.windows",
    "data.yolo": "data.datasets.yolo",
    "demo_page": "demo.build",
    "demo_server": "demo.server",
    "description": "runtimes.metadata",
    "divergence": "export.layer_bisect",
    "download": "utils.download",
    "draw": "visualization.draw",
    "draw_masks": "visualization.masks",
    "draw_result": "visualization.results",
    "ema": "training.ema",
    "export_report": "export.report",
    "exported": "runtimes.exported_model",
    "exporters": "export.formats",
    "exporters.bias_correction": "quantization.bias_correction",
    "exporters.coreml": "export.formats.coreml",
    "exporters.coreml_structure": "export.formats.coreml_structure",
    "exporters.executorch": "export.formats.executorch",
    "exporters.graph": "export.graph",
    "exporters.litert": "export.formats.litert",
    "exporters.litert_int8": "export.formats.litert_int8",
    "exporters.onnx": "export.formats.onnx",
    "exporters.onnx_int8": "export.formats.onnx_int8",
    "exporters.openvino": "export.formats.openvino",
    "folding": "models.fuse",
    "geometry": "ops.resize",
    "history": "training.history",
    "hub": "models.hub",
    "int8_simulation": "quantization.int8",
    "layout": "backbones.layout",
    "matching": "ops.matching",
    "metrics.picture_f1": "metrics.image_f1",
    "model": "models.dense_model",
    "onnxruntime_web": "demo.onnxruntime_web",
    "parity": "export.parity",
    "peak_memory": "costs.activation_memory",
    "picture_input": "io.inputs",
    "picture_ranking": "metrics.image_ranking",
    "plots": "visualization.plots",
    "prediction_files": "inference.prediction_files",
    "predictor": "inference.predictor",
    "preflight": "training.preflight",
    "progress": "training.progress",
    "quantization_aware": "training.quantization_aware",
    "random_state": "training.random_state",
    "request_head": "demo.http_head",
    "restoring": "models.restore",
    "results": "inference.results",
    "run_facts": "reporting.facts",
    "run_folder": "reporting.run_folder",
    "run_report": "reporting.report",
    "run_usage": "reporting.usage",
    "saving": "training.checkpointing",
    "schedules": "training.schedules",
    "scoring": "evaluation.score",
    "selection": "ops.postprocess",
    "sensitivity": "export.sensitivity",
    "side_threads": "utils.prefetch",
    "sources": "io.sources",
    "split": "models.split",
    "split_blocks": "models.split_blocks",
    "standard_error": "utils.native_stderr",
    "stop_signals": "utils.signals",
    "tags": "visualization.text",
    "task": "training.task",
    "tiles": "inference.tiles",
    "trusted_config": "reporting.run_config",
    "video": "io.video",
    "viewing": "inference.tta",
    "weights_out": "models.convert",
}

NAMES: Final[Mapping[str, str]] = {
    "Annotator": "PredictionWriter",
    "BadPictures": "BadImages",
    "Contender": "BenchmarkWorker",
    "Description": "Metadata",
    "Picture": "ImageInput",
    "PictureClassification": "ImageClassification",
    "PictureDetections": "ImageDetections",
    "PictureError": "ImageError",
    "PictureResult": "ImageResult",
    "PictureSegmentation": "ImageSegmentation",
    "Viewing": "TTA",
    "decode_picture": "decode_image",
    "list_pictures": "list_images",
    "picture_f1": "image_f1",
    "picture_size": "image_size",
    "read_picture": "read_image",
    "save_picture": "save_image",
}
"""Old name in such a module -> its name now."""

# What has left its module for another: old module -> the modules to ask, one after the other.
_ALSO: Final[Mapping[str, Sequence[str]]] = {
    "callbacks": ("training.nan_guard", "training.freeze"),
    "data.pictures": ("io.reading", "data.datasets.image_list"),
    "data.box_table": ("data.datasets.box_table", "data.datasets.image_list"),
    "preflight": ("training.preflight", "evaluation.score"),
    "scoring": ("evaluation.score", "evaluation.samples", "evaluation.anchor_bound"),
}


class OldModules(MetaPathFinder, Loader):
    """Finds what :data:`MODULES` names; to be put last on ``sys.meta_path``."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A spec for an old address, None for any other."""
        package, _, old = fullname.partition(".")
        if package != "mnv2dense" or old not in MODULES:
            return None
        return ModuleSpec(fullname, self, is_package=old == "exporters")

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in, which has no names of its own."""
        return _StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Tell the new address."""
        old = module.__name__.partition(".")[2]
        warnings.warn(
            f"{module.__name__} is mnv2dense.{MODULES[old]} now; the old address works until version 0.3.",
            DeprecationWarning,
            stacklevel=2,
        )


class _StandIn(ModuleType):
    """Hands on to the module of today."""

    def __getattr__(self, name: str) -> object:
        old = self.__name__.partition(".")[2]
        if name.startswith("__"):
            raise AttributeError(name)
        for module in (importlib.import_module(f"mnv2dense.{new}") for new in _ALSO.get(old, (MODULES[old],))):
            for known in (name, NAMES.get(name, name)):
                if hasattr(module, known):
                    return getattr(module, known)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}; it is mnv2dense.{MODULES[old]} now.")
