// Two figures of the README, on this machine, over loopback:
//   the time from the XMPP WebSocket's open to the first decoded frame of somebody else, median of 20 joins;
//   the server's resident memory with no meeting and with ten meetings of three.
//
//   node measure.mjs [join] [memory]

import { execFile } from 'node:child_process';
import { resolve } from 'node:path';
import { promisify } from 'node:util';

import { Browser } from './harness/browser.mjs';
import { figure, median, sleep } from './harness/figures.mjs';
import { root } from './harness/paths.mjs';
import { DOMAIN, Server } from './harness/server.mjs';
import { prepare } from './prepare.mjs';

const JOINS = 20;

await prepare();
const wanted = process.argv.slice(2);
const server = await Server.start('measure');

try {
    if (!wanted.length || wanted.includes('memory')) {
        await memory();
    }
    if (!wanted.length || wanted.includes('join')) {
        await joins();
    }
} finally {
    await server.stop();
}

/** Somebody is in the room already; each of the twenty comes in a fresh page, sees the first frame, and leaves. */
async function joins() {
    const browser = await Browser.launch('measure', server);
    const took = [];

    try {
        const ann = await browser.participant('Ann');

        await ann.join('measure', { height: 360 });
        for (let i = 0; i < JOINS; i++) {
            const bob = await browser.participant(`Bob${i}`);

            await bob.join('measure', { height: 360 });
            const first = await bob.noticed('first frame');

            took.push(first.at - (await bob.event('xmpp socket open')).at);
            await bob.leave();
            await ann.noticed('user left', { id: bob.id });
            await bob.close();
        }
    } finally {
        await browser.close();
    }
    figure('socket-open-to-first-frame-ms-median', median(took));
    figure('socket-open-to-first-frame-ms-all', took.map(Math.round).join(' '));
}

/** The people are those of confab-bench, clients in Go with real media: thirty pages are more than two cores can do. */
async function memory() {
    await sleep(2000);
    figure('memory-no-meeting-mb', await server.memory() / 2 ** 20);
    const { stdout } = await promisify(execFile)('go', [
        'run', './cmd/confab-bench', 'meetings', '-rooms', '10', '-people', '3', '-json',
        '-url', `wss://127.0.0.1:${server.ports.https}/xmpp-websocket`, '-domain', DOMAIN, '-pid', String(server.pid)
    ], { cwd: resolve(root, '../..') });
    const result = JSON.parse(stdout);

    figure('memory-ten-meetings-of-three-mb', result['resident MB during']);
    figure('cores-ten-meetings-of-three', result['CPU cores used']);
}
