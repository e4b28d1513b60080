"""Position layers of keras-hub that take the position at which their tokens start."""

from tfscale.models.stepping.layer_step import LayerCall, LayerStep
from tfscale.registry import register


@register
class StartedPositionsStep(LayerStep):
    """Calls the layer with `start_index`."""

    name = "started_positions"
    layers = "`keras_hub.layers.PositionEmbedding`, `TokenAndPositionEmbedding`, `RotaryEmbedding`"
    keeps = "positions"
    condition = "without `start_index` and `positions`"

    def __init__(self, call: LayerCall, context: int):
        super().__init__(call, context)
        call.check_first_position()

    @classmethod
    def classes(cls):
        import keras_hub

        # TokenAndPositionEmbedding calls a PositionEmbedding.
        return keras_hub.layers.PositionEmbedding, keras_hub.layers.RotaryEmbedding

    def step(self, arguments, kept, place, compute):
        return compute(arguments["inputs"], start_index=place.positions[0]), {}
