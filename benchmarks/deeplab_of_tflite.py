r"""The official int8 TFLite DeepLab as a checkpoint of this project, and its own mIoU: the same network beside itself.

    python benchmarks/deeplab_of_tflite.py --tflite ../shared/peers/deeplabv3_mnv2_pascal_quant.tflite \
        --weights ../shared/weights/deeplabv3_mobilenet_v2_1.0_513 --coco ../shared/data/coco_mini \
        --output official.ckpt
    python tools/export.py checkpoint=official.ckpt exporter=openvino precision=int8 labels=true ...

Those weights have the file's kernels to the last bit, but batch norms refitted on other images. Here each convolution
takes the file's own kernel and bias, into which its batch norms were folded; so a file exported from the checkpoint can
be measured against the official one, without other batch norms between them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mnv2dense import DenseModel, load_model
from mnv2dense.data.datasets.coco_masks import CocoMasks
from mnv2dense.io.reading import read_image
from mnv2dense.models.checkpoint import save_model
from mnv2dense.ops.resize import resize


def main() -> None:
    """Write the checkpoint and print the file's score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflite", type=Path, required=True, help="the official int8 file")
    parser.add_argument("--weights", type=Path, required=True, help="the same network's weights, Hugging Face layout")
    parser.add_argument("--coco", type=Path, help="a COCO folder whose val2017 the file is scored on, as VOC's classes")
    parser.add_argument("--resize", default="squash", choices=("squash", "letterbox"), help="how it is to get images")
    parser.add_argument("--output", type=Path, required=True, help="the checkpoint, .ckpt")
    arguments = parser.parse_args()
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(arguments.tflite), num_threads=2)
    interpreter.allocate_tensors()
    model = with_folded(load_model(arguments.weights), convolutions(interpreter))
    model.config["resize"] = arguments.resize
    print(save_model(model, arguments.output))
    if arguments.coco:
        print(f"mIoU of {arguments.tflite.name}: {score(interpreter, arguments.coco):.4f}")


def convolutions(interpreter: Any) -> list[tuple[Tensor, Tensor]]:  # noqa: ANN401 - untyped
    """Kernel and bias of each as floats, laid out as torch's."""
    scales = {row["index"]: row["quantization"] for row in interpreter.get_tensor_details()}

    def floats(index: int) -> Tensor:
        scale, zero = scales[index]
        return torch.from_numpy((interpreter.get_tensor(index).astype(np.float32) - zero) * np.float32(scale))

    found = []
    for step in interpreter._get_ops_details():
        if step["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            _, kernel, bias = step["inputs"]
            order = (0, 3, 1, 2) if step["op_name"] == "CONV_2D" else (3, 0, 1, 2)
            found.append((floats(kernel).permute(order), floats(bias)))
    return found


def with_folded(model: DenseModel, folded: list[tuple[Tensor, Tensor]]) -> DenseModel:
    """The model with these kernels, each batch norm the identity plus the bias of the convolution before it."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)]
    for kernel, bias in folded:
        name, layer = next((name, each) for name, each in layers if torch.equal(each.weight, kernel))
        layers.remove((name, layer))
        if layer.bias is not None:
            layer.bias.data.copy_(bias)
            continue
        parent, _, place = name.rpartition(".")
        norm = model.get_submodule(f"{parent}.{int(place) + 1}")
        assert isinstance(norm, nn.BatchNorm2d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.weight.data.fill_(1)
        norm.bias.data.copy_(bias)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
    assert not layers, "a convolution of the model is not in the file"
    return model


def score(interpreter: Any, root: Path) -> float:  # noqa: ANN401 - untyped
    """The mIoU over val2017; images are squashed to the file's size, classes brought back to the nearest pixel."""
    from hydra import compose, initialize_config_dir
    from hydra.utils import instantiate

    with initialize_config_dir(str(Path(__file__).resolve().parents[1] / "conf"), version_base=None):
        config = compose("evaluate", ["checkpoint=none", "data=coco_voc_masks", f"data.root={root.absolute()}"])
    dataset: CocoMasks = instantiate(config.data.val)
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    confusion = np.zeros((21, 21), np.int64)
    for sample in (dataset[index] for index in range(len(dataset))):
        image = torch.from_numpy(read_image(dataset.path_of(sample.image_id))).permute(2, 0, 1)
        fitted = resize(image, (513, 513), "squash")[0].permute(1, 2, 0)[None]
        interpreter.set_tensor(given["index"], fitted.contiguous().numpy())
        interpreter.invoke()
        labels = interpreter.get_tensor(wanted["index"]).reshape(513, 513).astype(np.uint8)
        height, width = image.shape[1:]
        labels = np.asarray(Image.fromarray(labels).resize((width, height), Image.Resampling.NEAREST))
        truth = dataset.mask_of(sample.image_id)
        known = truth != 255
        confusion += np.bincount(truth[known].astype(int) * 21 + labels[known], minlength=441).reshape(21, 21)
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return float((hits[union > 0] / union[union > 0]).mean())


if __name__ == "__main__":
    main()
