// A server made with the TypeScript SDK 2.x: speaks 2026-07-28 (and, without
// sessions, 2025-11-25) over Streamable HTTP. One tool for each thing that a
// gateway can get wrong: an answer, a question back, progress.
//
//   node modern-server.mjs PORT
import { createServer } from 'node:http';
import { localhostHostValidation, localhostOriginValidation, toNodeHandler } from '@modelcontextprotocol/node';
import { McpServer, ResourceTemplate, acceptedContent, createMcpHandler, inputRequired } from '@modelcontextprotocol/server';
import { z } from 'zod';

const answer = z.object({ confirm: z.boolean() });
const text = (s) => ({ content: [{ type: 'text', text: s }] });

function build() {
  const server = new McpServer({ name: 'modern', version: '1.0.0' }, { instructions: 'A modern server to test with.' });

  server.registerTool('add', { description: 'Adds two numbers.', inputSchema: z.object({ a: z.number(), b: z.number() }) },
    ({ a, b }) => text(String(a + b)));

  server.registerTool('confirm', { description: 'Asks before it acts.', inputSchema: z.object({ what: z.string() }) },
    ({ what }, ctx) => {
      const given = acceptedContent(ctx.mcpReq.inputResponses, 'confirm', answer);
      if (given === undefined) {
        return inputRequired({ inputRequests: { confirm: inputRequired.elicit({ message: `Do ${what}?`, requestedSchema: answer }) } });
      }
      return text(given.confirm ? `did ${what}` : `left ${what}`);
    });

  server.registerTool('count', { description: 'Counts and says so.', inputSchema: z.object({ to: z.number().int().min(1).max(20) }) },
    async ({ to }, ctx) => {
      const progressToken = ctx.mcpReq._meta?.progressToken;
      for (let n = 1; n <= to && progressToken !== undefined; n++) {
        await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken, progress: n, total: to } });
      }
      return text(`counted to ${to}`);
    });

  server.registerResource('note', 'note://welcome', { mimeType: 'text/plain' },
    (uri) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: 'welcome' }] }));
  server.registerResource('numbered', new ResourceTemplate('note://number/{n}', { list: undefined }), { mimeType: 'text/plain' },
    (uri, { n }) => ({ contents: [{ uri: uri.href, mimeType: 'text/plain', text: `note ${n}` }] }));

  server.registerPrompt('greet', { description: 'Greets.', argsSchema: z.object({ name: z.string() }) },
    ({ name }) => ({ messages: [{ role: 'user', content: { type: 'text', text: `Greet ${name}.` } }] }));
  return server;
}

const handle = toNodeHandler(createMcpHandler(build));
const hostOK = localhostHostValidation();
const originOK = localhostOriginValidation();
createServer((req, res) => {
  if (hostOK(req, res) && originOK(req, res)) handle(req, res);
}).listen(Number(process.argv[2]), '127.0.0.1');
