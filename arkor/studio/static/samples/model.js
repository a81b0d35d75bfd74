// The samples of a job: what its model answered to the same prompts while it was trained. No elements here.

import { contentOf } from "../report/messages.js";

/** The samples so far: `prompts` by number, `steps` in order, `answer(step, number)`, `before(step, number)`, `last`. */
export class Samples {
  #answers = new Map(); // by step, and by the number of the prompt
  #prompts = new Map();
  last = null; // the answer that came last
  leftOutSteps = 0;

  /** Take in the answer of GET …/samples. */
  merge({ prompts, answers, leftOutSteps }) {
    const known = new Map(prompts.map((prompt) => [prompt.sample, prompt]));
    const { last } = this;
    for (const answer of answers) this.add({ ...known.get(answer.sample), ...answer });
    this.last = last ?? this.last; // what came as an event is newer
    this.leftOutSteps = leftOutSteps;
  }

  /** Take in an event; of two answers to a prompt at a step the later one counts. */
  add({ step, sample, row, prompt, expected, answer, exact, truncated }) {
    if (!Number.isInteger(step) || !Number.isInteger(sample)) return;
    this.last = { step, sample, answer: String(answer ?? ""), isExact: exact === true, isCut: truncated === true };
    if (!this.#answers.has(step)) this.#answers.set(step, new Map());
    this.#answers.get(step).set(sample, this.last);
    this.#prompts.set(sample, { sample, row, prompt, expected });
  }

  get prompts() {
    return [...this.#prompts.values()].sort((one, other) => one.sample - other.sample);
  }

  get steps() {
    return [...this.#answers.keys()].sort((one, other) => one - other);
  }

  get isEmpty() {
    return this.#answers.size === 0;
  }

  prompt(number) {
    return this.#prompts.get(number) ?? null;
  }

  answer(step, number) {
    return this.#answers.get(step)?.get(number) ?? null;
  }

  /** The answer to a prompt at the newest step before a step; null if there is none. */
  before(step, number) {
    const earlier = this.steps.findLast((one) => one < step && this.answer(one, number));
    return earlier === undefined ? null : this.answer(earlier, number);
  }

  /** How many answers of a step equal the expected ones, of how many that have one; null if none has. */
  exact(step) {
    const asked = this.prompts.filter(({ sample, expected }) => typeof expected === "string" && this.answer(step, sample));
    return asked.length ? [asked.filter(({ sample }) => this.answer(step, sample).isExact).length, asked.length] : null;
  }
}

/** The messages of a prompt as `{role, text}`; a plain text is one without a role. */
export function messagesOf(prompt) {
  if (!Array.isArray(prompt)) return [{ role: null, text: String(prompt ?? "") }];
  return prompt.filter((message) => message !== null && typeof message === "object")
    .map((message) => ({ role: String(message.role ?? ""), text: contentOf(message) }));
}

/** Where a text differs from the one before: `[from, to]`, in whole words; both ends are the same if words were only left out. */
export function changedRange(before, now) {
  const [old, words] = [before, now].map((text) => text.split(/(\s+)/));
  const most = Math.min(old.length, words.length);
  let start = 0;
  while (start < most && old[start] === words[start]) start += 1;
  let end = 0;
  while (end < most - start && old.at(-1 - end) === words.at(-1 - end)) end += 1;
  const length = (parts) => parts.reduce((sum, part) => sum + part.length, 0);
  return [length(words.slice(0, start)), now.length - length(end ? words.slice(-end) : [])];
}

/** What the model of a step is called. */
export function stepName(step, isContinued) {
  return step > 0 ? `step ${step}` : isContinued ? "base adapter" : "base model";
}
