// What a failed change has done: nothing, where the server has refused it; else nobody knows.

/**
 * Whether a change may have been done all the same: the server did not refuse it, it failed, or
 * nothing was heard of it.
 * @param {{ status: number }} problem `status` 0: there was no answer
 */
export const isUnknown = ({ status }) => status < 400 || status >= 500;

/**
 * What stands over the failure of a change.
 * @param {{ status: number }} problem
 * @param {boolean} carried whether it was to be carried out, or only to be foreseen
 */
export function failedTitle(problem, carried) {
  if (carried && isUnknown(problem)) return 'Outcome unknown';
  return problem.status === 409 ? 'Not possible' : 'Not done';
}
