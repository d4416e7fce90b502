/**
 * What this server's OPanel license permits: asked of opanel-agent, and what to go by while it is silent.
 *
 *     import { opanelLicense, opanelHint } from './opanel-license.mjs';
 *     const license = await opanelLicense('/var/lib/panel/license.last');
 *     if (!license.permits.create) refuse(opanelHint(license, 'tr'));
 *
 * Node.js 18 or newer, nothing else. The user that runs it is in the group opanel; the file lies where only he can write.
 * docs/panel-integration.md says what each member means and why the ladder of silence is as it is.
 */
import { randomBytes } from 'node:crypto';
import { open, rename, stat, unlink } from 'node:fs/promises';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';

const SOCKET = '/run/opanel-agent/agent.sock';
const MAX_BYTES = 256 * 1024;
const HOUR = 3600;
const DAY = 86400;
const BUSY = Buffer.from('{"code":"busy"}');
const START = {
  code: 'start_agent',
  tr: 'Lisans ajanı yanıt vermiyor. Sunucuda root olarak şunu çalıştırın: systemctl start opanel-agent',
  en: 'The license agent does not answer. Run this on the server, as root: systemctl start opanel-agent',
};

/**
 * The license as GET /v1/license tells it, and beside it `source` ("agent", "file": its last answer, "none") and `kept`:
 * whether `file` holds what a later silence needs. Takes at most `timeoutMs`; never rejects. `now` is for tests.
 */
export async function opanelLicense(file, { now = Math.floor(Date.now() / 1000), socket = SOCKET, timeoutMs = 500 } = {}) {
  const [heard, seen, last] = await recall(file);
  const body = await ask(socket, timeoutMs);
  const license = body === null ? null : understand(body);
  if (license !== null) {
    // Not at every page: when something changed, and once an hour.
    const known = last !== null && body.equals(last) && seen <= now && now < seen + HOUR;
    return { ...license, source: 'agent', kept: known || (await keep(file, now, now, body)) };
  }
  if (last === null) return { ...silent(null, now), source: 'none', kept: false };
  const before = understand(last);
  // A clock that was set back makes nothing younger: it goes on from the latest time that was seen, and counts at least
  // what has passed since the answer was heard, also where it was wrong then.
  const clock = Math.max(now, seen);
  const time = Math.max(clock, before.as_of + clock - heard);
  const kept = clock < seen + HOUR || (await keep(file, heard, clock, last));
  return { ...silent(before, time), source: 'file', kept };
}

/** The one thing to do, for a person; null where there is nothing. */
export function opanelHint(license, language) {
  const action = license.next_action;
  return action.code === 'none' ? null : action[language === 'tr' ? 'tr' : 'en'];
}

/** What to go by while the agent is silent: the last answer, then grace for 14 days, then expired; never more than it. */
function silent(last, time) {
  const expired = { run: true, change: true, create: false, paid_features: false };
  if (last === null) {
    return {
      schema: 1, state: 'expired', reasons: ['agent_silent'], since: null, until: null, permits: expired,
      features: [], limits: {}, tier: null, reseller: null, next_action: START,
      as_of: null, good_until: null, last_success: null, warnings: [],
    };
  }
  const reasons = ['agent_silent', ...last.reasons.filter((reason) => reason !== 'ok')];
  const told = { ...last, reasons, permits: { ...last.permits, run: true }, next_action: START };
  const graceEnds = last.good_until + 14 * DAY;
  if (time < last.good_until || !(last.permits.create || last.permits.paid_features)) return told;
  if (time < graceEnds) return { ...told, state: 'grace', since: last.good_until, until: graceEnds };
  const permits = { ...expired, change: last.permits.change };
  return { ...told, state: 'expired', since: graceEnds, until: null, permits };
}

/** An answer as it is documented; null for anything else. Unknown members stay. */
function understand(body) {
  let told;
  try {
    told = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch {
    return null;
  }
  const object = (value) => typeof value === 'object' && value !== null;
  const texts = (value) => Array.isArray(value) && value.every((item) => typeof item === 'string');
  const well =
    object(told) && told.schema === 1 && typeof told.state === 'string' &&
    texts(told.reasons) && texts(told.features) && object(told.limits) &&
    object(told.permits) &&
    ['run', 'change', 'create', 'paid_features'].every((name) => typeof told.permits[name] === 'boolean') &&
    object(told.next_action) &&
    ['code', 'tr', 'en'].every((name) => typeof told.next_action[name] === 'string') &&
    Number.isSafeInteger(told.as_of) && Number.isSafeInteger(told.good_until) &&
    told.as_of >= 0 && told.good_until <= told.as_of + 7 * DAY;
  return well ? told : null;
}

/** The body that the agent answers with, asked again while it says that too many ask; null when none comes in time. */
async function ask(socket, timeoutMs) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const [status, body] = await get(socket, Math.max(1, end - performance.now()));
    if (status !== 503 || !saysBusy(body) || performance.now() + 50 > end) return status === 200 ? body : null;
    await sleep(10 + 30 * Math.random());
  }
}

function saysBusy(body) {
  try {
    return JSON.parse(body.toString())?.code === 'busy';
  } catch {
    return false;
  }
}

/** One request: status and body; [0, null] for no answer, or none that is whole, in time and within bounds. */
function get(socket, timeoutMs) {
  return new Promise((resolve) => {
    const asked = request({ socketPath: socket, path: '/v1/license', headers: { Host: 'agent' }, agent: false });
    const end = (status, body) => {
      clearTimeout(deadline);
      resolve([status, body]);
      asked.destroy();
    };
    // The deadline is of the whole, not of a read: a byte now and then does not prolong it.
    const deadline = setTimeout(() => end(0, null), timeoutMs);
    // Turned away before it had asked: what was said at the door is lost then, so it counts as busy.
    asked.on('error', (error) => (['EPIPE', 'ECONNRESET'].includes(error.code) ? end(503, BUSY) : end(0, null)));
    asked.on('response', (response) => {
      const length = /^\d{1,6}$/.test(response.headers['content-length']) ? Number(response.headers['content-length']) : -1;
      let got = Buffer.alloc(0);
      response.on('error', () => end(0, null));
      response.on('data', (more) => {
        got = Buffer.concat([got, more]);
        if (got.length > MAX_BYTES) end(0, null);
      });
      response.on('end', () => (got.length === length ? end(response.statusCode, got) : end(0, null)));
    });
    asked.end();
  });
}

/** From the file, when its answer was heard, the latest time seen since, and the answer; null where it is not whole. */
async function recall(file) {
  const nothing = [0, 0, null];
  try {
    if (!(await stat(file)).isFile()) return nothing;
    const handle = await open(file, 'r');
    try {
      const { buffer, bytesRead } = await handle.read(Buffer.alloc(MAX_BYTES + 32), 0, MAX_BYTES + 32, 0);
      const kept = buffer.subarray(0, bytesRead);
      const line = Math.max(kept.indexOf('\n'), 0);
      const times = /^(\d{1,12}) (\d{1,12})$/.exec(kept.subarray(0, line).toString('latin1'));
      const body = kept.subarray(line + 1);
      return times && understand(body) !== null ? [Number(times[1]), Number(times[2]), body] : nothing;
    } finally {
      await handle.close();
    }
  } catch {
    return nothing;
  }
}

/** Replaces the file as a whole: whoever reads it finds the old or the new one, also after a crash. */
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
