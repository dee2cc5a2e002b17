import { createInterface } from 'node:readline';

// What each SDK client does with what it is connected to; the clients differ,
// the expectations do not. Names are matched by their end, so that the same
// script runs against a server itself and through the gateway, which puts the
// upstream's name in front. What the client itself lacks is left out: progress,
// prompts, codes of errors.
export async function session(client, { answers, lacks = [] }) {
  let failed = 0;
  let passed = 0;
  const check = async (what, fn, needs) => {
    if (lacks.includes(needs)) return;
    try {
      const wrong = await fn();
      if (wrong) throw new Error(wrong);
      passed++;
      console.log(`ok   ${what}`);
    } catch (err) {
      failed++;
      console.log(`FAIL ${what}: ${String(err?.message ?? err).slice(0, 500)}`);
    }
  };

  const tools = (await client.listTools()).tools;
  const prompts = (await client.listPrompts()).prompts;
  const resources = (await client.listResources()).resources;
  const named = (end) => tools.find((t) => t.name === end || t.name.endsWith(`__${end}`))?.name;
  const expect = (got, want) => (String(got).includes(want) ? '' : `got ${JSON.stringify(got)}, want ${want}`);
  const call = async (end, args, options) => {
    const name = named(end);
    if (!name) throw new Error(`no tool ${end} among ${tools.length}`);
    const result = await client.callTool({ name, arguments: args }, options);
    return result.content?.[0]?.text ?? JSON.stringify(result);
  };

  if (named('echo')) {
    await check('tools/call echo', async () => expect(await call('echo', { message: 'grüezi 🌍' }), 'grüezi 🌍'));
    await check('a tool error is a result', async () => {
      const result = await client.callTool({ name: named('get-sum'), arguments: { a: 'x', b: 1 } });
      return result.isError ? '' : `got ${JSON.stringify(result)}`;
    });
    await check('an unknown tool is an error', async () => {
      const name = `${named('echo')}-missing`;
      try {
        const result = await client.callTool({ name, arguments: {} });
        // SDK servers answer with a result; through the merged endpoint it is
        // the gateway that does not know the name.
        return result.isError && !name.includes('__') ? '' : `got ${JSON.stringify(result)}`;
      } catch (err) {
        return err.code === -32602 ? '' : `code ${err.code}: ${err.message}`;
      }
    }, 'codes');
    await check('progress of a long call', async () => {
      const seen = [];
      const got = await call('trigger-long-running-operation', { duration: 0.4, steps: 4 }, {
        resetTimeoutOnProgress: true, onprogress: (p) => seen.push(p.progress),
      });
      if (seen.length === 0 || seen.some((n, i) => i > 0 && n <= seen[i - 1])) return `progress ${JSON.stringify(seen)}`;
      return expect(got, 'completed');
    }, 'progress');
    await check('prompts/get', async () => {
      const name = prompts.find((p) => p.name.endsWith('args-prompt')).name;
      const got = await client.getPrompt({ name, arguments: { city: 'Bern' } });
      return expect(JSON.stringify(got.messages), 'Bern');
    }, 'prompts');
    await check('resources/read', async () => {
      const uri = resources.find((r) => r.name === 'features.md').uri;
      const got = await client.readResource({ uri });
      return got.contents[0].uri === uri ? expect(got.contents[0].text, '#') : `uri ${got.contents[0].uri}, asked ${uri}`;
    });
  }
  if (named('trigger-elicitation-request')) {
    await check('elicitation from a legacy server', async () => {
      answers.length = 0;
      await call('trigger-elicitation-request', {});
      return answers.length === 1 ? '' : `asked ${answers.length} times`;
    });
  }
  if (named('add')) {
    await check('tools/call add', async () => expect(await call('add', { a: 2, b: 40 }), '42'));
    await check('elicitation from a modern server', async () => {
      answers.length = 0;
      const got = await call('confirm', { what: 'it' });
      return answers.length === 1 ? expect(got, 'did it') : `asked ${answers.length} times; got ${got}`;
    });
    await check('progress from a modern server', async () => {
      const seen = [];
      const got = await call('count', { to: 5 }, { onprogress: (p) => seen.push(p.progress) });
      if (JSON.stringify(seen) !== '[1,2,3,4,5]') return `progress ${JSON.stringify(seen)}`;
      return expect(got, 'counted to 5');
    }, 'progress');
    await check('resources/read of a modern server', async () => {
      const uri = resources.find((r) => r.uri.startsWith('note://welcome')).uri;
      const got = await client.readResource({ uri });
      return got.contents[0].uri === uri ? expect(got.contents[0].text, 'welcome') : `uri ${got.contents[0].uri}, asked ${uri}`;
    });
    await check('prompts/get of a modern server', async () => {
      const name = prompts.find((p) => p.name.endsWith('greet')).name;
      const got = await client.getPrompt({ name, arguments: { name: 'Ada' } });
      return expect(JSON.stringify(got.messages), 'Greet Ada.');
    }, 'prompts');
  }
  await check('tools/list twice is the same', async () => {
    const again = (await client.listTools()).tools;
    return JSON.stringify(again) === JSON.stringify(tools) ? '' : 'lists differ';
  });
  await check('close', () => client.close());
  console.log(`${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}

// crowd is what a client does among others: calls of several upstreams at once,
// each with a mark of its own, and one that asks back. It prints "made UPSTREAM
// MARK-N" for each call that brought its own answer, and fails if one did not.
export async function crowd(client, mark, { answers, rounds = 4 }) {
  const names = (await client.listTools()).tools.map((t) => t.name);
  const call = async (upstream, tool, args, want) => {
    const name = `${upstream}__${tool}`;
    if (!names.includes(name)) throw new Error(`no ${name} among ${names.length} tools`);
    const got = (await client.callTool({ name, arguments: args })).content?.[0]?.text;
    if (got !== want) throw new Error(`${name} answers ${JSON.stringify(got)}, want ${want}`);
    console.log(`made ${upstream} ${Object.values(args)[0]}`);
  };
  await Promise.all(Array.from({ length: rounds }, (_, i) => `${mark}-${i}`).flatMap((text) => [
    call('everything', 'echo', { message: text }, `Echo: ${text}`),
    call('everything-http', 'echo', { message: text }, `Echo: ${text}`),
    call('modern', 'confirm', { what: text }, `did ${text}`),
  ]));
  const asked = Array.from({ length: rounds }, (_, i) => `Do ${mark}-${i}?`).join();
  if (answers.toSorted().join() !== asked) throw new Error(`asked ${answers.join()}, want ${asked}`);
  await client.close();
  process.exit(0);
}

// rounds is a client that stays: for each line on stdin it lists the tools and
// calls one, and prints a line, "ok   N tools" or "FAIL round: WHY". It ends
// with stdin.
export async function rounds(client) {
  for await (const _ of createInterface({ input: process.stdin })) {
    try {
      const names = (await client.listTools()).tools.map((t) => t.name);
      const name = names.find((n) => n.endsWith('add'));
      if (!name) throw new Error(`no tool to call among ${names.length}`);
      const got = (await client.callTool({ name, arguments: { a: 2, b: 40 } })).content?.[0]?.text;
      if (got !== '42') throw new Error(`${name} answers ${got}`);
      console.log(`ok   ${names.length} tools`);
    } catch (err) {
      console.log(`FAIL round: ${String(err?.message ?? err).replace(/\s+/g, ' ').slice(0, 500)}`);
    }
  }
  await client.close();
  process.exit(0);
}

// answer fills the required fields of a form.
export function answer(schema) {
  const value = (p) => p.default ?? p.enum?.[0] ?? p.oneOf?.[0]?.const ?? { boolean: true, string: 'x', number: 1, integer: 1 }[p.type] ?? [];
  return Object.fromEntries((schema?.required ?? []).map((name) => [name, value(schema.properties[name])]));
}
