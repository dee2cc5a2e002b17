// A program that speaks JSON-RPC, one message a line, on its stdin and stdout.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

// talk starts a program and returns request(method, params), which resolves to
// the result or rejects with the error and its code; notify(method, params);
// and close(), which closes its stdin and resolves to its exit code. asked
// answers the program's own requests, told hears its notifications; also is
// added to every message. What waits when the program ends is rejected.
export function talk(command, args, { asked = () => ({}), told = () => {}, also = {} } = {}) {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  const waiting = new Map();
  let errors = '';
  child.stderr.on('data', (chunk) => { errors = (errors + chunk).slice(-1000); });
  const ended = new Promise((done) => child.on('close', (code) => {
    for (const { reject } of waiting.values()) reject(new Error(`${command} ended with ${code}: ${errors}`));
    done(code);
  }));
  const send = (message) => child.stdin.write(`${JSON.stringify({ ...also, ...message })}\n`);
  createInterface({ input: child.stdout }).on('line', async (line) => {
    const { id, method, params, result, error } = JSON.parse(line);
    if (method !== undefined && id === undefined) told(method, params);
    else if (method !== undefined) send({ id, result: await asked(method, params) });
    else {
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(Object.assign(new Error(error.message), error));
      else resolve(result);
    }
  });
  let last = 0;
  return {
    request: (method, params) => new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      send({ id: last, method, params });
    }),
    notify: (method, params) => send({ method, params }),
    close: () => {
      child.stdin.end();
      return ended;
    },
  };
}
