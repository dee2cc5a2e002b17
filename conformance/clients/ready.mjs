// Waits until tools/list shows a tool of each prefix, and prints the names.
//
//   node ready.mjs URL SECONDS PREFIX...
const [url, seconds, ...prefixes] = process.argv.slice(2);
const deadline = Date.now() + Number(seconds) * 1000;
const body = JSON.stringify({
  jsonrpc: '2.0', id: 1, method: 'tools/list',
  params: { _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} } },
});
const headers = {
  'content-type': 'application/json', accept: 'application/json, text/event-stream',
  'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/list',
};

for (let last = 'no answer'; ; ) {
  try {
    const text = await (await fetch(url, { method: 'POST', headers, body })).text();
    const names = [...text.matchAll(/"name":"([A-Za-z0-9_-]+)"/g)].map((m) => m[1]);
    const missing = prefixes.filter((p) => !names.some((n) => n.startsWith(`${p}__`)));
    if (missing.length === 0) {
      console.log(names.filter((n) => n.includes('__')).join('\n'));
      break;
    }
    last = `no tools of ${missing.join(', ')} in ${text.slice(0, 400)}`;
  } catch (err) {
    last = String(err.cause ?? err);
  }
  if (Date.now() > deadline) {
    console.error(`${url} is not ready after ${seconds} s: ${last}`);
    process.exit(1);
  }
  await new Promise((done) => setTimeout(done, 200));
}
