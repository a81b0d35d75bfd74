// Choosing who answers: a job's final adapter, one of its checkpoints, or a base model.

import { h, replace, setText } from "../dom.js";
import { createFeed } from "../feed.js";
import { field } from "../field.js";
import { capital } from "../format.js";
import { isDryRun, jobName } from "../record.js";
import { choiceOf, firstChoice, labelOf, loadSaved, problemOf, versionName, versionsOf } from "./targets.js";

const MODELS_EVERY_MS = 10000;
const SAVED_EVERY_MS = 5000;
const OTHER = "other";
const RAW = "it continues what you write, without a system prompt, earlier turns and the chat template.";

/**
 * A picker; it begins with `start()`. `changed()` is told of everything that may matter. It has `element`, `choice`,
 * `compare`, `base` (the model that the job started from), `isRaw` (it continues plain text), `label(choice)`,
 * `problem`, `empty` (there is nothing to ask) and `close()`.
 */
export function createPicker({ api, about, jobs }, { choice, compare, changed }) {
  let models = null; // null: nobody knows
  let modelsKnown = false;
  let saved = null;
  let leaveSaved = () => {};
  let followed = null; // the job whose files are asked for, and its status then

  const who = h("select", { class: "field", id: "play-who", onchange: onWho });
  const name = h("input", { class: "field", id: "play-model", spellcheck: "false", autocomplete: "off",
    placeholder: "owner/name, or a folder on its machine", onchange: onName });
  const nameField = field("Name of the model", name);
  const version = h("select", { class: "field", id: "play-version", onchange: onVersion });
  const versionField = field("Version", version);
  const both = h("input", { class: "switch", type: "checkbox", id: "play-compare", checked: compare,
    "aria-describedby": "play-compare-note", onchange: onCompare });
  const bothNote = h("span", { class: "quiet compare-note", id: "play-compare-note" });
  const note = h("p", { class: "picker-note", role: "status" });
  const element = h("div", { class: "picker" },
    h("div", { class: "picker-fields" }, field("Who answers", who), nameField, versionField,
      h("div", { class: "picker-compare" }, h("label", { class: "switch-label" }, both, "Compare with base"), bothNote)),
    note);

  const modelFeed = createFeed(async (signal) => (await api.get("/api/models", { signal })).models, MODELS_EVERY_MS);
  let leaveModels = null;
  let leave = [];

  function start() {
    leave = [about.subscribe(onAbout), jobs.subscribe(settle)];
  }

  // Which features there are decides what is asked for.
  function onAbout({ data, error }) {
    if (leaveModels || (!data && !error)) return;
    if (about.lacks("models") !== null) {
      leaveModels = () => {};
      modelsKnown = true;
      settle();
    } else {
      leaveModels = modelFeed.subscribe((state) => {
        models = state.data;
        modelsKnown = Boolean(state.data || state.error);
        settle();
      });
    }
  }

  /** Take in what was learnt: the first choice, the best version, and what can be chosen now. */
  function settle() {
    const known = jobs.state.data;
    if (!choice && (known || jobs.state.error) && modelsKnown) {
      choice = firstChoice(known, models);
    }
    if (choice?.job && known && !job()) jobs.loadMore(); // it may be an old one
    follow();
    if (choice?.job && choice.step === undefined) {
      const [best] = versionsOf(job(), saved) ?? [];
      if (best !== undefined) choice = { job: choice.job, step: best };
    }
    draw();
    changed();
  }

  function job() {
    return jobs.state.data?.find(({ id }) => id === choice?.job);
  }

  // What a running job leaves grows; that of one that is paused or has ended is asked for once more, and then now and then.
  function follow() {
    const isKnown = about.value && (jobs.state.data ? job() : jobs.state.error);
    const now = choice?.job && isKnown ? `${choice.job}\n${job()?.status}` : null;
    if (now === followed) return;
    if (now?.split("\n")[0] !== followed?.split("\n")[0]) saved = null;
    followed = now;
    leaveSaved();
    leaveSaved = () => {};
    if (now === null) return;
    const id = choice.job;
    const everyMs = ["queued", "running"].includes(job()?.status) ? SAVED_EVERY_MS : 12 * SAVED_EVERY_MS;
    const feed = createFeed((signal) => loadSaved(api, about, id, signal), everyMs);
    leaveSaved = feed.subscribe(({ data }) => {
      if (!data || data === saved) return;
      saved = data;
      settle();
    });
  }

  function choose(now) {
    choice = now;
    followed = null;
    settle();
  }

  function onWho() {
    if (who.value === OTHER) choose({ model: name.value.trim() });
    else choose(choiceOf(new URLSearchParams(who.value)));
    if (who.value === OTHER) name.focus();
  }

  function onName() {
    choose({ model: name.value.trim() });
  }

  function onVersion() {
    choose({ job: choice.job, step: version.value === "" ? null : Number(version.value) });
  }

  function onCompare() {
    compare = both.checked;
    changed();
  }

  function base() {
    const model = job()?.config?.model;
    return typeof model === "string" && model ? model : null;
  }

  function isRaw() {
    return choice?.raw ?? job()?.promptForm === "raw";
  }

  function draw() {
    const isOther = choice?.model !== undefined && !models?.some(({ id }) => id === choice.model);
    const groups = options(isOther);
    const versions = choice?.job ? versionsOf(job(), saved) ?? [] : [];
    const chosen = choice?.step;
    const offered = chosen === undefined || versions.includes(chosen) ? versions : [chosen, ...versions];
    refill(who, [!choice && ["", "Choose …"], ...groups]);
    refill(version, offered.length ? offered.map((step) => [step ?? "", capital(versionName(step))]) : [["", "none yet"]]);
    who.value = isOther ? OTHER : choice ? key(choice) : "";
    if (isOther && document.activeElement !== name) name.value = choice.model;
    nameField.hidden = !isOther;
    versionField.hidden = !choice?.job;
    version.disabled = offered.length === 0;
    if (offered.length) version.value = chosen ?? "";
    const without = !choice?.job ? "needs a job" : base() === null ? "its model is not known" : null;
    both.disabled = without !== null;
    both.checked = compare && without === null;
    setText(bothNote, without ?? base());
    const problem = choice && problemOf(choice, { jobs: jobs.state.data, models, saved });
    setText(note, problem ?? hint(isOther));
    note.classList.toggle("warning", Boolean(problem));
  }

  function options(isOther) {
    const known = jobs.state.data ?? [];
    const twins = twinsOf(known.map(jobName));
    const strange = choice?.job && !job() ? [[key(choice), choice.job]] : [];
    const entries = (models ?? []).map(({ id, ready }) => [key({ model: id }), ready ? id : `${id} (not fetched)`]);
    const groups = [
      { label: "Jobs", entries: [...strange, ...known.map((one) => [key({ job: one.id }), described(one, twins)])] },
      { label: "Base models", entries: [...entries, [OTHER, "Another model, by its name …"]] },
    ];
    return groups.filter((group) => group.entries.length);
  }

  function hint(isOther) {
    if (!choice && modelsKnown && jobs.state.data?.length) return problemOf(choice, {}); // nothing but dry runs
    const lacking = about.lacks("models");
    if (isOther && lacking) return `${lacking} Type the name of one.`;
    return isRaw() ? `${choice.raw ? "This model is asked as a job that learned" : "This job learned"} plain text: ${RAW}` : "";
  }

  return {
    element,
    start,
    get choice() { return choice; },
    get compare() { return both.checked; },
    get base() { return base(); },
    get isRaw() { return isRaw(); },
    get problem() { return problemOf(choice, { jobs: jobs.state.data, models, saved }); },
    get empty() {
      return Boolean(jobs.state.data) && jobs.state.data.length === 0 && modelsKnown && !models?.some(({ ready }) => ready);
    },
    label: (which) => labelOf(which, jobs.state.data),
    close() {
      leave.forEach((end) => end());
      leaveModels?.();
      leaveSaved();
    },
  };
}

// Fill a list where it has changed; one that is open stays open.
function refill(list, entries) {
  const now = JSON.stringify(entries);
  if (list.dataset.entries === now) return;
  list.dataset.entries = now;
  replace(list, entries.map((entry) => (Array.isArray(entry) ? option(entry)
    : entry && h("optgroup", { label: entry.label }, entry.entries.map(option)))));
}

function option([value, text]) {
  return h("option", { value }, text);
}

// What an option stands for: its target, without the version.
function key({ job, model }) {
  return new URLSearchParams(job ? { job } : { model }).toString();
}

// Two jobs of one name are told apart by their ids.
function described(one, twins) {
  const name = jobName(one);
  return [name, isDryRun(one) && "dry run", one.status !== "completed" && one.status, twins.has(name) && one.id].filter(Boolean).join(" · ");
}

function twinsOf(names) {
  const seen = new Set();
  const twice = new Set();
  for (const name of names) (seen.has(name) ? twice : seen).add(name);
  return twice;
}
