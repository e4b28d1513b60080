// Runs an exported model with LiteRT.js: the decoder of the .tflite file, greedy or drawn tokens, and the page.
import {Tensor, loadAndCompile, loadLiteRt} from './litert/litert.js';
import {Tokenizer} from './tokenizer.js';

const MASKED = -1e4;

/** One sequence at a time through the signatures `decode` and `prefill_S`; the same rules as tfscale.device. */
export class Decoder {
  constructor(model, info) {
    this.model = model;
    this.info = info;
    this.context = info.context_length;
    this.lengths = info.prefill_lengths;
    this.cache = {};
    this.reset();
  }

  reset() {
    for (const tensor of Object.values(this.cache)) tensor.delete();
    this.position = 0;
    this.cache = {};
    for (const [name, shape] of Object.entries(this.info.cache)) {
      const size = shape.reduce((a, b) => a * b, 1);
      this.cache[name] = new Tensor(new Float32Array(size), shape);
    }
  }

  /** Reads ids after those read before; the logits after the last one. */
  async feed(ids) {
    if (this.context && this.position + ids.length > this.context) {
      throw new Error(`${this.position + ids.length} tokens do not fit into the model's context of ${this.context}`);
    }
    let done = 0;
    while (done < ids.length - 1) {
      const left = ids.length - 1 - done;
      const usable = this.lengths.filter((n) => this.position + n <= this.context && n <= 2 * left);
      const length = left === 1 || !usable.length ? 0 : Math.max(...usable);
      const part = ids.slice(done, done + (length ? Math.min(length, left) : 1));
      await this.call(length ? `prefill_${length}` : 'decode', part, length || 1);
      done += part.length;
    }
    return this.call('decode', [ids[ids.length - 1]], 1);
  }

  async call(signature, ids, length) {
    const tokens = new Int32Array(length);
    tokens.set(ids);
    const inputs = {...this.cache, tokens: new Tensor(tokens, [1, length])};
    if (this.context) {
      const mask = new Float32Array(length * this.context).fill(MASKED);
      for (let row = 0; row < length; row++) {
        mask.fill(0, row * this.context, row * this.context + this.position + row + 1);
      }
      inputs.input_pos = new Tensor(Int32Array.from({length}, (_, i) => this.position + i), [length]);
      inputs.mask = new Tensor(mask, [1, 1, length, this.context]);
    }
    const outputs = await this.model.run(signature, inputs);
    for (const tensor of Object.values(inputs)) tensor.delete();
    let logits = null;
    if (outputs.logits) {
      logits = Float32Array.from(outputs.logits.toTypedArray());
      outputs.logits.delete();
      delete outputs.logits;
    }
    // What a padded prompt wrote beyond its end is hidden by the mask, and overwritten by what comes next.
    this.cache = outputs;
    this.position += ids.length;
    return logits;
  }
}

export function nextToken(logits, temperature) {
  let best = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
  if (!temperature) return best;
  const weights = logits.map((x) => Math.exp((x - logits[best]) / temperature));
  let drawn = Math.random() * weights.reduce((a, b) => a + b, 0);
  for (let i = 0; i < weights.length; i++) if ((drawn -= weights[i]) <= 0) return i;
  return best;
}

/** Completes a prompt, and calls onText with each piece; the whole text, the ids and the tokens per second. */
export async function complete(decoder, tokenizer, prompt, {maxTokens = 60, temperature = 0, onText = () => {}} = {}) {
  const ids = tokenizer.promptIds(tokenizer.beginning(prompt));
  if (decoder.context && ids.length > decoder.context) {
    throw new Error(`The prompt has ${ids.length} tokens; the model takes at most ${decoder.context}.`);
  }
  decoder.reset();
  let logits = await decoder.feed(ids);
  const utf8 = new TextDecoder();
  const tokens = [];
  let text = '';
  const add = (piece) => { if (piece) { text += piece; onText(piece); } };
  const began = performance.now();
  while (tokens.length < maxTokens) {
    const token = nextToken(logits, temperature);
    if (tokenizer.stopIds.has(token)) break;
    tokens.push(token);
    const begins = tokens.length === 1 && !prompt;
    add(utf8.decode(tokenizer.bytes(token, begins), {stream: true}));
    if (tokens.length === maxTokens || (decoder.context && decoder.position === decoder.context)) break;
    logits = await decoder.feed([token]);
    if (tokens.length % 8 === 0) await new Promise((resolve) => setTimeout(resolve));  // lets the page paint
  }
  add(utf8.decode());
  return {text, tokens, tokensPerSecond: 1000 * tokens.length / (performance.now() - began)};
}

async function start() {
  const element = (id) => document.getElementById(id);
  const status = element('status');
  try {
    await loadLiteRt(new URL('./litert/', import.meta.url).href);
    const [info, vocabulary] = await Promise.all(
        ['model.json', 'tokenizer.json'].map(async (name) => (await fetch(name)).json()));
    const model = await loadAndCompile(info.file, {accelerator: 'wasm'});
    const decoder = new Decoder(model, info);
    const tokenizer = new Tokenizer(vocabulary);
    const context = info.context_length ? `context ${info.context_length}, ` : '';
    element('about').textContent =
        `${info.family}, ${info.vocabulary_size.toLocaleString('en')} tokens, ${context}weights ${info.quantize}. ` +
        'Everything runs on this device; nothing is sent anywhere.';
    globalThis.tfscale = {complete: (prompt, options) => complete(decoder, tokenizer, prompt, options), tokenizer};
    element('go').disabled = false;
    status.textContent = 'Ready.';
    element('form').addEventListener('submit', async (event) => {
      event.preventDefault();
      element('go').disabled = true;
      const output = element('output');
      const prompt = element('prompt').value;
      output.replaceChildren(document.createTextNode(prompt), document.createElement('b'));
      status.textContent = 'Writing ...';
      try {
        const done = await complete(decoder, tokenizer, prompt, {
          maxTokens: Math.max(1, Number(element('tokens').value) || 1),
          temperature: Math.max(0, Number(element('temperature').value) || 0),
          onText: (piece) => { output.lastChild.append(piece); },
        });
        status.textContent = `${done.tokens.length} tokens, ${Math.round(done.tokensPerSecond)} tokens per second.`;
      } catch (error) {
        status.textContent = error.message;
      }
      element('go').disabled = false;
    });
  } catch (error) {
    status.textContent = `The model cannot be loaded: ${error.message}`;
    throw error;
  }
}

if (globalThis.document) start();
