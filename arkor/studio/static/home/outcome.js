// How a run has ended, in words. No elements here.

import { isOver } from "../record.js";

const EXITS = {
  0: "The run has ended well.",
  1: "The job failed or was cancelled.",
  2: "The run did not start: something in the project or its settings is wrong. The log says what.",
  3: "It is not known how the job did. The log says why.",
};
const NOT_COMPLETED = 1;
const INTERRUPTED = 130;

/**
 * Return `{kind, badge, text}` of an ended run, with kind one of "good", "cancelled", "bad", and "open" where its job's
 * record still has to say which. `job` is that record, null where it is not known; `loading` says that it may come.
 */
export function outcomeOf({ exitCode, stopped, jobId }, job, loading) {
  const badge = `exit ${exitCode ?? "?"}`;
  if (exitCode === 0) return { kind: "good", badge, text: EXITS[0] };
  if (job?.status === "failed" && exitCode === NOT_COMPLETED) return { kind: "bad", badge, text: "The job failed." };
  if (stopped || exitCode === INTERRUPTED) {
    // The backend was asked to cancel the job; until it has, the run alone is stopped.
    const isCancelled = !jobId || job?.status === "cancelled";
    return { kind: "cancelled", badge: isCancelled ? "cancelled" : "stopped", text: "The run was stopped." };
  }
  if (exitCode === NOT_COMPLETED && job?.status === "cancelled") {
    return { kind: "cancelled", badge: "cancelled", text: "The job was cancelled." };
  }
  if (exitCode === NOT_COMPLETED && (job ? !isOver(job) : loading)) return { kind: "open", badge, text: "The run has ended." };
  return { kind: "bad", badge, text: EXITS[exitCode] ?? "The run has ended." };
}
