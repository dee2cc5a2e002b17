// A person with a real browser and a passkey: Chromium, driven over its DevTools
// protocol, with the virtual authenticator that it has for such tests. Nothing
// but Chromium and Node is needed.
//
//   node passkey.mjs CHROMIUM PROFILE GATEWAY USERNAME PASSWORD
//
// GATEWAY is the base URL at which passkeys can be made: https, or localhost.
// Prints "ok   WHAT" or "FAIL WHAT: WHY", a line for each check; what comes
// after a failure is not tried. PASSKEY_SHOTS names a folder for pictures of the
// pages, in light and dark, wide and on a phone.
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const [chromium, profile, gateway, username, password] = process.argv.slice(2);
const root = process.getuid() === 0 ? ['--no-sandbox'] : []; // Chromium has no sandbox for root
const browser = spawn(chromium, ['--headless=new', '--disable-gpu', '--no-first-run', ...root, '--remote-debugging-port=0', `--user-data-dir=${profile}`, 'about:blank'], { stdio: 'ignore' });
process.on('exit', () => browser.kill());

// until polls for what may take a while on a busy machine.
async function until(what, fn) {
  for (const end = Date.now() + 30_000; Date.now() < end; await sleep(100)) {
    const got = await fn().catch(() => undefined); // between two pages there is nothing to ask
    if (got) return got;
  }
  throw new Error(`${what} did not come within 30 s`);
}

const portFile = `${profile}/DevToolsActivePort`;
const port = await until('Chromium', async () => existsSync(portFile) && readFileSync(portFile, 'utf8').split('\n')[0]);
const page = await until('a page', async () => (await (await fetch(`http://127.0.0.1:${port}/json/list`)).json()).find((t) => t.type === 'page'));
const socket = new WebSocket(page.webSocketDebuggerUrl);
await new Promise((done) => { socket.onopen = done; });
const waiting = new Map();
const errors = []; // what the browser complained about: a policy that was broken, a script that failed
socket.onmessage = ({ data }) => {
  const message = JSON.parse(data);
  if (message.id) waiting.get(message.id)(message);
  else if (message.method === 'Log.entryAdded' && message.params.entry.level === 'error' && message.params.entry.source !== 'network') errors.push(message.params.entry.text);
  else if (message.method === 'Runtime.exceptionThrown') errors.push(message.params.exceptionDetails.exception?.description ?? message.params.exceptionDetails.text);
};
let last = 0;
const send = (method, params = {}) => new Promise((done, failed) => {
  const id = ++last;
  waiting.set(id, ({ result, error }) => error ? failed(new Error(`${method}: ${error.message}`)) : done(result));
  socket.send(JSON.stringify({ id, method, params }));
});
const js = async (expression) => {
  const { result, exceptionDetails } = await send('Runtime.evaluate', { expression, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
  return result.value;
};
const text = () => js('document.body.innerText');
const at = (path) => until(`the page ${path}`, async () => await js('location.pathname') === path && await js('document.readyState') === 'complete');
const says = (words) => until(`"${words}"`, async () => (await text()).includes(words));
const open = async (path) => {
  await send('Page.navigate', { url: gateway + path });
  await until(`the page ${path}`, async () => await js('document.readyState') === 'complete' && await js('location.href') !== 'about:blank');
};
// press fills in the form that has this button, opens what hides it, and presses it.
const press = (label, fields = {}) => js(`(() => {
  const button = [...document.querySelectorAll('button')].find((b) => b.textContent.trim() === ${JSON.stringify(label)} && !b.closest('[hidden]'));
  if (!button) throw new Error('no button ' + ${JSON.stringify(label)});
  const hidden = button.closest('details');
  if (hidden) hidden.open = true;
  for (const [name, value] of Object.entries(${JSON.stringify(fields)})) button.form.elements[name].value = value;
  button.click();
})()`);
const shot = async (name) => {
  if (!process.env.PASSKEY_SHOTS) return;
  for (const theme of ['light', 'dark']) {
    for (const [size, width] of [['wide', 1280], ['phone', 390]]) {
      await send('Emulation.setDeviceMetricsOverride', { width, height: 844, deviceScaleFactor: 1, mobile: size === 'phone' });
      await send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: theme }, { name: 'prefers-reduced-motion', value: 'reduce' }] });
      const { data } = await send('Page.captureScreenshot', { captureBeyondViewport: true });
      writeFileSync(`${process.env.PASSKEY_SHOTS}/${name}-${theme}-${size}.png`, Buffer.from(data, 'base64'));
    }
  }
  await send('Emulation.clearDeviceMetricsOverride');
};
const signOut = async () => { await open('/account'); await press('Sign out'); await says('You are signed out'); };

// code is the present one-time code of a key as the page shows it (RFC 6238).
function code(secret) {
  const bits = [...secret.replace(/\s/g, '')].map((c) => 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0')).join('');
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30_000)));
  const sum = createHmac('sha1', Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)))).update(step).digest();
  return String((sum.readUInt32BE(sum[19] & 15) & 0x7fffffff) % 1_000_000).padStart(6, '0');
}

let failed = false;
const check = async (what, fn) => {
  if (failed) return;
  try {
    await fn();
    console.log(`ok   ${what}`);
  } catch (err) {
    failed = true;
    const seen = await text().catch(() => '');
    console.log(`FAIL ${what}: ${err.message} | ${errors.join(' | ')} | ${seen.replace(/\s+/g, ' ').slice(-400)}`);
  }
};

for (const part of ['Page', 'Runtime', 'Log', 'WebAuthn']) await send(`${part}.enable`);
const { authenticatorId } = await send('WebAuthn.addVirtualAuthenticator', { options: {
  protocol: 'ctap2', transport: 'internal', hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true } });

await check('without script the sign-in page is the plain form', async () => {
  await send('Emulation.setScriptExecutionDisabled', { value: true });
  await open('/login');
  if ((await text()).includes('passkey')) throw new Error('it offers a passkey');
  await press('Sign in', { username, password }); // the protocol, not the page, runs this
  await at('/account');
  if (/passkey/i.test(await text())) throw new Error('the account page offers a passkey');
  await send('Emulation.setScriptExecutionDisabled', { value: false });
});
await check('a passkey is added', async () => {
  await open('/account');
  await press('Add a passkey', { name: 'Test key', password });
  await says('The passkey is added');
  if (!(await text()).includes('Test key')) throw new Error('it is not listed');
  await shot('account');
});
await check('the same device is not added twice', async () => {
  await press('Add a passkey', { password });
  await says('That device holds a passkey of this account already.');
});
await check('it signs in by itself', async () => {
  await signOut();
  await open('/login');
  await shot('sign-in');
  await press('Sign in with a passkey');
  await at('/account');
});
await check('after the password it is asked for', async () => {
  await signOut();
  await open('/login');
  await press('Sign in', { username, password });
  await says('This account also asks for a passkey.');
  await shot('second');
  await press('Use a passkey');
  await at('/account');
});
await check('who is not verified is not let in', async () => {
  await signOut();
  await open('/login');
  await send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: false });
  await press('Sign in with a passkey');
  await says('No passkey was used');
  await send('WebAuthn.setUserVerified', { authenticatorId, isUserVerified: true });
});
await check('a one-time code is set up with the passkey as proof', async () => {
  await press('Sign in with a passkey');
  await at('/account');
  await press('Set up');
  await until('the QR code', () => js('!!document.querySelector("svg.qr path")'));
  await shot('enrol');
  const secret = await js('document.querySelector(".secret").innerText');
  await press('Turn on', { password, code: code(secret) });
  await says('The one-time code is on.');
});
await check('it is removed with itself as proof', async () => {
  await open('/account');
  await press('Remove passkey', { password });
  await says('The passkey is removed.');
});
await check('then it signs in no more', async () => {
  await signOut();
  await open('/login');
  await press('Sign in with a passkey');
  await says('That passkey does not fit, or is not known here.');
});
await check('no page broke its own policy', async () => {
  if (errors.length) throw new Error(errors.join(' | '));
});
process.exit(failed ? 1 : 0);
