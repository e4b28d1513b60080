"""Where training runs: strategies, clusters, workers, TPUs and parameter servers."""
