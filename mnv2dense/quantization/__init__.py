"""int8 in float: ranges, simulation and bias correction; torch alone."""

from mnv2dense.quantization.bias_correction import bias_corrected
from mnv2dense.quantization.int8 import int8_layers, simulated_int8

__all__ = ["bias_corrected", "int8_layers", "simulated_int8"]
