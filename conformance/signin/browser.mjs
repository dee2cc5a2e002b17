// A person with a browser, without a screen: follows redirects, keeps cookies,
// fills in sign-in forms and presses "approve". It runs no script: a page that
// needs one is where it stops.
//
//   node browser.mjs PERSON.json URL
//
// PERSON.json: {"username", "password", "provider": true to sign in at the
// company's, "decision": "deny" to refuse}. Prints one line of JSON: the URL it
// was sent to, the pages it saw, where it ended. Exit code 1 if that is a page
// with a form that it does not know, or an error.
import { readFileSync } from 'node:fs';
import http from 'node:http';

const steps = 30; // more are a circle

// cookies are kept as browsers do: by host name, whatever the port.
const jar = new Map();
function take(url, headers) {
  for (const line of headers['set-cookie'] ?? []) {
    const [pair, ...attributes] = line.split(';').map((s) => s.trim());
    const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)];
    const given = Object.fromEntries(attributes.map((a) => [a.split('=')[0].toLowerCase(), a.split('=').slice(1).join('=')]));
    const gone = Number(given['max-age'] ?? 1) <= 0 || Date.parse(given.expires ?? '9999-01-01') < Date.now();
    const key = `${url.hostname} ${given.path ?? '/'} ${name}`;
    if (gone) jar.delete(key);
    else jar.set(key, { host: url.hostname, path: given.path ?? '/', pair: `${name}=${value}` });
  }
}
function cookies(url) {
  return [...jar.values()].filter((c) => c.host === url.hostname && url.pathname.startsWith(c.path)).map((c) => c.pair).join('; ');
}

// visit is one request. The headers are those of Chromium, for which a page
// with "no-referrer" posts with the origin null. No answer is status 0.
function visit(url, { form, site = 'none' } = {}) {
  const headers = { accept: 'text/html,*/*;q=0.8', 'user-agent': 'Mozilla/5.0 (a person)', 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document', 'sec-fetch-site': site };
  if (cookies(url)) headers.cookie = cookies(url);
  if (form) Object.assign(headers, { 'content-type': 'application/x-www-form-urlencoded', origin: 'null' });
  return new Promise((done) => {
    const failed = (err) => done({ status: 0, type: '', body: `${url.origin}: ${err.message}` });
    const request = http.request(url, { method: form ? 'POST' : 'GET', headers }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (s) => { body += s; }).on('error', failed).on('end', () => {
        take(url, response.headers);
        done({ status: response.statusCode, location: response.headers.location, type: response.headers['content-type'] ?? '', body });
      });
    });
    request.setTimeout(60_000, () => request.destroy(new Error(`no answer of ${url.origin} within a minute`)));
    request.on('error', failed).end(form?.toString());
  });
}

const entities = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };
const plain = (s) => s.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (all, hex, dec, name) =>
  hex ? String.fromCodePoint(parseInt(hex, 16)) : dec ? String.fromCodePoint(Number(dec)) : entities[name] ?? all);
const attributes = (tag) => Object.fromEntries([...tag.matchAll(/([a-z-]+)(?:="([^"]*)")?/gi)].slice(1).map(([, k, v]) => [k.toLowerCase(), plain(v ?? '')]));

// forms are the forms of a page: where they go and what they hold.
function forms(html) {
  return [...html.matchAll(/<form\b[^>]*>(.*?)<\/form>/gis)].map(([all, inside]) => {
    const { action, method } = attributes(all.slice(0, all.indexOf('>')));
    const fields = [...inside.matchAll(/<(?:input|button)\b[^>]*>/gi)].map(([tag]) => attributes(tag)).filter((f) => f.name);
    return { action, method: (method ?? 'get').toLowerCase(), fields, has: (name) => fields.some((f) => f.name === name) };
  });
}

// filled is what a person does with a page: a form and its values, or a link.
function filled(html, person) {
  const link = person.provider && [...html.matchAll(/<a\b[^>]*>/gi)].map(([tag]) => attributes(tag).href).find((href) => href?.includes('with=provider'));
  if (link) return { link };
  const all = forms(html);
  const given = all.find((f) => f.has('username')) ? { username: person.username, password: person.password }
    : all.find((f) => f.has('decision')) ? { decision: person.decision ?? 'approve' }
    : all.find((f) => f.has('login')) ? { login: person.username, password: person.password } // the pages of oidc-provider
    : all.find((f) => f.has('prompt')) ? {} : undefined;
  if (!given) return undefined;
  const form = all.find((f) => Object.keys(given).every((name) => f.has(name)));
  if (!form) return undefined;
  const values = new URLSearchParams(form.fields.filter((f) => f.type === 'hidden').map((f) => [f.name, f.value ?? '']));
  for (const [name, value] of Object.entries(given)) values.set(name, value);
  return { form, values };
}

const person = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const seen = [];
const title = (html) => plain(html.match(/<title>([^<]*)/i)?.[1] ?? '').trim();
let url = new URL(process.argv[3]);
let page = await visit(url);
let problem;
for (let n = 0; ; n++) {
  if (n === steps) problem = 'goes round in circles';
  if (problem) break;
  if (page.status >= 300 && page.status < 400 && page.location) {
    const to = new URL(page.location, url);
    const site = to.origin === url.origin ? 'same-origin' : 'cross-site';
    url = to;
    page = await visit(url, { site });
    continue;
  }
  seen.push(`${page.status} ${title(page.body)}`);
  if (page.status === 0 || page.status >= 400) problem = page.body.replace(/<[^>]*>/g, ' ').replace(/\s+/g, ' ').slice(0, 600);
  else if (!page.type.includes('html') || !/<form\b/i.test(page.body)) break; // there, or nothing to fill in
  else {
    const next = filled(page.body, person);
    if (!next) break;
    const to = new URL(next.link ?? next.form.action ?? url, url);
    const site = to.origin === url.origin ? 'same-origin' : 'cross-site';
    if (next.form?.method === 'post') page = await visit(to, { form: next.values, site });
    else {
      if (next.values) to.search = next.values;
      page = await visit(to, { site });
    }
    url = to;
  }
}
console.log(JSON.stringify({ asked: process.argv[3], seen, end: url.href.split('?')[0], status: page.status, problem }));
process.exit(problem ? 1 : 0);
