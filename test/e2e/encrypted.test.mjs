// Media that is encrypted end to end: the bridge has no key, and still gives each what it asks for.

import { test } from 'node:test';

import { figure, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

test('three meet behind keys of their own', { timeout: 540000, skip: generation() === 2021 && 'LJM names no library of today' }, async t => {
    const { browser } = await stage(t, 'encrypted', { bitrate: 4000, olm: true });
    const [ bob ] = await gather(browser, 'encrypted', [ 'Bob' ]);
    const [ ann, eve ] = await gather(browser, 'encrypted', [ 'Ann', 'Eve' ], { height: 180 });

    await everybodySeesEverybody([ ann, bob, eve ]);

    await t.test('two encrypt: they see each other, and the third, who does not, sees neither', async () => {
        const began = Date.now();

        await Promise.all([ ann, bob ].map(p => p.does('encrypt')));
        await Promise.all([ ann.seesAndHears([ bob ]), bob.seesAndHears([ ann ]) ]);
        figure('encrypted-media-ms', Date.now() - began);
        const streams = async () => Promise.all([ ann, bob ].map(async p => (await eve.stats()).participants[p.id].video));
        let before = await streams();

        await until('nothing of them can be decoded, though it arrives', async () => {
            const now = await streams();
            const dark = now.every((s, i) => s.frames === before[i].frames && s.bytes > before[i].bytes);

            before = now;

            return dark;
        }, { every: 1000, state: () => eve.stats() });
    });

    await t.test('pictures grow and shrink', async () => {
        const lines = async () => (await ann.stats()).participants[bob.id].video.height;

        await ann.ask(720);
        await ann.seesAt(720, [ bob ]);
        await ann.ask(180);
        await until('Ann gets at most 180 lines', async () => await lines() <= 180, { state: () => ann.stats() });
        await ann.sees([ bob ]);
    });

    await t.test('the third encrypts, too, and everybody sees everybody', async () => {
        await eve.does('encrypt');
        await everybodySeesEverybody([ ann, bob, eve ]);
    });
});
