"""Quantization of TFLite flatbuffers: converted once to float32, then rewritten per layer by ai-edge-quantizer."""
