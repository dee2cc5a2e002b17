// The TypeScript SDK 2.x as agent: asks for 2026-07-28, which must come of it.
//
//   node sdk-v2.mjs URL [MARK]
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { answer, crowd, session } from './session.mjs';

const [url, mark] = process.argv.slice(2);
const answers = [];
const client = new Client({ name: 'sdk-v2', version: '1.0.0' }, {
  capabilities: { elicitation: {} }, versionNegotiation: { mode: 'auto' },
});
client.setRequestHandler('elicitation/create', (request) => {
  answers.push(request.params.message);
  return { action: 'accept', content: answer(request.params.requestedSchema) };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
const version = client.getNegotiatedProtocolVersion();
const modern = version === '2026-07-28';
console.log(`${modern ? 'ok  ' : 'FAIL'} connected: ${version}, ${JSON.stringify(client.getServerVersion())}`);
if (!modern) process.exit(1);
await (mark ? crowd(client, mark, { answers }) : session(client, { answers }));
