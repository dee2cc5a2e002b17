// The TypeScript SDK 1.x as agent: initialize, sessions, 2025-11-25.
//
//   node sdk-v1.mjs URL [MARK]
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { ElicitRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { answer, crowd, session } from './session.mjs';

const [url, mark] = process.argv.slice(2);
const answers = [];
const client = new Client({ name: 'sdk-v1', version: '1.0.0' }, { capabilities: { elicitation: {} } });
client.setRequestHandler(ElicitRequestSchema, (request) => {
  answers.push(request.params.message);
  return { action: 'accept', content: answer(request.params.requestedSchema) };
});
await client.connect(new StreamableHTTPClientTransport(new URL(url)));
console.log(`ok   connected: ${JSON.stringify(client.getServerVersion())}`);
await (mark ? crowd(v1(client), mark, { answers }) : session(v1(client), { answers }));

// v1 takes the result schema between request and options of callTool.
function v1(c) {
  return Object.assign(Object.create(c), {
    listTools: () => c.listTools(), listPrompts: () => c.listPrompts(), listResources: () => c.listResources(),
    callTool: (params, options) => c.callTool(params, undefined, options),
    getPrompt: (params) => c.getPrompt(params), readResource: (params) => c.readResource(params), close: () => c.close(),
  });
}
