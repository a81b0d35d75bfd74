// Asking a model, and the answer as it arrives. No elements here.

import { ApiError } from "../api.js";

const CUT = "The answer was cut in the middle: what arrived is not all of it.";

/** Read a text/event-stream, however its text is cut: `onData` is told the data of each complete frame. */
function frameReader(onData) {
  let rest = "";
  let data = [];
  let afterReturn = false; // the last text ended with CR: a LF after it belongs to the same line end

  function take(line) {
    if (line.startsWith("data:")) data.push(line.slice(line[5] === " " ? 6 : 5));
    else if (line === "data") data.push("");
    else if (line === "") {
      const whole = data;
      data = [];
      if (whole.length) onData(whole.join("\n"));
    }
  }

  return (text) => {
    if (!text) return;
    const fresh = afterReturn && text[0] === "\n" ? text.slice(1) : text;
    afterReturn = fresh.endsWith("\r");
    const lines = (rest + fresh).split(/\r\n|\r|\n/);
    rest = lines.pop();
    lines.forEach(take);
  };
}

/**
 * Ask, and fill `answer` as it comes: `text`, `reasoning`, `finishReason`, `tokens`, `madeBy` (the engine), `firstMs`,
 * `totalMs`, null for what nobody told. `controller` breaks it off, which throws AbortError; all else throws ApiError.
 */
export async function ask(api, question, answer, { controller, onText }) {
  const begun = performance.now();
  let streamed = false;
  let opened = false;
  let whole = false;
  let body = "";

  function take(said) {
    if (said?.error) throw new ApiError(500, String(said.error.message ?? said.error));
    const choice = said?.choices?.find?.((one) => !one?.index); // of several answers the first one is shown
    answer.finishReason = choice?.finish_reason ?? answer.finishReason;
    answer.madeBy = said?.system_fingerprint ?? answer.madeBy;
    answer.tokens = said?.usage?.completion_tokens ?? answer.tokens;
    const piece = choice?.delta ?? choice?.message;
    const text = textOf(choice?.text ?? piece?.content);
    const reasoning = textOf(piece?.reasoning_content);
    if (!text && !reasoning) return;
    answer.firstMs ??= performance.now() - begun;
    answer.text += text;
    answer.reasoning += reasoning;
    onText();
  }

  const feed = frameReader((data) => {
    if (whole) return;
    if (data === "[DONE]") whole = true;
    else take(parsed(data));
  });

  try {
    await api.stream(`/api/inference/${"prompt" in question ? "completions" : "chat"}`, {
      method: "POST", body: question, signal: controller.signal,
      onOpen({ headers }) {
        opened = true;
        streamed = (headers.get("Content-Type") ?? "").includes("text/event-stream");
      },
      onText(text) {
        if (streamed) feed(text);
        else body += text;
        if (whole) controller.abort(); // nothing comes after the last mark
      },
    });
    if (!streamed) take(parsed(body));
    else if (!whole) throw new ApiError(0, CUT);
  } catch (error) {
    if (opened && error.status === 0) throw new ApiError(0, CUT);
    if (!whole) throw error;
  } finally {
    controller.abort(); // also after an error in its midst: nobody reads the rest
    answer.totalMs = performance.now() - begun;
  }
}

function textOf(value) {
  return typeof value === "string" ? value : "";
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(502, `The backend's answer holds something that is not JSON: ${text.slice(0, 200)}`);
  }
}
