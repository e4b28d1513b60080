// The tokenizers that the page knows: bytes, characters, and SentencePiece's unigram and BPE with byte fallback.
const MARK = '\u2581';  // SentencePiece's sign for a space

export class Tokenizer {
  constructor(vocabulary) {
    this.kind = vocabulary.kind;
    this.cleaning = vocabulary.cleaning || {};
    this.startId = vocabulary.start_id;
    this.promptStart = vocabulary.prompt_start;
    this.stopIds = new Set(vocabulary.stop_ids);
    this.unknownId = vocabulary.unknown_id;
    this.pieces = vocabulary.pieces;
    this.scores = vocabulary.scores;
    this.byteIds = vocabulary.byte_ids;
    this.leadingSpace = vocabulary.leading_space;
    this.ids = new Map();
    // No text spells these; user-defined pieces are found before anything else.
    const userDefined = vocabulary.user_defined_ids || [];
    const special = new Set([vocabulary.end_id, this.unknownId, ...(this.byteIds || []),
      ...(vocabulary.control_ids || []), ...userDefined]);
    this.userDefined = new Map(userDefined.map((id) => [this.pieces[id], id]));
    const escaped = [...this.userDefined.keys()].sort((a, b) => b.length - a.length)
        .map((piece) => piece.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    this.userPattern = escaped.length ? new RegExp(`(${escaped.join('|')})`) : null;
    (this.pieces || []).forEach((piece, id) => { if (!special.has(id)) this.ids.set(piece, id); });
    this.longest = Math.max(1, ...[...this.ids.keys()].map((piece) => [...piece].length));
    this.fromByteId = new Map((this.byteIds || []).map((id, byte) => [id, byte]));
    if (this.scores) {
      this.lowest = Math.min(...[...this.ids.values()].map((id) => this.scores[id]));
    }
  }

  /** A prompt cleaned as the text was that the model was trained on; tags of HTML, which nobody types, stay. */
  beginning(text) {
    const {unicode_normalization: form, lowercase, collapse_whitespace: collapse} = this.cleaning;
    if (form) text = text.normalize(form);
    if (lowercase) text = text.toLowerCase();
    if (!collapse) return text;
    return text.replaceAll('\r\n', '\n').replace(/[^\S\n]+/g, ' ').replace(/ *\n */g, '\n').replace(/\n{3,}/g, '\n\n').replace(/^\s+/, '');
  }

  encode(text) {
    if (this.kind === 'byte') return [...new TextEncoder().encode(text)];
    if (this.kind === 'char') return [...text].map((c) => this.ids.get(c) ?? this.unknownId);
    // The sign itself stands for spaces inside, so it is spelled in bytes.
    const led = this.leadingSpace && text ? ` ${text}` : text;
    const parts = led.split(MARK).map((part) => this.marked(part.replaceAll(' ', MARK)));
    return parts.reduce((all, part) => [...all, ...this.spelled(MARK), ...part]);
  }

  /** The ids of a text whose spaces are marks. */
  marked(text) {
    const cut = this.userPattern ? text.split(this.userPattern) : [text];
    return cut.flatMap((part) => {
      if (this.userDefined.has(part)) return [this.userDefined.get(part)];
      return this.kind === 'unigram' ? this.unigram(part) : this.bpe(part);
    });
  }

  /** What the model reads for a prompt. */
  promptIds(prompt) {
    const ids = [...this.promptStart, ...this.encode(prompt)];
    return ids.length ? ids : [this.startId];
  }

  spelled(character) {
    return [...new TextEncoder().encode(character)].map((byte) => this.byteIds[byte]);
  }

  /** The path of the highest sum of scores, summed in float32 as SentencePiece does. */
  unigram(text) {
    const characters = [...text];
    const best = [{score: 0, from: 0, id: -1}];
    const unknown = Math.fround(this.lowest - 10);
    for (let end = 1; end <= characters.length; end++) best.push({score: -Infinity, from: 0, id: -1});
    for (let start = 0; start < characters.length; start++) {
      let piece = '';
      let single = false;
      for (let end = start + 1; end <= Math.min(characters.length, start + this.longest); end++) {
        piece += characters[end - 1];
        const id = this.ids.get(piece);
        if (id === undefined) continue;
        single ||= end === start + 1;
        const score = Math.fround(best[start].score + this.scores[id]);
        if (score > best[end].score) best[end] = {score, from: start, id};
      }
      if (!single) {
        const score = Math.fround(best[start].score + unknown);
        if (score > best[start + 1].score) best[start + 1] = {score, from: start, id: -1};
      }
    }
    const parts = [];
    for (let end = characters.length; end > 0; end = best[end].from) {
      const {id, from} = best[end];
      parts.push(id >= 0 ? [id] : this.spelled(characters.slice(from, end).join('')));
    }
    return parts.reverse().flat();
  }

  /** Merges the pair of the highest score, the leftmost of equal ones, until none is left. */
  bpe(text) {
    const parts = [...text];
    for (;;) {
      let best = -1;
      let score = -Infinity;
      for (let i = 0; i + 1 < parts.length; i++) {
        const id = this.ids.get(parts[i] + parts[i + 1]);
        if (id !== undefined && this.scores[id] > score) [best, score] = [i, this.scores[id]];
      }
      if (best < 0) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
    }
    return parts.flatMap((part) => (this.ids.has(part) ? [this.ids.get(part)] : this.spelled(part)));
  }

  /** The UTF-8 bytes that a token adds to a text; `begins` for the first one of all. */
  bytes(id, begins = false) {
    if (id === this.startId) return new Uint8Array();
    if (this.kind === 'byte') return Uint8Array.of(id);
    if (this.fromByteId.has(id)) return Uint8Array.of(this.fromByteId.get(id));
    const piece = id === this.unknownId ? '\ufffd' : this.pieces[id];
    const text = this.kind === 'char' ? piece : piece.replaceAll(MARK, ' ');
    return new TextEncoder().encode(begins && this.leadingSpace && text[0] === ' ' ? text.slice(1) : text);
  }
}
