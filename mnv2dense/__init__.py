"""mnv2dense: boxes and masks for small devices, on one MobileNetV2."""

__version__ = "0.1.0"
