// Holds the gateway's audit records against what the clients of the crowd say
// they did: each call is there once decided and done, under the right agent and
// era and no other, and each client that can only connect did.
//
//   ostiary audit query --format json | node log.mjs CLIENTS CALLS
//
// CLIENTS has a line "MARK ERA AGENT" for each client, CALLS a line "made
// UPSTREAM MARK-N" for each call; AGENT may hold spaces.
import { readFileSync } from 'node:fs';

const lines = (file) => readFileSync(file, 'utf8').split('\n').filter((line) => line !== '');
const clients = lines(process.argv[2]).map((line) => {
  const [, mark, era, agent] = line.match(/^(\S+) (\S+) (.+)$/);
  return { mark, era, agent };
});
const records = lines(0).map((line) => JSON.parse(line));
const outcomes = new Map(records.filter((r) => r.kind === 'outcome').map((r) => [r.decision_id, r.outcome]));
const calls = records.filter((r) => r.kind === 'decision' && r.request.method === 'tools/call');
const marked = (r) => r.arguments?.value?.message ?? r.arguments?.value?.what;
const wrong = [];

const made = lines(process.argv[3]).map((line) => line.split(' ').slice(1));
for (const [upstream, text] of made) {
  const { era, agent } = clients.find(({ mark }) => text.startsWith(`${mark}-`));
  const found = calls.filter((r) => r.upstream === upstream && marked(r) === text);
  const ends = found.map((r) => outcomes.get(r.decision_id));
  // A modern agent that is asked something comes back with the answer.
  const want = era === 'modern' && upstream === 'modern' ? 'input_required,ok' : 'ok';
  if (ends.join() !== want) wrong.push(`${text} at ${upstream}: ended ${ends.join() || 'nowhere'}, want ${want}`);
  for (const r of found) {
    if (r.agent.name !== agent || r.request.era !== era) wrong.push(`${text} at ${upstream}: under ${r.agent.name}, ${r.request.era}`);
  }
}
for (const { mark, era, agent } of clients) {
  if (!records.some((r) => r.agent?.name === agent && r.request.era === era)) wrong.push(`${mark}: no record of ${agent}, ${era}`);
}
const marks = calls.filter((r) => clients.some(({ mark }) => marked(r)?.startsWith(`${mark}-`)));
const known = new Set(made.map(([upstream, text]) => `${upstream} ${text}`));
for (const r of marks) {
  if (!known.has(`${r.upstream} ${marked(r)}`)) wrong.push(`${marked(r)} at ${r.upstream}: nobody called it`);
}
console.log(wrong.length > 0 ? wrong.join('\n') : `${made.length} calls of ${clients.length} clients`);
process.exit(wrong.length > 0 || made.length === 0 ? 1 : 0);
