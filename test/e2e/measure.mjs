// Two figures of the README, on this machine, over loopback:
//   the time from the XMPP WebSocket's open to the first decoded frame of somebody else, median of 20 joins;
//   the server's resident memory with no meeting and with ten meetings of three.
//
//   node measure.mjs [join] [memory]

import { Browser } from './harness/browser.mjs';
import { figure, median, sleep } from './harness/figures.mjs';
import { prepare } from './prepare.mjs';
import { Server } from './harness/server.mjs';

const JOINS = 20;
const MEETINGS = 10;
const PEOPLE = 3;

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
    const ann = await browser.participant('Ann');
    const took = [];

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
    await browser.close();
    figure('socket-open-to-first-frame-ms-median', median(took));
    figure('socket-open-to-first-frame-ms-all', took.map(Math.round).join(' '));
}

/** Thirty pages with tiny pictures: what is measured is the server, not the encoders beside it. */
async function memory() {
    await sleep(2000);
    figure('memory-no-meeting-mb', await server.memory() / 2 ** 20);
    const browser = await Browser.launch('measure', server);
    const everybody = [];

    for (let room = 0; room < MEETINGS; room++) {
        const people = [];

        for (let i = 0; i < PEOPLE; i++) {
            const person = await browser.participant(`P${room}-${i}`);

            await person.join(`measure-${room}`, { height: 180 });
            people.push(person);
        }
        everybody.push(people);
    }
    for (const people of everybody) {
        await Promise.all(people.map(p => p.seesAndHears(people.filter(other => other !== p), 120000)));
    }
    await sleep(10000);
    figure('memory-ten-meetings-of-three-mb', await server.memory() / 2 ** 20);
    await browser.close();
}
