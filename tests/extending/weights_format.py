"""An export format of somebody else: the weights as NumPy arrays, and how a device scores with them.

It is imported without TensorFlow too, and uses public names of tfscale alone.
"""

import os

import numpy as np

import tfscale


class Weights(tfscale.device.ExportedModel):
    """What `tfscale.device.load` returns for such a file."""

    def __init__(self, file):
        super().__init__(file.path, file.tokenizer(), file.description, file.threads)
        self.arrays = dict(np.load(file.path))


@tfscale.register
class WeightsFormat(tfscale.ExportFormat):
    """weights.npz with an array for each weight."""

    name = "npz_weights"
    summary = "the weights as NumPy arrays"
    made_of = "networks"
    takes = {"text", "windows"}
    recipes = ("none",)
    file = "weights.npz"

    def write(self, export):
        weights = {weight.path: weight.numpy() for weight in export.source.network.weights}
        np.savez(export.path(self.file), **weights)

    def compare(self, export, checks):
        stored = np.load(export.path(self.file))
        for weight in export.source.network.weights:
            gap = np.abs(stored[weight.path] - weight.numpy()).max()
            checks.add(f"difference of {weight.path}", float(gap), "==", 0.0)
        return {"sizes": {"file_bytes": os.path.getsize(export.path(self.file))}}

    def readme(self, export, description, report):
        return f"# Weights of a {description.family}\n\n{report['sizes']['file_bytes']} bytes.\n"

    @classmethod
    def load(cls, file):
        file.check_digest()
        return Weights(file)
