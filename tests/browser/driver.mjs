// Drives headless Chromium by one JSON command a line, and answers each with one line: {"value": …} or {"error": "…"}.
// argv: the folder that node_modules is in, and Chromium's program.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, program] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { chromium } = require('playwright-core');
const { source: axe } = require('axe-core');

// Chromium's own sandbox does not work for root; what it shows here is this repository's own page.
const args = process.getuid() === 0 ? ['--no-sandbox'] : [];
const browser = await chromium.launch({ executablePath: program, args });
let page;
let complaints = [];

// Does it; what it leads to has loaded afterwards.
async function ending(leads, act) {
  await Promise.all([leads ? page.waitForEvent('load') : null, act()]);
}

const commands = {
  // A new visitor: no cookie, no history.
  async visit({ width, dark, locale }) {
    await page?.context().close();
    const context = await browser.newContext({
      viewport: { width, height: 900 },
      colorScheme: dark ? 'dark' : 'light',
      locale,
      timezoneId: 'Europe/Istanbul',
    });
    context.setDefaultTimeout(10000);
    page = await context.newPage();
    complaints = [];
    page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('requestfailed', (request) => complaints.push(`${request.url()} ${request.failure().errorText}`));
    context.on('request', (request) => request.url().startsWith('data:') && complaints.push(request.url()));
  },
  async look({ width, dark }) {
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: dark ? 'dark' : 'light' });
  },
  open: async ({ url }) => (await page.goto(url)).status(),
  click: ({ role, name, leads }) => ending(leads, () => page.getByRole(role, { name, exact: true }).click()),
  press: ({ key, leads }) => ending(leads, () => page.keyboard.press(key)),
  evaluate: ({ code }) => page.evaluate(code),
  // The rules that it breaks, each with the first element that does.
  async axe() {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run({ resultTypes: ['violations'] }));
    return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes[0].html} ${nodes[0].failureSummary}`);
  },
  // Of a page that is too high for a picture, what the window shows.
  async shot({ path }) {
    const height = await page.evaluate('document.documentElement.scrollHeight');
    await page.screenshot({ path, fullPage: height < 10000 });
  },
  complaints: () => complaints,
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...options } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ value: (await commands[command](options)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error) }));
  }
}
await browser.close();
