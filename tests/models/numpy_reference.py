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


def transformer(weights, ids, num_layers, num_heads, both_sides=False, activation="gelu"):
    """`weights`: name -> array; ids (T,). Attention is a loop over positions and heads: each looks at itself and back,
    or at all."""
    x = first = weights["tokens"][ids] + weights["positions"][: len(ids)]
    for i in range(num_layers):
        w = {
            name.removeprefix(f"{i}."): value
            for name, value in weights.items()
            if name.startswith(f"{i}.")
        }
        x = mixed(x, first, w)
        rows = layer_norm(x, w["norm1"], w["norm1_shift"]) @ w["qkv"] + w["qkv_bias"]
        query, key, value = np.split(rows, 3, axis=-1)
        width = query.shape[-1] // num_heads
        query, key = (
            head_norms(part, w.get(name), width)
            for part, name in ((query, "query_norm"), (key, "key_norm"))
        )
        attended = np.zeros_like(query)
        for head in range(num_heads):
            part = slice(head * width, (head + 1) * width)
            for t in range(len(ids)):
                seen = len(ids) if both_sides else t + 1
                scores = key[:seen, part] @ query[t, part] / np.sqrt(width)
                attended[t, part] = softmax(scores) @ value[:seen, part]
        x = x + attended @ w["out"] + w["out_bias"]
        hidden = layer_norm(x, w["norm2"], w["norm2_shift"]) @ w["expand"] + w["expand_bias"]
        x = x + activated(hidden, activation) @ w["contract"] + w["contract_bias"]
    return layer_norm(x, weights["norm"], weights["norm_shift"]) @ weights["softmax"]


def mixed(x, first, w):
    """The residual stream and the embedded tokens, each times a learned number where there are such."""
    return w["kept"] * x + w["added"] * first if "kept" in w else x


def head_norms(rows, scale, width):
    """The root mean square of each head's numbers becomes 1, times a scale that all heads share."""
    if scale is None:
        return rows
    heads = [rms_norm(rows[:, at : at + width], scale) for at in range(0, rows.shape[1], width)]
    return np.concatenate(heads, axis=1)


def activated(hidden, activation):
    """Gates are the first half of what they multiply."""
    if activation == "relu_squared":
        return np.where(hidden > 0, hidden, 0) ** 2
    if activation == "gelu":
        return hidden * 0.5 * (1 + erf_array(hidden / np.sqrt(2)))
    gate, up = np.split(hidden, 2, axis=-1)
    if activation == "swiglu":
        return gate * sigmoid(gate) * up
    inner = np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3)
    return 0.5 * gate * (1 + np.tanh(inner)) * up


def capped(x, cap):
    return cap * np.tanh(x / cap) if cap else x


def attend(query, key, value, num_heads, seen):
    """A loop over positions and heads: query t looks at the positions `seen(t)` of key and value."""
    width = query.shape[-1] // num_heads
    attended = np.zeros_like(query)
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        for t in range(len(query)):
            at = seen(t)
            attended[t, part] = (
                softmax(key[at, part] @ query[t, part] / np.sqrt(width)) @ value[at, part]
            )
    return attended


def stack(weights, ids, kind, num_layers, num_heads, seen, memory=None):
    """One stack of an encoder-decoder (Vaswani et al. 2017, with the norm first); the decoder also reads `memory`."""
    x = weights["tokens"][ids] + weights[f"{kind}.positions"][: len(ids)]
    for i in range(num_layers):
        start = f"{kind}.{i}."
        w = {
            name.removeprefix(start): value
            for name, value in weights.items()
            if name.startswith(start)
        }
        rows = layer_norm(x, w["norm1"], w["norm1_shift"]) @ w["qkv"] + w["qkv_bias"]
        x = x + attend(*np.split(rows, 3, axis=-1), num_heads, seen) @ w["out"] + w["out_bias"]
        if memory is not None:
            query = layer_norm(x, w["norm3"], w["norm3_shift"]) @ w["cross_q"] + w["cross_q_bias"]
            key, value = np.split(memory @ w["cross_kv"] + w["cross_kv_bias"], 2, axis=-1)
            crossed = attend(query, key, value, num_heads, lambda t: list(range(len(memory))))
            x = x + crossed @ w["cross_out"] + w["cross_out_bias"]
        hidden = layer_norm(x, w["norm2"], w["norm2_shift"]) @ w["expand"] + w["expand_bias"]
        hidden = hidden * 0.5 * (1 + erf_array(hidden / np.sqrt(2)))
        x = x + hidden @ w["contract"] + w["contract_bias"]
    return layer_norm(x, weights[f"{kind}.norm"], weights[f"{kind}.norm_shift"])


def encoder_decoder(weights, source, target, num_layers, num_heads):
    """`source` and `target` without padding; each source token sees all of them, each target token itself and back."""
    memory = stack(
        weights, source, "encoder", num_layers, num_heads, lambda t: list(range(len(source)))
    )
    x = stack(
        weights, target, "decoder", num_layers, num_heads, lambda t: list(range(t + 1)), memory
    )
    return x @ weights["softmax"]


def rotated(x, position, base):
    """Pairs (i, i + R / 2) of the first R of x (K,) turned by position / base^(2 i / K) (Su et al. 2021), or by
    position x base[i] where that is a list of R / 2."""
    if not isinstance(base, list):
        base = [base ** (-2 * i / len(x)) for i in range(len(x) // 2)]
    half = len(base)
    out = np.array(x)
    for i in range(half):
        angle = position * base[i]
        out[i] = x[i] * np.cos(angle) - x[i + half] * np.sin(angle)
        out[i + half] = x[i] * np.sin(angle) + x[i + half] * np.cos(angle)
    return out


def output_norm(x, scale):
    """A norm only where there is a scale."""
    return x if scale is None else rms_norm(x, scale)


def rms_norm(x, scale):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * scale


def llama(
    weights,
    ids,
    num_layers,
    num_heads,
    num_kv_heads,
    width,
    base,
    window,
    everywhere=0,
    activation="swiglu",
    score_cap=0.0,
    logit_cap=0.0,
    layers=None,
    scale_width=0,
):
    """RMS norms, rotary positions, grouped queries, a window and first tokens seen everywhere, a gate; loops over heads
    and positions. Query and key norms, biases, norms of outputs and mixes with the embedding where there are weights of
    them. `layers` has window and radians per token of each pair of numbers, layer by layer."""
    x = first = weights["tokens"][ids]
    for i in range(num_layers):
        w = {
            name.removeprefix(f"{i}."): value
            for name, value in weights.items()
            if name.startswith(f"{i}.")
        }
        x = mixed(x, first, w)
        if layers is not None:
            window, base = layers[i]
        rows = rms_norm(x, w["norm1"]) @ w["qkv"] + w.get("qkv_bias", 0)
        ends = [num_heads * width, (num_heads + num_kv_heads) * width]
        query, key, value = np.split(rows, ends, axis=1)
        query = head_norms(query, w.get("query_norm"), width)
        rows = np.concatenate([query, head_norms(key, w.get("key_norm"), width), value], axis=1)
        attended = np.zeros((len(ids), num_heads * width))
        for head in range(num_heads):
            group = head // (num_heads // num_kv_heads)
            query = rows[:, head * width : (head + 1) * width]
            key_at = (num_heads + group) * width
            value_at = (num_heads + num_kv_heads + group) * width
            keys = [rotated(row[key_at : key_at + width], p, base) for p, row in enumerate(rows)]
            for t in range(len(ids)):
                seen = [s for s in range(t + 1) if not window or s > t - window or s < everywhere]
                scores = np.array([keys[s] @ rotated(query[t], t, base) for s in seen]) / np.sqrt(
                    scale_width or width
                )
                scores = capped(scores, score_cap)
                values = rows[seen, value_at : value_at + width]
                attended[t, head * width : (head + 1) * width] = softmax(scores) @ values
        x = x + output_norm(attended @ w["out"], w.get("after1"))
        forwarded = activated(rms_norm(x, w["norm2"]) @ w["expand"], activation) @ w["contract"]
        x = x + output_norm(forwarded, w.get("after2"))
    return capped(rms_norm(x, weights["norm"]) @ weights["softmax"], logit_cap)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(weights, ids, num_layers):
    """Gates in the order input, forget, candidate, output (Hochreiter and Schmidhuber 1997, with a forget gate)."""
    rows = weights["tokens"][ids]
    for i in range(num_layers):
        kernel, recurrent, bias = (
            weights[f"{i}.kernel"],
            weights[f"{i}.recurrent"],
            weights[f"{i}.bias"],
        )
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
        kernel, recurrent, bias = (
            weights[f"{i}.kernel"],
            weights[f"{i}.recurrent"],
            weights[f"{i}.bias"],
        )
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
            h = np.tanh(
                x @ weights[f"{i}.kernel"] + h @ weights[f"{i}.recurrent"] + weights[f"{i}.bias"]
            )
            out.append(h)
        rows = np.stack(out)
    return rows @ weights["softmax"] + weights["softmax_bias"]


def nnlm(weights, ids, count, direct):
    """y = b + W x + U tanh(d + H x), x the last `count` embedded tokens side by side (Bengio et al. 2003, eq. 1)."""
    width = weights["tokens"].shape[1]
    out = []
    for t in range(len(ids)):
        x = np.concatenate(
            [
                weights["tokens"][ids[s]] if s >= 0 else np.zeros(width)
                for s in range(t - count + 1, t + 1)
            ]
        )
        hidden = np.tanh(x @ weights["hidden"] + weights["hidden_bias"])
        units = len(hidden)
        y = hidden @ weights["softmax"][:units] + weights["softmax_bias"]
        out.append(y + x @ weights["softmax"][units:] if direct else y)
    return np.stack(out)
