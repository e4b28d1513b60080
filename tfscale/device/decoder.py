"""Calls the signatures of a language model's .tflite file and keeps its cache.

Shapes: S tokens of a call, C context, V vocabulary. A Transformer's file has `prefill_S` (tokens
(1, S), input_pos (S,), mask (1, 1, S, C), caches -> caches) for one or more S, and `decode` (S = 1,
also -> logits (1, 1, V)); an LSTM's file has `decode` with the state instead of the caches and
neither position nor mask. An encoder-decoder's file has `encode` (tokens (1, S) -> what is known of
a source) and `decode`, which also takes that. `embed`, where a file has it, gives hidden states;
`tfscale.device.embedder` calls it.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfscale.device.call_checks import check_caches, check_inputs
from tfscale.device.in_place import updated_in_place
from tfscale.device.interpreter import running
from tfscale.device.session import Arrays, Call, Signature, Tensor, open_session
from tfscale.errors import ExportError, PromptError
from tfscale.inference.generation import HIDDEN_SCORE, causal_mask, check_fits, prefill_chunk

_PREFILL, _ENCODE, _EMBED = "prefill_", "encode", "embed"
State = tuple[int, dict[str, np.ndarray]]
"""Tokens read, and what the cache holds of them."""
Mark = tuple[int, dict[str, np.ndarray] | None]
"""Tokens read, and a state that later tokens overwrite; None for a cache, which keeps them."""


class LiteRTDecoder:
    """One sequence at a time through a .tflite file; implements
    `tfscale.inference.generation.Decoder`.

    All signatures read and write one set of caches, which stays where it is from call to call. A
    signature that reads a cache for no other purpose than to give it back with new rows writes
    these rows into it; of any other the new rows are copied from the output.

    Args:
        path: the file; `tfscale.device.load` checks before that it is whole.
        threads: CPU threads.
        xnnpack: whether to use the XNNPACK kernels, which is the runtime's default.

    Raises:
        ExportError: the file cannot be run, or does not have the signatures above.
    """

    def __init__(self, path: str, threads: int = 1, xnnpack: bool = True):
        self._path = path
        self.session = open_session(path, threads, xnnpack)
        """The opened file. It computes one call at a time, whosever arrays that reads."""
        self._read_signatures(path)
        decode = self.session.signatures["decode"]
        shared = updated_in_place(path) & set(self.cache_shapes)
        with running(path):
            self._inputs, self._outputs = decode.arrays(shared)
        self._copied = [name for name in self.cache_shapes if name not in shared]
        self._calls: dict[str, tuple[Arrays, Call]] = {
            "decode": (self._inputs, self.session.call("decode", self._inputs, self._outputs))
        }
        self.reset()

    def _read_signatures(self, path: str) -> None:
        signatures = self.session.signatures
        self._check_signatures(path, signatures)
        inputs, outputs = signatures["decode"].inputs, signatures["decode"].outputs
        self._memory = set(signatures[_ENCODE].outputs) if _ENCODE in signatures else set()
        self.cache_shapes = {
            name: tensor.shape
            for name, tensor in sorted(inputs.items())
            if name not in {"tokens", "input_pos", "mask"} | self._memory
        }
        shape = inputs["mask"].shape if "mask" in inputs else ()
        self.context_length = shape[-1] if shape else None
        self._check_shapes(path, inputs, outputs)
        check_caches(path, "decode", signatures["decode"], self.cache_shapes, self.context_length)
        self.vocabulary_size = outputs["logits"].shape[-1]
        self.prefill_lengths = sorted(
            int(name[len(_PREFILL) :]) for name in signatures if name.startswith(_PREFILL)
        )
        if self.prefill_lengths and self.prefill_lengths[-1] > (self.context_length or 0):
            raise ExportError(
                f"{path}: prefill_{self.prefill_lengths[-1]} is longer than the context"
            )
        for length in self.prefill_lengths:
            name = f"{_PREFILL}{length}"
            check_inputs(path, name, signatures[name], length, self.context_length)

    def _check_shapes(
        self, path: str, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]
    ) -> None:
        """Checks that `decode` has the shapes and types that this class writes and reads."""
        context = self.context_length
        expected = {
            "tokens": (np.int32, 1),
            "input_pos": (np.int32, 1),
            "mask": (np.float32, context),
        }
        checked = {
            f"input {name}": (inputs[name], expected[name]) for name in expected if name in inputs
        }
        logits = outputs["logits"]
        checked["output logits"] = logits, (np.float32, logits.shape[-1] if logits.shape else 0)
        for name, (tensor, (dtype, size)) in checked.items():
            if tensor.dtype != dtype or not size or math.prod(tensor.shape) != size:
                raise ExportError(
                    f"{path}: {name} of `decode` has shape {tensor.shape} of {tensor.dtype}"
                )

    @staticmethod
    def _check_signatures(path: str, signatures: Mapping[str, Signature]) -> None:
        if "decode" not in signatures:
            raise ExportError(
                f"{path} is not a language model of tfscale: its signatures are"
                f" {sorted(signatures) or 'none'}, and `decode` is not among them"
            )
        memory = set(signatures[_ENCODE].outputs) if _ENCODE in signatures else set()
        for name, signature in signatures.items():
            if name == _EMBED:
                continue
            inputs, outputs = set(signature.inputs), set(signature.outputs)
            if (
                name == _ENCODE
                and inputs == {"tokens"}
                and outputs <= set(signatures["decode"].inputs)
            ):
                continue
            cache = inputs - {"tokens", "input_pos", "mask"} - memory
            length = name[len(_PREFILL) :]
            known = name == "decode" or (
                name.startswith(_PREFILL) and length.isdecimal() and "mask" in inputs
            )
            if not known:
                raise ExportError(
                    f"{path} has the unknown signature {name!r}; `decode` and `prefill_LENGTH` are"
                    " known"
                )
            expected = cache | {"logits"} if name == "decode" else cache
            if (
                "tokens" not in inputs
                or ("input_pos" in inputs) != ("mask" in inputs)
                or outputs != expected
            ):
                raise ExportError(
                    f"{path}: signature {name} has inputs {sorted(inputs)} and outputs"
                    f" {sorted(outputs)}; expected tokens, caches, and for a Transformer input_pos"
                    " and mask; and the same caches (and logits) back"
                )

    @property
    def position(self) -> int:
        """Tokens read since the last reset."""
        return self._position

    def reset(self) -> None:
        """Forgets all tokens."""
        self._position = 0
        for name in self.cache_shapes:
            self._inputs[name][...] = 0
        if self.context_length is not None:
            self._inputs["mask"][...] = HIDDEN_SCORE

    def mark(self) -> Mark:
        """Returns the place reached, for `back_to`: the position, and the state of an LSTM."""
        if self.context_length is not None:
            return self._position, None
        return self._position, {name: np.array(self._inputs[name]) for name in self.cache_shapes}

    def back_to(self, mark: Mark) -> None:
        """Forgets what was read since a mark that was taken after the last reset."""
        self._position, state = mark
        if state is None:
            # What the cache holds beyond is hidden by the mask, and overwritten by what is read
            # next.
            self._inputs["mask"][..., self._position :] = HIDDEN_SCORE
        else:
            for name, value in state.items():
                self._inputs[name][...] = value

    def state(self) -> State:
        """Returns a copy of what was read, for `restore` after other tokens were read instead."""
        position = self._position if self.context_length is not None else None
        return self._position, {
            name: np.array(self._inputs[name][:, :position]) for name in self.cache_shapes
        }

    def restore(self, state: State) -> None:
        """Puts the decoder where `state` was taken; a source must be the same."""
        self._position, cache = state
        for name, value in cache.items():
            self._inputs[name][:, : value.shape[1]] = value
        if self.context_length is not None:
            self._inputs["mask"][..., : self._position] = 0
            self._inputs["mask"][..., self._position :] = HIDDEN_SCORE

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Reads `ids` (one or more) after those read before: the last by `decode`, those before it
        by prefill calls.

        Returns:
            Logits (V,) float32 after the last id.

        Raises:
            PromptError: the ids do not fit into what is left of the context.
        """
        ids = [int(token) for token in ids]
        check_fits(len(ids), self._position, self.context_length)
        done = 0
        while (remaining := len(ids) - 1 - done) > 0:
            length = 0
            if self.context_length is not None:
                length, used = prefill_chunk(
                    remaining, self._position, self.context_length, self.prefill_lengths
                )
            if length:
                self._prefill(ids[done : done + used], length)
                done += used
            else:
                self._decode(ids[done])
                done += 1
        self._decode(ids[-1])
        return np.array(self._outputs["logits"]).reshape(-1)

    def read_source(self, ids: Sequence[int] | np.ndarray) -> None:
        """Forgets all tokens, and reads a source whose tokens all see each other; the target is
        then fed.

        A file with `encode` reads it there, and the target begins at position 0. Any other reads it
        by one prefill call, as what the target follows; its last token is given again by the first
        `feed`, which has the logits.

        Raises:
            PromptError: the file has no call that takes as many tokens.
        """
        self.reset()
        if self._memory:
            arrays, encode = self._call(_ENCODE)
            with running(self._path):
                arrays["tokens"][...] = np.reshape(ids, arrays["tokens"].shape)
            encode()
            return
        if self.context_length is None or len(ids) > max(self.prefill_lengths, default=0):
            raise PromptError(
                f"a source of {len(ids)} tokens fits into no call of the file:"
                f" {self.prefill_lengths}"
            )
        length = min(length for length in self.prefill_lengths if length >= len(ids))
        mask = np.full((1, 1, length, self.context_length), HIDDEN_SCORE, np.float32)
        mask[..., : len(ids)] = 0
        self._prefill([int(token) for token in ids], length, mask)
        self.back_to((len(ids) - 1, None))

    def _prefill(self, ids: list[int], length: int, mask: np.ndarray | None = None) -> None:
        assert self.context_length is not None
        first, end = self._position, self._position + len(ids)
        arrays, prefill = self._call(f"{_PREFILL}{length}")
        arrays["tokens"][...] = 0
        arrays["tokens"][0, : len(ids)] = ids
        arrays["input_pos"][...] = np.arange(first, first + length)
        arrays["mask"][...] = (
            causal_mask(first, length, self.context_length) if mask is None else mask
        )
        prefill()
        for name in self._copied:
            self._inputs[name][:, first:end] = self._outputs[name][:, first:end]
        self._inputs["mask"][..., first:end] = 0
        self._position = end

    def _decode(self, token: int) -> None:
        position = self._position
        self._inputs["tokens"][...] = token
        if self.context_length is not None:
            self._inputs["input_pos"][...] = position
            self._inputs["mask"][..., position] = 0
        self._calls["decode"][1]()
        for name in self._copied:
            if self.context_length is None:
                self._inputs[name][...] = self._outputs[name]
            else:
                # Only this row is new.
                self._inputs[name][:, position] = self._outputs[name][:, position]
        self._position += 1

    def _call(self, name: str) -> tuple[Arrays, Call]:
        """Returns the inputs of a signature, which has the caches of `decode`, and its call."""
        if name not in self._calls:
            signature = self.session.signatures[name]
            with running(self._path):
                arrays = {
                    tensor: self._inputs[tensor] if tensor in self.cache_shapes else kind.zeros()
                    for tensor, kind in signature.inputs.items()
                }
            # What is known of a source is what `decode` then reads.
            given = self._inputs if name == _ENCODE else self._outputs
            outputs = {tensor: given[tensor] for tensor in signature.outputs}
            self._calls[name] = arrays, self.session.call(name, arrays, outputs)
        return self._calls[name]
