// mcp-remote as agent: how programs that know only stdio reach the gateway.
//
//   MCP_REMOTE_CONFIG_DIR=FOLDER node mcp-remote.mjs URL [MARK | rounds]
import { answer, crowd, rounds, session } from './session.mjs';
import { talk } from './stdio.mjs';

const [url, mark] = process.argv.slice(2);
const answers = [];
const listeners = new Map(); // progress token: function
const bridge = talk('mcp-remote', [url], {
  also: { jsonrpc: '2.0' },
  asked: (method, params) => {
    if (method !== 'elicitation/create') throw new Error(`mcp-remote asks for ${method}`);
    answers.push(params.message);
    return { action: 'accept', content: answer(params.requestedSchema) };
  },
  told: (method, params) => method === 'notifications/progress' && listeners.get(params.progressToken)?.(params),
});
const { serverInfo } = await bridge.request('initialize', {
  protocolVersion: '2025-11-25', capabilities: { elicitation: {} }, clientInfo: { name: 'stdio-only', version: '1.0.0' },
});
bridge.notify('notifications/initialized');
console.log(`ok   connected: ${JSON.stringify(serverInfo)}`);

const client = {
  listTools: () => bridge.request('tools/list'),
  listPrompts: () => bridge.request('prompts/list'),
  listResources: () => bridge.request('resources/list'),
  callTool: (params, { onprogress } = {}) => {
    const progressToken = `p${listeners.size}`;
    listeners.set(progressToken, onprogress);
    return bridge.request('tools/call', { ...params, _meta: { progressToken } });
  },
  getPrompt: (params) => bridge.request('prompts/get', params),
  readResource: (params) => bridge.request('resources/read', params),
  close: () => bridge.close(),
};
await (mark === 'rounds' ? rounds(client) : mark ? crowd(client, mark, { answers }) : session(client, { answers }));
