// Events that scripts post: the same for the same numbers.
import { ask } from './browser.mjs';

const KINDS = ['view', 'view', 'view', 'view', 'add_to_cart', 'add_to_cart', 'buy'];

/** The nth event, `ago` milliseconds before now. */
export function event(n, ago = 0) {
  return {
    event_id: `page-${n}`,
    user_id: 1 + ((n * 7) % 39),
    product_id: 10 + ((n * n) % 50),
    event_type: KINDS[n % KINDS.length],
    timestamp: new Date(Date.now() - ago).toISOString(),
    note: `note ${n}`,
  };
}

/** Posts events; the position after them. */
export async function post(events) {
  let position = '';
  for (let at = 0; at < events.length; at += 5000) {
    ({ position } = await ask('api/events', events.slice(at, at + 5000)));
  }
  return position;
}

/** Posts events `[from, to)` and waits until they are counted. */
export async function counted(from, to, { over = 2 * 3_600_000 } = {}) {
  const ago = (n) => over - (over * (n - from)) / Math.max(1, to - from);
  const position = await post(
    Array.from({ length: to - from }, (_, at) => event(from + at, ago(from + at))),
  );
  return reached(position);
}

/** Waits until a position is counted. */
export async function reached(position) {
  const { metrics } = await ask('api/metrics');
  const name = metrics.find(
    (metric) => metric.state === 'active' && !metric.params_schema.required?.length,
  )?.name;
  if (name) await ask('api/metrics', { name, params: {}, at_least: position, wait_ms: 20_000 });
  return position;
}

/**
 * Posts so many events a second until it is stopped:
 * `const stop = feed(1000); …; const last = await stop();`. It answers the position after the last.
 */
export function feed(rate, from = 1_000_000) {
  let [n, position, ended] = [from, '', false];
  const begun = performance.now();
  const done = (async () => {
    while (!ended) {
      const due = Math.floor(((performance.now() - begun) / 1000) * rate) - (n - from);
      if (due > 0) {
        position = await post(
          Array.from({ length: Math.min(due, 5000) }, (_, at) => event(n + at)),
        );
        n += Math.min(due, 5000);
      }
      // The pace of the load.
      await new Promise((resolve) => {
        setTimeout(resolve, Math.max(10, 1000 / rate));
      });
    }
    return { position, count: n - from };
  })();
  done.catch(() => {});
  return () => {
    ended = true;
    return done;
  };
}
