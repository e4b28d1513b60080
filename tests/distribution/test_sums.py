"""Sums over replicas."""

import numpy as np
import tensorflow as tf

import tfscale
from tfscale.distribution.sums import summed_over_replicas


def test_sums_of_several_types_come_back_in_their_places():
    """Replica r has r + 1 in each place; 2^24 + 1 is no float32."""
    strategy = tfscale.strategy("mirrored")

    @tf.function
    def summed():
        def replica():
            context = tf.distribute.get_replica_context()
            number = context.replica_id_in_sync_group + 1
            large = tf.cast(number, tf.float64) + 2.0**24
            values = [
                tf.cast(number, tf.float32),
                large,
                tf.fill((2,), tf.cast(number, tf.float32)),
            ]
            return summed_over_replicas(context, values)

        return strategy.run(replica)

    first, large, pair = (strategy.experimental_local_results(v)[0].numpy() for v in summed())
    assert strategy.num_replicas_in_sync == 2
    assert first == 3.0 and large == 2.0**25 + 3 and large.dtype == np.float64
    np.testing.assert_array_equal(pair, [3.0, 3.0])
