// Plotly, which is large: fetched when the first chart is drawn, and once.

const SOURCE = "/static/plotly.min.js";
let loading = null;

/** Return a promise of Plotly. After a failure the next call tries again. */
export function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = SOURCE;
    script.addEventListener("load", () => resolve(globalThis.Plotly));
    script.addEventListener("error", () => {
      script.remove();
      loading = null;
      reject(new Error("Its script cannot be loaded."));
    });
    document.head.append(script);
  });
  return loading;
}
