"""Forward passes written from the papers in float64 NumPy, with none of the code that they check."""

from math import erf

import numpy as np

erf_array = np.vectorize(erf)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def layer_norm(x, scale, shift):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * scale + shift


def transformer(weights, ids, num_layers, num_heads):
    """`weights`: name -> array; ids (T,). Attention is a loop over positions and heads: each looks at itself and back."""
    x = weights["tokens"][ids] + weights["positions"][: len(ids)]
    for i in range(num_layers):
        w = {name.removeprefix(f"{i}."): value for name, value in weights.items() if name.startswith(f"{i}.")}
        rows = layer_norm(x, w["norm1"], w["norm1_shift"]) @ w["qkv"] + w["qkv_bias"]
        query, key, value = np.split(rows, 3, axis=-1)
        width = query.shape[-1] // num_heads
        attended = np.zeros_like(query)
        for head in range(num_heads):
            part = slice(head * width, (head + 1) * width)
            for t in range(len(ids)):
                scores = key[: t + 1, part] @ query[t, part] / np.sqrt(width)
                attended[t, part] = softmax(scores) @ value[: t + 1, part]
        x = x + attended @ w["out"] + w["out_bias"]
        hidden = layer_norm(x, w["norm2"], w["norm2_shift"]) @ w["expand"] + w["expand_bias"]
        hidden = hidden * 0.5 * (1 + erf_array(hidden / np.sqrt(2)))
        x = x + hidden @ w["contract"] + w["contract_bias"]
    return layer_norm(x, weights["norm"], weights["norm_shift"]) @ weights["softmax"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(weights, ids, num_layers):
    """Gates in the order input, forget, candidate, output (Hochreiter and Schmidhuber 1997, with a forget gate)."""
    rows = weights["tokens"][ids]
    for i in range(num_layers):
        kernel, recurrent, bias = weights[f"{i}.kernel"], weights[f"{i}.recurrent"], weights[f"{i}.bias"]
        units = recurrent.shape[0]
        h, c, out = np.zeros(units), np.zeros(units), []
        for x in rows:
            gates = x @ kernel + h @ recurrent + bias
            take, keep, candidate, show = (gates[k * units : (k + 1) * units] for k in range(4))
            c = sigmoid(keep) * c + sigmoid(take) * np.tanh(candidate)
            h = sigmoid(show) * np.tanh(c)
            out.append(h)
        rows = np.stack(out)
    return rows @ weights["softmax"] + weights["softmax_bias"]


def gru(weights, ids, num_layers):
    """Gates in the order update, reset, candidate (Cho et al. 2014), the reset gate after the product with the state."""
    rows = weights["tokens"][ids]
    for i in range(num_layers):
        kernel, recurrent, bias = weights[f"{i}.kernel"], weights[f"{i}.recurrent"], weights[f"{i}.bias"]
        units = recurrent.shape[0]
        h, out = np.zeros(units), []
        for x in rows:
            of_input, of_state = x @ kernel + bias[0], h @ recurrent + bias[1]
            update = sigmoid(of_input[:units] + of_state[:units])
            reset = sigmoid(of_input[units : 2 * units] + of_state[units : 2 * units])
            candidate = np.tanh(of_input[2 * units :] + reset * of_state[2 * units :])
            h = update * h + (1 - update) * candidate
            out.append(h)
        rows = np.stack(out)
    return rows @ weights["softmax"] + weights["softmax_bias"]


def rnn(weights, ids, num_layers):
    """h = tanh(W x + U h + b) (Elman 1990)."""
    rows = weights["tokens"][ids]
    for i in range(num_layers):
        h, out = np.zeros(weights[f"{i}.recurrent"].shape[0]), []
        for x in rows:
            h = np.tanh(x @ weights[f"{i}.kernel"] + h @ weights[f"{i}.recurrent"] + weights[f"{i}.bias"])
            out.append(h)
        rows = np.stack(out)
    return rows @ weights["softmax"] + weights["softmax_bias"]
