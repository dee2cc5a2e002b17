// Codex as agent, without an account and without a model: its app server, which
// editors drive over stdio, lists and calls the tools of configured servers.
//
//   CODEX_HOME=FOLDER node codex.mjs URL [MARK | rounds]
import { answer, crowd, rounds, session } from './session.mjs';
import { talk } from './stdio.mjs';

const [url, mark] = process.argv.slice(2);
const answers = [];
const codex = talk('codex', ['app-server', '-c', `mcp_servers.gw.url=${JSON.stringify(url)}`], {
  asked: (method, params) => {
    if (method !== 'mcpServer/elicitation/request') throw new Error(`Codex asks for ${method}`);
    answers.push(params.message);
    return { action: 'accept', content: answer(params.requestedSchema), _meta: null };
  },
});
await codex.request('initialize', { clientInfo: { name: 'clients', version: '1.0.0' }, capabilities: { experimentalApi: true } });
codex.notify('initialized');
const threadId = (await codex.request('thread/start', { ephemeral: true })).thread.id;
const status = async () => (await codex.request('mcpServerStatus/list', { threadId, serverName: 'gw' })).data[0];
const { runtimeStatus, serverInfo } = await status();
console.log(`${runtimeStatus === 'connected' ? 'ok  ' : 'FAIL'} connected: ${runtimeStatus}, ${JSON.stringify(serverInfo)}`);

const client = {
  // Codex gives them in no order.
  listTools: async () => ({ tools: Object.values((await status()).tools).sort((a, b) => (a.name < b.name ? -1 : 1)) }),
  listResources: async () => ({ resources: (await status()).resources }),
  listPrompts: () => ({ prompts: [] }),
  callTool: (params) => codex.request('mcpServer/tool/call', { threadId, server: 'gw', tool: params.name, arguments: params.arguments }),
  readResource: ({ uri }) => codex.request('mcpServer/resource/read', { threadId, server: 'gw', uri }),
  close: () => codex.close(),
};
await (mark === 'rounds' ? rounds(client) : mark ? crowd(client, mark, { answers }) : session(client, { answers, lacks: ['progress', 'prompts', 'codes'] }));
