"""Plans: what TensorRT compiles from a recipe's INT8 file on the device, and how it is kept."""
