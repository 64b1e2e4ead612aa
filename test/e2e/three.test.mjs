// Three people meet: video, audio, chat, mutes, one who leaves, one who loses the network.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Browser } from './harness/browser.mjs';
import { figure, sleep, slowness, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, last, stage } from './harness/meeting.mjs';
import { Network } from './harness/network.mjs';

const ROOM = 'three';

/** kbit/s, enough for all layers of a 720-line camera. */
const BITRATE = 4000;

test('three pages in one room', { timeout: 720000 }, async t => {
    const { server, browser } = await stage(t, 'three', { bitrate: BITRATE });

    // Cem sits behind a network that can be taken away.
    const network = await Network.to(server.ports);

    last(t, () => network.close());
    const elsewhere = await Browser.launch('three-cem', server, { network, bitrate: BITRATE });

    last(t, () => elsewhere.close());

    const [ ann, bob ] = await gather(browser, ROOM, [ 'Ann', 'Bob' ]);
    const [ cem ] = await gather(elsewhere, ROOM, [ 'Cem' ], { rejoin: true });
    const all = [ ann, bob, cem ];

    await t.test('each decodes the two others and receives their audio', async () => {
        await everybodySeesEverybody(all);
        for (const person of all) {
            const joined = await person.event('joined');
            const first = await person.event('first frame');

            figure(`first-frame-after-joining-${person.name.toLowerCase()}-ms`, first.at - joined.at);
        }
    });

    await t.test('720 lines asked for are 720 lines got', async () => {
        const asked = Date.now();

        await Promise.all(all.map(p => p.ask(720)));
        await Promise.all(all.map(p => p.seesAt(720, all.filter(other => other !== p))));
        figure('all-at-720-lines-ms', Date.now() - asked);
    });

    await t.test('180 lines asked for are not more than 180 got', async () => {
        await ann.ask(180);
        await until('Ann gets at most 180 lines', async () => {
            const { participants } = await ann.stats();

            return [ bob, cem ].every(p => participants[p.id].video.height <= 180);
        }, { state: () => ann.stats() });
        await ann.sees([ bob, cem ]);
        await ann.ask(360);
    });

    await t.test('chat arrives', async () => {
        const said = Date.now();

        await ann.say('good morning');
        const heard = await Promise.all([ bob, cem ].map(p => p.noticed('chat', { id: ann.id, text: 'good morning' })));

        figure('chat-ms', Math.max(...heard.map(e => e.at)) - said);
    });

    await t.test('a muted microphone and a camera switched off are seen, and come back', async () => {
        for (const type of [ 'audio', 'video' ]) {
            for (const muted of [ true, false ]) {
                await bob.mute(type, muted);
                await Promise.all([ ann, cem ].map(p => until(`${p.name} sees Bob's ${type} ${muted ? 'muted' : 'on'}`,
                    async () => (await p.stats()).participants[bob.id][type]?.muted === muted,
                    { state: () => p.stats() })));
            }
        }
        await everybodySeesEverybody(all);
    });

    await t.test('one loses the network for 5 s and comes back without help', async () => {
        const before = (await cem.event('joined')).at;

        network.cut();
        await cem.context.setOffline(true);
        const cut = Date.now();

        await sleep(5000);
        await cem.context.setOffline(false);
        network.mend();
        const mended = Date.now();

        await cem.seesAndHears([ ann, bob ], 60000);
        figure('media-back-after-mending-ms', Date.now() - mended);
        // Media is back long before the library dials the XMPP server again.
        await until('Cem is connected again', async () => (await cem.events())
            .some(e => [ 'resumed', 'joined' ].includes(e.name) && e.at > cut),
        { timeout: 60000, state: async () => (await cem.events()).slice(-10) });
        await cem.say('I was gone');
        const heard = await ann.noticed('chat', { text: 'I was gone' }, 60000);

        figure('chat-back-after-mending-ms', heard.at - mended);
        await ann.seesAndHears([ bob, cem ], 60000);
        const again = (await cem.event('joined')).at;

        figure('came-back-by', again === before ? 'resuming' : 'joining again');
        assert.equal((await ann.events()).filter(e => e.name === 'chat' && e.text === 'I was gone').length, 1);
        assert.equal((await ann.event('user left', { id: cem.id }))?.at > cut, false, 'Cem was never seen to leave');
    });

    await t.test('one leaves and is gone within a second', async () => {
        const allowed = 1000 + 10 * await slowness([ ann, bob, cem ]);
        const left = Date.now();

        await bob.leave();
        const seen = await Promise.all([ ann, cem ].map(p => p.noticed('user left', { id: bob.id }, 3000)));
        const took = Math.max(...seen.map(e => e.at)) - left;

        figure('gone-ms', took);
        assert.ok(took < allowed, `gone after ${took} ms of ${allowed}`);
        await ann.sees([ cem ]);
    });
});
