"""Tasks as `finetune` makes them, without a run."""

from tfscale.config.tasks import TaskConfig
from tfscale.tasks.predictor import task_of
from tfscale.tasks.values import Shape


def make_task(name, tokenizer, labels=(), length=8, **options):
    """A task of a model with these labels that reads `length` tokens."""
    config = TaskConfig(task=name, output="-", train=["-"], **options)
    return task_of(config, tokenizer, Shape(list(labels), length))


def make_writer(name, tokenizer, architecture, source_length, target_length):
    """A task of a model that writes texts."""
    config = TaskConfig(task=name, output="-", train=["-"], architecture=architecture)
    shape = Shape([], source_length + target_length, source_length, target_length)
    return task_of(config, tokenizer, shape)
