// Lets a TypeScript client of MCP do what it reads on standard input, one JSON line each. It answers with a line of
// the same `id`: a `result` or an `error`, and before it a `progress` for each notification that arrives meanwhile.
//
//     node typescript.mjs FOLDER PACKAGE MODE        FOLDER holds node_modules; MODE is legacy or auto

import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [folder, name, mode] = process.argv.slice(2);
const isFirstVersion = name === '@modelcontextprotocol/sdk';
const require = createRequire(resolve(folder, 'from-here.js'));
const load = (part) => import(pathToFileURL(require.resolve(part)));

const { Client, StreamableHTTPClientTransport } = isFirstVersion
    ? { ...(await load(`${name}/client/index.js`)), ...(await load(`${name}/client/streamableHttp.js`)) }
    : await load(name);

let client, transport;

const actions = {
    async connect({ url, headers }) {
        transport = new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers } });
        client = new Client({ name: 'sessionware-tests', version: '1' }, { versionNegotiation: { mode } });
        await client.connect(transport);
        return client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion;
    },
    async call({ tool, given }, onprogress) {
        const asked = { name: tool, arguments: given };
        const options = { onprogress };
        const answer = await (isFirstVersion ? client.callTool(asked, undefined, options) : client.callTool(asked, options));
        if (answer.isError) throw new Error(textOf(answer.content));
        return textOf(answer.content);
    },
    async prompt({ prompt }) {
        return textOf((await client.getPrompt({ name: prompt })).messages.map((message) => message.content));
    },
    async resource({ uri }) {
        return textOf((await client.readResource({ uri })).contents);
    },
    async close() {
        if (transport.sessionId) await transport.terminateSession().catch(unlessItIsOver);
        await client.close();
        return null;
    },
};

function unlessItIsOver(error) {
    if (!error.message.endsWith('Not Found')) throw error;
}

function textOf(parts) {
    return parts.map((part) => part.text).join('');
}

function say(line) {
    process.stdout.write(`${JSON.stringify(line)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
    const { id, action, ...rest } = JSON.parse(line);
    actions[action](rest, (progress) => say({ id, progress })).then(
        (result) => say({ id, result }),
        (error) => say({ id, error: { kind: error.constructor.name, message: error.message } }),
    );
}
