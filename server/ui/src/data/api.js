// Requests to the server: relative to the page, with a deadline, and with faults as values that say
// what happened and what to do.
//
// Every failure is a `Problem`: the server's own (RFC 9457), or one of `unreachable`, `timeout`,
// `aborted`, `unreadable`.

/** @import {Answer, Fault, Question} from '../types' */

import { missingIn } from '../lib/expected.js';
import { parse } from '../lib/json.js';
import { bodyOf } from '../lib/question.js';

const DEADLINE_MS = 15_000;

/** @param {any} value @param {string} otherwise */
const textOf = (value, otherwise) => (typeof value === 'string' ? value : otherwise);

export class Problem extends Error {
  /**
   * What is of another kind than a problem has is left out: anybody may have answered.
   * @param {{ code: string, detail: string, status?: number, errors?: Fault[],
   *   [key: string]: any }} of
   */
  constructor(of) {
    super(textOf(of.detail, 'it is not said why'));
    this.name = 'Problem';
    this.code = textOf(of.code, 'unknown');
    this.detail = this.message;
    this.status = of.status ?? 0;
    /** @type {Fault[]} */
    this.errors = (Array.isArray(of.errors) ? of.errors : []).map((one) => ({
      pointer: textOf(one?.pointer, ''),
      detail: textOf(one?.detail, ''),
    }));
    /** Members beyond the usual ones: `suggestions`, `progress`, … @type {Record<string, any>} */
    this.more = of;
    /** Seconds after which to try again. @type {number | undefined} */
    this.retryAfter = undefined;
  }
}

/**
 * @typedef {object} Options
 * @property {string} [method]
 * @property {any} [body] sent as JSON
 * @property {string} [accept] media type of the answer, which then is taken as text
 * @property {AbortSignal} [signal]
 * @property {number} [deadline] milliseconds
 * @property {string} [etag] of what is known: a 304 then answers `undefined`
 */

/**
 * Sends a request and gives the response with its text, whatever its status.
 * @param {string} path relative: `api/metrics`
 * @param {Options} options
 */
async function send(path, { method = 'GET', body, accept, signal, deadline = DEADLINE_MS, etag }) {
  const ends = AbortSignal.timeout(deadline);
  /** @type {Record<string, string>} */
  const headers = { accept: accept ?? 'application/json, application/problem+json' };
  if (body !== undefined) headers['content-type'] = 'application/json';
  if (etag) headers['if-none-match'] = etag;
  try {
    const response = await fetch(path, {
      method,
      headers,
      body: JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, ends]) : ends,
      credentials: 'same-origin',
      cache: 'no-store',
    });
    return { response, text: await response.text() };
  } catch (error) {
    if (signal?.aborted) throw new Problem({ code: 'aborted', detail: 'no longer wanted' });
    if (ends.aborted)
      throw new Problem({
        code: 'timeout',
        detail: `${path} did not answer within ${deadline / 1000} s`,
      });
    throw new Problem({
      code: 'unreachable',
      detail: 'the server does not answer: is it running?',
      cause: error,
    });
  }
}

/** @param {string} text @returns {any} `undefined` where it is no JSON */
function read(text) {
  try {
    return parse(text);
  } catch {
    return undefined;
  }
}

/** @param {Response} response @param {string} text */
function problemOf({ status, statusText, headers }, text) {
  const { code, detail, ...more } = read(text) ?? {};
  const problem = new Problem({
    ...more,
    code: textOf(code, `http_${status}`),
    detail: textOf(detail, `${status} ${statusText}`),
    status,
  });
  const after = Number(headers.get('retry-after'));
  if (Number.isFinite(after) && after > 0) problem.retryAfter = after;
  return problem;
}

/**
 * What a request answers: `data` is `undefined` for 204 and 304. What does not look like an answer
 * to it is a problem: something between here and the server may have given it.
 * @param {string} path @param {Options} [options]
 * @returns {Promise<{ data: any, size: number, etag: string | null, status: number,
 *   headers: Headers }>} `size` in characters
 */
export async function ask(path, options = {}) {
  const { response, text } = await send(path, options);
  const { status, headers, ok } = response;
  const found = { data: undefined, size: text.length, etag: headers.get('etag'), status, headers };
  if (status === 304 || status === 204) return found;
  if (!ok) throw problemOf(response, text);
  if (options.accept) return { ...found, data: text };
  const data = read(text);
  const missing = missingIn(path, options.method, data);
  if (missing === undefined) return { ...found, data };
  throw new Problem({
    code: 'unreadable',
    detail:
      `${path} answered what is none of Tally's (${missing}): ` +
      'load the page again, or look at what is between',
    status,
  });
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
  const {
    data: { result, meta, warnings = [] },
    size,
  } = await ask('api/metrics', { method: 'POST', body: bodyOf(question), ...options });
  return { answer: { result, meta, warnings }, size };
}

/** Any failure as a `Problem`. @param {unknown} error @returns {Problem} */
export function asProblem(error) {
  return error instanceof Problem
    ? error
    : new Problem({
        code: 'page_error',
        detail: error instanceof Error ? error.message : String(error),
      });
}
