"""From a trained network to a file for a phone, proven against the network before it is written."""
