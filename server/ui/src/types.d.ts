// What the server says, as far as the page reads it, and what its parts hand to each other.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Params = Record<string, any>;
export type Schema = Record<string, any>;
export type IdKind = 'user' | 'product';

export interface Progress {
  done: number;
  eta_s?: number;
}
export interface Example {
  params: Params;
  note?: string;
}
export interface Cost {
  ns_per_event: number;
  cells: number;
  bytes: number;
  unreadable?: number;
}
export type MetricState = 'active' | 'backfilling' | 'quarantined' | 'retired';

export interface Revision {
  revision: string;
  version: string;
  state: MetricState;
  since: string;
  progress?: Progress;
  reason?: string;
  events_failed?: number;
  held?: string;
  until?: string;
}
export interface Descriptor {
  name: string;
  version: string;
  summary: string;
  plugin: string;
  state: MetricState;
  since: string;
  progress?: Progress;
  reason?: string;
  events_failed?: number;
  newer?: Revision;
  before?: Revision;
  params_schema: Schema;
  result_schema: Schema;
  config: Json;
  examples: Example[];
  reads: string[];
  time: boolean;
  history: { state: string; from?: string };
  cost: Cost;
  tiers: { pane: string; keep: string }[];
}
export interface Rejected {
  file: string;
  reason: string;
  since: string;
}
export interface Catalogue {
  metrics: Descriptor[];
  rejected: Rejected[];
}

export interface Warning {
  code: string;
  detail: string;
  [key: string]: any;
}
export interface Meta {
  window?: { from?: string; to?: string };
  position: string;
  as_of: string;
  version: string;
  history?: { state: string; from?: string };
  took_us?: number;
  records?: number;
}
export interface Answer {
  result: any;
  meta: Meta;
  warnings: Warning[];
}
export interface Question {
  metric: string;
  params: Params;
  expand?: string[];
}
export interface Fault {
  pointer: string;
  detail: string;
}

export interface TallyEvent {
  event_id?: string;
  user_id?: number | string;
  product_id?: number | string;
  event_type: string;
  timestamp: string;
  [key: string]: any;
}
export interface EventMessage {
  position: string;
  cursor: string;
  event: TallyEvent;
}

export interface ReadinessLine {
  name: string;
  ok: boolean;
  needed: boolean;
  what?: string;
  why?: string;
  remedy?: string;
}
export interface PartitionStatus {
  partition: number;
  owner?: 'this' | 'other';
  position?: string;
  start: number;
  end: number;
  lag?: number;
  open: number;
  stalled?: boolean;
}
export interface MetricStatus {
  name: string;
  state: MetricState;
  version: string;
  progress?: Progress;
  reason?: string;
  ns_per_event: number;
  cells: number;
  bytes: number;
  events_failed?: number;
  answers_stuck?: number;
}
export interface Share {
  used: number;
  limit: number;
}
export interface LimitHit {
  code: string;
  count: number;
}
export interface ThreadUse {
  name: string;
  count: number;
  cores?: number;
}
export interface Status {
  version: string;
  started: string;
  uptime_s: number;
  as_of: string;
  ready: boolean;
  rate: { events_per_s: number; window_s: number };
  log: { kind: string; name: string };
  partitions: PartitionStatus[];
  lag: { records: number; open: number };
  commits: { last?: string; age_s?: number; processed: number; committed: number };
  store: { kind: string; ok: boolean; what?: string; why?: string };
  catalogue: { ok: boolean; why?: string };
  readiness: ReadinessLine[];
  metrics: MetricStatus[];
  memory: { limit: number; state: Share; answers: Share; sockets: Share };
  sockets: { websockets: number; limit: number; streams: number; held: number; held_limit: number };
  connections: { open: number; local: number; addresses: number; limit: number };
  limits_hit: LimitHit[];
  threads: ThreadUse[];
  [key: string]: any;
}

/** How a property of a result is drawn. */
export interface Picture {
  kind: 'series' | 'figure' | 'bars' | 'table' | 'tree';
  /** JSON pointer of the value in the result. */
  at: string;
  key: string;
  title: string;
  help: string;
  unit: string;
  /** Of a table: what its columns are; of an object: what its members are. */
  columns?: Column[];
  /** Of a series: the numbers of a point, and the maps of numbers. */
  lines?: { key: string; title: string; unit: string }[];
  maps?: { key: string; title: string; unit: string }[];
}
export interface Column {
  key: string;
  title: string;
  help: string;
  unit: string;
  kind: 'id' | 'number' | 'text' | 'time' | 'boolean' | 'other';
  idKind?: IdKind;
  /** Whether it holds an object whose members may be anything. */
  open?: boolean;
  /** Which property of a row its value is a member of. */
  of?: string;
}

export interface Field {
  /** Where its value is in the params, as a JSON pointer. */
  pointer: string;
  key: string;
  label: string;
  help: string;
  required: boolean;
  kind:
    | 'integer'
    | 'number'
    | 'text'
    | 'boolean'
    | 'enum'
    | 'id'
    | 'time'
    | 'window'
    | 'list'
    | 'map'
    | 'object'
    | 'json';
  default?: any;
  examples: any[];
  nullable?: boolean;
  min?: number;
  max?: number;
  step?: number;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minItems?: number;
  maxItems?: number;
  options?: Json[];
  idKind?: IdKind;
  item?: Field;
  fields?: Field[];
}
/** What stands in a form: texts as they were typed, lists and groups of them. */
export type Texts = string | Texts[] | { [key: string]: Texts };
