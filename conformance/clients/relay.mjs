// Passes what it gets on to a gateway, unchanged, and prints a line of JSON for
// each request: its HTTP method, its MCP-Protocol-Version header, its message.
//
//   node relay.mjs PORT GATEWAY-PORT
import { createServer, request } from 'node:http';

const [port, gateway] = process.argv.slice(2).map(Number);
createServer((req, res) => {
  const parts = [];
  req.on('data', (part) => parts.push(part));
  req.on('end', () => {
    const body = Buffer.concat(parts);
    const { method, params } = body.length > 0 ? JSON.parse(body) : {};
    console.log(JSON.stringify({ http: req.method, header: req.headers['mcp-protocol-version'] ?? null, method, offered: params?.protocolVersion }));
    const headers = { ...req.headers, host: `127.0.0.1:${gateway}` };
    const on = request({ host: '127.0.0.1', port: gateway, method: req.method, path: req.url, headers }, (answer) => {
      res.writeHead(answer.statusCode, answer.headers);
      res.flushHeaders();
      answer.pipe(res);
    });
    on.on('error', () => res.destroy());
    res.on('close', () => on.destroy());
    on.end(body);
  });
}).listen(port, '127.0.0.1');
