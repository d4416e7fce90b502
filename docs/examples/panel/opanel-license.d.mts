/** Types of opanel-license.mjs, which is checked against them. docs/panel-integration.md describes every member. */

export type Permit = 'run' | 'change' | 'create' | 'paid_features';

/** Why the agent gave no answer. */
export type Failure = 'stopped' | 'forbidden' | 'busy' | 'not_ready' | 'hung' | 'invalid_answer' | 'unreachable';

export interface Action {
  code: string;
  tr: string;
  en: string;
}

export interface Warning {
  state: string;
  reason: string;
  start: number;
  end: number | null;
  days_left: number | null;
}

export interface Reseller {
  name: string;
  email: string | null;
  phone: string | null;
  url: string | null;
  controller: Controller | null;
}

/** Who answers for personal data at the reseller. */
export interface Controller {
  name: string;
  address: string;
  email: string;
  kep: string | null;
  url: string | null;
}

/** The installed license: which it is, and its dates. */
export interface Terms {
  id: string;
  product: string;
  tier: string;
  issued: number;
  expires: number;
  renews_from: number;
  /** Until when it holds without another check; null where it needs none. */
  offline_until: number | null;
}

/** What GET /v1/license answers. Times are seconds since 1970. A later agent may add members. */
export interface Answer {
  schema: 1;
  state: string;
  reasons: string[];
  since: number | null;
  until: number | null;
  permits: Record<Permit, boolean>;
  features: string[];
  limits: Record<string, number>;
  tier: string | null;
  license: Terms | null;
  reseller: Reseller | null;
  next_action: Action;
  as_of: number | null;
  good_until: number | null;
  last_success: number | null;
  warnings: Warning[];
}

export interface License extends Answer {
  /** Whose word it is: the agent's, its last answer's from the file, or nobody's. */
  source: 'agent' | 'file' | 'none';
  /** Null while the agent answers. */
  failure: Failure | null;
  /** Whether the file holds what a later failure needs. */
  kept: boolean;
}

export interface Options {
  /** Seconds since 1970; for tests. */
  now?: number;
  socket?: string;
  /** Of the whole, in milliseconds; 1000 where it is left out. */
  timeoutMs?: number;
}

/** Resolves to what this installation may do; never rejects. Calls at the same time share one request. */
export function opanelLicense(file: string, options?: Options): Promise<License>;

/** Returns the one thing to do, for a person; null where there is nothing. */
export function opanelHint(license: Pick<Answer, 'next_action'>, language: string): string | null;

/** What a panel may withdraw: the consent to a purpose, or everything that tells this server apart. */
export type Withdrawable = 'usage_statistics' | 'crash_reports' | 'do_not_track';

/** Resolves to whether the agent has kept the withdrawal; never rejects. `timeoutMs` is 40000 where it is left out. */
export function opanelWithdraw(what: Withdrawable, options?: Pick<Options, 'socket' | 'timeoutMs'>): Promise<boolean>;
