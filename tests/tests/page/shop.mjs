// A day in a shop, as the pictures of the documents show it: visits that rise and fall with the
// hours, each by somebody who looks, and may choose and buy. The same day each time, but for the
// moment at which it is.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { ask } from './browser.mjs';

const { first, last, products, countries, devices } = JSON.parse(
  readFileSync(new URL('shop.json', import.meta.url), 'utf8'),
);

const [SECOND, MINUTE, HOUR] = [1000, 60_000, 3_600_000];
/** Since when there are events; so long after the begin they still come. */
const [PAST, FUTURE] = [26 * HOUR, 6 * MINUTE];
/** The hour of the shop's day at which it is looked at, whatever the clock says. */
const EVENING = 20;
/** Visits in a minute of the busiest hour, about. */
const MOST = 30;
/** Events of a request: less than 1 MiB. */
const BATCH = 2500;

/** A generator of numbers in [0, 1): mulberry32. */
function chance(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** How busy the shop is at an hour of its day: at noon, and more so in the evening. */
function wave(hour) {
  const hill = (top, width) => {
    const off = Math.abs(((hour - top + 36) % 24) - 12);
    return Math.exp(-((off / width) ** 2));
  };
  return 0.09 + 0.55 * hill(12.2, 3) + 0.9 * hill(19.6, 3.6);
}

/** Places in the list of products. */
const ALL = products.map((_, at) => at);

/** One of some places in the list of products, the liked ones more often. */
function liked(places, random) {
  let left = random() * places.reduce((sum, at) => sum + products[at][4], 0);
  return places.find((at) => (left -= products[at][4]) < 0) ?? places[0];
}

/** How many there are: as many as `pictures.rs` has names for. */
const USERS = 4 * first.length * last.length;

/** Who visits: some come often. The first of them is the one whom examples ask for. */
function visitor(random) {
  const user = random() < 0.009 ? 1 : 2 + Math.floor((USERS - 1) * random() ** 1.4);
  const own = chance(user);
  return {
    user,
    country: countries[Math.floor(own() * countries.length)],
    device: devices[Math.floor(own() * devices.length)],
    chooses: user === 1 || own() < 0.5,
    buys: user === 1 || own() < 0.55,
  };
}

/** What happens in a visit, as [event type, product] in turn. */
function steps({ chooses, buys }, random) {
  const category = products[liked(ALL, random)][1];
  const own = ALL.filter((at) => products[at][1] === category);
  const [done, cart] = [[], []];
  do {
    const at = liked(random() < 0.7 ? own : ALL, random);
    done.push(['view', at]);
    if (random() < 0.07) done.push(['wishlist', at]);
    if (chooses && random() < 0.26) {
      done.push(['add_to_cart', at]);
      if (random() < 0.18) done.push(['remove_from_cart', at]);
      else cart.push(at);
    }
  } while (random() < 0.78);
  if (buys && random() < 0.75) done.push(...cart.map((at) => ['buy', at]));
  return done;
}

/** All events, by time. */
function day(now) {
  const random = chance(51);
  const events = [];
  let weather = 0;
  for (let minute = now - PAST; minute < now + FUTURE; minute += MINUTE) {
    weather = 0.9 * weather + 0.13 * (random() + random() - 1);
    const hour = EVENING + (minute - now) / HOUR;
    for (let visits = MOST * wave(hour) * Math.exp(weather); visits > random(); visits -= 1) {
      const who = visitor(random);
      let time = minute + random() * MINUTE;
      for (const [kind, at] of steps(who, random)) {
        const [, category, brand, price] = products[at];
        events.push({
          time,
          event_type: kind,
          user_id: who.user,
          product_id: 101 + at,
          price,
          brand,
          category,
          country: who.country,
          device: who.device,
        });
        time += (3 + 40 * random() ** 2) * SECOND;
      }
    }
  }
  events.sort((one, other) => one.time - other.time);
  return events.map(({ time, ...event }, n) => ({
    event_id: `shop-${n}`,
    timestamp: new Date(time).toISOString(),
    ...event,
  }));
}

async function send(events) {
  const { accepted, position } = await ask('api/events', events);
  if (accepted !== events.length) throw new Error(`${accepted} of ${events.length} are accepted`);
  return position;
}

/**
 * Opens the shop: sends what happened until now, and from then on what happens. Answers the
 * position after the past, and what closes it.
 */
export async function opened() {
  const events = day(Date.now());
  let next = 0;
  let position = '';
  const due = () => {
    const now = new Date().toISOString();
    let end = next;
    while (end < Math.min(events.length, next + BATCH) && events[end].timestamp <= now) end += 1;
    return end;
  };
  const some = async () => {
    for (let end = due(); end > next; end = due()) {
      const batch = events.slice(next, end);
      position = await send(batch);
      next += batch.length;
    }
  };
  await some();
  const closes = new AbortController();
  const done = (async () => {
    while (!closes.signal.aborted) {
      await some();
      // The pace of the shop.
      await pause(200);
    }
  })();
  done.catch(() => {});
  return {
    position,
    close: () => {
      closes.abort();
      return done;
    },
  };
}

/**
 * Sends what is an event as the world begins (`pictures.rs`), and none as it goes on: of each kind
 * some.
 */
export function strays() {
  const now = Date.now();
  const random = chance(3);
  const kinds = [
    [31, ({ product_id: _, ...event }) => ({ ...event, page: '/checkout' })],
    [17, (event) => ({ ...event, event_type: 'Purchase' })],
    [12, ({ user_id: _, ...event }) => ({ ...event, guest: true })],
    [7, (event) => ({ ...event, timestamp: Math.floor(now / SECOND) })],
    [4, (event) => ({ ...event, timestamp: new Date(now + 2 * HOUR).toISOString() })],
  ];
  const drawn = kinds.flatMap(([count, change]) =>
    Array.from({ length: count }, () => {
      const at = liked(ALL, random);
      const event = change({
        event_type: 'view',
        user_id: visitor(random).user,
        product_id: 101 + at,
        timestamp: new Date(now - Math.floor(20 * SECOND * random())).toISOString(),
        price: products[at][3],
      });
      return { event, order: random() };
    }),
  );
  return send(drawn.sort((one, other) => one.order - other.order).map(({ event }) => event));
}
