// The AI SDK as agent: asks for 2026-07-28 and falls back.
//
//   node ai-sdk.mjs URL [MARK]
import { ElicitationRequestSchema, createMCPClient } from '@ai-sdk/mcp';
import { answer, crowd, session } from './session.mjs';

const [url, mark] = process.argv.slice(2);
const answers = [];
const client = await createMCPClient({ transport: { type: 'http', url }, capabilities: { elicitation: {} } });
client.onElicitationRequest(ElicitationRequestSchema, async ({ params }) => {
  answers.push(params.message);
  return { action: 'accept', content: answer(params.requestedSchema) };
});
console.log(`ok   connected: ${JSON.stringify(client.serverInfo)}`);
await (mark ? crowd(client, mark, { answers }) : session(client, { answers, lacks: ['progress'] }));
