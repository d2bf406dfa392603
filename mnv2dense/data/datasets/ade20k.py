"""ADE20K for scene parsing: 150 classes, as the challenge of 2016 numbered them."""

from __future__ import annotations

from pathlib import Path
from typing import final

from mnv2dense.data.datasets.columns import Names, Paths
from mnv2dense.data.datasets.image_list import BadImages
from mnv2dense.data.datasets.mask_png import MaskRules
from mnv2dense.data.datasets.mask_table import MaskTable
from mnv2dense.io.reading import list_images
from mnv2dense.types.class_lists import Palette

ADE20K_CLASSES = (
    *("wall", "building", "sky", "floor", "tree", "ceiling", "road", "bed", "windowpane", "grass", "cabinet"),
    *("sidewalk", "person", "earth", "door", "table", "mountain", "plant", "curtain", "chair", "car", "water"),
    *("painting", "sofa", "shelf", "house", "sea", "mirror", "rug", "field", "armchair", "seat", "fence", "desk"),
    *("rock", "wardrobe", "lamp", "bathtub", "railing", "cushion", "base", "box", "column", "signboard"),
    *("chest of drawers", "counter", "sand", "sink", "skyscraper", "fireplace", "refrigerator", "grandstand"),
    *("path", "stairs", "runway", "case", "pool table", "pillow", "screen door", "stairway", "river", "bridge"),
    *("bookcase", "blind", "coffee table", "toilet", "flower", "book", "hill", "bench", "countertop", "stove"),
    *("palm", "kitchen island", "computer", "swivel chair", "boat", "bar", "arcade machine", "hovel", "bus"),
    *("towel", "light", "truck", "tower", "chandelier", "awning", "streetlight", "booth", "television receiver"),
    *("airplane", "dirt track", "apparel", "pole", "land", "bannister", "escalator", "ottoman", "bottle"),
    *("buffet", "poster", "stage", "van", "ship", "fountain", "conveyer belt", "canopy", "washer", "plaything"),
    *("swimming pool", "stool", "barrel", "basket", "waterfall", "tent", "bag", "minibike", "cradle", "oven"),
    *("ball", "food", "step", "tank", "trade name", "microwave", "pot", "animal", "bicycle", "lake", "dishwasher"),
    *("screen", "blanket", "sculpture", "hood", "sconce", "vase", "traffic light", "tray", "ashcan", "fan"),
    *("pier", "crt screen", "plate", "monitor", "bulletin board", "shower", "radiator", "glass", "clock", "flag"),
)
"""The 150 classes, by the first of each one's names, in the challenge's order: the most frequent first."""

# What the challenge's own tools paint them in, RGB.
_COLORS = (
    "787878 b47878 06e6e6 503232 04c803 787850 8c8c8c cc05ff e6e6e6 04fa07 e005ff ebff07 96053d 787846 08ff33 "
    "ff0652 8fff8c ccff04 ff3307 cc4603 0066c8 3de6fa ff0633 0b66ff ff0747 ff09e0 0907e6 dcdcdc ff095c 7009ff "
    "08ffd6 07ffe0 ffb806 0aff47 ff290a 07ffff e0ff08 6608ff ff3d06 ffc207 ff7a08 00ff14 ff0829 ff0599 0633ff "
    "eb0cff a09614 00a3ff 8c8c8c fa0a0f 14ff00 1fff00 ff1f00 ffe000 99ff00 0000ff ff4700 00ebff 00adff 1f00ff "
    "0bc8c8 ff5200 00fff5 003dff 00ff70 00ff85 ff0000 ffa300 ff6600 c2ff00 008fff 33ff00 0052ff 00ff29 00ffad "
    "0a00ff adff00 00ff99 ff5c00 ff00ff ff00f5 ff0066 ffad00 ff0014 ffb8b8 001fff 00ff3d 0047ff ff00cc 00ffc2 "
    "00ff52 000aff 0070ff 3300ff 00c2ff 007aff 00ffa3 ff9900 00ff0a ff7000 8fff00 5200ff a3ff00 ffeb00 08b8aa "
    "8500ff 00ff5c b800ff ff001f 00b8ff 00d6ff ff0070 5cff00 00e0ff 70e0ff 46b8a0 a300ff 9900ff 47ff00 ff00a3 "
    "ffcc00 ff008f 00ffeb 85ff00 ff00eb f500ff ff007a fff500 0abed4 d6ff00 00ccff 1400ff ffff00 0099ff 0029ff "
    "00ffcc 2900ff 29ff00 ad00ff 00f5ff 4700ff 7a00ff 00ffb8 005cff b8ff00 0085ff ffd600 19c2c2 66ff00 5c00ff "
)
ADE20K_PALETTE: Palette = tuple((c[0], c[1], c[2]) for c in map(bytes.fromhex, _COLORS.split()))


@final
class Ade20kMasks(MaskTable[Path]):
    """``images/{split}/*.jpg`` and ``annotations/{split}/*.png`` of ADEChallengeData2016.

    Class k is value k + 1 in the files; 0, which is all that is none of the 150, is ignored. Every mask is read once
    before training.

    Args:
        root: the folder ``ADEChallengeData2016``, or the one that it lies in.
        split: ``training`` or ``validation``.
        bad_images: ``error`` stops where an image or mask is missing or damaged; ``skip`` leaves it out.
        limit: only the first so many images.

    Attributes:
        class_names: :data:`ADE20K_CLASSES`.
        palette: the colours of the challenge.
        image_ids: 1, 2, 3, ... in the order of names.

    Raises:
        FileNotFoundError: the folders or files are missing.
        ValueError: a mask is wrong; the message names it.
    """

    def __init__(
        self,
        *,
        root: str | Path,
        split: str = "training",
        bad_images: BadImages = "error",
        limit: int | None = None,
    ) -> None:
        folder = _folder(Path(root), split)
        images = list_images(folder / "images" / split)
        values = {label + 1: label for label in range(len(ADE20K_CLASSES))}
        rules = MaskRules(len(ADE20K_CLASSES), ignored=(0,), values=values, ignore_others=False)
        super().__init__(
            source=folder / "annotations" / split,
            class_names=ADE20K_CLASSES,
            palette=ADE20K_PALETTE,
            image_ids=range(1, len(images) + 1),
            paths=Paths.below(folder / "images" / split, images),
            masks=Paths(folder / "annotations" / split, Names.of(f"{image.stem}.png" for image in images)),
            rules=rules,
            bad_images=bad_images,
            limit=limit,
        )


def _folder(root: Path, split: str) -> Path:
    for folder in (root, root / "ADEChallengeData2016"):
        if (folder / "images" / split).is_dir() and (folder / "annotations" / split).is_dir():
            return folder
    raise FileNotFoundError(
        f"{root}: no folders images/{split} and annotations/{split} (looked from {Path.cwd()}). Set root= to "
        "ADEChallengeData2016; its splits are 'training' and 'validation'."
    )
