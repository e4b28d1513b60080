"""Generation with a trained network: decoding, sampling and gap filling."""
