// Three people meet with each codec that clients may prefer: one sender's picture is large for one and small for another
// at the same time, and its screen stands beside its camera.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

// The library of 2021 names one codec instead of an order, knows no AV1, and shares a screen in place of the camera.
const old = generation() === 2021;
const known = old ? 'VP9,H264,VP8' : 'AV1,VP9,H264,VP8';

// It gives the first encoding 200 kbit/s whatever the codec. The browser of today sends VP9 as one stream with layers
// and takes that for the limit of it all: 180 lines, on any bridge. What helps is what an operator can set.
const maxBitratesVideo = old ? { VP8: { low: 2500000, standard: 700000, high: 2500000 } } : undefined;

for (const codec of (process.env.CODECS ?? known).split(',')) {
    test(`three pages with ${codec}`, { timeout: 540000 }, async t => {
        const { browser } = await stage(t, `codec-${codec}`, { bitrate: 4000 });
        const room = `codec${codec}`.toLowerCase();
        const config = { videoQuality: {
            codecPreferenceOrder: [ codec ], preferredCodec: codec, ...codec === 'VP9' && maxBitratesVideo ? { maxBitratesVideo } : {}
        } };
        const [ bob ] = await gather(browser, room, [ 'Bob' ], { config });
        // They send little, for the sake of the machine.
        const [ ann, cem ] = await gather(browser, room, [ 'Ann', 'Cem' ], { config, height: 180 });
        const video = async (who, what = 'video') => (await who.stats()).participants[bob.id][what];
        const lines = async who => (await video(who)).height;

        await everybodySeesEverybody([ ann, bob, cem ]);

        await t.test('large for one, small for the other, and the other way round', async () => {
            for (const [ big, small ] of [ [ ann, cem ], [ cem, ann ] ]) {
                await Promise.all([ big.ask(720), small.ask(180) ]);
                const asked = Date.now();

                await until(`${big.name} gets more than 180 lines and ${small.name} does not`,
                    async () => await lines(big) > 180 && await lines(small) <= 180,
                    { timeout: 60000, state: async () => [ await big.stats(), await small.stats() ] });
                figure(`${codec}-large-and-small-ms`, Date.now() - asked);
                await Promise.all([ big, small ].map(p => p.sees([ bob ])));
            }
            for (const p of [ ann, cem ]) {
                assert.equal((await video(p)).codec, `video/${codec}`);
            }
        });

        await t.test('camera and screen at once', { skip: old && 'the 2021 library has one video' }, async () => {
            await bob.does('share');
            await Promise.all([ ann, cem ].map(p => p.ask(1080)));
            for (const p of [ ann, cem ]) {
                await p.seesScreen([ bob ]);
                await p.sees([ bob ]);
            }
            assert.equal((await video(ann, 'screen')).codec, `video/${codec}`);
            figure(`${codec}-screen-lines`, (await video(ann, 'screen')).height);
        });
    });
}
