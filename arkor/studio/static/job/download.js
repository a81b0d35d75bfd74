// Downloading what a job has left.

import { setText } from "../dom.js";

/** The address of a job's artifacts. */
export function artifactsPath(jobId) {
  return `/api/jobs/${encodeURIComponent(jobId)}/artifacts`;
}

/** A function that downloads an artifact by its name, for the button that asks; `problem` shows an error. */
export function createDownload({ api, announce }, jobId, problem) {
  return async (name, button) => {
    button.disabled = true;
    problem.hidden = true;
    try {
      const { url } = await api.post(`${artifactsPath(jobId)}/${encodeURIComponent(name)}/link`);
      await api.download(url);
      announce(`Downloading ${name}.`);
    } catch (error) {
      problem.hidden = false;
      setText(problem, `${name} cannot be downloaded: ${error.message}`);
    }
    button.disabled = false;
    button.focus();
  };
}
