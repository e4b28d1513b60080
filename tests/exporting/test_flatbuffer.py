"""Rewritten files compute what they computed before."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from ai_edge_litert.tools import flatbuffer_utils

from tfscale.errors import ExportError
from tfscale.exporting.converter import silence
from tfscale.exporting.flatbuffer import operations, refuse_custom_operations
from tfscale.exporting.rounding import look_up_embeddings, share_quantization_parameters

TABLE = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)


def convert(function, *specs, select_tf_operations=False):
    module = tf.Module()
    with silence():
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [tf.function(function).get_concrete_function(*specs)], module
        )
        sets = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.target_spec.supported_ops = (
            sets + [tf.lite.OpsSet.SELECT_TF_OPS] * select_tf_operations
        )
        return converter.convert()


def run(content, value):
    with silence():
        interpreter = Interpreter(model_content=content)
        interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], value)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@pytest.fixture(scope="module")
def lookup_file():
    return convert(lambda ids: tf.gather(TABLE, ids) * 2.0, tf.TensorSpec((3,), tf.int32))


def test_operations_are_counted_by_name(lookup_file):
    assert list(operations(lookup_file).values()) == [{"GATHER": 1, "MUL": 1}]


def test_gather_becomes_embedding_lookup_with_the_same_result(lookup_file):
    content = look_up_embeddings(lookup_file)
    assert list(operations(content).values()) == [{"EMBEDDING_LOOKUP": 1, "MUL": 1}]
    ids = np.array([299, 0, 7], np.int32)
    np.testing.assert_array_equal(run(content, ids), TABLE[ids] * 2)


def test_ids_of_two_dimensions_are_laid_out_in_one():
    content = look_up_embeddings(
        convert(lambda ids: tf.gather(TABLE, ids) * 2.0, tf.TensorSpec((2, 3), tf.int32))
    )
    assert list(operations(content).values()) == [{"EMBEDDING_LOOKUP": 1, "MUL": 1, "RESHAPE": 2}]
    ids = np.array([[299, 0, 7], [7, 7, 1]], np.int32)
    np.testing.assert_array_equal(run(content, ids), TABLE[ids] * 2)


def test_rows_that_are_computed_are_gathered():
    content = convert(
        lambda ids: tf.gather(tf.gather(TABLE, ids, axis=1), [1, 2]), tf.TensorSpec((3,), tf.int32)
    )
    assert "EMBEDDING_LOOKUP" not in list(operations(look_up_embeddings(content)).values())[0]


def test_large_constants_are_aligned_and_survive(lookup_file):
    content = look_up_embeddings(lookup_file)
    model = flatbuffer_utils.convert_bytearray_to_object(content)
    offsets = [buffer.offset for buffer in model.buffers if buffer.offset]
    assert offsets and all(offset % 16 == 0 for offset in offsets)
    assert TABLE.tobytes() in content


def test_builtin_operations_pass(lookup_file):
    refuse_custom_operations(lookup_file)


def test_flex_operations_are_refused_by_name():
    content = convert(
        lambda x: tf.linalg.inv(x), tf.TensorSpec((3, 3), tf.float32), select_tf_operations=True
    )
    assert "FlexMatrixInverse" in list(operations(content).values())[0]
    with pytest.raises(ExportError, match="would need FlexMatrixInverse"):
        refuse_custom_operations(content)


def test_shared_scales_make_a_smaller_file_with_the_same_result():
    from litert_quantizer import quantizer, recipe

    def two_products(x):
        # The same table by two tensors, each with its own copy of the 300 scales.
        return tf.matmul(x, TABLE, transpose_b=True) + tf.matmul(x * 0.5, TABLE, transpose_b=True)

    content = convert(two_products, tf.TensorSpec((1, 16), tf.float32))
    worker = quantizer.Quantizer(content)
    worker.load_quantization_recipe(recipe.dynamic_wi8_afp32())
    quantized = bytes(
        worker.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model
    )
    model = flatbuffer_utils.read_model_from_bytearray(bytearray(quantized))
    extra = flatbuffer_utils.convert_bytearray_to_object(quantized)
    copy = next(
        t
        for t in extra.subgraphs[0].tensors
        if t.quantization is not None and t.quantization.scale is not None
    )
    model.subgraphs[0].tensors.append(copy)
    doubled = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    shared = share_quantization_parameters(doubled)
    # 300 rows of a 4-byte scale and an 8-byte zero point.
    assert len(doubled) - len(shared) >= 300 * 12 - 256
    value = np.random.default_rng(1).normal(size=(1, 16)).astype(np.float32)
    np.testing.assert_array_equal(run(shared, value), run(quantized, value))
