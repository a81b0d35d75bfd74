// A conversation as a Python script.

const WIDTH = 100;

/**
 * The script that asks the same. `connect` is what CloudApiClient.connect is given: a base URL or "local".
 * Each question is `{comment, adapter?, baseModel?, messages?, prompt?}`; `options` are those of the wire.
 */
export function pythonScript(connect, questions, options) {
  const names = questions.some(({ adapter }) => adapter) ? "AdapterRef, CloudApiClient" : "CloudApiClient";
  return [
    "from pathlib import Path",
    "",
    `from arkor import ${names}`,
    "from arkor.client.project import ensure_project",
    "",
    `client = CloudApiClient.connect(${literal(connect)})`,
    "scope = ensure_project(client, Path.cwd())  # run this in the project's folder",
    ...questions.flatMap((question) => ["", ...asked(question, options)]),
    "",
  ].join("\n");
}

function asked({ comment, adapter, baseModel, ...content }, options) {
  const settings = Object.entries({ ...content, ...options }).map(([name, value]) =>
    `    ${snakeCase(name)}=${literal(value, 1)},`);
  return [
    `# ${comment.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ")}`,
    `answer = client.${"prompt" in content ? "complete" : "chat"}(`,
    "    scope,",
    adapter ? `    adapter=${reference(adapter)},` : `    base_model=${literal(baseModel)},`,
    ...settings,
    ")",
    "for piece in answer:",
    '    print(piece, end="", flush=True)',
    "print()",
  ];
}

function reference({ kind, jobId, step }) {
  return `AdapterRef(${[kind, jobId, step].filter((value) => value !== undefined).map((value) => literal(value)).join(", ")})`;
}

/** A name of the wire as Python has it. */
export function snakeCase(name) {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** A JSON value as Python writes it; JSON's strings and numbers are Python's, too. */
export function literal(value, depth = 0) {
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const isList = Array.isArray(value);
  const [open, close] = isList ? "[]" : "{}";
  const parts = isList
    ? value.map((item) => literal(item, depth + 1))
    : Object.entries(value).map(([key, item]) => `${JSON.stringify(key)}: ${literal(item, depth + 1)}`);
  const flat = open + parts.join(", ") + close;
  if (!flat.includes("\n") && flat.length + 4 * depth < WIDTH) return flat;
  const indent = `\n${"    ".repeat(depth + 1)}`;
  return `${open}${parts.map((part) => `${indent}${part},`).join("")}\n${"    ".repeat(depth)}${close}`;
}
