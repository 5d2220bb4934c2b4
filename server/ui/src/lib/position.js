// Positions: per partition, the offset after what was read.

/**
 * Of two positions the further one in each partition; what is none adds nothing.
 * @param {string} one @param {string | undefined} other
 * @returns {string}
 */
export function furthest(one, other) {
  if (!other || one === other) return one;
  /** @type {Map<string, string>} */
  const at = new Map();
  for (const part of `${one},${other}`.split(',')) {
    const [partition, offset] = part.split(':');
    if (Number(offset) >= Number(at.get(partition) ?? 0)) at.set(partition, offset);
  }
  return [...at].map((part) => part.join(':')).join(',');
}
