"""Every option of tfscale: the command line, the YAML files and the Python API are all made from
these classes.

Each field's docstring states its unit and its effect, and becomes its line of `--help`. The classes
are frozen and keyword-only; a value that is out of range is refused when the object is made.
"""

from tfscale.config.choices import Precision, Quantization, SentencePieceModel, WordSegmenter
from tfscale.config.export import ExportConfig
from tfscale.config.families._recurrent import RecurrentConfig
from tfscale.config.families.bert import BERTConfig
from tfscale.config.families.bilstm import BiLSTMConfig
from tfscale.config.families.gru import GRUConfig
from tfscale.config.families.lstm import LSTMConfig
from tfscale.config.families.ngram import NGramConfig
from tfscale.config.families.nnlm import NNLMConfig
from tfscale.config.families.rnn import RNNConfig
from tfscale.config.families.transformer import TransformerConfig
from tfscale.config.models import ModelConfig, NetworkConfig
from tfscale.config.options import make_config, to_dict
from tfscale.config.prepare import PrepareConfig
from tfscale.config.sampling import EDIT_COST, SamplingConfig
from tfscale.config.train import TrainConfig

__all__ = [
    "EDIT_COST",
    "BERTConfig",
    "BiLSTMConfig",
    "ExportConfig",
    "GRUConfig",
    "LSTMConfig",
    "ModelConfig",
    "NetworkConfig",
    "NGramConfig",
    "NNLMConfig",
    "Precision",
    "PrepareConfig",
    "Quantization",
    "RNNConfig",
    "RecurrentConfig",
    "SamplingConfig",
    "SentencePieceModel",
    "TrainConfig",
    "TransformerConfig",
    "WordSegmenter",
    "make_config",
    "to_dict",
]
