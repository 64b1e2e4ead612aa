// One scenario: a meeting whose receiver is behind the link, sampled from both ends and at the link itself.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { Browser } from '../e2e/harness/browser.mjs';
import { sleep } from '../e2e/harness/figures.mjs';
import { chromium } from '../e2e/harness/paths.mjs';
import { DOMAIN, Server } from '../e2e/harness/server.mjs';
import { clip } from './record.mjs';

const here = import.meta.dirname;
const cache = join(here, '.cache');

/** Addresses of the two ends of the link. */
const NEAR = '10.99.0.1';
const FAR = '10.99.0.2';

/** ms between two samples of the receiver and of the bridge. */
const SAMPLE = 100;

/**
 * Performs a scenario and resolves to what was seen, all times in ms since the scenario's beginning:
 * `packets` at the link, `receiver` and `bridge` samples, `events` of the page.
 */
export async function perform(scenario, { near, far, senders }) {
    const endings = [];

    await mkdir(cache, { recursive: true });
    try {
        const link = await emulate(scenario, near, far, endings);
        const server = await Server.start(`net-${scenario.name}`, { host: NEAR });

        endings.push(() => server.stop());
        const room = scenario.name;
        const ids = await send(server, room, senders, endings);
        const browser = await Browser.launch(`net-${scenario.name}`, server, { executable: await elsewhere(far) });

        endings.push(() => browser.close());
        const receiver = await browser.participant('Receiver');

        await receiver.page.evaluate(sampler, SAMPLE);
        const began = Date.now();

        link.begin();
        const bridge = sampleBridge(server, began);

        endings.push(() => bridge.stop());
        await receiver.join(room, { audio: false, video: false });
        await receiver.call('setReceiverConstraints', {
            lastN: -1, onStageSources: [ `${ids[0]}-v0` ], selectedSources: [],
            constraints: { [`${ids[0]}-v0`]: { maxHeight: 720 } }, defaultConstraints: { maxHeight: 180 }
        });
        await sleep(began + scenario.seconds * 1000 - Date.now());

        const samples = await receiver.page.evaluate(() => window.samples);
        const events = await receiver.events();

        await bridge.stop();
        // The log is complete when the link has ended, and the link ends last.
        const seen = {
            stage: ids[0],
            endpoint: receiver.id,
            receiver: samples.map(s => ({ ...s, at: s.at - began })),
            bridge: bridge.samples,
            events: events.map(e => ({ ...e, at: e.at - began }))
        };

        await end(endings);

        return { ...seen, packets: await packets(link.log, began) };
    } finally {
        await end(endings);
    }
}

/** Ends what was begun, the last first. */
async function end(endings) {
    while (endings.length) {
        await endings.pop()();
    }
}

/** The link between the namespaces. */
async function emulate({ name, down, up }, near, far, endings) {
    const file = join(cache, `${name}.link.json`);
    const log = join(cache, `${name}.packets.csv`);

    await writeFile(file, JSON.stringify({ down, up }));
    const child = started('nice', [ '-n', '-15', join(cache, 'emulate'), '-link', file, '-log', log, near, NEAR, far, FAR ], endings);

    await line(child);

    return { log, begin: () => child.stdin.write('begin\n') };
}

/** The people with cameras; resolves to their endpoint ids, the first is who talks. */
async function send(server, room, n, endings) {
    const child = started(join(cache, 'sender'), [
        '-url', `wss://${NEAR}:${server.ports.https}/xmpp-websocket`, '-domain', DOMAIN, '-room', room, '-clip', clip, '-n', String(n)
    ], endings);
    const ids = [];

    while (ids.length < n) {
        ids.push(await line(child));
    }

    return ids;
}

/** Starts a program that stays until its standard input ends. */
function started(program, args, endings) {
    const child = spawn(program, args, { stdio: [ 'pipe', 'pipe', 'inherit' ] });

    child.lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    endings.push(async () => {
        if (child.exitCode === null && child.signalCode === null) {
            child.stdin.end();
            await once(child, 'exit');
        }
    });

    return child;
}

async function line(child) {
    const { value, done } = await child.lines.next();

    if (done) {
        throw new Error(`${child.spawnargs.join(' ')} ended`);
    }

    return value;
}

/** A Chromium in another namespace: a program that Playwright can start. */
async function elsewhere(namespace) {
    const file = join(cache, 'chromium-far');

    await writeFile(file, `#!/bin/sh\n# Playwright gives it a session of its own, see becomeImportant.\necho -15 > /proc/self/autogroup\nexec nsenter --net=/run/netns/${namespace} ${chromium} "$@"\n`);
    await chmod(file, 0o755);

    return file;
}

/** In the page: collects what the browser knows of what it receives. */
function sampler(every) {
    window.samples = [];
    const wanted = {
        video: [ 'ssrc', 'trackIdentifier', 'framesDecoded', 'framesDropped', 'frameHeight', 'keyFramesDecoded', 'freezeCount', 'totalFreezesDuration',
            'jitterBufferDelay', 'jitterBufferEmittedCount', 'packetsLost', 'packetsReceived', 'bytesReceived', 'headerBytesReceived', 'nackCount', 'pliCount',
            'retransmittedBytesReceived' ],
        audio: [ 'ssrc', 'trackIdentifier', 'concealedSamples', 'silentConcealedSamples', 'concealmentEvents', 'totalSamplesReceived',
            'packetsLost', 'packetsReceived', 'bytesReceived', 'jitterBufferDelay', 'jitterBufferEmittedCount', 'totalAudioEnergy' ]
    };

    const sample = async () => {
        const at = window.instrument.now();
        const one = { at, video: [], audio: [] };

        for (const pc of window.instrument.peerConnections) {
            if (pc.connectionState === 'closed') {
                continue;
            }
            for (const s of (await pc.getStats()).values()) {
                if (s.type === 'inbound-rtp') {
                    one[s.kind].push(Object.fromEntries(wanted[s.kind].map(name => [ name, s[name] ])));
                }
            }
        }
        window.samples.push(one);
    };

    setInterval(() => sample().catch(() => {}), every);
}

/** Asks the bridge what it does, again and again. */
function sampleBridge(server, began) {
    const samples = [];
    let going = true;

    const loop = async () => {
        while (going) {
            const at = Date.now() - began;

            await server.bridge().then(debug => samples.push({ at, debug }), () => {});
            await sleep(Math.max(10, SAMPLE - (Date.now() - began - at)));
        }
    };
    const over = loop();

    return {
        samples,
        stop() {
            going = false;

            return over;
        }
    };
}

/** The link's log, see emulate/main.go. */
async function packets(log, began) {
    const text = await readFile(log, 'utf8');

    return text.trim().split('\n').map(l => {
        const [ us, way, size, queued, drop, transit, kind, pt, ssrc, seq ] = l.split(',');

        return {
            at: us / 1000 - began, way, size: Number(size), queued: queued / 1000, dropped: drop === '-' ? null : drop,
            transit: Number(transit), kind, pt: Number(pt), ssrc: Number(ssrc), seq: Number(seq)
        };
    });
}
