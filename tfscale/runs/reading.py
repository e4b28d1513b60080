"""The batches that a run reads of its data folder.

They are shuffled windows, with hidden tokens for a model that guesses them; or, for a model that
carries its state, streams in order.
"""

import tensorflow as tf

from tfscale.config import NetworkConfig, TrainConfig
from tfscale.data.manifest import Manifest
from tfscale.data.masking import as_read, masked_batches
from tfscale.data.packing.dataset import PackedWindows, packed_batches
from tfscale.data.packing.plan import PackedPlan, packed_plan
from tfscale.data.pipeline import evaluation_dataset, training_dataset
from tfscale.data.sharding import describe_plan
from tfscale.data.streams import evaluation_streams, split_tokens, stream_dataset, stream_steps
from tfscale.data.window_plan import window_plan
from tfscale.errors import ConfigError
from tfscale.files.json_text import JsonObject
from tfscale.training.documents import check_family_separates


class Reading:
    """The training and validation batches of a run.

    Args:
        data: DATA_DIR.
        manifest: its manifest, verified by digest.
        model_config: the architecture, with its vocabulary size.
        train_config: batch, seed and so on.

    Raises:
        DataError: the data is too small for a window or a batch.
        ConfigError: streams are read in order, and the options ask for another one.

    Example:
        config = LSTMConfig(vocabulary_size=4096, stateful=True)
        reading = Reading("data", Manifest.load("data"), config, TrainConfig())
        model.compile(optimizer, streams=reading.streams, pass_steps=reading.pass_steps)
        model.fit(reading.training(), steps_per_epoch=reading.epoch_steps)
    """

    def __init__(
        self, data: str, manifest: Manifest, model_config: NetworkConfig, train_config: TrainConfig
    ):
        self.data, self.manifest, self.config = data, manifest, train_config
        self.model_config = model_config
        self.length, self.rows = model_config.sequence_length, train_config.global_batch_size
        self.streams = self.rows if model_config.stateful else 0
        """Streams whose state is carried; 0 where windows are shuffled."""
        if self.streams and train_config.shuffle_windows not in (1, TrainConfig.shuffle_windows):
            raise ConfigError(
                f"train.shuffle_windows={train_config.shuffle_windows}, but model.stateful=True"
                " carries its state from each window to the next one of the text; leave the"
                " option out"
            )
        if self.streams and train_config.mix is not None:
            raise ConfigError(
                f"train.mix={train_config.mix}, but model.stateful=True carries its state from each"
                " window to the next one of the text; leave out one of the two"
            )
        self.packed = self._packed()
        """Which documents are in the rows of a batch; None where windows are of the stream."""
        self.plan = (
            None
            if self.streams
            else self.packed.windows
            if self.packed
            else window_plan(manifest, self.length, self.rows, train_config.mix)
        )
        """The windows that each row of a batch reads; None for streams."""
        self.epoch_steps = (
            self.plan.steps if self.plan else stream_steps(manifest, self.length, self.rows)
        )
        """Steps of a pass over the training split."""
        if train_config.epochs is not None:
            steps = max(1, round(train_config.epochs * self.epoch_steps))
            self.config = train_config.of_steps(steps)
        self._asked = train_config

    def _packed(self) -> PackedPlan | None:
        """Returns the plan of packed rows; None where they are not asked for.

        Raises:
            ConfigError: the model reads the stream in order, or does not keep documents apart.
        """
        config = self.config
        if config.packing != "best_fit":
            return None
        if self.streams:
            raise ConfigError(
                "train.packing=best_fit, but model.stateful=True carries its state from each window"
                " to the next one of the text; leave out one of the two"
            )
        # Before the shards are read for it.
        check_family_separates(self.model_config)
        return packed_plan(self.data, self.manifest, self.length, self.rows, config.mix)

    @property
    def document_start(self) -> int:
        """The token that the model reads before each document."""
        start = self.manifest.start_id
        return self.manifest.end_id if start is None else start

    @property
    def document_end(self) -> int:
        """The target that ends each document."""
        return self.manifest.end_id

    @property
    def length_note(self) -> str:
        """How long the training is, in words; empty where it was asked for in steps."""
        if self._asked.epochs is not None:
            return (
                f"{self._asked.epochs:g} epochs are {self.config.total_steps:,} steps of"
                f" {self.rows} windows"
            )
        if self._asked.minutes is not None:
            return (
                f"the steps end in {self._asked.minutes:g} minutes, in which they are compiled,"
                " validated and saved; how many they are depends on the speed"
            )
        return ""

    @property
    def mix_note(self) -> str:
        """How often each source is read, in words; empty where they are not named."""
        if self.plan is None:
            return ""
        return self.plan.describe_mix(
            None if self.config.minutes is not None else self.config.total_steps
        )

    @property
    def pass_steps(self) -> int:
        """Steps after which the carried state is zero again; 0 where none is carried."""
        return self.epoch_steps if self.streams else 0

    @property
    def documents_note(self) -> str:
        """How documents are kept apart, in words; empty where they are not."""
        if not self.config.document_mask:
            return ""
        split = self.manifest.split("train")
        average = split.tokens / max(1, split.documents)
        return (
            f"documents are kept apart, {average:,.0f} tokens each on average, in windows of"
            f" {self.length}"
        )

    @property
    def packing_note(self) -> str:
        """How documents are packed, in words; empty where windows are of the stream."""
        return self.packed.describe() if self.packed else ""

    @property
    def packing_figures(self) -> JsonObject:
        """How documents are packed, for the summary; empty where windows are of the stream."""
        return {"packing": self.packed.to_dict()} if self.packed else {}

    def describe(self, readers: int, batches: int = 1) -> str:
        """Returns in one line for the log how the data is read.

        Args:
            readers: processes that read.
            batches: global batches that they take at once.
        """
        if self.packed:
            return self.packed.describe_groups(readers) if readers > 1 else ""
        if self.plan:
            counts = [len(numbers) for numbers in self.plan.streams]
            return describe_plan(self.rows * batches, counts, readers) if readers > 1 else ""
        split = self.manifest.split("train")
        return (
            f"input: {self.streams} streams of {split.tokens // self.streams:,} tokens, read side"
            " by side, each in order; the state is carried from window to window"
        )

    def training(
        self, start_step: int = 0, batches: int = 1, pipelines: int = 1, pipeline: int = 0
    ) -> tf.data.Dataset:
        """Returns the training batches of one reader, without end.

        Args:
            start_step: the first batch.
            batches: global batches that all readers take at once.
            pipelines: readers.
            pipeline: which of them this is.
        """
        if self.streams:
            return stream_dataset(
                self.data,
                sequence_length=self.length,
                global_batch_size=self.rows,
                start_step=start_step,
                verify="size",
            )
        if self.packed:
            rows = PackedWindows.of(
                self.data,
                self.manifest,
                self.packed,
                self.config.seed,
                start_step,
                self.config.shuffle_windows,
            )
            return packed_batches(rows, pipelines, pipeline)
        dataset = training_dataset(
            self.data,
            sequence_length=self.length,
            global_batch_size=self.rows * batches,
            seed=self.config.seed,
            start_step=start_step // batches,
            num_input_pipelines=pipelines,
            input_pipeline_id=pipeline,
            shuffle_windows=self.config.shuffle_windows,
            mix=self.config.mix,
            verify="size",
        )
        return masked_batches(dataset, self.model_config, self.config.seed, start_step // batches)

    def validation(self, replicas: int) -> tf.data.Dataset | None:
        """Returns the batches of the validation split; None where there is none.

        Args:
            replicas: among which each batch is cut.
        """
        if "validation" not in self.manifest.splits:
            return None
        if self.streams:
            tokens = split_tokens(self.data, self.manifest, "validation")
            return evaluation_streams(
                tokens,
                sequence_length=self.length,
                end_id=self.manifest.end_id,
                start_id=self.manifest.start_id,
                multiple_of=replicas,
            )
        dataset = evaluation_dataset(
            self.data,
            "validation",
            sequence_length=self.length,
            # Batches that are cut for memory in training are as small in validation.
            batch_size=self.rows // self.config.micro_batches,
        )
        return as_read(dataset, self.model_config)
