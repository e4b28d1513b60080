"""All steps as one pipeline, and what comes after: shards get their names."""

import os

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.runner import PipelineRunner

from tfscale.compat.beam import is_local
from tfscale.data.beam.choosing import Choose
from tfscale.data.beam.duplicates import later
from tfscale.data.beam.folder import WorkFolder
from tfscale.data.beam.job import Job, save_job, save_runs
from tfscale.data.beam.near_duplicates import near_duplicates
from tfscale.data.beam.options import new_pipeline
from tfscale.data.beam.ordering import Order
from tfscale.data.beam.reading import DIGESTS, SIGNATURES, Examine, ListRuns
from tfscale.data.beam.running import LATER, SOON, run
from tfscale.data.beam.tokenizing import Encode, ListBatches, Train
from tfscale.data.beam.writing import CutShards, Finish, Outcome, WriteShard
from tfscale.data.engine import Done, Task
from tfscale.data.quality.examining import DUPLICATES, minhash_of
from tfscale.data.spooling import all_counts, shown_names
from tfscale.data.writing import splits_of
from tfscale.errors import ConfigError
from tfscale.files.temporary import remove_tree
from tfscale.text.tokenizers import load_tokenizer
from tfscale.text.tokenizers.training import trainable_kind


def write(directory: str, task: Task, options: PipelineOptions, runner: PipelineRunner) -> Done:
    """Writes the shards, their index and the tokenizer.

    Args:
        directory: the data folder, which all workers see under this path.
        task: the text and what to make of it.
        options: Beam's options.
        runner: what runs the pipeline.

    Raises:
        TfscaleError: what the user has to mend, in the words of the engine of one machine.
        EngineError: the pipeline failed, for whatever else.
    """
    folder = WorkFolder(os.path.join(os.path.abspath(directory), "work"))
    folder.make()
    try:
        job = _job(folder, task)
        given = task.tokenizer
        save_job(folder, job, type(given) if given else trainable_kind(task.config.tokenizer))
        save_runs(folder, task.sources)
        pipeline = new_pipeline(options, runner)
        build(pipeline, folder, job)
        patience = SOON if is_local(runner) else LATER
        outcome = run(pipeline, folder, task.progress, patience)
        return _finished(directory, task, outcome)
    finally:
        remove_tree(folder.path)


def _job(folder: WorkFolder, task: Task) -> Job:
    examination = None
    if task.selection:
        examination = task.selection.examination
        if examination is None:
            raise ConfigError(
                "a filter or a removal is defined in a script or a function, which the workers of"
                " --engine beam cannot import; put it into a module"
            )
    tokenizer_dir = None
    if task.tokenizer is not None:
        tokenizer_dir = folder.new("tokenizer")
        task.tokenizer.save(tokenizer_dir)
    files = task.sources.values()
    ends = [sum(map(len, list(files)[: number + 1])) for number in range(len(files))]
    return Job(
        task.config,
        list(task.sources),
        [shown_names(each) for each in files],
        ends,
        task.cleaner,
        examination,
        tokenizer_dir,
        task.progress,
    )


def build(pipeline: beam.Pipeline, folder: WorkFolder, job: Job) -> None:
    """Adds all steps to a pipeline."""
    examined = (
        pipeline
        | "begin" >> beam.Create([None])
        | "list files" >> beam.ParDo(ListRuns(folder))
        | "spread files" >> beam.Reshuffle()
        | "examine" >> beam.ParDo(Examine(folder)).with_outputs(DIGESTS, SIGNATURES, main="chunks")
    )
    dropped: list[beam.PCollection] = []
    if job.config.drop_duplicates:
        dropped.append(later(examined[DIGESTS], folder, DUPLICATES)[1])
    minhash = minhash_of(job.config)
    if minhash is not None:
        dropped += near_duplicates(examined[SIGNATURES], folder, minhash)
    chunks = {"chunks": examined.chunks}
    if dropped:
        chunks["dropped"] = dropped | "all dropped" >> beam.Flatten()
    (
        chunks
        | "bring dropped" >> beam.CoGroupByKey()
        | "choose" >> beam.ParDo(Choose(folder))
        | "to one" >> beam.GroupBy(_nothing)
        | "order" >> beam.ParDo(Order(folder))
        | "train" >> beam.ParDo(Train(folder))
        | "list batches" >> beam.ParDo(ListBatches(folder))
        | "spread batches" >> beam.Reshuffle()
        | "tokenize" >> beam.ParDo(Encode(folder))
        | "group tokens" >> beam.GroupByKey()
        | "cut shards" >> beam.ParDo(CutShards(folder))
        | "spread shards" >> beam.Reshuffle()
        | "write shards" >> beam.ParDo(WriteShard(folder))
        | "group shards" >> beam.GroupByKey()
        | "finish" >> beam.ParDo(Finish(folder))
    )


def _nothing(element: object) -> bytes:
    """Returns the same key for all."""
    return b""


def _finished(directory: str, task: Task, outcome: Outcome) -> Done:
    """Gives the files their names."""
    tokenizer_dir = os.path.join(directory, "tokenizer")
    os.rename(outcome.tokenizer_dir, tokenizer_dir)
    for name, path in outcome.shards.items():
        os.rename(path, os.path.join(directory, name))
    plan, selection = outcome.plan, task.selection
    if selection:
        selection.tally.merge(plan.tally)
    splits = splits_of(directory, outcome.totals, outcome.written)
    counts = all_counts(plan.read, plan.dropped, plan.pieces, selection)
    return Done(load_tokenizer(tokenizer_dir), splits, counts)
