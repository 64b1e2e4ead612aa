// Two people meet with each codec that clients may prefer: pictures arrive, grow and shrink as asked for.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

// The library of 2021 names one codec instead of an order and knows no AV1; told VP9, a browser of
// today goes on with VP8.
const known = generation() === 2021 ? 'H264,VP8' : 'AV1,VP9,H264,VP8';

for (const codec of (process.env.CODECS ?? known).split(',')) {
    test(`two pages with ${codec}`, { timeout: 180000 }, async t => {
        const { browser } = await stage(t, `codec-${codec}`, { bitrate: 4000 });
        const config = { videoQuality: { codecPreferenceOrder: [ codec ], preferredCodec: codec } };
        const [ ann, bob ] = await gather(browser, `codec${codec}`.toLowerCase(), [ 'Ann', 'Bob' ], { config });

        await everybodySeesEverybody([ ann, bob ]);
        const height = async () => (await ann.stats()).participants[bob.id].video.height;

        await ann.ask(720);
        let asked = Date.now();

        await until('Ann gets more than 180 lines', async () => await height() > 180, { state: () => ann.stats() });
        figure(`${codec}-up-ms`, Date.now() - asked);
        await ann.ask(180);
        asked = Date.now();
        await until('Ann gets at most 180 lines', async () => await height() <= 180, { state: () => ann.stats() });
        figure(`${codec}-down-ms`, Date.now() - asked);
        await ann.sees([ bob ]);
        assert.equal((await ann.stats()).participants[bob.id].video.codec, `video/${codec}`);
    });
}
