// A panel in Node.js: many workers in one process. With a library, docs/examples/panel's; without, node:http, no retries.
import { existsSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';

const [socket, begin, seconds, out, workers, library, file] = process.argv.slice(2);
const { opanelLicense } = library ? await import(library) : {};

const plain = () =>
  new Promise((resolve) => {
    const asked = request({ socketPath: socket, path: '/v1/license', agent: false, timeout: 5000 }, (response) => {
      response.resume();
      response.on('error', (error) => resolve(error.code));
      response.on('end', () => resolve(String(response.statusCode)));
    });
    asked.on('error', (error) => resolve(error.code));
    asked.on('timeout', () => asked.destroy(Object.assign(new Error(), { code: 'timeout' })));
    asked.end();
  });
const ask = library ? async () => (await opanelLicense(file, { socket })).failure ?? '200' : plain;

const outcomes = {};
const latencies = [];
writeFileSync(`${out}.ready`, '');
while (!existsSync(begin)) await new Promise((resolve) => setTimeout(resolve, 2));
const end = performance.now() + seconds * 1000;
const worker = async () => {
  for (let begun; (begun = performance.now()) < end; ) {
    const outcome = await ask();
    latencies.push((performance.now() - begun) / 1000);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  }
};
await Promise.all(Array.from({ length: Number(workers) }, worker));
writeFileSync(out, JSON.stringify([outcomes, latencies]));
