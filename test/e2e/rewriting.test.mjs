// SSRC rewriting: today's library learns of sources from the bridge, as the stock web app has it by default.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { figure, sleep, until } from './harness/figures.mjs';
import { everybodySeesEverybody, gather, stage } from './harness/meeting.mjs';
import { generation } from './harness/paths.mjs';

const flags = { ssrcRewritingEnabled: true };

test('four meet under SSRC rewriting', { timeout: 720000, skip: generation() === 2021 && 'LJM names no library of today' }, async t => {
    for (const mids of [ false, true ]) {
        await t.test(mids ? 'with mids' : 'without mids', async t => {
            const { browser } = await stage(t, `rewriting${mids ? '-mids' : ''}`, { toml: mids ? '[focus]\nmid_extension = true\n' : '', bitrate: 2000 });
            const room = 'rewriting';
            const config = { flags: { ...flags, rtpMidDemuxEnabled: mids } };
            const [ ann, bob, cem ] = await gather(browser, room, [ 'Ann', 'Bob', 'Cem' ], { config });
            const [ old ] = await gather(browser, room, [ 'Dan' ], { config: { flags: { ssrcRewritingEnabled: false } } });
            const all = [ ann, bob, cem, old ];

            await t.test('everybody sees and hears everybody, and goes on to', async () => {
                await everybodySeesEverybody(all);
                await sleep(3000);
                await everybodySeesEverybody(all, 5000);
                for (const p of all) {
                    const { at } = await p.event('joined');

                    figure(`first-frame-${p.name.toLowerCase()}-ms`, (await p.event('first frame')).at - at);
                }
            });

            await t.test('negotiations end', async () => {
                const count = () => Promise.all(all.map(p => p.negotiations()));
                let before;

                await until('three seconds pass without one', async () => {
                    before = await count();
                    await sleep(3000);

                    return `${await count()}` === `${before}`;
                });
                figure('negotiations', Math.max(...before));
                assert.ok(Math.max(...before) < 25, `${before}`);
            });

            await t.test('a screen is shared, stopped and shared again', async () => {
                await bob.does('share');
                for (const p of [ ann, cem, old ]) {
                    await p.seesScreen([ bob ]);
                    await p.sees([ bob ]);
                }
                await bob.does('muteScreen');
                await until('the screen is off', async () => (await ann.stats()).participants[bob.id].screen?.muted);
                await bob.does('unmuteScreen');
                for (const p of [ ann, cem, old ]) {
                    await p.seesScreen([ bob ]);
                }
            });

            await t.test('mutes', async () => {
                for (const type of [ 'audio', 'video' ]) {
                    for (const muted of [ true, false ]) {
                        await cem.mute(type, muted);
                        await until(`Ann sees ${type} ${muted}`, async () => (await ann.stats()).participants[cem.id][type]?.muted === muted,
                            { state: () => ann.stats() });
                    }
                }
                await everybodySeesEverybody(all);
            });

            await t.test('one leaves, another comes in the place', async () => {
                const before = await ann.negotiations();

                await bob.leave();
                await Promise.all([ ann, cem, old ].map(p => p.noticed('user left', { id: bob.id })));
                const [ eve ] = await gather(browser, room, [ 'Eve' ], { config });

                await everybodySeesEverybody([ ann, cem, old, eve ]);
                await sleep(2000);
                figure('negotiations-for-the-next', await ann.negotiations() - before);
                await everybodySeesEverybody([ ann, cem, old, eve ], 5000);
                const errors = (await Promise.all(all.map(p => p.events()))).flat().filter(e => /error|fail/.test(e.name));

                assert.deepEqual(errors, []);
            });
        });
    }
});
