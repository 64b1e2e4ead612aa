// Two people go peer-to-peer, a third brings them back to the bridge, and when the third is gone they go again.

import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

// Today's library as the stock web app runs it, with SSRC rewriting: the tracks of the bridge wait meanwhile.
const options = { p2p: true, config: { flags: { ssrcRewritingEnabled: true } } };

test('peer-to-peer with two, the bridge with three', { timeout: 540000 }, async t => {
    const { browser } = await stage(t, 'p2p');
    const [ ann, bob ] = await gather(browser, 'p2p', [ 'Ann', 'Bob' ], options);
    const both = async p2p => Promise.all([ ann, bob ].map(p => until(
        `${p.name} is ${p2p ? 'peer-to-peer' : 'on the bridge'}`, async () => (await p.stats()).p2p === p2p,
        { timeout: 30000, state: async () => (await p.events()).slice(-10) })));

    await t.test('two switch to peer-to-peer', async () => {
        const began = Date.now();

        await both(true);
        figure('to-p2p-ms', Date.now() - began);
        await everybodySeesEverybody([ ann, bob ]);
    });

    // The December 2021 library can't take this way in a browser of today, whatever the server: captures/README.md.
    const skip = generation() === 2021 && 'the 2021 library does not come back from peer-to-peer in this Chromium';

    await t.test('a third brings them back to the bridge, and they go again', { skip }, async () => {
        const began = Date.now();
        const [ cem ] = await gather(browser, 'p2p', [ 'Cem' ], options);

        await both(false);
        figure('back-to-bridge-ms', Date.now() - began);
        await everybodySeesEverybody([ ann, bob, cem ]);
        await cem.leave();
        const left = Date.now();

        await both(true);
        figure('to-p2p-again-ms', Date.now() - left);
        await everybodySeesEverybody([ ann, bob ]);
    });
});
