"""Data: text to checked token shards (`prepare`), what they hold (`manifest`), and shards to
`tf.data` (`pipeline`)."""
