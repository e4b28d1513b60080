"""Data: text to token shards (`prepare`, `manifest`), shards to `tf.data` (`pipeline`)."""
