// The prompt of a sample, as the Playground asks it: a system prompt, earlier turns and a question.

import { newAnswer } from "./conversation.js";
import { messagesOf } from "../samples/model.js";

const WHO = "the prompt";

/** Read which sample an address names: `{job, sample}`, null if it names none. */
export function sampleOf(query) {
  const [job, sample] = [query.get("of"), query.get("sample")];
  return job && /^[0-9]{1,9}$/.test(sample ?? "") ? { job, sample: Number(sample) } : null;
}

/** Ask for the prompt of a sample: `{system, turns, question, isWhole}`; a part that has no place in the Playground is left out. */
export async function loadPrompt(api, { job, sample }) {
  const { prompts } = await api.get(`/api/jobs/${encodeURIComponent(job)}/samples`);
  const found = prompts.find((prompt) => prompt.sample === sample);
  if (!found) throw new Error("the job has no such sample.");
  return partsOf(messagesOf(found.prompt));
}

/** Take the messages of a prompt apart. */
export function partsOf(messages) {
  const first = messages[0];
  const system = first?.role === "system" || first?.role === "developer" ? first.text : "";
  const rest = messages.slice(system ? 1 : 0);
  const question = rest.pop() ?? { role: "user", text: "" };
  const turns = [];
  let isWhole = question.role === null || question.role === "user";
  for (let at = 0; at < rest.length; at += 2) {
    const [asked, answered] = rest.slice(at, at + 2);
    if (asked.role !== "user" || answered?.role !== "assistant") isWhole = false;
    else turns.push({ question: asked.text, answers: [{ ...newAnswer(WHO, false), state: "done", text: answered.text }] });
  }
  return { system, turns, question: question.text, isWhole };
}
