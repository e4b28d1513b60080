"""A training that begins with word vectors instead of random ones."""

import numpy as np

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.config.options import checks_arguments
from tfscale.data.vectors import embedding_rows
from tfscale.files.json_text import JsonObject
from tfscale.files.paths import sha256_file
from tfscale.runs.provenance import Provenance
from tfscale.runs.train import Beginning, train
from tfscale.text.tokenizers import load_tokenizer
from tfscale.training.language_model import LanguageModel


@checks_arguments
def train_from_vectors(
    model_config: NetworkConfig,
    train_config: TrainConfig,
    vectors: str,
    *,
    data: str,
    output: str,
    progress: bool = True,
) -> JsonObject:
    """As `train`, with the vectors of a file as the first embeddings of the tokens that it knows.

    The vectors are scaled as one, so that their numbers vary as much as the random ones that they
    replace: a network learns badly from embeddings ten times as large as it expects.

    Args:
        model_config: the architecture; its embedding is as wide as the vectors.
        train_config: how it is trained.
        vectors: file of word2vec or GloVe.
        data: DATA_DIR.
        output: RUN_DIR.
        progress: show progress on stderr.

    Returns:
        The summary of the run, with `vectors`: the file, and how many `tokens` it gave a vector.

    Raises:
        DataError: the file holds no vectors, has another width, or knows no token.

    Example:
        train_from_vectors(
            LSTMConfig(embedding_dim=100), TrainConfig(), "glove.txt", data="data", output="run"
        )
    """
    ids, rows = embedding_rows(vectors, load_tokenizer(data), model_config.embedding_width)

    def begin(model: LanguageModel) -> None:
        table = model.network.token_embedding.embeddings
        values = table.numpy()
        values[ids] = rows * (values.std() / max(float(rows.std()), 1e-12))
        table.assign(np.asarray(values, np.float32))

    return train(
        model_config,
        train_config,
        data=data,
        output=output,
        progress=progress,
        beginning=Beginning(
            begin,
            lambda model: {"vectors": {"file": vectors, "tokens": len(ids)}},
            Provenance(vectors_digest=sha256_file(vectors)),
        ),
    )
