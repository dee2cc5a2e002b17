// Preloaded into Node (NODE_OPTIONS=--import=…) so that programs which can't
// send a bearer do. It adds Authorization to every request for one origin and
// leaves all others alone. No proxy stands in the way: Host, Origin,
// connections and timing are the program's own. Two ways lead out of Node:
// undici (the built-in fetch and the undici package share one global
// dispatcher) and node:http, which the suite uses where fetch would not send
// a header as it is.
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';

const bearer = process.env.OSTIARY_CONFORMANCE_BEARER;
const origins = new Set((process.env.OSTIARY_CONFORMANCE_ORIGIN ?? '').split(' ').filter(Boolean));
const authorization = `Bearer ${bearer}`;

if (bearer && origins.size > 0) {
  await fetch('data:,'); // the dispatcher is made at the first use
  const key = Symbol.for('undici.globalDispatcher.1');
  globalThis[key] = globalThis[key].compose((dispatch) => (options, handler) => {
    if (!origins.has(String(options.origin))) return dispatch(options, handler);
    return dispatch({ ...options, headers: authorized(options.headers) }, handler);
  });

  const plain = http.request;
  http.request = (...args) => {
    const request = plain(...args);
    if (origins.has(target(args)) && !request.headersSent && !request.hasHeader('authorization')) {
      request.setHeader('authorization', authorization);
    }
    return request;
  };
  http.get = (...args) => http.request(...args).end();
  syncBuiltinESMExports();
}

// target is where a node:http request really goes, whatever its Host says.
function target([input, more]) {
  const url = typeof input === 'string' || input instanceof URL ? new URL(input) : undefined;
  const options = url ? more : input;
  const host = options?.hostname ?? options?.host ?? url?.hostname ?? 'localhost';
  return `http://${host}:${options?.port ?? url?.port ?? 80}`;
}

// authorized adds the header to each of the forms that undici takes: an
// object, a flat list of names and values, or pairs.
function authorized(headers) {
  if (!headers) return { authorization };
  if (Array.isArray(headers) && !Array.isArray(headers[0])) {
    const named = headers.some((h, i) => i % 2 === 0 && String(h).toLowerCase() === 'authorization');
    return named ? headers : [...headers, 'authorization', authorization];
  }
  const pairs = typeof headers[Symbol.iterator] === 'function' ? [...headers] : Object.entries(headers);
  if (pairs.some(([name]) => name.toLowerCase() === 'authorization')) return headers;
  return Object.fromEntries([...pairs, ['authorization', authorization]]);
}
