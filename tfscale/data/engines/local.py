"""The engine of one machine: a spool on disk, and processes that filter and tokenize."""

import os

from tfscale.data.engine import Done, Engine, Task
from tfscale.data.manifest import token_dtype
from tfscale.data.sampling import tokenizer_sample
from tfscale.data.splits import check_parts
from tfscale.data.spooling import spool_documents
from tfscale.data.training_tokenizer import train_on
from tfscale.data.writing import cores, write_splits, write_tokens
from tfscale.registry import register


@register
class LocalEngine(Engine):
    """Works in this process and in others of this machine."""

    name = "local"
    summary = "one machine, as many processes as --processes says"

    def write(self, directory: str, task: Task) -> Done:
        """Writes the shards; see `Engine.write`."""
        config, progress = task.config, task.progress
        processes = config.processes or cores()
        spool_path = os.path.join(directory, "documents.spool")
        spool, counts = spool_documents(task, spool_path)
        tokenizer = task.tokenizer
        if tokenizer is None:
            sample = tokenizer_sample(spool, config.tokenizer_sample)
            tokenizer = train_on(config, sample, task.cleaner, progress)
        totals = write_tokens(directory, tokenizer, spool, processes, progress)
        check_parts(config, totals)
        dtype = token_dtype(tokenizer.vocabulary_size)
        splits = write_splits(directory, totals, dtype, config.shards, processes, progress)
        return Done(tokenizer, splits, counts)
