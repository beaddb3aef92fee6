"""A trained model taken elsewhere: programs and ONNX for robots, and the format of ``transformers``."""
