// Whether a block is in sight, or nearly: what nobody sees need not be live.

import { useEffect, useRef, useState } from 'preact/hooks';

/** Beyond the edges of the window; as much as its height. */
const MARGIN = '100%';

/** @type {Map<Element, (seen: boolean) => void>} */
const watched = new Map();
/** @type {IntersectionObserver | undefined} */
let observer;

/**
 * @returns {[{ current: HTMLElement | null }, boolean]} the place of the block's
 *   element, and whether it is in sight
 */
export function useSight() {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const [seen, set] = useState(false);
  useEffect(() => {
    const { current: element } = place;
    if (!element) return undefined;
    observer ??= new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) watched.get(target)?.(isIntersecting);
      },
      { rootMargin: MARGIN },
    );
    watched.set(element, set);
    observer.observe(element);
    const used = observer;
    return () => {
      watched.delete(element);
      used.unobserve(element);
    };
  }, []);
  return [place, seen];
}
