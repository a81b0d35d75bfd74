// What is particular about evaluations.

/** Whether an evaluation asks no question: it only checks the served adapter. */
export function isCheckOnly({ options }) {
  return options?.limit === 0 && options?.retention === false;
}
