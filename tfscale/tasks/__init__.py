"""Tasks on top of a trained model: labels of texts, tags of words, answers in a text, texts for
texts."""
