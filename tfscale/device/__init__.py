"""Runs an exported file with NumPy, ai-edge-litert and the tokenizer's library: no TensorFlow, no
Keras."""

from tfscale.device.bundle import BundleModel
from tfscale.device.loading import load
from tfscale.device.model import ExportedModel
from tfscale.device.predictor import Predictor
from tfscale.device.runner import DeviceModel

__all__ = ["BundleModel", "DeviceModel", "ExportedModel", "Predictor", "load"]
