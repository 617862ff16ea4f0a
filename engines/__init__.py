"""From good images to an engine: training, export, quantisation and the runtimes. Tensors only, never defects."""
