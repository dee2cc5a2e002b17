// The TypeScript SDK 2.x as agent: asks for 2026-07-28 and falls back.
//
//   node sdk-v2.mjs URL [modern|legacy]    the era that must come of it
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { answer, session } from './session.mjs';

const answers = [];
const client = new Client({ name: 'sdk-v2', version: '1.0.0' }, {
  capabilities: { elicitation: {} }, versionNegotiation: { mode: 'auto' },
});
client.setRequestHandler('elicitation/create', (request) => {
  answers.push(request.params.message);
  return { action: 'accept', content: answer(request.params.requestedSchema) };
});
await client.connect(new StreamableHTTPClientTransport(new URL(process.argv[2])));
const version = client.getNegotiatedProtocolVersion();
const era = version >= '2026-07-28' ? 'modern' : 'legacy';
console.log(`${process.argv[3] && process.argv[3] !== era ? 'FAIL' : 'ok  '} connected: ${version}, ${JSON.stringify(client.getServerVersion())}`);
if (process.argv[3] && process.argv[3] !== era) process.exit(1);
await session(client, { answers });
