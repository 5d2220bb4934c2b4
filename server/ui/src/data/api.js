// Requests to the server: relative to the page, with a deadline, and with faults as values that say
// what happened and what to do.
//
// Every failure is a `Problem`: the server's own (RFC 9457), or one of `unreachable`, `timeout`,
// `aborted`, `unreadable`.

/** @import {Answer, Fault, Question} from '../types' */

import { bodyOf } from '../lib/question.js';

const DEADLINE_MS = 15_000;

export class Problem extends Error {
  /** @param {{ code: string, detail: string, status?: number, errors?: Fault[], [key: string]: any }} of */
  constructor(of) {
    super(of.detail);
    this.name = 'Problem';
    this.code = of.code;
    this.detail = of.detail;
    this.status = of.status ?? 0;
    this.errors = of.errors ?? [];
    /** Members beyond the usual ones: `suggestions`, `progress`, … @type {Record<string, any>} */
    this.more = of;
    /** Seconds after which to try again. @type {number | undefined} */
    this.retryAfter = undefined;
  }
}

/**
 * @typedef {object} Options
 * @property {string} [method]
 * @property {any} [body] sent as JSON, unless `type` says otherwise: then as it is
 * @property {string} [type] media type of the body
 * @property {string} [accept]
 * @property {AbortSignal} [signal]
 * @property {number} [deadline] milliseconds
 * @property {string} [etag] of what is known: a 304 then answers `undefined`
 */

/**
 * Sends a request and gives the response, whatever its status.
 * @param {string} path relative: `api/metrics`
 * @param {Options} [options]
 */
async function send(path, { method = 'GET', body, type, accept, signal, deadline = DEADLINE_MS, etag } = {}) {
  const ends = AbortSignal.timeout(deadline);
  /** @type {Record<string, string>} */
  const headers = { accept: accept ?? 'application/json, application/problem+json' };
  if (body !== undefined) headers['content-type'] = type ?? 'application/json';
  if (etag) headers['if-none-match'] = etag;
  try {
    return await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : type ? body : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, ends]) : ends,
      credentials: 'same-origin',
      cache: 'no-store',
    });
  } catch (error) {
    if (signal?.aborted) throw new Problem({ code: 'aborted', detail: 'no longer wanted' });
    if (ends.aborted) throw new Problem({ code: 'timeout', detail: `${path} did not answer within ${deadline / 1000} s` });
    throw new Problem({ code: 'unreachable', detail: 'the server does not answer: is it running?', cause: error });
  }
}

/** @param {Response} response */
async function problemOf(response) {
  let of;
  try {
    of = await response.json();
  } catch {
    of = undefined;
  }
  const problem = new Problem({
    code: `http_${response.status}`,
    detail: `${response.status} ${response.statusText}`,
    ...(of !== null && typeof of === 'object' ? of : {}),
    status: response.status,
  });
  const after = Number(response.headers.get('retry-after'));
  if (Number.isFinite(after) && after > 0) problem.retryAfter = after;
  return problem;
}

/**
 * What a request answers: `data` is `undefined` for 204 and 304.
 * @param {string} path @param {Options} [options]
 * @returns {Promise<{ data: any, size: number, etag: string | null, status: number, headers: Headers }>} `size` in characters
 */
export async function ask(path, options) {
  const response = await send(path, options);
  const { status, headers } = response;
  const etag = headers.get('etag');
  if (status === 304 || status === 204) return { data: undefined, size: 0, etag, status, headers };
  if (!response.ok) throw await problemOf(response);
  try {
    const text = await response.text();
    const json = /json/.test(headers.get('content-type') ?? '');
    return { data: json ? JSON.parse(text) : text, size: text.length, etag, status, headers };
  } catch {
    throw new Problem({ code: 'unreadable', detail: `${path} answered what is no JSON`, status });
  }
}

/** @param {string} path @param {Options} [options] @returns {Promise<any>} */
export async function get(path, options) {
  return (await ask(path, options)).data;
}

/** @param {string} path @param {any} body @param {Options} [options] @returns {Promise<any>} */
export async function post(path, body, options) {
  return (await ask(path, { method: 'POST', body, ...options })).data;
}

/**
 * Evaluates a metric once.
 * @param {Question} question @param {Options} [options]
 * @returns {Promise<{ answer: Answer, size: number }>}
 */
export async function measured(question, options) {
  const { data: { result, meta, warnings = [] }, size } = await ask('api/metrics', { method: 'POST', body: bodyOf(question), ...options });
  return { answer: { result, meta, warnings }, size };
}

/** Any failure as a `Problem`. @param {unknown} error @returns {Problem} */
export function asProblem(error) {
  return error instanceof Problem ? error : new Problem({ code: 'page_error', detail: error instanceof Error ? error.message : String(error) });
}
