/// <reference types="node" />
/**
 * Asks opanel-agent what this server's OPanel license permits, and says what to go by while the agent does not answer.
 *
 *     import { opanelLicense, opanelHint } from './opanel-license.mjs';
 *     const license = await opanelLicense('/var/lib/panel/license.last');
 *     if (!license.permits.create) refuse(opanelHint(license, 'tr'));
 *
 * Node.js 18 or newer, nothing else. The user that runs it is in the group opanel; the file lies where only that user can
 * write. docs/panel-integration.md describes every member.
 */
import { randomBytes } from 'node:crypto';
import { open, readFile, rename, stat, unlink, utimes, writeFile } from 'node:fs/promises';
import { createConnection } from 'node:net';
import { userInfo } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

/**
 * @typedef {import('./opanel-license.d.mts').Failure} Failure
 * @typedef {import('./opanel-license.d.mts').License} License
 * @typedef {import('./opanel-license.d.mts').Answer & { as_of: number, good_until: number }} Answer
 * @typedef {{ status: number, body: Buffer } | { failure: Failure }} Outcome
 */

const SOCKET = '/run/opanel-agent/agent.sock';
const MAX_BYTES = 256 * 1024;
const HOUR_S = 3600;
const DAY_S = 86400;
const PAUSE_MS = 5000; // while this lasts, nobody waits for an agent that does not answer
const AGAIN_MS = 100; // the deadline while somebody has missed a longer one, and nobody was answered since
const REQUEST = 'GET /v1/license HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n';
/** @type {import('./opanel-license.d.mts').Permit[]} */
const PERMITS = ['run', 'change', 'create', 'paid_features'];

/** By what failed: the code, and the same for a person. @type {Record<Failure, [code: string, tr: string, en: string]>} */
const ACTIONS = {
  stopped: [
    'start_agent',
    'Lisans ajanı çalışmıyor. Sunucuda root olarak şunu çalıştırın: ' +
      'systemctl start opanel-agent.socket opanel-agent.service; düzelmezse nedenine bakın: ' +
      'systemctl status opanel-agent.socket opanel-agent.service',
    'The license agent is not running. Run this on the server, as root: ' +
      'systemctl start opanel-agent.socket opanel-agent.service; if that does not help, see why: ' +
      'systemctl status opanel-agent.socket opanel-agent.service',
  ],
  forbidden: [
    'join_group',
    'Panelin lisans ajanına sorma izni yok. Sunucuda root olarak şunu çalıştırın: ' +
      'usermod -aG opanel %s; ardından paneli yeniden başlatın. Düzelmezse: opanel-agent doctor',
    'The panel is not permitted to ask the license agent. Run this on the server, as root: ' +
      'usermod -aG opanel %s; then restart the panel. If that does not help: opanel-agent doctor',
  ],
  busy: [
    'try_again',
    'Lisans ajanına şu anda çok fazla istek geliyor. Sayfayı bir dakika sonra yenileyin. ' +
      'Düzelmezse sunucuda root olarak şunu çalıştırın: systemctl restart opanel-agent.service',
    'The license agent has too many requests at the moment. Reload the page in a minute. ' +
      'If that does not help, run this on the server, as root: systemctl restart opanel-agent.service',
  ],
  not_ready: [
    'try_again',
    'Lisans ajanı yeni başladı, yanıtı henüz hazır değil. Sayfayı bir dakika sonra yenileyin. ' +
      'Düzelmezse sunucuda root olarak şunu çalıştırın: opanel-agent doctor',
    'The license agent has just started and has no answer yet. Reload the page in a minute. ' +
      'If that does not help, run this on the server, as root: opanel-agent doctor',
  ],
  hung: [
    'restart_agent',
    'Lisans ajanına bağlanıldı ama yanıt gelmedi. Sunucuda root olarak şunu çalıştırın: ' +
      'systemctl restart opanel-agent.service; düzelmezse nedenine bakın: ' +
      'systemctl status opanel-agent.socket opanel-agent.service',
    'The license agent was connected to and does not answer. Run this on the server, as root: ' +
      'systemctl restart opanel-agent.service; if that does not help, see why: ' +
      'systemctl status opanel-agent.socket opanel-agent.service',
  ],
  invalid_answer: [
    'run_doctor',
    'Lisans ajanından geçerli bir yanıt alınamadı. Sunucuda root olarak şunu çalıştırın: opanel-agent doctor',
    'The license agent gave no valid answer. Run this on the server, as root: opanel-agent doctor',
  ],
  unreachable: [
    'check_panel',
    'Panel, lisans ajanına bağlanamadı; açık dosya sınırına ulaşmış olabilir. Paneli yeniden ' +
      'başlatın. Düzelmezse sunucuda root olarak şunu çalıştırın: opanel-agent doctor',
    'The panel could not connect to the license agent; it may have reached its limit of open files. ' +
      'Restart the panel. If that does not help, run this on the server, as root: opanel-agent doctor',
  ],
};

/** By errno; what is not here is `unreachable`. @type {Record<string, Failure>} */
const REFUSED = {
  ENOENT: 'stopped', ECONNREFUSED: 'stopped', EACCES: 'forbidden', EPERM: 'forbidden',
  EINTR: 'busy', EAGAIN: 'busy', EPIPE: 'busy', ECONNABORTED: 'busy', ECONNRESET: 'busy',
};

/** Calls under way, so that many at a time ask once. @type {Map<string, Promise<License>>} */
const underWay = new Map();

/**
 * Resolves to GET /v1/license's members, and beside them `source` ("agent", "file": the last answer, "none"), `failure`
 * (null, or why the agent gave no answer) and `kept` (whether the file holds what a later failure needs). Takes
 * `timeoutMs` at most, and longer only where this process was blocked meanwhile; never rejects.
 *
 * @type {typeof import('./opanel-license.d.mts').opanelLicense}
 */
export async function opanelLicense(file, { now, socket = SOCKET, timeoutMs = 1000 } = {}) {
  const key = JSON.stringify([file, socket, timeoutMs, now]);
  const shared = underWay.get(key);
  if (shared !== undefined) return structuredClone(await shared);
  const license = judge(file, now ?? Math.floor(Date.now() / 1000), socket, timeoutMs);
  underWay.set(key, license);
  try {
    return structuredClone(await license);
  } finally {
    underWay.delete(key);
  }
}

/** Returns the one thing to do, for a person; null where there is nothing. @type {typeof import('./opanel-license.d.mts').opanelHint} */
export function opanelHint(license, language) {
  const action = license.next_action;
  return action.code === 'none' ? null : action[language === 'tr' ? 'tr' : 'en'];
}

/**
 * Withdraws the consent to "usage_statistics" or "crash_reports", or asks for "do_not_track". Resolves to true only where the
 * agent has said that the withdrawal is kept; asking again for the same does no harm. Never rejects.
 *
 * @type {typeof import('./opanel-license.d.mts').opanelWithdraw}
 */
export async function opanelWithdraw(what, { socket = SOCKET, timeoutMs = 40000 } = {}) {
  const json = JSON.stringify(what === 'do_not_track' ? { [what]: true } : { purpose: what });
  const head = `POST /v1/withdraw HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Length: ${Buffer.byteLength(json)}\r\n\r\n`;
  const { outcome } = await ask(socket, timeoutMs, head + json);
  if (!('body' in outcome)) return false;
  try {
    return JSON.parse(outcome.body.toString())?.ok === true;
  } catch {
    return false; // no reply of the agent's: nothing says that it is kept
  }
}

/** @param {string} file @param {number} now @param {string} socket @param {number} timeoutMs @returns {Promise<License>} */
async function judge(file, now, socket, timeoutMs) {
  const { heard, seen, last } = await recall(file);
  const asked = await askUnlessPaused(file, socket, timeoutMs);
  const answer = 'body' in asked ? parse(asked.body) : null;
  if ('body' in asked && answer !== null) {
    // Not at every page: when something changed, and once an hour.
    const known = last !== null && asked.body.equals(last) && seen <= now && now < seen + HOUR_S;
    return { ...answer, source: 'agent', failure: null, kept: known || (await keep(file, now, now, asked.body)) };
  }
  const failure = 'failure' in asked ? asked.failure : 'invalid_answer';
  const before = last === null ? null : parse(last);
  if (last === null || before === null) return { ...fallback(null, now, failure), source: 'none', failure, kept: false };
  // A clock that was set back makes nothing younger: it goes on from the latest time that was seen, and counts at least
  // what has passed since the answer was heard, also where it was wrong then.
  const clock = Math.max(now, seen);
  const time = Math.max(clock, before.as_of + clock - heard);
  const kept = clock < seen + HOUR_S || (await keep(file, heard, clock, last));
  return { ...fallback(before, time, failure), source: 'file', failure, kept };
}

/**
 * Returns what to go by without the agent: the last answer, then grace for 14 days, then expired; never more than the last
 * answer permitted.
 *
 * @param {Answer | null} last @param {number} time @param {Failure} failure
 * @returns {import('./opanel-license.d.mts').Answer}
 */
function fallback(last, time, failure) {
  const [code, turkish, english] = ACTIONS[failure];
  const user = english.includes('%s') ? userName() : null;
  const next_action = { code, tr: turkish.replace('%s', user ?? 'KULLANICI'), en: english.replace('%s', user ?? 'USER') };
  const expired = { run: true, change: true, create: false, paid_features: false };
  if (last === null) {
    return {
      schema: 1, state: 'expired', reasons: ['agent_silent'], since: null, until: null, permits: expired,
      features: [], limits: {}, tier: null, license: null, reseller: null, next_action,
      as_of: null, good_until: null, last_success: null, warnings: [],
    };
  }
  const reasons = ['agent_silent', ...last.reasons.filter((reason) => reason !== 'ok')];
  const held = { ...last, reasons, permits: { ...last.permits, run: true }, next_action };
  const graceEnds = last.good_until + 14 * DAY_S;
  if (time < last.good_until || !(last.permits.create || last.permits.paid_features)) return held;
  if (time < graceEnds) return { ...held, state: 'grace', since: last.good_until, until: graceEnds };
  const permits = { ...expired, change: last.permits.change };
  return { ...held, state: 'expired', since: graceEnds, until: null, permits };
}

/** Returns an answer as it is documented, unknown members included; null for anything else. @param {Buffer} body @returns {Answer | null} */
function parse(body) {
  /** @type {any} */
  let answer;
  try {
    answer = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    return null;
  }
  /** @type {(value: unknown) => boolean} */
  const object = (value) => typeof value === 'object' && value !== null;
  /** @type {(value: unknown) => boolean} */
  const texts = (value) => Array.isArray(value) && value.every((item) => typeof item === 'string');
  const valid =
    object(answer) && answer.schema === 1 && typeof answer.state === 'string' &&
    texts(answer.reasons) && texts(answer.features) && object(answer.limits) &&
    object(answer.permits) && PERMITS.every((name) => typeof answer.permits[name] === 'boolean') &&
    object(answer.next_action) && ['code', 'tr', 'en'].every((name) => typeof answer.next_action[name] === 'string') &&
    Number.isSafeInteger(answer.as_of) && Number.isSafeInteger(answer.good_until) &&
    answer.as_of >= 0 && answer.good_until <= answer.as_of + 7 * DAY_S;
  return valid ? answer : null;
}

/**
 * Resolves to the response, or to why there is none.
 *
 * A missed deadline is noted beside the file. Under overload others are answered, and any answer takes the note away;
 * whoever asks while it is there waits for a tenth of a second only. Who then finds no answer either makes it a pause: for
 * five seconds every page of every process goes by the note at once, and then one of them asks again. So a hung agent costs
 * one time-out, not one a page.
 *
 * @param {string} file @param {string} socket @param {number} timeoutMs @returns {Promise<Outcome>}
 */
async function askUnlessPaused(file, socket, timeoutMs) {
  const note = `${file}.failure`;
  const noted = await readNote(note);
  if (noted !== null && noted !== 'once') return { failure: noted };
  const begun = process.hrtime.bigint();
  const { outcome, waited } = await ask(socket, noted === 'once' ? Math.min(timeoutMs, AGAIN_MS) : timeoutMs);
  const failure = waited && 'failure' in outcome ? outcome.failure : null;
  if (failure === null) await unlink(note).catch(() => {});
  else if (failure !== 'unreachable') await writeNote(note, failure, begun); // which is this process's own trouble
  return outcome;
}

/**
 * Resolves to the failure to go by without asking; "once" where one page missed its deadline; else null.
 *
 * @param {string} note @returns {Promise<Failure | 'once' | null>}
 */
async function readNote(note) {
  try {
    const found = await stat(note);
    if (!found.isFile()) return null;
    const now = Date.now();
    const age = now - found.mtimeMs;
    if (age < -1000 || age >= PAUSE_MS) {
      await utimes(note, now / 1000, now / 1000); // the others go by it while this one asks
      return null;
    }
    const text = await readFile(note, 'latin1');
    return isFailure(text) ? text : 'once';
  } catch {
    return null;
  }
}

/**
 * Notes a missed deadline; a pause only where another page missed its own before this one began to ask.
 *
 * @param {string} note @param {Failure} failure @param {bigint} begun
 */
async function writeNote(note, failure, begun) {
  const text = await readFile(note, 'latin1').catch(() => '');
  const before = /^once (\d{1,18})$/.exec(text);
  const now = process.hrtime.bigint();
  if (isFailure(text) || (before !== null && BigInt(before[1]) < begun)) await writeFile(note, failure).catch(() => {});
  // None, or one from before this machine was started.
  else if (before === null || BigInt(before[1]) > now) await writeFile(note, `once ${now}`).catch(() => {});
}

/** @param {string} text @returns {text is Failure} */
function isFailure(text) {
  return Object.keys(ACTIONS).includes(text);
}

/**
 * Resolves to the response, or to why there is none, and whether the whole time-out has passed. Asks again while the agent
 * is overloaded or restarts.
 *
 * @param {string} socket @param {number} timeoutMs @param {string} [request]
 * @returns {Promise<{ outcome: Outcome, waited: boolean }>}
 */
async function ask(socket, timeoutMs, request = REQUEST) {
  const end = performance.now() + timeoutMs;
  /** @type {ReturnType<typeof refusal>} */
  let refused = 'busy';
  for (;;) {
    const begun = performance.now();
    let outcome = await get(socket, Math.max(1, end - begun), request);
    if ('body' in outcome) {
      if (outcome.status === 200) return { outcome, waited: false };
      refused = refusal(outcome.body);
      outcome = { failure: refused };
    } else if (['stopped', 'forbidden', 'invalid_answer'].includes(outcome.failure)) {
      return { outcome, waited: false };
    } else if (outcome.failure === 'busy' || (outcome.failure === 'hung' && performance.now() - begun < timeoutMs / 2)) {
      outcome = { failure: refused }; // refused until now, and then too little time was left to call it hung
    }
    const pauseMs = 5 + 20 * Math.random();
    if (performance.now() + pauseMs >= end) return { outcome, waited: true };
    await sleep(pauseMs);
  }
}

/** Returns what a 503 means, by the code of its problem document. @param {Buffer} body @returns {Failure} */
function refusal(body) {
  let code = 'busy';
  try {
    code = JSON.parse(body.toString())?.code ?? 'busy';
  } catch {
    // no problem document: whoever says 503 without one is overloaded
  }
  return code === 'busy' ? 'busy' : code === 'not_yet' ? 'not_ready' : 'invalid_answer';
}

/**
 * Resolves to the response of one request, or to what failed.
 *
 * @param {string} socket @param {number} timeoutMs @param {string} request @returns {Promise<Outcome>}
 */
function get(socket, timeoutMs, request) {
  return new Promise((resolve) => {
    let got = Buffer.alloc(0);
    const end = performance.now() + timeoutMs;
    const connection = createConnection({ path: socket });
    const finish = (/** @type {Outcome} */ outcome) => {
      clearTimeout(deadline);
      connection.destroy();
      resolve(outcome);
    };
    // The deadline is of the whole: a byte now and then does not prolong it. A timer that fires late shows that this
    // process was blocked: what has come meanwhile is read first.
    const missed = () => {
      if (performance.now() - end < 20) finish({ failure: 'hung' });
      else deadline = setTimeout(finish, 50, { failure: 'hung' });
    };
    let deadline = setTimeout(missed, timeoutMs);
    connection.on('error', (/** @type {NodeJS.ErrnoException} */ error) => {
      finish({ failure: REFUSED[error.code ?? ''] ?? 'unreachable' });
    });
    connection.on('connect', () => connection.write(request));
    connection.on('data', (/** @type {Buffer} */ more) => {
      got = Buffer.concat([got, more]);
      const outcome = response(got) ?? (got.length > MAX_BYTES ? { failure: 'invalid_answer' } : null);
      if (outcome !== null) finish(outcome);
    });
    // Closed before a whole answer: turned away, or it is being restarted.
    connection.on('close', () => finish({ failure: 'busy' }));
  });
}

/** Returns the response that these bytes are, null while they may become one. @param {Buffer} got @returns {Outcome | null} */
function response(got) {
  const headEnd = got.indexOf('\r\n\r\n');
  if (headEnd < 0) {
    return 'HTTP/1.'.startsWith(got.subarray(0, 7).toString('latin1')) ? null : { failure: 'invalid_answer' };
  }
  const head = got.subarray(0, headEnd + 2).toString('latin1');
  const status = /^HTTP\/1\.[01] (\d{3})[ \r]/.exec(head);
  const length = /^content-length:[ \t]*(\d{1,6})[ \t]*\r$/im.exec(head);
  if (status === null || length === null || Number(length[1]) > MAX_BYTES) return { failure: 'invalid_answer' };
  const body = got.subarray(headEnd + 4, headEnd + 4 + Number(length[1]));
  if (body.length < Number(length[1])) return null;
  return ['200', '503'].includes(status[1]) ? { status: Number(status[1]), body } : { failure: 'invalid_answer' };
}

/**
 * Resolves to when the answer in the file was heard, the latest time seen since, and the answer; null where it is not whole.
 *
 * @param {string} file @returns {Promise<{ heard: number, seen: number, last: Buffer | null }>}
 */
async function recall(file) {
  const nothing = { heard: 0, seen: 0, last: null };
  try {
    if (!(await stat(file)).isFile()) return nothing;
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_BYTES + 32), 0, MAX_BYTES + 32, 0);
      const kept = buffer.subarray(0, bytesRead);
      const line = Math.max(kept.indexOf('\n'), 0);
      const times = /^(\d{1,12}) (\d{1,12})$/.exec(kept.subarray(0, line).toString('latin1'));
      const last = kept.subarray(line + 1);
      return times && parse(last) !== null ? { heard: Number(times[1]), seen: Number(times[2]), last } : nothing;
    } finally {
      await handle.close();
    }
  } catch {
    return nothing;
  }
}

/**
 * Replaces the file as a whole: readers find the old or the new one, also after a crash.
 *
 * @param {string} file @param {number} heard @param {number} seen @param {Buffer} body @returns {Promise<boolean>}
 */
async function keep(file, heard, seen, body) {
  const fresh = `${file}.${randomBytes(8).toString('hex')}`;
  try {
    const handle = await open(fresh, 'wx', 0o600);
    try {
      await handle.writeFile(Buffer.concat([Buffer.from(`${heard} ${seen}\n`), body]));
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(fresh, file);
    return true;
  } catch {
    await unlink(fresh).catch(() => {});
    return false;
  }
}

/** Returns the name of the user that this process runs as, null where there is none. @returns {string | null} */
function userName() {
  try {
    const { username } = userInfo();
    return /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(username) ? username : null;
  } catch {
    return null;
  }
}
